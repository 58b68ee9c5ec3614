"""Stores of millions of cells, generated in place, for benchmarks of what is done with an embedding.

All is there that clusters, their report and conditions in SQL read, in the parts and the ledger of a
real store: acquisitions, annotations, cells, narrow features, and an embedding. The embedding is drawn,
not computed: a few dozen kinds of cells of unequal numbers, in a spectrum that falls off slowly.
"""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa

from anabatch.config import EmbedConfig
from anabatch.embedding import NystroemKernelPCA
from anabatch.schema import table_schema
from anabatch.stages.embed import embed_key, embed_recipe
from anabatch.stages.population import Generation
from anabatch.store.actions import Action
from anabatch.store.keys import action_key
from anabatch.store.live import ANNOTATE, CELLS, EMBED, FEATURIZE, SCAN, SEGMENT
from anabatch.store.parts import PartWriter, WrittenPart
from anabatch.store.root import Store, create_store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

PART_ROWS = 4096  # cells of some 40 fields
IMAGES = 40  # of a part
PARTS_PER_DATE = 2
LABELS = ("homogeneous", "speckled", "centromere", "nucleolar", "cytoplasmic", "fine speckled")
RARE = "atypical"
"""Label of every fiftieth image."""
KINDS = 30

_FEATURES = 64
_SEED = 20211214
_RUN = "benchmark"
_FIRST_DAY = dt.date(2010, 1, 1)
_ARCHIVE = "hard-drive"


@dataclass(frozen=True)
class Space:
    """What all rows are drawn from.

    Attributes
    ----------
    centers : ndarray of float32, shape (kinds, components)
    scales : ndarray of float32, shape (components,)
    shares : ndarray of float64, shape (kinds,)
    """

    centers: NDArray[np.float32]
    scales: NDArray[np.float32]
    shares: NDArray[np.float64]


def draw_space(components: int) -> Space:
    """Draw the kinds of cells."""
    rng = np.random.default_rng(_SEED)
    scales = (0.3 * (1 + np.arange(components)) ** -0.7).astype(np.float32)
    centers = 1.5 * rng.standard_normal((KINDS, components), dtype=np.float32) * scales
    shares = 1 / (3.0 + np.arange(KINDS))
    return Space(centers, scales, shares / shares.sum())


def draw_embedding(
    space: Space, number: int, rows: int = PART_ROWS
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Draw the embedding of one part, shape (rows, components), and the kind of every row.

    Of an image's cells, half are of the image's own kind.
    """
    rng = np.random.default_rng([_SEED, number])
    kinds = rng.choice(KINDS, size=rows, p=space.shares)
    of_image = rng.choice(KINDS, size=IMAGES, p=space.shares)[np.arange(rows) * IMAGES // rows]
    kinds = np.where(rng.random(rows) < 0.5, of_image, kinds)
    noise = rng.standard_normal((rows, len(space.scales)), dtype=np.float32) * space.scales
    return space.centers[kinds] + noise, kinds


def write_populous(
    root: Path, rows: int, components: int = 150, part_rows: int = PART_ROWS
) -> Path:
    """Write a store and commit it.

    Parameters
    ----------
    root : Path
        A new folder.
    rows : int
        Taken up to whole parts; of 4,096 cells they have 0.3 MB each, and 16 KB for every component.
    components : int
        Of the embedding.
    part_rows : int
        Cells of a part. With few in each there are many parts, images and rows of the ledger for the
        bytes.

    Returns
    -------
    Path
        The store's folder.
    """
    with patch("os.fsync", lambda _: None):
        store = create_store(root)
        kpca = _write_kpca(store)
        space = draw_space(components)
        for number in range(-(-rows // part_rows)):
            _write_part(_Batch(store, number, part_rows), space, kpca)
        store.commit(_RUN)
    os.sync()  # no later step pays for these writes
    return root


def _write_kpca(store: Store) -> WrittenPart:
    """Write a generation of the kernel PCA: of the narrow features, and of few cells."""
    recipe = embed_recipe(EmbedConfig(), "none")
    model = NystroemKernelPCA(8, n_landmarks=16).fit(_features(np.arange(1000) % KINDS, 0))
    store.state.put([recipe.action(_RUN)])
    generation = Generation(store.root, "kpca", "archive", 1, recipe.digest, {}, 1, _RUN)
    written = generation.write(model.to_arrays(), {"components": 8})
    store.state.put(written.actions)
    return written


def _features(kinds: NDArray[np.intp], number: int) -> NDArray[np.float16]:
    centers = np.random.default_rng(_SEED).random((KINDS, _FEATURES), dtype=np.float32)
    rng = np.random.default_rng([_SEED, number, 1])
    noise = 0.2 * rng.standard_normal((len(kinds), _FEATURES), dtype=np.float32)
    return (centers[kinds] + noise).astype(np.float16)


def _write_part(batch: _Batch, space: Space, kpca: WrittenPart) -> None:
    """Write all that belongs to the cells of one part."""
    number = batch.number
    embedding, kinds = draw_embedding(space, number, batch.rows)
    batch.write(SCAN, "acquisitions", batch.acquisitions(), batch.names)
    batch.write(ANNOTATE, "annotations", batch.annotations(), [f"{_ARCHIVE}/{number}"])
    cells = batch.write(
        CELLS,
        "cells",
        batch.cells(),
        batch.images,
        arrays={
            "crops": np.broadcast_to(kinds[:, None, None], (batch.rows, 8, 8)).astype(np.uint8)
        },
    )
    # no label images: cells alone would be called orphans
    masks = [batch.action(SEGMENT, image, rows=1, part=cells) for image in batch.images]
    batch.store.state.put(masks)
    unit = [str(cells.path)]
    features = batch.write(
        FEATURIZE, "features", None, unit, {"features": _features(kinds, number)}
    )
    key = embed_key(str(features.digest), str(kpca.digest))
    facts = {"model": kpca.path}
    batch.write(EMBED, "embedding", None, unit, {"embedding": embedding}, key=key, facts=facts)


class _Batch:
    """The images of one part, and what is known of them."""

    def __init__(self, store: Store, number: int, rows: int) -> None:
        self.store = store
        self.number = number
        self.rows = rows
        self.date = _FIRST_DAY + dt.timedelta(days=number // PARTS_PER_DATE)
        self.rng = np.random.default_rng([_SEED, number, 2])
        self.images = _digests(self.rng, IMAGES)
        self.names = [f"{image[:20]}" for image in self.images]
        self.first = [place * rows // IMAGES for place in range(IMAGES + 1)]

    def action(
        self,
        stage: str,
        unit: str,
        *,
        rows: int,
        part: WrittenPart | None = None,
        first: int = 0,
        key: str = "",
        facts: Mapping[str, Any] | None = None,
    ) -> Action:
        """Return an action of the batch."""
        return Action(
            stage,
            unit,
            key or action_key(stage=stage, unit=unit),
            archive=_ARCHIVE,
            date=self.date,
            components=dict(facts or {}),
            part=part.path if part else None,
            part_digest=part.digest if part else None,
            first_row=first,
            rows=rows,
            sequence=2 + self.number,
            run=_RUN,
        )

    def write(
        self,
        stage: str,
        table: str,
        rows: pa.Table | None,
        units: list[str],
        arrays: Mapping[str, NDArray[Any]] | None = None,
        key: str = "",
        facts: Mapping[str, Any] | None = None,
    ) -> WrittenPart:
        """Write a part of which every unit has its share of the rows, in order."""
        total = len(next(iter((arrays or {}).values()), ())) or (rows.num_rows if rows else 0)
        cuts = [place * total // len(units) for place in range(len(units) + 1)]
        actions = [
            self.action(
                stage,
                unit,
                rows=cuts[place + 1] - cuts[place],
                first=cuts[place],
                key=key,
                facts=facts or (self._facts(place) if stage == SCAN else None),
            )
            for place, unit in enumerate(units)
        ]
        with PartWriter(
            self.store.root, table, archive=_ARCHIVE, date=self.date, keys=[actions[0].key]
        ) as part:
            if rows is not None:
                part.rows(table, rows)
            for name, array in (arrays or {}).items():
                part.array(name, array, **({"chunk": 512} if name == "embedding" else {}))
            written = part.finish(actions)
        self.store.state.put(written.actions)
        return written

    def _facts(self, place: int) -> dict[str, Any]:
        return {
            "image_id": self.images[place],
            "relative_path": self._path(place),
            "file_sha256": "00",
            "width": 1388,
            "height": 1040,
            "pixels_per_reference_pixel": 1.0,
        }

    def _path(self, place: int) -> str:
        return f"{self.date:%Y%m%d}/001_SN09001/{self.names[place]}.jpg"

    def acquisitions(self) -> pa.Table:
        """Return a row an image; every serum has two images."""
        serum = [f"{self.number:06d}{place // 2:02d}" for place in range(IMAGES)]
        return fill_table(
            "acquisitions",
            IMAGES,
            acquisition_id=self.names,
            image_id=self.images,
            archive=_ARCHIVE,
            layout="dated",
            date=self.date,
            file_name=[f"{name}.jpg" for name in self.names],
            relative_path=[self._path(place) for place in range(IMAGES)],
            status="ok",
            sample=serum,
            serum=serum,
            dtype="uint8",
            width=1388,
            height=1040,
            pixels_per_reference_pixel=1.0,
        )

    def annotations(self) -> pa.Table:
        """Return a pattern and a status for every image, and a rare one for every fiftieth."""
        count = self.number * IMAGES
        rows = [
            (place, LABELS[self.rng.integers(len(LABELS))], "pattern") for place in range(IMAGES)
        ]
        rows += [(place, "positive", "status") for place in range(IMAGES)]
        rows += [(place, RARE, "pattern") for place in range(IMAGES) if (count + place) % 50 == 0]
        return fill_table(
            "annotations",
            len(rows),
            acquisition_id=[self.names[place] for place, _, _ in rows],
            image_id=[self.images[place] for place, _, _ in rows],
            archive=_ARCHIVE,
            date=self.date,
            label=[label for _, label, _ in rows],
            axis=[axis for _, _, axis in rows],
            source_file="export.csv",
        )

    def cells(self) -> pa.Table:
        """Return a row a cell."""
        sizes = self.rng.integers(2_000, 20_000, self.rows)
        return fill_table(
            "cells",
            self.rows,
            cell_id=_digests(self.rng, self.rows),
            image_id=np.repeat(self.images, np.diff(self.first)),
            label_id=np.arange(self.rows),
            centroid_y=self.rng.uniform(0, 1040, self.rows),
            centroid_x=self.rng.uniform(0, 1388, self.rows),
            area_px=sizes,
            nucleus_area_px=sizes // 3,
            nucleus_count=1,
            scale=96 / np.sqrt(sizes),
            black_fraction=self.rng.uniform(0, 1, self.rows),
            mean_intensity=self.rng.uniform(0, 255, self.rows),
            nucleus_mean_intensity=self.rng.uniform(0, 255, self.rows),
            mitotic=self.rng.random(self.rows) < 0.02,
            source_dtype="uint8",
        )


def _digests(rng: np.random.Generator, count: int) -> list[str]:
    text = rng.bytes(16 * count).hex()
    return [text[place : place + 32] for place in range(0, len(text), 32)]


def fill_table(name: str, rows: int, **columns: Any) -> pa.Table:
    """Return a table of a schema; what is not named is null, or zero where it may not be."""
    schema = table_schema(name, derived=False)
    empty: dict[str, Any] = {"string": "", "bool": False}
    arrays = []
    for field in schema:
        value = columns.get(field.name)
        if isinstance(value, list | np.ndarray):
            arrays.append(pa.array(value, field.type))
            continue
        if value is None and not field.nullable:
            value = empty.get(str(field.type), 0 if pa.types.is_primitive(field.type) else [])
        arrays.append(pa.array([value] * rows, field.type))
    return pa.Table.from_arrays(arrays, schema=schema)

"""A small store, made stage by stage the way the stages do it, over a small archive."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from anabatch.archive.layout import load_layout
from anabatch.archive.listing import list_archive
from anabatch.clustering import BatchKMeans
from anabatch.config import CellsConfig, SegmentConfig
from anabatch.embedding import NystroemKernelPCA
from anabatch.schema import to_table
from anabatch.stages.cells import cut
from anabatch.stages.images import ImageBatch, ImageItem
from anabatch.stages.population import Generation
from anabatch.stages.scan import ScanBatch, scan
from anabatch.store.actions import FAILED, Action
from anabatch.store.live import (
    ANNOTATE,
    CELLS,
    CLUSTER,
    EMBED,
    MODEL,
    SCAN,
    SEGMENT,
    cluster_unit,
    live_parts,
)
from anabatch.store.parts import Part, PartWriter
from anabatch.store.recipes import Recipe
from anabatch.store.root import Store, create_store, open_store

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from numpy.typing import NDArray

    from anabatch.archive.layout import Layout
    from anabatch.archive.walk import ListedFile
    from anabatch.store.state import State

HOSTILE = "<script>alert(1)<b onload=x>&amp;\"'$x$\n\u202egpj.jpg"
"""A legal name of a file on Linux."""

FIELDS = (
    ("20240102/001_SN09001/001_plate_1_202400001_1_1_01.jpg", "homogeneous"),
    ("20240102/001_SN09001/002_plate_1_202400002_1_1_02.jpg", "speckled"),
    (f"20240103/001_SN09001/{HOSTILE}", "<img src=x onerror=alert(2)>"),
    ("20240103/001_SN09001/004_plate_1_202400004_1_1_04.jpg", "negative"),
)
BROKEN = "20240103/001_SN09001/005_plate_1_202400005_1_1_05.jpg"
SHAPE = (150, 200)


def draw_field(number: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return signal, nuclei and cells: discs, fewer in the last field, which is empty."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    nuclei = np.zeros(SHAPE, np.int32)
    cells = np.zeros(SHAPE, np.int32)
    centres = [(cy, cx) for cy in (30, 75, 120) for cx in (30, 75, 120, 165)]
    for label, (cy, cx) in enumerate(centres[: 0 if number == 3 else 12 - number], start=1):
        distance = np.hypot(y - cy, x - cx)
        cells[distance < 19] = label
        nuclei[distance < 9] = label
    signal = 10 + 60 * (cells > 0) + (90 + 20 * number) * (nuclei > 0)
    noisy = signal + rng.normal(0, 8, SHAPE)
    return np.clip(noisy, 0, 255).astype(np.uint8), nuclei, cells


@dataclass
class Laboratory:
    """An archive and its store."""

    root: Path
    store: Store
    run: str = "run-1"

    @property
    def state(self) -> State:
        return self.store.state

    def write_archive(self) -> None:
        for number, (path, _) in enumerate(FIELDS):
            file = self.root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            signal = draw_field(number)[0]
            green = np.zeros((*SHAPE, 3), np.uint8)
            green[..., 1] = signal
            Image.fromarray(green).save(file, "PNG")
        (self.root / BROKEN).write_bytes(b"no image")

    def scan(self) -> None:
        layout = load_layout("dated")
        listing = list_archive(self.root, layout)
        dates = {file: _date(layout, file) for file in listing.images}
        for date in sorted(set(dates.values()), key=str):
            files = tuple(file for file in listing.images if dates[file] == date)
            batch = ScanBatch(
                store=self.store.root,
                root=self.root,
                archive="lab",
                layout=layout,
                date=date,
                files=files,
                max_pixels=10**6,
                pixels_per_reference_pixel={},
                recipe="s",
                sequence=self.state.next_sequence(),
                run=self.run,
            )
            self.state.put(scan(batch).actions)

    def image(self, path: str) -> Action:
        return next(a for a in self.state.stage(SCAN) if a.components["relative_path"] == path)

    def annotate(self) -> None:
        rows = []
        for path, label in FIELDS:
            status = "negative" if label == "negative" else "positive"
            rows.append(self._annotation(path, status, "status", None))
            if status == "positive":
                flag = "conflict" if label == "speckled" else None
                rows.append(self._annotation(path, label, "pattern", flag))
        lost = self._annotation(FIELDS[0][0], "homogeneous", "pattern", "missing_image")
        rows.append(lost | {"image_id": None, "acquisition_id": None})
        self.annotate_rows("lab", rows)

    def annotate_rows(self, archive: str, rows: list[dict[str, Any]]) -> None:
        unit = f"{archive}/undated"
        done = Action(ANNOTATE, unit, unit, archive=archive, rows=len(rows), run=self.run)
        with PartWriter(self.store.root, "annotations", archive=archive, keys=[unit]) as part:
            part.rows("annotations", to_table("annotations", rows))
            self.state.put(part.finish([done]).actions)

    def _annotation(self, path: str, label: str, axis: str, flag: str | None) -> dict[str, Any]:
        action = self.image(path)
        return {
            "acquisition_id": action.unit,
            "image_id": action.components["image_id"],
            "archive": "lab",
            "date": action.date,
            "sample": "1",
            "label": label,
            "axis": axis,
            "code": 14,
            "raw": f"[14] {label}",
            "source_file": "20240102/exp.csv",
            "source_row": 3,
            "flag": flag,
            "reason": f"why: {flag}" if flag else None,
            "repeats": 0,
            "superseded_by": None,
        }

    def segment(self, only: tuple[str, ...] | None = None) -> None:
        """Segment and cut the fields, one part a date."""
        paths = [path for path, _ in FIELDS if only is None or path in only]
        for date in sorted({self.image(path).date for path in paths}, key=str):
            self._segment(date, [path for path in paths if self.image(path).date == date])

    def _segment(self, date: dt.date | None, paths: list[str]) -> None:
        items = [self._item(path) for path in paths]
        batch = ImageBatch(
            store=self.store.root,
            archive="lab",
            date=date,
            items=tuple(items),
            segment=SegmentConfig(),
            model="drawn",
            cells=CellsConfig(),
            recipes={SEGMENT: "s", CELLS: "c"},
            max_pixels=10**6,
            threads=1,
            sequence=self.state.next_sequence(),
            run=self.run,
        )
        name = f"labels_{SHAPE[0]}x{SHAPE[1]}"
        drawn = [draw_field([p for p, _ in FIELDS].index(path))[1:] for path in paths]
        actions = [
            batch.action(
                SEGMENT,
                item,
                components={
                    "pixels": 2.0,
                    "array": name,
                    "nuclei": int(nuclei.max()),
                    "cells": int(cells.max()),
                    "mean_nucleus_diameter": 17.0 if nuclei.any() else None,
                    "dropped": {"nuclei_too_small": 2, "cells_flow_error": 1},
                },
                first_row=row,
                rows=1,
            )
            for row, (item, (nuclei, cells)) in enumerate(zip(items, drawn, strict=True))
        ]
        with PartWriter(
            self.store.root, "labels", archive="lab", date=date, keys=[i.segment_key for i in items]
        ) as part:
            part.array(name, np.stack([np.stack(pair) for pair in drawn]), chunk=1, shard=4)
            segmented = part.finish(actions)
        self.state.put(segmented.actions)
        self.state.put(cut(batch, segmented).actions)

    def _item(self, path: str) -> ImageItem:
        action = self.image(path)
        facts = action.components
        return ImageItem(
            facts["image_id"],
            self.root,
            path,
            facts["file_sha256"],
            1.0,
            f"segment {path}",
            f"cells {path}",
        )

    def embed(self) -> None:
        """Fit a kernel PCA on the mean grey levels of quarters of the crops, and embed all cells."""
        lives = live_parts(self.state, CELLS)
        described = [_describe(Part(self.store.root, live.path)) for live in lives]
        model = NystroemKernelPCA(4, n_landmarks=12).fit(np.concatenate(described))
        written = self._generation("kpca").write(
            model.to_arrays(), {"components": len(model.eigenvalues_), "gamma": model.gamma_}
        )
        self.state.put(written.actions)
        for live, features in zip(lives, described, strict=True):
            action = Action(
                EMBED,
                live.path,
                live.path,
                archive="lab",
                components={"model": written.path},
                rows=len(features),
                run=self.run,
            )
            with PartWriter(self.store.root, "embedding", keys=[live.path]) as part:
                part.array("embedding", model.transform(features))
                self.state.put(part.finish([action]).actions)

    def cluster(self, numbers: tuple[int, ...] = (0, 1, 2)) -> None:
        """Fit a k-means whose clusters bear these numbers, and assign all cells."""
        lives = live_parts(self.state, CELLS)
        embedded = {action.unit: str(action.part) for action in self.state.stage(EMBED)}
        paths = [embedded[live.path] for live in lives]
        rows = [
            Part(self.store.root, path).array("embedding", 0, _rows(self, path)) for path in paths
        ]
        model = BatchKMeans(len(numbers)).fit(np.concatenate(rows)).renumber(numbers)
        facts = {"k": len(numbers), "components": 4, "inertia": 1.0, "mean_squared_distance": 0.5}
        settings = {"k": len(numbers), "components": 4, "restarts": 10, "seed": 0}
        (embedding,) = [a for a in self.state.stage(MODEL) if a.unit.startswith("kpca/")]
        recipe = Recipe(CLUSTER, 1, settings, {"embedding": str(embedding.part_digest)})
        self.state.put([recipe.action(self.run)])
        generation = replace(self._generation("kmeans"), settings=recipe.digest)
        written = generation.write(model.to_arrays(), facts)
        self.state.put(written.actions)
        for live, values in zip(lives, rows, strict=True):
            self._clusters(live.path, *model.distances(values))

    def _clusters(self, cells: str, labels: NDArray[Any], distances: NDArray[Any]) -> None:
        ids = Part(self.store.root, cells).rows("cells").column("cell_id").to_pylist()
        table = [
            {"cell_id": i, "cluster": c, "distance": d, "model": "archive", "generation": 1}
            for i, c, d in zip(ids, labels.tolist(), distances.tolist(), strict=True)
        ]
        action = Action(
            CLUSTER,
            cluster_unit(cells),
            cells,
            archive="lab",
            components={"generation": 1},
            rows=len(table),
            run=self.run,
        )
        with PartWriter(self.store.root, "clusters", keys=[cells]) as part:
            part.rows("clusters", to_table("clusters", table))
            self.state.put(part.finish([action]).actions)

    def _generation(self, kind: str) -> Generation:
        rows = {live.path: live.rows for live in live_parts(self.state, CELLS)}
        sequence = self.state.next_sequence()
        return Generation(self.store.root, kind, "archive", 1, "s", rows, sequence, self.run)

    def quarantine(self, path: str, reason: str) -> None:
        """Put an image into quarantine at its segmentation."""
        image = str(self.image(path).components["image_id"])
        self.state.put(
            [
                Action(
                    SEGMENT, image, "k", archive="lab", outcome=FAILED, reason=reason, run=self.run
                )
            ]
        )

    def commit(self) -> Store:
        self.store.commit(self.run)
        return self.store


def _date(layout: Layout, file: ListedFile) -> dt.date | None:
    place = layout.parse_path(file.relative_path)
    assert place is not None
    return place.date


def _describe(part: Part) -> NDArray[Any]:
    (rows, *_), _ = part.array_info("crops")
    crops = part.array("crops", 0, rows).astype(np.float32) / 255
    quarters = crops.reshape(rows, 4, 24, 4, 24).mean(axis=(2, 4))
    return np.asarray(quarters.reshape(rows, 16))


def _rows(laboratory: Laboratory, path: str) -> int:
    return Part(laboratory.store.root, path).array_info("embedding")[0][0]


@pytest.fixture
def laboratory(tmp_path: Path) -> Laboratory:
    """An archive that nothing has read yet, and an empty store."""
    made = Laboratory(tmp_path / "lab", create_store(tmp_path / "store"))
    made.write_archive()
    return made


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    """A store that all stages have gone over. Only to be read."""
    folder = tmp_path_factory.mktemp("finished")
    made = Laboratory(folder / "lab", create_store(folder / "store"))
    made.write_archive()
    made.scan()
    made.annotate()
    made.segment()
    made.embed()
    made.cluster()
    made.commit()
    return made


@pytest.fixture
def full(finished: Laboratory, tmp_path: Path) -> Laboratory:
    """A copy of the finished store, to be changed."""
    shutil.copytree(finished.root, tmp_path / "lab")
    shutil.copytree(finished.store.root, tmp_path / "store")
    return Laboratory(tmp_path / "lab", open_store(tmp_path / "store"))


@pytest.fixture
def paths() -> list[str]:
    """The fields' files."""
    return [path for path, _ in FIELDS]


@pytest.fixture
def broken() -> str:
    """The file that is no image."""
    return BROKEN


@pytest.fixture
def hostile_name() -> str:
    return HOSTILE

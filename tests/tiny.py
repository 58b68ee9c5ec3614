"""A job that does all: a tiny pipeline to be broken: seconds for a whole archive, no network, all of the store's own code."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from anabatch.jobs import report
from anabatch.jobs import run as whole_run
from cheap import draw_tiny
from contents import (
    array_digests,
    by_cell,
    cell_ids,
    clusters_by_cell,
    fingerprint,
    label_images,
    whole_contents,
)
from running import make_config

from anabatch.archive.acquisition import read_signal
from anabatch.errors import MissingRowsError

if TYPE_CHECKING:
    from pathlib import Path

    from anabatch.jobs.context import Context

    from anabatch.config import Config
    from anabatch.store.root import Store

DATES = ("20210301", "20210302", "20210303")


def add_images(archive: Path, numbers: range) -> list[Path]:
    """Draw tiny images into an archive, one after the other on the next of three dates."""
    paths = []
    for number in numbers:
        name = f"{number:03d}_0ae{number:08d}_1_2{number:08d}_3_14_11.jpg"
        path = archive / DATES[number % len(DATES)] / "001_SN08030" / name
        draw_tiny(path, number)
        paths.append(path)
    return paths


def grey_levels(path: Path) -> int:
    """Return the sum of an image's grey levels, by which stages can tell it from the others."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    signal = read_signal(path.parent, path.name, expected_sha256=sha256, max_pixels=10**6)
    return int(signal.sum())


def tiny_config(archive: Path, store: Path, **sections: Any) -> Config:
    """Return a configuration of two images a batch, so that dates have several parts.

    Population models are fitted once and kept, so that what they give depends on the first cells
    alone: stores that were made in other orders can be compared.
    """
    standing = {
        "embed": {"refit_share": 1e6},
        "cluster": {"refit_share": 1e6},
        "compute": {"batch_megapixels": 0.02},
    }
    for name, values in sections.items():
        standing[name] = {**standing.get(name, {}), **values}
    config: Config = make_config(archive, store, **standing)
    return config


def run(context: Context) -> None:
    """Do all that `anabatch run` does, and draw no report, which takes longer than all the rest."""
    with patch.object(report, "run"):
        whole_run.run(context)


def everything(store: Store) -> dict[str, Any]:
    """Return all that a store holds, by ids; embedding and clusters as those of their generation."""
    found: dict[str, Any] = whole_contents(store)
    embedding = by_cell(store, "embedding")
    found["embedding"] = {cell: values.tobytes() for cell, values in embedding.items()}
    found["clusters"] = clusters_by_cell(store)
    return found


def seen_in(store: Store) -> str:
    """Return a digest of all that a reader of a store may see."""
    return str(fingerprint(store, array_digests(store)))


def expect_whole(store: Store) -> None:
    """Check what must hold in every version.

    Raises
    ------
    AssertionError
        It does not.
    """
    images = set(store.table("acquisitions").to_pandas().image_id)
    cells = store.table("cells").to_pandas()
    assert set(cells.image_id) <= images, "cells without their image"
    for name in ("crops", "masks", "features", "embedding"):
        try:
            array = store.array(name)
        except MissingRowsError:
            continue  # it says so, and hands out nothing short
        assert array.shape[0] == len(cells), f"{array.shape[0]} {name} of {len(cells)} cells"
    assert len(set(cell_ids(store))) == len(cells), "a cell stands twice"
    assert set(label_images(store)) >= set(cells.image_id), "cells without their label image"


def write_toml(config: Config, path: Path) -> Path:
    """Write a configuration as the command line reads it."""
    raw = config.model_dump(mode="json", exclude_defaults=True)
    archives = raw.pop("archives")
    lines = [f"{name} = {_toml(raw.pop(name))}" for name in list(raw) if _is_plain(raw[name])]
    for archive in archives:
        lines += ["[[archives]]", *_lines(archive)]
    for name, values in raw.items():
        lines += [f"[{name}]", *_lines(values)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _is_plain(value: Any) -> bool:
    return not isinstance(value, dict)


def _lines(values: dict[str, Any]) -> list[str]:
    return [f"{name} = {_toml(value)}" for name, value in values.items()]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        pairs = (f"{json.dumps(name)} = {_toml(item)}" for name, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    return json.dumps(value)

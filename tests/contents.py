"""What a store holds, by ids, so that two stores can be compared whatever their parts and order."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.errors import MissingRowsError
from anabatch.store.live import CELLS, FEATURIZE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabatch.store.root import Store

ARRAYS = ("crops", "masks", "features", "embedding")
_OF_STORE = ("part", "row")  # columns that say where a row lies, not what it is
_FAILURE = ("stage", "archive", "date", "outcome", "reason")


def rows(store: Store, table: str, *, without: tuple[str, ...] = ()) -> list[str]:
    """Return a table's rows as sorted texts."""
    found = store.table(table).to_arrow().drop_columns(list(without)).to_pylist()
    return sorted(json.dumps(row, sort_keys=True, default=str) for row in found)


def failures(store: Store) -> list[str]:
    """Return what is in quarantine, or waits, as sorted texts."""
    found = store.state.failures()
    plain = ({name: getattr(item, name) for name in _FAILURE} for item in found)
    return sorted(json.dumps(row, sort_keys=True, default=str) for row in plain)


def cell_ids(store: Store) -> list[str]:
    """Return the ids of all cells, in the store's order."""
    return [str(name) for name in store.table("cells").to_arrow()["cell_id"].to_pylist()]


def by_cell(store: Store, array: str) -> dict[str, Any]:
    """Return an array's rows by cell id.

    Raises
    ------
    MissingRowsError
        Some cells have none.
    """
    ids = cell_ids(store)
    values = store.array(array).compute() if ids else np.empty((0, 0))
    assert len(values) == len(ids), f"{len(values)} {array} of {len(ids)} cells"
    assert len(set(ids)) == len(ids), "a cell stands twice"
    return dict(zip(ids, values, strict=True))


def clusters_by_cell(store: Store) -> dict[str, tuple[int, float]]:
    """Return cluster and distance by cell id.

    Raises
    ------
    MissingRowsError
        Some cells have none.
    """
    table = store.table("clusters").to_arrow()
    assert table["cell_id"].to_pylist() == cell_ids(store)
    pairs = zip(table["cluster"].to_pylist(), table["distance"].to_pylist(), strict=True)
    return dict(zip(table["cell_id"].to_pylist(), pairs, strict=True))


def label_images(store: Store) -> dict[str, tuple[str, str]]:
    """Return digests of the label images of all images that have cells, by image id."""
    images = {action.unit for action in store.state.stage(CELLS)}
    found = {image: store.label_image(image) for image in images}
    return {image: (_digest(nuclei), _digest(cells)) for image, (nuclei, cells) in found.items()}


def _digest(values: Any) -> str:
    array = np.ascontiguousarray(values)
    return hashlib.sha256(f"{array.shape}{array.dtype}".encode() + array.tobytes()).hexdigest()


def array_digests(store: Store) -> dict[str, dict[str, str]]:
    """Return, of every array that is there, the digests of its rows by cell id.

    Those of masks say where the cell is, as its id does, and not which of it is nucleus.
    """
    found: dict[str, dict[str, str]] = {}
    for array in ARRAYS:
        with suppress(MissingRowsError):
            rows = by_cell(store, array).items()
            found[array] = {k: _digest(v > 0 if array == "masks" else v) for k, v in rows}
    return found


def described_cells(
    store: Store, digests: dict[str, dict[str, str]]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what determines a cell's row of an array, and its digest.

    Parameters
    ----------
    store : Store
    digests : dict
        As :func:`array_digests` gives them.
    """
    crop, extractor = _newest(store, CELLS, "crop"), _newest(store, FEATURIZE, "extractor")
    makes = {"crops": crop, "masks": crop, "features": extractor}
    for array, make in makes.items():
        for cell, digest in digests.get(array, {}).items():
            yield (array, make, cell), digest


def _newest(store: Store, stage: str, name: str) -> str:
    made = [action for action in store.state.stage(stage) if action.part]
    return str(made[-1].components[name]) if made else ""


def fingerprint(store: Store, digests: dict[str, dict[str, str]]) -> str:
    """Return a digest of all that a reader of a store may see.

    Parameters
    ----------
    store : Store
    digests : dict
        As :func:`array_digests` gives them.
    """
    seen: dict[str, Any] = {
        name: rows(store, name) for name in ("acquisitions", "annotations", "cells")
    }
    with suppress(MissingRowsError):
        seen["clusters"] = rows(store, "clusters")
    seen["label images"] = label_images(store)
    text = json.dumps([seen, digests], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def whole_contents(store: Store) -> dict[str, Any]:
    """Return all that does not hang on a generation, to be compared with another store's."""
    found: dict[str, Any] = {
        "failures": failures(store),
        "acquisitions": rows(store, "acquisitions"),
        "annotations": rows(store, "annotations"),
        "cells": rows(store, "cells", without=_OF_STORE),
        "label images": label_images(store),
    }
    for array in ("crops", "masks", "features"):
        found[array] = {cell: _digest(values) for cell, values in by_cell(store, array).items()}
    return found

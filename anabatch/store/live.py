"""Which rows of which parts are live, and what is joined to them when they are read."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from anabatch.archive.acquisition import groups
from anabatch.errors import MissingRowsError, PartCorruptError
from anabatch.schema import completed, table_schema, validate
from anabatch.store.parts import Part

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from anabatch.store.actions import Action
    from anabatch.store.state import State

LIST = "list"
"""Places of an archive that could not be listed; it has failures alone."""
SCAN = "scan"
ANNOTATE = "annotate"
SEGMENT = "segment"
CELLS = "cells"
FEATURIZE = "featurize"
EMBED = "embed"
CLUSTER = "cluster"
MODEL = "model"
"""Generations of population models."""
CLUSTER_MODEL = "archive"
"""Name of the cluster model over the whole archive."""


def annotate_unit(archive: str, date: dt.date | None) -> str:
    """Return the unit of the action that makes the labels of an archive's date."""
    return f"{archive}/{date or 'undated'}"


def cluster_unit(part: str, model: str = CLUSTER_MODEL) -> str:
    """Return the unit of the action that clusters a cell part by a model."""
    return f"{model}:{part}"


@dataclass(frozen=True, slots=True)
class LivePart:
    """A part and the live ranges of its rows, in order.

    Attributes
    ----------
    path : str
        The part, relative to the store.
    ranges : tuple of (start, stop)
    images : tuple of str
        Units of the actions that the ranges belong to.
    """

    path: str
    ranges: tuple[tuple[int, int], ...]
    images: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Number of live rows."""
        return sum(stop - start for start, stop in self.ranges)

    def indices(self) -> NDArray[np.int64]:
        """Return the positions of the live rows, shape (rows,)."""
        spans = [np.arange(start, stop, dtype=np.int64) for start, stop in self.ranges]
        return np.concatenate(spans) if spans else np.empty(0, np.int64)

    def joined(self) -> tuple[tuple[int, int], ...]:
        """Return the ranges with those that touch made one."""
        return tuple(_merged(self.ranges))


def live_parts(state: State, stage: str) -> list[LivePart]:
    """Return a stage's parts with their live rows, in the store's order."""
    by_part: dict[str, list[Action]] = defaultdict(list)
    for action in state.stage(stage):
        if action.part is not None:
            by_part[action.part].append(action)
    return [
        LivePart(
            path,
            tuple((a.first_row, a.first_row + a.rows) for a in actions),
            tuple(a.unit for a in actions),
        )
        for path, actions in by_part.items()
    ]


def read_live_rows(root: Path, live: LivePart, table: str) -> pa.Table:
    """Read the live rows of a part's table, without the derived columns.

    Columns that the table's schema gained after the part was written are null.

    Raises
    ------
    PartCorruptError
        The table has fewer rows than the ledger says.
    SchemaError
        The part lacks a column that may not be null.
    """
    rows = completed(table, Part(root, live.path).rows(table))
    indices = live.indices()
    if len(indices) and indices.max() >= rows.num_rows:
        what = f"{table} of {live.path} has {rows.num_rows} rows, and row {indices.max()} is live"
        raise PartCorruptError(what, "Recompute the part.")
    return rows.take(pa.array(indices))


def read_live_array(root: Path, live: LivePart, name: str, source: str, total: int) -> NDArray[Any]:
    """Read the rows of an array that belong to a cell part's live rows.

    Parameters
    ----------
    root : Path
        The store's folder.
    live : LivePart
        The cell part.
    name : str
        The array.
    source : str
        The part that holds the array: the cell part itself, or one that corresponds to it row
        by row.
    total : int
        Rows that the array must have.

    Returns
    -------
    ndarray, shape (live.rows, ...)

    Raises
    ------
    PartCorruptError
        The array does not have one row for every row of the cell part.
    """
    part = Part(root, source)
    (rows, *rest), dtype = part.array_info(name)
    if rows != total:
        what = f"{name} of {source} has {rows} rows, and its cell part {live.path} has {total}"
        raise PartCorruptError(what, "Recompute the part.")
    spans = [part.array(name, start, stop) for start, stop in _merged(live.ranges)]
    return np.concatenate(spans) if spans else np.empty((0, *rest), dtype)


def _merged(ranges: tuple[tuple[int, int], ...]) -> Iterator[tuple[int, int]]:
    """Join ranges that touch, so that neighbours are read at once."""
    current: tuple[int, int] | None = None
    for start, stop in ranges:
        if current and current[1] == start:
            current = (current[0], stop)
            continue
        if current:
            yield current
        current = (start, stop)
    if current:
        yield current


def array_sources(state: State, parts: list[LivePart], name: str) -> list[str]:
    """Return, for every cell part, the part that holds an array's rows.

    Raises
    ------
    MissingRowsError
        Some live rows have no such array yet; the message counts them.
    """
    if name in ("crops", "masks"):
        cut = [state.get(CELLS, live.images[0]) for live in parts]
        return corresponding(parts, cut, f"{name} of the newest size", SEGMENT)
    stage = {"features": FEATURIZE, "embedding": EMBED}[name]
    return corresponding(parts, [state.get(stage, live.path) for live in parts], name, stage)


def corresponding(
    parts: list[LivePart], found: list[Action | None], name: str, command: str
) -> list[str]:
    """Return the parts of actions that correspond one to one to cell parts, all of one make.

    Rows of an older generation lie in another space; mixed with newer ones they would be wrong
    numbers, so they count as missing.

    Parameters
    ----------
    parts : list of LivePart
        The cell parts.
    found : list of Action or None
        The actions on them.
    name : str
        What to call the rows.
    command : str
        The command that makes them.

    Raises
    ------
    MissingRowsError
        Some live rows have none of the newest make; the message counts them.
    """
    made = [action for action in found if action is not None and action.part is not None]
    newest = _make(max(made, key=lambda action: action.sequence)) if made else None
    missing = sum(
        live.rows
        for live, action in zip(parts, found, strict=True)
        if action is None or action.part is None or _make(action) != newest
    )
    if missing:
        what = f"{missing} of {sum(live.rows for live in parts)} live cells have no {name}"
        raise MissingRowsError(what, f"Run `anabatch {command}`.")
    return [str(action.part) for action in made]


def _make(action: Action) -> tuple[Any, ...]:
    """Return what rows of one array must have in common: generation, extractor, or size."""
    return tuple(action.fact(name, None) for name in ("model", "extractor", "crop"))


@dataclass(frozen=True, slots=True)
class FirstAcquisition:
    """Where an image was first seen: what is joined to its cells."""

    archive: str
    date: Any
    sample: str | None
    group: str


def read_acquisitions(root: Path, state: State) -> pa.Table:
    """Read all live acquisitions, with their groups."""
    parts = [read_live_rows(root, live, "acquisitions") for live in live_parts(state, SCAN)]
    stored = table_schema("acquisitions", derived=False)
    table = pa.concat_tables(parts) if parts else stored.empty_table()
    schema = table_schema("acquisitions")
    column = pa.array(groups(table), pa.string())
    position = schema.get_field_index("group")
    return validate(
        "acquisitions",
        table.add_column(position, schema.field(position), column),
        derived=True,
    )


def first_acquisitions(acquisitions: pa.Table) -> dict[str, FirstAcquisition]:
    """Return, by image id, the earliest acquisition of every image.

    Earliest by date (undated last), then archive and path.
    """
    columns = ["image_id", "archive", "date", "sample", "group", "relative_path"]
    rows = [row for row in acquisitions.select(columns).to_pylist() if row["image_id"]]
    rows.sort(
        key=lambda row: (
            row["date"] is None,
            str(row["date"]),
            row["archive"],
            row["relative_path"],
        )
    )
    first: dict[str, FirstAcquisition] = {}
    for row in rows:
        found = FirstAcquisition(row["archive"], row["date"], row["sample"], row["group"])
        first.setdefault(row["image_id"], found)
    return first


def read_cells(root: Path, live: LivePart, first: dict[str, FirstAcquisition]) -> pa.Table:
    """Read the live cells of a part, with what is joined to them.

    Parameters
    ----------
    root : Path
        The store's folder.
    live : LivePart
        The cell part.
    first : dict
        Image id to its first acquisition, for the part's images at least.

    Raises
    ------
    MissingRowsError
        Some live cells are of images without an acquisition.
    """
    table = read_live_rows(root, live, CELLS)
    images = table.column("image_id").to_pylist()
    lost = sum(image not in first for image in images)
    if lost:
        what = f"{lost} live cells of {live.path} are of images that no acquisition shows"
        raise MissingRowsError(what, "Run `anabatch scan` and `anabatch segment`.")
    joined = [first[image] for image in images]
    derived = {
        "part": [live.path] * table.num_rows,
        "row": live.indices(),
        "archive": [item.archive for item in joined],
        "date": [item.date for item in joined],
        "sample": [item.sample for item in joined],
        "group": [item.group for item in joined],
    }
    schema = table_schema(CELLS)
    for name, values in derived.items():
        table = table.append_column(schema.field(name), pa.array(values, schema.field(name).type))
    return validate(CELLS, table, derived=True)

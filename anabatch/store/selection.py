"""Choosing cells by a condition in SQL over all that the store knows of them."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa

from anabatch.schema import completed, table_schema
from anabatch.store.conditions import alone, explained, holding, nodes, parsed, refuse_chance
from anabatch.store.denials import of_columns, refuse_denials
from anabatch.store.each_label import joins_labels, of_any_label
from anabatch.store.live import CELLS, LivePart
from anabatch.store.parts import Part

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anabatch.store.collections import Collections

_PART = "number of the part"  # of those that are looked at together: nothing to ask for
_PLACE = (_PART, "row")
_PLACES = f'"{_PART}", "row"'
_BLOCK_PARTS = 64
"""Parts whose cells a condition is evaluated over at once: what it selects of them is in memory."""
_ANY_LABEL = "unnest(if(len(labels) = 0, [NULL], labels)) AS label"
_LABEL = re.compile(r"\blabel\b", re.IGNORECASE)


def select_cells(collections: Collections, where: str, *, by_part: bool = False) -> list[LivePart]:
    """Return the live cells that a condition selects.

    Parameters
    ----------
    collections : Collections
    where : str
        A condition in DuckDB's SQL over the columns that :func:`selection_columns` names: those of
        `cells`, those of the image's first acquisition, `labels` (a sorted list of all labels of the
        image), and `label`, which stands for any of them: `label = 'x'` holds for a cell if one of its
        image's labels is x, whatever it is joined with: `label = 'x' AND label = 'y'` holds if both
        are among them. An image without labels has an empty list, and a `label` that is null.
    by_part : bool
        Whether it can ask for the cell's `part` too, as :func:`columns_to_show` has it. A part's name
        is of one version of the store alone.

    Returns
    -------
    list of LivePart
        Those cell parts that have some, with the ranges of their selected rows, in the store's order.

    Raises
    ------
    ConfigurationError
        It is no condition over these columns, but a number or a text; asks for other tables; gives
        something else every time, as `random()` does, or another day, as `now()`; or denies a label,
        as `label <> 'x'`, which would hold for every image that has another one as well.
    PartCorruptError
        A part cannot be read.
    """
    parts = collections.cell_parts
    failures: list[Exception] = []
    with alone() as connection:
        try:
            condition = parsed(connection, where)
            refuse_chance(connection, where, condition)
            refuse_denials(where, condition)
            connection.register("images", _images(collections))
            grouped = of_any_label(connection, condition) if joins_labels(condition) else ""
            selected = []
            # a condition is checked even where there are no cells
            for start in range(0, max(len(parts), 1), _BLOCK_PARTS):
                block = parts[start : start + _BLOCK_PARTS]
                stream = _stream(collections.root, block, where, failures)
                connection.register("parts", _numbered(block, by_part=by_part))
                selected += _ranges(block, _places(connection, where, grouped, stream))
        except duckdb.Error as error:
            if failures:  # DuckDB has wrapped what a part raised
                raise failures[0] from None
            known = columns_to_show() if by_part else _columns()
            raise explained(error, where, "the cells", known) from error
    return selected


def asks_for_more(where: str) -> bool:
    """Whether a condition names what the table of cells lacks, as `label`; an unreadable one does not.

    Parameters
    ----------
    where : str
    """
    with alone() as connection:
        condition = of_columns(parsed(connection, where))
    # a field of a column, or a column of a table, has several names
    names = (name for node in nodes(condition) for name in node.get("column_names", []))
    called = (node.get("schema", "") for node in nodes(condition))  # labels.len() is len(labels)
    named = {name.lower() for name in (*names, *called)}
    more = set(selection_columns()) - set(table_schema(CELLS).names)
    return not named.isdisjoint(more)


def _places(
    connection: duckdb.DuckDBPyConnection,
    where: str,
    grouped: str,
    stream: Iterator[pa.RecordBatch],
) -> pa.Table:
    """Return numbers of parts, and rows in them, of the cells of a stream that a condition selects.

    `grouped` is the condition over all labels of a cell at once, where one at a time does not do.
    """
    reader = pa.RecordBatchReader.from_batches(_cell_schema(where), stream)
    connection.register("cell_rows", reader)
    # what the parts have in common with these is their number
    query = "SELECT * FROM (cell_rows JOIN images USING (image_id)) NATURAL JOIN parts"
    joined = connection.sql(query)
    if _LABEL.search(where):
        joined = joined.project(f"*, {_ANY_LABEL}")
    found = holding(joined, where)
    if grouped:
        found = joined.aggregate(f"{_PLACES}, ({grouped}) AS chosen", _PLACES).filter("chosen")
    return found.project(_PLACES).distinct().to_arrow_table()


def selection_columns() -> list[str]:
    """Return the names that a condition may use."""
    return list(_columns().names)


def columns_to_show() -> pa.Schema:
    """Return what a condition on the table of cells may use: its own columns, then the others."""
    shown = table_schema(CELLS)
    return pa.schema([*shown, *(field for field in _columns() if field.name not in shown.names)])


def _columns() -> pa.Schema:
    images = [field for field in _image_schema() if field.name != "image_id"]
    label = pa.field("label", pa.string())
    return pa.schema([*table_schema(CELLS, derived=False), *images, label])


def _cell_columns(where: str) -> list[str]:
    """Return the stored columns of cells that a condition could mean."""
    named = {word.lower() for word in re.findall(r"\w+", where)}
    return [name for name in table_schema(CELLS, derived=False).names if name.lower() in named]


def _cell_schema(where: str) -> pa.Schema:
    stored = table_schema(CELLS, derived=False)
    names = dict.fromkeys(["image_id", *_cell_columns(where)])
    places = [pa.field(_PART, pa.int32()), pa.field("row", pa.int64())]
    return pa.schema([*(stored.field(name) for name in names), *places])


def _numbered(parts: list[LivePart], *, by_part: bool) -> pa.Table:
    """Return the numbers of parts, and what a condition may know of them."""
    table = pa.table({_PART: pa.array(range(len(parts)), pa.int32())})
    names = pa.array([live.path for live in parts], pa.string())
    return table.append_column("part", names) if by_part else table


def _stream(
    root: Path, parts: list[LivePart], where: str, failures: list[Exception]
) -> Iterator[pa.RecordBatch]:
    """Yield the live rows part by part; note what one raises, which the reader of a stream changes."""
    schema = _cell_schema(where)
    names = [name for name in schema.names if name not in _PLACE]
    try:
        for number, live in enumerate(parts):
            rows = live.indices()
            table = completed(CELLS, Part(root, live.path).rows(CELLS, names), names).select(names)
            table = table.take(pa.array(rows))
            table = table.append_column(_PART, pa.array(np.full(len(rows), number, np.int32)))
            table = table.append_column("row", pa.array(rows))
            yield from table.cast(schema).to_batches()
    except Exception as error:
        failures.append(error)
        raise


def _image_schema() -> pa.Schema:
    """Return what is known of an image: its first acquisition, and its labels.

    Where cells have a column of the same name, as `flags`, a condition means theirs.
    """
    cells = set(table_schema(CELLS, derived=False).names) - {"image_id"}
    fields = [field for field in table_schema("acquisitions") if field.name not in cells]
    return pa.schema([*fields, pa.field("labels", pa.list_(pa.string()))])


def _images(collections: Collections) -> pa.Table:
    acquisitions = collections.acquisitions
    order = ("date", "archive", "relative_path", "image_id")
    rows = acquisitions.select(order).to_pylist()
    earliest: dict[str, int] = {}
    for number in sorted(range(len(rows)), key=lambda i: _age(rows[i])):
        if rows[number]["image_id"]:
            earliest.setdefault(rows[number]["image_id"], number)
    found: dict[str, set[str]] = defaultdict(set)
    for table in collections.table("annotations").batches():
        for row in table.select(["image_id", "label"]).to_pylist():
            if row["image_id"] and row["label"]:
                found[row["image_id"]].add(row["label"])
    labels = [sorted(found[image]) for image in earliest]
    images = acquisitions.take(pa.array(list(earliest.values()), pa.int64()))
    images = images.append_column("labels", pa.array(labels, pa.list_(pa.string())))
    return images.select(_image_schema().names)


def _age(row: dict[str, Any]) -> tuple[bool, str, str, str]:
    """Return what :func:`~anabatch.store.live.first_acquisitions` sorts by."""
    date = row["date"]
    return date is None, str(date), row["archive"], row["relative_path"]


def _ranges(parts: list[LivePart], found: pa.Table) -> list[LivePart]:
    numbers = found.column(_PART).to_numpy()
    rows = found.column("row").to_numpy()
    order = np.lexsort((rows, numbers))
    numbers, rows = numbers[order], rows[order]
    selected = []
    for number in np.unique(numbers).tolist():
        here = rows[slice(*np.searchsorted(numbers, [number, number + 1]))]
        breaks = np.flatnonzero(np.diff(here) != 1)
        starts = here[np.append(0, breaks + 1)].tolist()
        stops = (here[np.append(breaks, -1)] + 1).tolist()
        ranges = tuple(zip(starts, stops, strict=True))
        selected.append(LivePart(parts[number].path, ranges, parts[number].images))
    return selected

"""Choosing cells by a condition in SQL over all that the store knows of them.

DuckDB sees tables in memory and nothing else: no file, no network, no other name of this process.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa

from anabatch.errors import ConfigurationError
from anabatch.schema import completed, table_schema
from anabatch.store.live import CELLS, LivePart
from anabatch.store.parts import Part

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anabatch.store.collections import Collections

_ALONE: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "python_enable_replacements": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "lock_configuration": True,
}
_PLACE = ("part", "row")
_ANY_LABEL = "unnest(if(len(labels) = 0, [NULL], labels)) AS label"
_LABEL = re.compile(r"\blabel\b", re.IGNORECASE)


def select_cells(collections: Collections, where: str) -> list[LivePart]:
    """Return the live cells that a condition selects.

    Parameters
    ----------
    collections : Collections
    where : str
        A condition in DuckDB's SQL over the columns that :func:`selection_columns` names: those of
        `cells`, those of the image's first acquisition, `labels` (a sorted list of all labels of the
        image), and `label`, which stands for any of them: `label = 'x'` holds for a cell if one of its
        image's labels is x, and `label <> 'x'` if one is something else. An image without labels has
        an empty list, and a `label` that is null.

    Returns
    -------
    list of LivePart
        Those cell parts that have some, with the ranges of their selected rows, in the store's order.

    Raises
    ------
    ConfigurationError
        It is no condition over these columns. A condition that asks for other tables is refused.
    PartCorruptError
        A part cannot be read.
    """
    parts = collections.cell_parts
    failures: list[Exception] = []
    with duckdb.connect(config=_ALONE) as connection:
        try:
            _refuse_queries(connection, where)
            connection.register("images", _images(collections))
            stream = _stream(collections.root, parts, where, failures)
            reader = pa.RecordBatchReader.from_batches(_cell_schema(where), stream)
            connection.register("cell_rows", reader)
            joined = connection.sql("SELECT * FROM cell_rows JOIN images USING (image_id)")
            if _LABEL.search(where):
                joined = joined.project(f"*, {_ANY_LABEL}")
            places = joined.filter(where).project('"part", "row"').distinct()
            found = places.to_arrow_table()
        except duckdb.Error as error:
            if failures:  # DuckDB has wrapped what a part raised
                raise failures[0] from None
            what = f"{where!r} cannot be evaluated over the cells: {error}"
            remedy = f"The columns are {', '.join(selection_columns())}."
            raise ConfigurationError(what, remedy) from error
    return _ranges(parts, found)


def selection_columns() -> list[str]:
    """Return the names that a condition may use."""
    cells = table_schema(CELLS, derived=False).names
    images = [field.name for field in _image_schema()]
    return [*cells, *(name for name in images if name != "image_id"), "label"]


def _refuse_queries(connection: duckdb.DuckDBPyConnection, where: str) -> None:
    """Refuse conditions with a query of their own: the cells pass by once, and only once."""
    text = f"SELECT 1 WHERE ({where}\n)"  # a line end ends a comment
    ((parsed,),) = connection.execute("SELECT json_serialize_sql(?)", [text]).fetchall()
    tree = json.loads(parsed)
    if not _asks(tree):  # where it has an error, the evaluation says what is wrong, and where
        return
    what = f"{where!r} is no condition, but asks a query of its own"
    raise ConfigurationError(what, "Give a condition as it stands behind WHERE.")


def _asks(node: Any) -> bool:
    if isinstance(node, dict):
        return node.get("class") == "SUBQUERY" or any(_asks(value) for value in node.values())
    return isinstance(node, list) and any(_asks(item) for item in node)


def _cell_columns(where: str) -> list[str]:
    """Return the stored columns of cells that a condition could mean."""
    named = {word.lower() for word in re.findall(r"\w+", where)}
    return [name for name in table_schema(CELLS, derived=False).names if name.lower() in named]


def _cell_schema(where: str) -> pa.Schema:
    stored = table_schema(CELLS, derived=False)
    names = dict.fromkeys(["image_id", *_cell_columns(where)])
    places = [pa.field("part", pa.int32()), pa.field("row", pa.int64())]
    return pa.schema([*(stored.field(name) for name in names), *places])


def _stream(
    root: Path, parts: list[LivePart], where: str, failures: list[Exception]
) -> Iterator[pa.RecordBatch]:
    """Yield the live rows part by part; note what one raises, which the reader of a stream changes."""
    schema = _cell_schema(where)
    names = [name for name in schema.names if name not in _PLACE]
    try:
        for number, live in enumerate(parts):
            rows = live.indices()
            table = completed(CELLS, Part(root, live.path).rows(CELLS)).select(names)
            table = table.take(pa.array(rows))
            table = table.append_column("part", pa.array(np.full(len(rows), number, np.int32)))
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
    numbers = found.column("part").to_numpy()
    rows = found.column("row").to_numpy()
    order = np.lexsort((rows, numbers))
    numbers, rows = numbers[order], rows[order]
    selected = []
    for number in np.unique(numbers).tolist():
        here = rows[slice(*np.searchsorted(numbers, [number, number + 1]))]
        spans = np.split(here, np.flatnonzero(np.diff(here) != 1) + 1)
        ranges = tuple((int(span[0]), int(span[-1]) + 1) for span in spans)
        selected.append(LivePart(parts[number].path, ranges, parts[number].images))
    return selected

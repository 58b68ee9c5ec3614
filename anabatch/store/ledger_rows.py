"""The ledger's rows on disk: files of actions, each row with its checksum, and the state they make."""

from __future__ import annotations

import gc
import json
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anabatch.errors import PartCorruptError
from anabatch.schema import table_schema, to_table
from anabatch.store.actions import FIELDS, GONE, Action
from anabatch.store.disk import disk_error
from anabatch.store.ledger_pieces import (
    ORDERING,
    Order,
    checked,
    checksums,
    distinct_values,
    pieces,
    refuse_other_number,
)
from anabatch.store.packed import Numbers, Packed, Texts, pack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path


_NAMED = ("unit", "revision")
_MADE_AT_ONCE = 4_096
_LARGEST_PIECE = 1 << 30  # bytes: texts of 2 GiB and more have no array of their own


def write_actions(path: Path, actions: Iterable[Action], revision: int) -> int:
    """Write actions as one Parquet file; return how many.

    Parameters
    ----------
    path : Path
    actions : iterable of Action
    revision : int
        The version of the ledger that brings them.
    """
    late = {"revision": revision, "checksum": 0}
    left = iter(actions)
    tables = [table_schema("ledger").empty_table()]
    while some := list(islice(left, _MADE_AT_ONCE)):  # rows as dictionaries take several times more
        tables.append(to_table("ledger", [action.to_row() | late for action in some]))
    columns = pa.concat_tables(tables).columns
    del tables
    for place in range(len(columns)):  # one after the other: no column is in memory twice for long
        columns[place] = columns[place].combine_chunks()
    table = pa.table(columns, schema=table_schema("ledger"))
    del columns
    return write_rows(path, table)


def write_rows(path: Path, table: pa.Table) -> int:
    """Write rows with their checksums as one Parquet file; return how many."""
    position = table.schema.get_field_index("checksum")
    sums = pa.array(checksums(table), pa.int64())
    return write_checked(path, table.set_column(position, table.schema.field(position), sums))


def write_checked(path: Path, table: pa.Table) -> int:
    """Write rows that have their checksums as one Parquet file; return how many."""
    buffer = pa.BufferOutputStream()  # pyarrow keeps the file open when the disk is full
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    path.write_bytes(buffer.getvalue())
    return int(table.num_rows)


def read_rows(paths: Iterable[Path], expected: int, where: pc.Expression | None = None) -> pa.Table:
    """Read files of actions, which have an expected number of rows, a few rows at a time.

    Parameters
    ----------
    paths : iterable of Path
    expected : int
    where : pyarrow.compute.Expression, optional
        Which rows to return; all by default. The others are looked at as well.

    Raises
    ------
    ValueError
        There are more or fewer rows, or one is not what was written.
    OSError, pyarrow.ArrowException
        A file cannot be read.
    """
    found = [table_schema("ledger").empty_table()]
    count = 0
    for rows in checked(paths):
        count += rows.num_rows
        found.append(rows if where is None else rows.filter(where))
    refuse_other_number(count, expected)
    return pa.concat_tables(found)


def tombstones(paths: Iterable[Path], expected: int, stage: str) -> pa.Table:
    """Return the tombstones of a stage's units that have not come back, the oldest first.

    Parameters
    ----------
    paths : iterable of Path
        Files of actions.
    expected : int
        How many rows they have.
    stage : str

    Raises
    ------
    ValueError
        There are more or fewer rows, or one is not what was written.
    OSError, pyarrow.ArrowException
        A file cannot be read.
    """
    newest: dict[str, int] = {}
    graves = [table_schema("ledger").empty_table()]
    count = 0
    for rows in checked(paths):
        count += rows.num_rows
        mine = rows.filter(pc.equal(rows["stage"], stage))
        for unit, revision in zip(*(mine[name].to_pylist() for name in _NAMED), strict=True):
            newest[unit] = max(revision, newest.get(unit, revision))
        graves.append(mine.filter(pc.equal(mine["outcome"], GONE)))
    refuse_other_number(count, expected)
    found = pa.concat_tables(graves).sort_by("revision")
    named = zip(*(found[name].to_pylist() for name in _NAMED), strict=True)
    return found.filter(
        pa.array([revision == newest[unit] for unit, revision in named], pa.bool_())
    )


def folded(paths: Sequence[Path], expected: int) -> pa.Table:
    """Return the rows that stand, of each stage and unit the newest, in the store's order.

    While they are read there is one column more in memory, and no more.

    Parameters
    ----------
    paths : sequence of Path
        Files of actions.
    expected : int
        How many rows they have.

    Raises
    ------
    ValueError
        There are more or fewer rows, or one is not what was written.
    OSError, pyarrow.ArrowException
        A file cannot be read.
    """
    order = Order(checked(paths))
    refuse_other_number(len(order), expected)
    standing = pa.array(order.standing())
    del order
    schema = table_schema("ledger")
    largest_first = sorted(schema.names, key=lambda name: name != "components")
    columns = {name: _taken(paths, schema.field(name), standing) for name in largest_first}
    return pa.table(columns, schema=schema)


def _taken(paths: Sequence[Path], field: pa.Field, places: pa.Int64Array) -> pa.ChunkedArray:
    """Return a column's values at some places of files of actions."""
    wide = pa.large_string() if pa.types.is_string(field.type) else field.type
    chunks = (
        chunk.cast(wide) for rows in pieces(paths, [field.name]) for chunk in rows.column(0).chunks
    )
    whole = pa.chunked_array(chunks, wide).combine_chunks()
    pa.default_memory_pool().release_unused()  # else the pieces take as much again
    # one piece if it can be: how a file is cut into pages, and so its bytes, follow the pieces
    step = max(1, len(places) * _LARGEST_PIECE // max(whole.nbytes, _LARGEST_PIECE))
    starts = range(0, len(places), step)
    found = [whole.take(places.slice(start, step)).cast(field.type) for start in starts]
    return pa.chunked_array(found, field.type)


def read_columns(path: Path, *names: str) -> list[tuple[Any, ...]]:
    """Read some columns of a file of actions, row by row.

    Raises
    ------
    PartCorruptError
        The file is missing, or its bytes are not those that were written.
    """
    try:
        table = pq.read_table(
            path, columns=list(names), partitioning=None, page_checksum_verification=True
        )
    except (OSError, ValueError, pa.ArrowException) as error:
        if disk := disk_error(error):
            raise disk from error
        what = f"{path} of the ledger cannot be read: {error}"
        raise PartCorruptError(what, "Restore the ledger, or roll back.") from error
    return list(zip(*(table.column(name).to_pylist() for name in names), strict=True))


def standing_actions(paths: Sequence[Path], expected: int) -> list[Action]:
    """Return the actions that stand, of each stage and unit the newest, in the store's order.

    Beside the actions there is no more of the rows in memory than what orders them, and a piece.

    Parameters
    ----------
    paths : sequence of Path
        Files of actions.
    expected : int
        How many rows they have.

    Raises
    ------
    ValueError
        There are more or fewer rows, or one is not what was written.
    OSError, pyarrow.ArrowException
        A file cannot be read.
    """
    order = Order(pieces(paths, ORDERING))
    refuse_other_number(len(order), expected)
    standing = order.standing()
    ranks = np.full(len(order), -1, np.int64)
    ranks[standing] = np.arange(len(standing))
    units = {unit: unit for unit in order.units}
    del order
    found: list[Any] = [None] * len(standing)
    start = 0
    with _no_collecting():
        for rows in checked(paths):
            mine = ranks[start : start + rows.num_rows]
            start += rows.num_rows
            stands = mine >= 0
            made = _made(rows.filter(pa.array(stands)), units)
            for rank, action in zip(mine[stands].tolist(), made, strict=True):
                found[rank] = action
    return found


def to_actions(table: pa.Table) -> list[Action]:
    """Return rows as actions, in their order.

    Equal texts, numbers and dates are one object: of many actions most of them are.
    """
    with _no_collecting():
        return _made(table, {})


def _made(table: pa.Table, known: Mapping[str, str]) -> list[Action]:
    """Return rows as actions; texts that are known are the objects that are known."""
    texts = Texts(known)
    columns = [_column(name, table.column(name), texts, known) for name in FIELDS]
    return [Action(*values) for values in zip(*columns, strict=True)]


def _column(
    name: str, column: pa.ChunkedArray, texts: Mapping[str, str], known: Mapping[str, str]
) -> list[Any]:
    if name == "components":
        return _components(column, texts)
    if name == "key":  # no two actions have the same, and it is not kept as text
        return list(column.to_pylist())
    if name == "unit":  # nor do many have the same unit
        return [known.get(unit, unit) for unit in column.to_pylist()]
    return _values(column, texts)


@contextmanager
def _no_collecting() -> Iterator[None]:
    """Make many objects of which none is garbage: looking for it takes as long as all the rest."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _values(column: pa.ChunkedArray, texts: Mapping[str, str]) -> list[Any]:
    if pa.types.is_integer(column.type):
        numbers: dict[int, int] = {}
        return [numbers.setdefault(number, number) for number in column.to_numpy().tolist()]
    distinct, places = distinct_values(column)
    if pa.types.is_string(column.type):
        distinct = [texts[value] for value in distinct]
    distinct.append(None)
    return [distinct[place] for place in places]


def _components(column: pa.ChunkedArray, texts: Mapping[str, str]) -> list[Packed]:
    """Parse many texts at once, so that they share the names and numbers that stand in them."""
    distinct, places = distinct_values(column)
    parsed = json.loads(
        f"[{','.join(distinct)}]",
        parse_int=Numbers(int).__getitem__,
        parse_float=Numbers(float).__getitem__,
    )
    packed = [pack(facts, texts) for facts in parsed]
    return [packed[place] for place in places]

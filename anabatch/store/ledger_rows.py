"""The ledger's rows on disk: files of actions, each row with its checksum, and the state they make."""

from __future__ import annotations

import gc
import json
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anabatch.errors import PartCorruptError
from anabatch.schema import table_schema, to_table
from anabatch.store.actions import FIELDS, GONE, Action
from anabatch.store.disk import disk_error

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

_SEPARATOR = "\x1f"
_CHECKED = (*FIELDS, "revision")
_ORDER = ("sequence", "first_row", "stage", "unit")
_PARSED_AT_ONCE = 4_096
_SUMMED_AT_ONCE = 16_384
_MADE_AT_ONCE = 16_384
_STAGE_BITS = 16  # there are a dozen stages


def write_actions(path: Path, actions: Iterable[Action], revision: int) -> int:
    """Write actions as one Parquet file; return how many.

    Parameters
    ----------
    path : Path
    actions : iterable of Action
    revision : int
        The version of the ledger that brings them.
    """
    rows = [action.to_row() | {"revision": revision, "checksum": 0} for action in actions]
    return write_rows(path, to_table("ledger", rows))


def write_rows(path: Path, table: pa.Table) -> int:
    """Write rows with their checksums as one Parquet file; return how many."""
    position = table.schema.get_field_index("checksum")
    sums = pa.array(_checksums(table), pa.int64())
    table = table.set_column(position, table.schema.field(position), sums)
    buffer = pa.BufferOutputStream()  # pyarrow keeps the file open when the disk is full
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    path.write_bytes(buffer.getvalue())
    return int(table.num_rows)


def read_rows(paths: Iterable[Path], expected: int) -> pa.Table:
    """Read files of actions, which have an expected number of rows.

    Raises
    ------
    ValueError
        There are more or fewer rows, or one is not what was written.
    OSError, pyarrow.ArrowException
        A file cannot be read.
    """
    schema = table_schema("ledger")
    tables = [
        pq.read_table(path, partitioning=None, page_checksum_verification=True).cast(schema)
        for path in paths
    ]
    table = pa.concat_tables(tables) if tables else schema.empty_table()
    if table.num_rows != expected:
        message = f"it has {table.num_rows} rows, not {expected}"
        raise ValueError(message)
    (wrong,) = np.nonzero(_checksums(table) != table.column("checksum").to_numpy())
    if len(wrong):
        first = table.slice(int(wrong[0]), 1).to_pylist()[0]
        message = f"the row of {first['stage']} on {first['unit']} is not what was written"
        raise ValueError(message)
    return table


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


def folded(table: pa.Table) -> pa.Table:
    """Return the rows that stand, of each stage and unit the newest, in the store's order."""
    return table.take(_standing(table))


def _standing(table: pa.Table) -> pa.ChunkedArray:
    """Return the places of the rows that stand, in the store's order."""
    stages, units = (
        pc.dictionary_encode(table[name]).combine_chunks().indices.to_numpy().astype(np.int64)
        for name in ("stage", "unit")
    )
    distinct, codes = np.unique(units << _STAGE_BITS | stages, return_inverse=True)
    order = np.argsort(table["revision"].to_numpy(), kind="stable")
    newest = np.zeros(len(distinct), np.int64)
    newest[codes[order]] = order  # of several the last is kept
    places = table.select([*_ORDER, "outcome"]).append_column(
        "place", pa.array(np.arange(len(codes)))
    )
    standing = places.take(pa.array(newest))
    standing = standing.filter(pc.not_equal(standing["outcome"], GONE))
    keys = [(name, "ascending") for name in _ORDER]
    return standing["place"].take(pc.sort_indices(standing, sort_keys=keys))


def standing_actions(table: pa.Table) -> list[Action]:
    """Return the actions that stand, of each stage and unit the newest, in the store's order."""
    found: list[Action] = []
    places = _standing(table)
    for start in range(0, len(places), _MADE_AT_ONCE):  # so that no second table is in memory
        found += to_actions(table.take(places.slice(start, _MADE_AT_ONCE)))
    return found


def to_actions(table: pa.Table) -> list[Action]:
    """Return rows as actions, in their order.

    Equal texts and dates are one object: of many actions most of them are.
    """
    columns = [
        _components(table.column(name)) if name == "components" else _values(table.column(name))
        for name in FIELDS
    ]
    collects = gc.isenabled()
    gc.disable()  # nothing here is garbage, and looking for it takes as long as all the rest
    try:
        return [Action(*values) for values in zip(*columns, strict=True)]
    finally:
        if collects:
            gc.enable()


def _values(column: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_integer(column.type):
        found: list[Any] = column.to_numpy().tolist()
        return found
    if not len(column):
        return []
    encoded = column.dictionary_encode().combine_chunks()
    distinct = [*encoded.dictionary.to_pylist(), None]
    places = encoded.indices.fill_null(len(distinct) - 1).to_numpy().tolist()
    return [distinct[place] for place in places]


def _components(column: pa.ChunkedArray) -> list[dict[str, Any]]:
    """Parse many texts at once, so that they share the names that stand in them."""
    found: list[dict[str, Any]] = []
    for start in range(0, len(column), _PARSED_AT_ONCE):
        texts = column.slice(start, _PARSED_AT_ONCE).to_pylist()
        found += json.loads(f"[{','.join(texts)}]")
    return found


def _checksums(table: pa.Table) -> NDArray[np.int64]:
    """Return the CRC-32 of every row's other columns, shape (rows,)."""
    sums = np.empty(table.num_rows, np.int64)
    for start in range(0, table.num_rows, _SUMMED_AT_ONCE):  # what it takes does not grow
        rows = table.slice(start, _SUMMED_AT_ONCE)
        sums[start : start + rows.num_rows] = _sums_of(rows)
    return sums


def _sums_of(table: pa.Table) -> list[int]:
    texts = [table.column(name).cast(pa.string()) for name in _CHECKED]
    joined = pc.binary_join_element_wise(
        *texts, _SEPARATOR, null_handling="replace", null_replacement="\x00"
    )
    return [zlib.crc32(text) for text in joined.cast(pa.binary()).to_pylist()]

"""The ledger's rows on disk: files of actions, each row with its checksum, and the state they make."""

from __future__ import annotations

import gc
import json
import zlib
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
from anabatch.store.packed import Numbers, Packed, Texts, pack

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_SEPARATOR = "\x1f"
_CHECKED = (*FIELDS, "revision")
_COLUMNS = (*_CHECKED, "checksum")
_ORDERING = ("sequence", "first_row", "stage", "unit", "outcome", "revision")
_SUMMED_AT_ONCE = 4_096
_MADE_AT_ONCE = 4_096
_BUFFER = 1 << 16  # bytes, of each column of a file that is read piece by piece
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
    _refuse_other_number(table.num_rows, expected)
    _refuse_wrong(table)
    return table


def _refuse_other_number(rows: int, expected: int) -> None:
    if rows != expected:
        message = f"it has {rows} rows, not {expected}"
        raise ValueError(message)


def _refuse_wrong(table: pa.Table) -> None:
    """Raise for the first row whose checksum is not that of its other columns."""
    (wrong,) = np.nonzero(_checksums(table) != table.column("checksum").to_numpy())
    if len(wrong):
        first = table.slice(int(wrong[0]), 1).to_pylist()[0]
        message = f"the row of {first['stage']} on {first['unit']} is not what was written"
        raise ValueError(message)


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
    return table.take(pa.array(_Order([table]).standing()))


class _Order:
    """What says which rows stand, and in which order.

    Parameters
    ----------
    pieces : iterable of pyarrow.Table
        Some rows after the others.

    Attributes
    ----------
    units : dict
        A number for every unit.
    """

    def __init__(self, pieces: Iterable[pa.Table]) -> None:
        self.units: dict[str, int] = {}
        self._stages: dict[str, int] = {}
        found: dict[str, list[NDArray[Any]]] = {name: [np.empty(0, np.int64)] for name in _ORDERING}
        for rows in pieces:
            for name in ("sequence", "first_row", "revision"):
                found[name].append(rows[name].to_numpy())
            found["unit"].append(_numbered(rows["unit"], self.units))
            found["stage"].append(_numbered(rows["stage"], self._stages))
            found["outcome"].append(_numbered(rows["outcome"], {GONE: 0}))
        self._columns = {name: np.concatenate(arrays) for name, arrays in found.items()}

    def __len__(self) -> int:
        return len(self._columns["unit"])

    def standing(self) -> NDArray[np.int64]:
        """Return the places of the rows that stand, in the store's order."""
        columns = self._columns
        distinct, codes = np.unique(
            columns["unit"] << _STAGE_BITS | columns["stage"], return_inverse=True
        )
        order = np.argsort(columns["revision"], kind="stable")
        newest = np.zeros(len(distinct), np.int64)
        newest[codes[order]] = order  # of several the last is kept
        newest = newest[columns["outcome"][newest] != 0]
        keys = (
            _ranks(self.units)[columns["unit"][newest]],
            _ranks(self._stages)[columns["stage"][newest]],
            columns["first_row"][newest],
            columns["sequence"][newest],
        )
        found: NDArray[np.int64] = newest[np.lexsort(keys)]
        return found


def _numbered(column: pa.ChunkedArray, numbers: dict[str, int]) -> NDArray[np.int64]:
    """Return a number for every text, and note those that are new."""
    distinct, places = _distinct(column)
    mine = [numbers.setdefault(text, len(numbers)) for text in distinct]
    return np.array(mine, np.int64)[np.array(places, np.intp)]


def _ranks(texts: Iterable[str]) -> NDArray[np.int64]:
    """Return the place of every text in their order."""
    order = pc.sort_indices(pa.array(texts, pa.string())).to_numpy()
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return ranks


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
    order = _Order(_pieces(paths, _ORDERING))
    _refuse_other_number(len(order), expected)
    standing = order.standing()
    ranks = np.full(len(order), -1, np.int64)
    ranks[standing] = np.arange(len(standing))
    units = {unit: unit for unit in order.units}
    del order
    found: list[Any] = [None] * len(standing)
    start = 0
    with _no_collecting():
        for rows in _pieces(paths, _COLUMNS):
            _refuse_wrong(rows)
            mine = ranks[start : start + rows.num_rows]
            start += rows.num_rows
            stands = mine >= 0
            made = _made(rows.filter(pa.array(stands)), units)
            for rank, action in zip(mine[stands].tolist(), made, strict=True):
                found[rank] = action
    return found


def _pieces(paths: Iterable[Path], names: Collection[str]) -> Iterator[pa.Table]:
    """Yield columns of files of actions, a few rows at a time."""
    schema = pa.schema([field for field in table_schema("ledger") if field.name in names])
    pool = pa.default_memory_pool()
    for path in paths:
        with pq.ParquetFile(
            path, page_checksum_verification=True, pre_buffer=False, buffer_size=_BUFFER
        ) as file:
            for batch in file.iter_batches(_MADE_AT_ONCE, columns=schema.names, use_threads=False):
                yield pa.Table.from_batches([batch]).cast(schema)
                del batch
                pool.release_unused()  # else it keeps several times what a piece takes


def to_actions(table: pa.Table) -> list[Action]:
    """Return rows as actions, in their order.

    Equal texts, numbers and dates are one object: of many actions most of them are.
    """
    with _no_collecting():
        return _made(table, {})


def _made(table: pa.Table, known: Mapping[str, str]) -> list[Action]:
    """Return rows as actions; texts that are known are the objects that are known."""
    texts = Texts(known)
    columns = [_column(name, table.column(name), texts) for name in FIELDS]
    return [Action(*values) for values in zip(*columns, strict=True)]


def _column(name: str, column: pa.ChunkedArray, texts: Mapping[str, str]) -> list[Any]:
    if name == "components":
        return _components(column, texts)
    if name == "key":  # no two actions have the same, and it is not kept as text
        return list(column.to_pylist())
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
    distinct, places = _distinct(column)
    if pa.types.is_string(column.type):
        distinct = [texts[value] for value in distinct]
    distinct.append(None)
    return [distinct[place] for place in places]


def _distinct(column: pa.ChunkedArray) -> tuple[list[Any], list[int]]:
    """Return the distinct values of a column, and where each row's is; -1 is null."""
    if not len(column):
        return [], []
    encoded = column.dictionary_encode().combine_chunks()
    return encoded.dictionary.to_pylist(), encoded.indices.fill_null(-1).to_numpy().tolist()


def _components(column: pa.ChunkedArray, texts: Mapping[str, str]) -> list[Packed]:
    """Parse many texts at once, so that they share the names and numbers that stand in them."""
    distinct, places = _distinct(column)
    parsed = json.loads(
        f"[{','.join(distinct)}]",
        parse_int=Numbers(int).__getitem__,
        parse_float=Numbers(float).__getitem__,
    )
    packed = [pack(facts, texts) for facts in parsed]
    return [packed[place] for place in places]


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

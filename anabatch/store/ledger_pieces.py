"""The ledger's rows, a few at a time: each as it was written, which of them stand, in which order."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anabatch.schema import table_schema
from anabatch.store.actions import FIELDS, GONE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_SEPARATOR = "\x1f"
_CHECKED = (*FIELDS, "revision")
COLUMNS = (*_CHECKED, "checksum")
"""All columns of a row."""
ORDERING = ("sequence", "first_row", "stage", "unit", "outcome", "revision")
"""The columns that say which rows stand, and in which order."""
_SUMMED_AT_ONCE = 4_096
_READ_AT_ONCE = 4_096
_BUFFER = 1 << 16  # bytes, of each column of a file that is read piece by piece
_STAGE_BITS = 16  # there are a dozen stages


def pieces(paths: Iterable[Path], names: Collection[str]) -> Iterator[pa.Table]:
    """Yield columns of files of actions, a few rows at a time."""
    schema = pa.schema([field for field in table_schema("ledger") if field.name in names])
    pool = pa.default_memory_pool()
    for path in paths:
        with pq.ParquetFile(
            path, page_checksum_verification=True, pre_buffer=False, buffer_size=_BUFFER
        ) as file:
            for batch in file.iter_batches(_READ_AT_ONCE, columns=schema.names, use_threads=False):
                yield pa.Table.from_batches([batch]).cast(schema)
                del batch
                pool.release_unused()  # else it keeps several times what a piece takes


def checked(paths: Iterable[Path]) -> Iterator[pa.Table]:
    """Yield all columns of files of actions, a few rows at a time, each as it was written.

    Raises
    ------
    ValueError
        A row is not what was written.
    OSError, pyarrow.ArrowException
        A file cannot be read.
    """
    for rows in pieces(paths, COLUMNS):
        _refuse_wrong(rows)
        yield rows


def refuse_other_number(rows: int, expected: int) -> None:
    """Raise for another number of rows than is expected."""
    if rows != expected:
        message = f"it has {rows} rows, not {expected}"
        raise ValueError(message)


def _refuse_wrong(table: pa.Table) -> None:
    """Raise for the first row whose checksum is not that of its other columns."""
    (wrong,) = np.nonzero(checksums(table) != table.column("checksum").to_numpy())
    if len(wrong):
        first = table.slice(int(wrong[0]), 1).to_pylist()[0]
        message = f"the row of {first['stage']} on {first['unit']} is not what was written"
        raise ValueError(message)


class Order:
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
        found: dict[str, list[NDArray[Any]]] = {name: [np.empty(0, np.int64)] for name in ORDERING}
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
    distinct, places = distinct_values(column)
    mine = [numbers.setdefault(text, len(numbers)) for text in distinct]
    return np.array(mine, np.int64)[np.array(places, np.intp)]


def _ranks(texts: Iterable[str]) -> NDArray[np.int64]:
    """Return the place of every text in their order."""
    order = pc.sort_indices(pa.array(texts, pa.string())).to_numpy()
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return ranks


def distinct_values(column: pa.ChunkedArray) -> tuple[list[Any], list[int]]:
    """Return the distinct values of a column, and where each row's is; -1 is null."""
    if not len(column):
        return [], []
    encoded = column.dictionary_encode().combine_chunks()
    return encoded.dictionary.to_pylist(), encoded.indices.fill_null(-1).to_numpy().tolist()


def checksums(table: pa.Table) -> NDArray[np.int64]:
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

"""What was seen of many files, in columns: an object for each of them takes several times as much."""

from __future__ import annotations

from array import array
from binascii import hexlify, unhexlify
from collections.abc import MutableMapping
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SCHEMA = pa.schema(
    [
        ("relative_path", pa.string()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("ctime_ns", pa.int64()),
        ("inode", pa.uint64()),
        ("sha256", pa.string()),
        ("hashed_ns", pa.int64()),
    ]
)
_NUMBERS = {"size": "q", "mtime_ns": "q", "ctime_ns": "q", "inode": "Q", "hashed_ns": "q"}
_DIGEST = 32  # bytes
_WRITTEN_AT_ONCE = (
    8_192  # a multiple of what Parquet looks at: the file is the same for all of them
)


class Entry(NamedTuple):
    """A file whose bytes were read.

    Attributes
    ----------
    size, mtime_ns, ctime_ns, inode : int
        As the file was listed before it was read.
    sha256 : str
        Digest of its bytes, 64 hex digits.
    hashed_ns : int
        When reading began, in nanoseconds since 1970.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    sha256: str
    hashed_ns: int


class Entries(MutableMapping[str, Entry]):
    """An :class:`Entry` by relative path, in the order in which they came."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._numbers = {name: array(code) for name, code in _NUMBERS.items()}
        self._digests = bytearray()

    def __getitem__(self, path: str) -> Entry:
        row = self._rows[path]
        size, mtime_ns, ctime_ns, inode, hashed_ns = (
            column[row] for column in self._numbers.values()
        )
        digest = self._digests[row * _DIGEST : (row + 1) * _DIGEST].hex()
        return Entry(size, mtime_ns, ctime_ns, inode, digest, hashed_ns)

    def __setitem__(self, path: str, entry: Entry) -> None:
        digest = unhexlify(entry.sha256)
        if len(digest) != _DIGEST:
            message = f"{entry.sha256} is no SHA-256"
            raise ValueError(message)
        row = self._rows.get(path)
        if row is None:
            row = self._rows[path] = len(self._digests) // _DIGEST
            self._digests += bytes(_DIGEST)
            for column in self._numbers.values():
                column.append(0)
        self._digests[row * _DIGEST : (row + 1) * _DIGEST] = digest
        for name, column in self._numbers.items():
            column[row] = getattr(entry, name)

    def __delitem__(self, path: str) -> None:
        del self._rows[path]  # what was in its row is left out when they are written

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def hashed_ns(self, path: str) -> int:
        """Return when reading a file began."""
        return self._numbers["hashed_ns"][self._rows[path]]

    def extend(self, rows: pa.RecordBatch, known: Mapping[str, str] | None = None) -> None:
        """Add the rows of a table of :data:`SCHEMA`, of files that are new.

        Parameters
        ----------
        rows : pyarrow.RecordBatch
        known : mapping, optional
            Relative paths that are in memory already, each by itself, to be kept in place of equal
            ones.

        Raises
        ------
        ValueError
            Something is missing, or no digest.
        """
        if any(column.null_count for column in rows.columns):
            message = "a value is missing"
            raise ValueError(message)
        digests = rows.column("sha256")
        if pc.any(pc.not_equal(pc.binary_length(digests), 2 * _DIGEST)).as_py():
            message = "a digest has another length"
            raise ValueError(message)
        first = len(self._digests) // _DIGEST
        self._digests += unhexlify("".join(digests.to_pylist()))
        for name, column in self._numbers.items():
            column.frombytes(rows.column(name).to_numpy().tobytes())
        paths: Mapping[str, str] = known or {}
        for row, path in enumerate(rows.column("relative_path").to_pylist(), first):
            self._rows[paths.get(path, path)] = row

    def table(self) -> pa.Table:
        """Return all entries as a table of :data:`SCHEMA`."""
        every = iter(self._rows.items())
        pieces = []
        while some := list(islice(every, _WRITTEN_AT_ONCE)):  # no column is in memory twice
            pieces.append(self._piece(some))
        return pa.Table.from_batches(pieces, SCHEMA)

    def _piece(self, some: Sequence[tuple[str, int]]) -> pa.RecordBatch:
        """Return some entries, given with their rows."""
        rows = np.fromiter((row for _, row in some), np.intp, len(some))
        columns: dict[str, Any] = {
            name: np.frombuffer(column, column.typecode)[rows]
            for name, column in self._numbers.items()
        }
        digests = np.frombuffer(self._digests, f"V{_DIGEST}")[rows].tobytes()
        ends = np.arange(len(rows) + 1, dtype=np.int32) * (2 * _DIGEST)
        texts = pa.py_buffer(hexlify(digests))
        columns["sha256"] = pa.StringArray.from_buffers(len(rows), pa.py_buffer(ends), texts)
        columns["relative_path"] = [path for path, _ in some]
        return pa.record_batch(columns, SCHEMA)

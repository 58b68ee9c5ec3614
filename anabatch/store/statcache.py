"""What each file of an archive held when its bytes were last read, so that a night need not read all.

A cache and no more: an entry says that a file of this size, with these times and this inode, had
these bytes. What became of them, the ledger says. Losing the cache costs one slow scan.

A file may be written to right after it was read, within one tick of the clock that its times are
taken from: then its size and times stay, and its bytes do not. As git does with its index, an entry
whose file had changed that shortly before it was read is not trusted, and the file is read again.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import pyarrow as pa
import pyarrow.parquet as pq

from anabatch.store.disk import DISK_ERRORS
from anabatch.store.durable import make_folder, sync_file, sync_folder
from anabatch.store.statentries import SCHEMA, Entries, Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from anabatch.archive.walk import ListedFile

CACHE = "cache"
"""Folder of the store whose files may be deleted at any time, at the cost of a slower run."""

CTIME, INODE = "time of the file's entry changed", "inode changed"
"""Differences that some file systems make up."""

_SECOND = 1_000_000_000
_DAY = 86_400 * _SECOND
# How coarse a clock may be, by the largest unit that its time is a multiple of: FAT, then older
# systems and network drives, then the tick of Linux with a margin. All in nanoseconds.
_GRANULARITIES = (2 * _SECOND, _SECOND)
_TICK = 20_000_000
_COARSEST = max(_GRANULARITIES)
_READ_AT_ONCE = 8_192


@dataclass(frozen=True)
class Comparison:
    """How a file is compared with what was seen of it.

    Attributes
    ----------
    ignore_inode, ignore_ctime : bool
        The file system makes these up.
    """

    ignore_inode: bool = False
    ignore_ctime: bool = False

    def difference(self, entry: Entry, file: ListedFile) -> str:
        """Say what is different about a file; empty if nothing is."""
        if entry.size != file.size:
            return f"size {entry.size} -> {file.size}"
        if entry.mtime_ns != file.mtime_ns:
            return "time changed"
        if entry.ctime_ns != file.ctime_ns and not self.ignore_ctime:
            return CTIME
        if entry.inode != file.inode and not self.ignore_inode:
            return INODE
        return ""

    def is_racy(self, entry: Entry) -> bool:
        """Tell whether the file may have changed after it was read without showing it."""
        newest = entry.mtime_ns if self.ignore_ctime else max(entry.mtime_ns, entry.ctime_ns)
        if newest < entry.hashed_ns - _COARSEST:  # nearly always
            return False
        return any(
            _is_near(time, entry.hashed_ns, _granularity(time))
            for time in self._times(entry.mtime_ns, entry.ctime_ns)
        )

    def is_younger(self, file: ListedFile, now_ns: int, seconds: float) -> bool:
        """Tell whether a file changed less than some seconds ago; never with 0 seconds."""
        if not seconds:
            return False
        times = self._times(file.mtime_ns, file.ctime_ns)
        return any(_is_near(time, now_ns, int(seconds * _SECOND)) for time in times)

    def _times(self, mtime_ns: int, ctime_ns: int) -> tuple[int, ...]:
        return (mtime_ns,) if self.ignore_ctime else (mtime_ns, ctime_ns)


def _granularity(time: int) -> int:
    return next((unit for unit in _GRANULARITIES if time % unit == 0), _TICK)


def _is_near(time: int, now: int, distance: int) -> bool:
    """Tell whether a time is at most `distance` before another, or up to a day after it.

    A clock that runs ahead is a file server's; what lies further ahead is a mistaken date, which
    the next write would not repeat.
    """
    return now - distance <= time <= now + _DAY


class StatCache:
    """What was seen of an archive's files, in memory.

    Attributes
    ----------
    entries : mapping
        :class:`Entry` by relative path.
    lost : str
        Why there is nothing where something was expected; empty if nothing was.
    changed : bool
        Whether there is anything to save.
    """

    def __init__(self, path: Path, entries: Entries, lost: str = "") -> None:
        self._path = path
        self.entries = entries
        self.lost = lost
        self.changed = False

    @classmethod
    def load(cls, root: Path, archive: str, known: Mapping[str, str] | None = None) -> Self:
        """Read an archive's cache; one that is missing or damaged is empty.

        Parameters
        ----------
        root : Path
            The store's folder.
        archive : str
            The archive's name.
        known : mapping, optional
            Relative paths that are in memory already, each by itself: those of the entries are the
            same objects.

        Raises
        ------
        OSError
            The disk fails.
        """
        path = root / CACHE / f"stat-{archive}.parquet"
        try:
            return cls(path, _entries(path.read_bytes(), known))
        except FileNotFoundError:
            return cls(path, Entries(), "is missing")
        except (OSError, ValueError, RuntimeError, LookupError, MemoryError) as error:
            if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                raise
            return cls(path, Entries(), "is damaged")

    def put(self, file: ListedFile, sha256: str, hashed_ns: int) -> None:
        """Note that a file's bytes were read."""
        size, mtime_ns, ctime_ns, inode = file[1:]
        self.entries[file.relative_path] = Entry(size, mtime_ns, ctime_ns, inode, sha256, hashed_ns)
        self.changed = True

    def keep(self, wanted: Callable[[str], bool]) -> None:
        """Forget all files but those that are wanted."""
        unwanted = [path for path in self.entries if not wanted(path)]
        for path in unwanted:
            del self.entries[path]
        self.changed = self.changed or bool(unwanted)

    def oldest(self, paths: Iterable[str], count: int) -> list[str]:
        """Return those files that were read longest ago, by path where that is equal.

        A time to come is that of a clock that was wrong: nobody knows when such a file was read, and
        it goes before all others.
        """
        entries, now = self.entries, time.time_ns()

        def order(path: str) -> tuple[int, str]:
            hashed_ns = entries.hashed_ns(path)
            return (hashed_ns if hashed_ns <= now else 0), path

        return sorted(paths, key=order)[:count]

    def save(self) -> None:
        """Write the cache, if anything has changed: a reader sees the old one or the new one."""
        if not self.changed:
            return
        make_folder(self._path.parent, self._path.parent.parent)
        for abandoned in self._path.parent.glob(f".{self._path.name}.*"):
            abandoned.unlink()  # by a run that was killed; one run holds the store
        temporary = self._path.with_name(f".{self._path.name}.{uuid.uuid4().hex[:8]}")
        try:
            pq.write_table(
                self.entries.table(),
                temporary,
                compression="zstd",
                write_page_checksum=True,
                use_dictionary=False,
            )
            sync_file(temporary)
            temporary.replace(self._path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(self._path.parent)
        self.changed = False


def _entries(data: bytes, known: Mapping[str, str] | None) -> Entries:
    found = Entries()
    pool = pa.default_memory_pool()
    with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
        if file.schema_arrow != SCHEMA:
            message = "the columns are not those that were written"
            raise ValueError(message)
        for rows in file.iter_batches(_READ_AT_ONCE, use_threads=False):
            found.extend(rows, known)
            pool.release_unused()
    return found

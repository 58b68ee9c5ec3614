"""What a reader of the store may count on: its lease on a version, and the oldest version kept.

A lease is a file below `readers/` that the reader keeps locked. The lock is the operating system's and
goes with the process, so a lease that is not locked is that of a dead reader, and none. Who takes
things away writes the horizon first and looks for leases then; who opens a version writes the lease
first and looks at the horizon then: whichever comes second sees the other.

Across hosts this holds where the file system's locks do (`flock` over NFS needs its lock service), as
for the lock of the store itself.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
import uuid
import weakref
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PosixPath
from typing import TYPE_CHECKING, Any

from anabatch.errors import PartCorruptError, StoreError
from anabatch.store.durable import replace_text

if TYPE_CHECKING:
    from collections.abc import Iterator

READERS = "readers"
HORIZON = "retained.json"

_NO_LEASE = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.ENOLCK,
        errno.EOPNOTSUPP,
    }
)
"""Where nothing can be written or locked: the store can be read, and nothing is kept for it."""
_UNFINISHED_SECONDS = 3600.0


class Lease:
    """A reader's claim on one version, until it is released, collected, or its process ends.

    Parameters
    ----------
    path : Path
        The lease's file.
    descriptor : int
        The file, open and locked.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._release = weakref.finalize(self, _give_up, path, descriptor, os.getpid())

    @property
    def held(self) -> bool:
        """Whether it is still held."""
        return self._release.alive

    def release(self) -> None:
        """Give it up; a second time does nothing."""
        self._release()


def _give_up(path: Path, descriptor: int, owner: int) -> None:
    if os.getpid() == owner:  # a forked child has the file open too, and must not take it away
        with suppress(OSError):  # what is left of it is not locked, and so is no lease
            path.unlink()
    os.close(descriptor)


class LeasedPath(PosixPath):
    """A store's folder that holds a lease: whatever still reads below it keeps its version.

    Tables and lazy arrays hold the folder, and outlive the store object that they come from. Sent
    to another process it is a plain path.
    """

    lease: Lease | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Path, (str(self),)


@dataclass(frozen=True, slots=True)
class Reader:
    """A reader that is alive.

    Attributes
    ----------
    version : int
        The version that it reads.
    host : str
    pid : int
    since : str
        When it opened the store, UTC.
    """

    version: int
    host: str
    pid: int
    since: str


def lease(root: Path, version: int) -> Lease | None:
    """Claim a version for this process.

    Parameters
    ----------
    root : Path
        The store's folder.
    version : int

    Returns
    -------
    Lease or None
        None where this process may not write, the disk is full or read-only, or there are no locks:
        such a reader is not waited for.
    """
    folder = root / READERS
    name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.json"
    hidden = folder / f".{name}"
    text = json.dumps(
        {
            "version": version,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )
    try:
        folder.mkdir(exist_ok=True)
        descriptor = os.open(hidden, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _NO_LEASE:
            return None
        raise
    try:
        os.fchmod(descriptor, 0o644)  # whoever collects has to read it, whatever the umask
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, text.encode())
        hidden.rename(folder / name)  # it appears whole and locked
    except BaseException as error:
        with suppress(OSError):
            hidden.unlink()
        os.close(descriptor)
        if isinstance(error, OSError) and error.errno in _NO_LEASE:
            return None
        raise
    return Lease(folder / name, descriptor)


def readers(root: Path) -> list[Reader]:
    """Return the readers that are alive, and take away what dead ones left behind.

    Raises
    ------
    StoreError
        A reader's lease cannot be read, so that nobody knows what it needs.
    """
    found = []
    for path in sorted((root / READERS).glob("*.json")):
        if path.name.startswith("."):
            _remove_unfinished(path)
            continue
        with _opened(path) as descriptor:
            if descriptor is None:
                continue
            if _is_locked(descriptor):
                found.append(_read(path, descriptor))
            else:
                with suppress(OSError):  # another user's, perhaps: dead all the same
                    path.unlink()
    return found


def _remove_unfinished(path: Path) -> None:
    with suppress(OSError):
        if time.time() - path.stat().st_mtime > _UNFINISHED_SECONDS:
            path.unlink()


@contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # its reader just ended
        yield None
        return
    except OSError as error:
        what = f"the lease {path} of a reader cannot be opened: {error.strerror}"
        raise StoreError(what, "Run it as the user who owns the store.") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _read(path: Path, descriptor: int) -> Reader:
    try:
        facts = json.loads(os.read(descriptor, 1 << 16))
        return Reader(
            int(facts["version"]), str(facts["host"]), int(facts["pid"]), str(facts["since"])
        )
    except (ValueError, LookupError, TypeError) as error:
        what = f"the lease {path} of a running reader cannot be understood"
        raise StoreError(what, "End that reader, or wait until it is done.") from error


def horizon(root: Path) -> int:
    """Return the oldest version that is kept.

    Raises
    ------
    PartCorruptError
        The file that says so cannot be read.
    """
    path = root / HORIZON
    try:
        return int(json.loads(path.read_bytes())["oldest"])
    except FileNotFoundError:
        return 0
    except (ValueError, LookupError, TypeError) as error:
        what = f"{path} cannot be read: {error}"
        raise PartCorruptError(what, "Delete it and run `anabatch gc`.") from error


def raise_horizon(root: Path, oldest: int) -> int:
    """Note durably which version is the oldest that is kept; it never falls. Return what holds."""
    standing = horizon(root)
    if oldest > standing:
        replace_text(root / HORIZON, json.dumps({"oldest": oldest}))
    return max(oldest, standing)

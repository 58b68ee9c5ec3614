"""One run at a time: the store's lock, which a dead holder loses."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from anabatch.errors import StoreError, StoreLockedError
from anabatch.store.durable import replace_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK = "lock"
_HOLDER = "lock.json"

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Errors of a disk, or of a user's share of it, without room."""

_SECONDS = 0.3
"""How long to wait for the lock: whoever only asks who holds it does so for a moment."""


@contextmanager
def hold(store: Path, *, run: str) -> Iterator[None]:
    """Hold the store for one run.

    The lock is the operating system's and goes with the process that holds it. On a full disk it
    holds as well, and nobody is told by whom.

    Parameters
    ----------
    store : Path
        The store's folder.
    run : str
        The run's id, shown to whoever comes second.

    Raises
    ------
    StoreLockedError
        Another run holds the store; the message says who.
    StoreError
        The store is on a read-only file system.
    """
    lock = FileLock(store / LOCK, timeout=_SECONDS)
    try:
        lock.acquire()
    except Timeout as error:
        what = f"the store {store} is held by {_holder(store)}"
        raise StoreLockedError(what, "Wait until it is done.") from error
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        what = f"the store {store} is read-only"
        raise StoreError(what, "Mount its file system so that it can be written to.") from error
    try:
        _name_holder(store, run)
        yield
    finally:
        lock.release()


def holder(store: Path) -> str | None:
    """Return who holds the store at this moment, in words; None if nobody does.

    Parameters
    ----------
    store : Path
        The store's folder.
    """
    try:
        descriptor = os.open(store / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # nobody ever has
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(store)
    finally:
        os.close(descriptor)
    return None


def _name_holder(store: Path, run: str) -> None:
    """Write down who holds the store; where there is no room for it, nobody's name must stand there."""
    holder = {"run": run, "host": socket.gethostname(), "pid": os.getpid()}
    try:
        replace_text(store / _HOLDER, json.dumps(holder))
    except OSError as error:
        if error.errno not in FULL:
            raise
        forget_holder(store)


def forget_holder(store: Path) -> None:
    """Take away who holds the store, and so make room for one small file. It is held as before."""
    (store / _HOLDER).unlink(missing_ok=True)


def _holder(store: Path) -> str:
    try:
        holder = json.loads((store / _HOLDER).read_text(encoding="utf-8"))
        return f"run {holder['run']} (process {holder['pid']} on {holder['host']})"
    except (OSError, ValueError, LookupError, TypeError):
        return "another run"

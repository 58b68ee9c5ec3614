"""One run at a time: the store's lock, which a dead holder loses."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from anabatch.errors import StoreLockedError
from anabatch.store.durable import replace_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK = "lock"
_HOLDER = "lock.json"

_SECONDS = 0.3
"""How long to wait for the lock: whoever only asks who holds it does so for a moment."""


@contextmanager
def hold(store: Path, *, run: str) -> Iterator[None]:
    """Hold the store for one run.

    The lock is the operating system's and goes with the process that holds it.

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
    """
    lock = FileLock(store / LOCK, timeout=_SECONDS)
    try:
        lock.acquire()
    except Timeout as error:
        what = f"the store {store} is held by {_holder(store)}"
        raise StoreLockedError(what, "Wait until it is done.") from error
    try:
        holder = {"run": run, "host": socket.gethostname(), "pid": os.getpid()}
        replace_text(store / _HOLDER, json.dumps(holder))
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


def _holder(store: Path) -> str:
    try:
        holder = json.loads((store / _HOLDER).read_text(encoding="utf-8"))
        return f"run {holder['run']} (process {holder['pid']} on {holder['host']})"
    except (OSError, ValueError, LookupError, TypeError):
        return "another run"

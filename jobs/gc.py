"""Gc: what neither a kept version nor a living reader needs goes to the trash, and out of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from anabatch.store.leases import readers
from anabatch.store.retention import collect, find
from anabatch.store.root import hold_store

from .context import new_run_id

if TYPE_CHECKING:
    from pathlib import Path

    from anabatch.config import Config
    from anabatch.store.retention import Collection

    from .reporter import Reporter


def gc(
    config: Config, reporter: Reporter, *, dry_run: bool, empty_trash: bool = False
) -> Collection:
    """Take away what nothing needs.

    Parameters
    ----------
    config : Config
        Its section `keep` has the rules.
    reporter : Reporter
    dry_run : bool
        Only find it: the store is neither held nor written to.
    empty_trash : bool
        Delete all of the trash, whatever its age, and what is taken away now with it.

    Raises
    ------
    StoreLockedError
        A run holds the store.
    StoreNotFoundError
        There is no store.
    StoreError
        A reader's lease cannot be read, the store is read-only, or the trash is on another file
        system.
    """
    now = datetime.now(UTC)
    if dry_run:
        root = config.store.resolve()
        found = find(root, config.keep, now, empty_trash=empty_trash)
        _tell_readers(root, found, reporter)
        return found
    with hold_store(config.store, run=new_run_id(), create=False) as store:
        found = collect(store.root, config.keep, now, empty_trash=empty_trash)
        _tell_readers(store.root, found, reporter)
    return found


def _tell_readers(root: Path, found: Collection, reporter: Reporter) -> None:
    """Say who reads a version that would else not be kept."""
    for reader in readers(root):
        if reader.version < found.oldest:
            text = (
                f"version {reader.version} is kept for process {reader.pid} on {reader.host}, "
                f"which reads it since {reader.since}"
            )
            reporter.warn("read", text, version=reader.version, pid=reader.pid)

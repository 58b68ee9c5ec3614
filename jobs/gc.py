"""Gc: what neither a kept version nor a living reader needs goes to the trash, and out of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from anabatch.store.leases import readers
from anabatch.store.retention import collect, find
from anabatch.store.root import hold_store

from .context import new_run_id

if TYPE_CHECKING:
    from anabatch.config import Config
    from anabatch.store.retention import Collection

    from .reporter import Reporter


def gc(config: Config, reporter: Reporter, *, dry_run: bool) -> Collection:
    """Take away what nothing needs.

    Parameters
    ----------
    config : Config
        Its section `keep` has the rules.
    reporter : Reporter
    dry_run : bool
        Only find it.

    Raises
    ------
    StoreLockedError
        A run holds the store.
    StoreNotFoundError
        There is no store.
    StoreError
        A reader's lease cannot be read, or the trash is on another file system.
    """
    now = datetime.now(UTC)
    with hold_store(config.store, run=new_run_id(), create=False) as store:
        act = find if dry_run else collect
        found = act(store.root, config.keep, now)
        for reader in readers(store.root):
            if reader.version < found.oldest:
                text = (
                    f"version {reader.version} is kept for process {reader.pid} on {reader.host}, "
                    f"which reads it since {reader.since}"
                )
                reporter.warn("read", text, version=reader.version, pid=reader.pid)
    return found

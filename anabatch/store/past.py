"""The store's past: its versions, what each of them brought, and how long it is kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from anabatch.store.actions import GONE
from anabatch.store.leases import horizon, readers
from anabatch.store.ledger import Ledger
from anabatch.store.ledger_log import file_sets
from anabatch.store.ledger_rows import read_columns
from anabatch.store.retention import oldest_kept
from anabatch.store.root import LEDGER

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from anabatch.config import KeepConfig
    from anabatch.store.leases import Reader

_COMMIT = "commit"


class Kept(StrEnum):
    """How long a version is kept."""

    KEPT = "kept"
    UNTIL_GC = "until gc"
    """By the rules it is not kept any more; it is there until `anabatch gc` takes it away."""
    GONE = "gone"


@dataclass(frozen=True)
class Version:
    """One version of the store.

    Attributes
    ----------
    version : int
    time : datetime.datetime
        When it was committed, UTC.
    run : str
        The run that committed it.
    operation : str
        `create`, `commit`, `fold` or `restore`.
    kept : Kept
    done, gone : dict
        Actions that it brought and took out, by stage; of a commit that is not gone.
    readers : tuple of Reader
        Who reads it now.
    """

    version: int
    time: dt.datetime
    run: str
    operation: str
    kept: Kept
    done: dict[str, int]
    gone: dict[str, int]
    readers: tuple[Reader, ...]


def past(root: Path, keep: KeepConfig, now: dt.datetime, limit: int | None = None) -> list[Version]:
    """Return the versions of a store, the newest first.

    Parameters
    ----------
    root : Path
        The store's folder.
    keep : KeepConfig
        What `anabatch gc` will go by.
    now : datetime.datetime
        The present, UTC.
    limit : int, optional
        At most so many.

    Raises
    ------
    StoreNotFoundError
        There is no store.
    PartCorruptError
        The ledger is damaged.
    """
    versions = Ledger(root / LEDGER).versions()
    brought = _brought(root / LEDGER, versions[-1].version)
    standing, oldest = horizon(root), oldest_kept(versions, keep, now)
    alive = readers(root)
    found = []
    for info in reversed(versions[-limit:] if limit else versions):
        kept = Kept.KEPT if info.version >= oldest else Kept.UNTIL_GC
        kept = kept if info.version >= standing else Kept.GONE
        told = kept is not Kept.GONE and info.operation == _COMMIT
        done, gone = _counts(root / LEDGER, brought[info.version]) if told else ({}, {})
        reading = tuple(reader for reader in alive if reader.version == info.version)
        found.append(
            Version(info.version, info.time, info.run, info.operation, kept, done, gone, reading)
        )
    return found


def _brought(ledger: Path, newest: int) -> list[frozenset[str]]:
    """Return the data files that each version added, from the first version on."""
    found = []
    before: frozenset[str] = frozenset()
    for _, files in file_sets(ledger, newest):
        found.append(files - before)
        before = files
    return found


def _counts(ledger: Path, files: frozenset[str]) -> tuple[dict[str, int], dict[str, int]]:
    """Return how many actions some files put and take out, by stage."""
    done: Counter[str] = Counter()
    gone: Counter[str] = Counter()
    for name in sorted(files):
        for stage, outcome in read_columns(ledger / name, "stage", "outcome"):
            (gone if outcome == GONE else done)[stage] += 1
    return dict(done), dict(gone)

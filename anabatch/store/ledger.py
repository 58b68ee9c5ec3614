"""The ledger: a Delta table of actions. One version of it is one state of the whole store.

A commit only adds: a file with the actions that it puts, and tombstones of those that go. So it costs
what it brings, however long the ledger is. Now and then :meth:`Ledger.fold` writes what stands as
one file.
"""

from __future__ import annotations

import datetime as dt
import json
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import TableNotFoundError
from deltalake.transaction import AddAction

from anabatch.errors import ConfigurationError, PartCorruptError, StoreError, StoreNotFoundError
from anabatch.named_places import denial
from anabatch.schema import table_schema
from anabatch.store.disk import disk_error
from anabatch.store.durable import sync_file, sync_folder
from anabatch.store.ledger_rows import (
    folded,
    read_rows,
    standing_actions,
    to_actions,
    tombstones,
    write_actions,
    write_checked,
)
from anabatch.store.seals import seal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import Any

    from anabatch.store.actions import Action

LOG = "_delta_log"
_FOLD = "fold"
_REMEDY = "Restore the ledger, or read an older version with open_store(path, at=N)."


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """One version of the ledger.

    Attributes
    ----------
    version : int
    time : datetime.datetime
        When it was committed, UTC.
    run : str
        The run that committed it; empty for the first.
    operation : str
        `create`, `commit`, `fold` or `restore`.
    """

    version: int
    time: dt.datetime
    run: str
    operation: str


class Ledger:
    """The Delta table of actions at one version.

    Parameters
    ----------
    folder : Path
        The table's folder.
    at : int, optional
        Version to read; the newest by default. With a version named, the ledger is to be read only.

    Raises
    ------
    StoreNotFoundError
        There is no ledger, or no such version.
    PartCorruptError
        There is a ledger, and it cannot be read.
    ConfigurationError
        The folder's name cannot be that of a store.
    OSError
        The disk is failing.
    """

    def __init__(self, folder: Path, at: int | None = None) -> None:
        self.folder = folder
        self._pinned = at is not None
        check_name(folder)
        try:
            self._delta = DeltaTable(str(folder), version=at)
        except TableNotFoundError as error:
            what = f"there is no store at {folder.parent}"
            raise StoreNotFoundError(what, "`anabatch run` makes one.") from error
        except Exception as error:  # deltalake raises its base class for a version not there
            if told := disk_error(error) or denial(error, folder):
                raise told from error
            if at is None:
                what = f"the ledger {folder} cannot be read: {error}"
                raise PartCorruptError(what, _REMEDY) from error
            what = f"the store at {folder.parent} has no version {at}"
            raise StoreNotFoundError(what) from error

    @classmethod
    def create(cls, folder: Path) -> Ledger:
        """Make an empty ledger."""
        check_name(folder)
        # Without this property a checkpoint after 30 days would silently end time travel.
        with _numbered_disk_errors():
            DeltaTable.create(
                str(folder),
                schema=table_schema("ledger"),
                configuration={"delta.enableExpiredLogCleanup": "false"},
            )
        ledger = cls(folder)
        sync_folder(folder)
        ledger._sync()
        sync_folder(folder.parent)
        return ledger

    @property
    def version(self) -> int:
        """The version that this object shows."""
        return int(self._delta.version())

    def written_ns(self) -> int:
        """Return when the newest version was written, in nanoseconds of the file system's clock."""
        log = (self.folder / LOG).glob("*.json")
        return max(path.stat().st_mtime_ns for path in log)

    def versions(self) -> list[VersionInfo]:
        """Return this version and all before it, the oldest first."""
        return [_version_info(entry) for entry in reversed(self._delta.history())]

    def files(self) -> list[str]:
        """Return this version's data files, relative to the ledger's folder."""
        # deltalake gives the path that it was opened by, with percent codes
        return sorted(unquote(uri.rpartition("/")[2]) for uri in self._delta.file_uris())

    def actions(self) -> list[Action]:
        """Return all actions of this version, in the store's order.

        Raises
        ------
        PartCorruptError
            A file of this version is missing, or its bytes are not those that were written.
        OSError
            The disk is failing.
        """
        with self._readable():
            return standing_actions(*self._data())

    def history(self, stage: str, unit: str) -> list[tuple[int, Action]]:
        """Return what this version's files tell of one unit: revision and action, the oldest first.

        It reaches back to the last fold. An action whose outcome is `gone` is a tombstone.
        """
        field = pa.compute.field
        mine = self._rows((field("stage") == stage) & (field("unit") == unit))
        ordered = mine.sort_by("revision")
        revisions = [int(number) for number in ordered["revision"].to_pylist()]
        return list(zip(revisions, to_actions(ordered), strict=True))

    def gone(self, stage: str) -> list[Action]:
        """Return the tombstones of the units of a stage that are no longer there, the oldest first.

        It reaches back to the last fold.
        """
        with self._readable():
            return to_actions(tombstones(*self._data(), stage))

    def _rows(self, where: pa.compute.Expression) -> pa.Table:
        """Read this version's files, and return some of their rows."""
        with self._readable():
            return read_rows(*self._data(), where)

    def _data(self) -> tuple[list[Path], int]:
        """Return this version's files, and how many rows they have."""
        self._refuse_lost_commits()
        return [self.folder / name for name in self.files()], self._delta.count()

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Raise a store's errors for those of reading files.

        They are read by pyarrow: reading through deltalake's own datasets was seen to abort the
        process at exit.
        """
        try:
            yield
        except (OSError, ValueError, pa.ArrowException) as error:
            if told := disk_error(error) or denial(error, self.folder):
                raise told from error
            what = f"version {self.version} of the ledger {self.folder} cannot be read: {error}"
            raise PartCorruptError(what, _REMEDY) from error

    def _refuse_lost_commits(self) -> None:
        """Raise for an empty file among the older commits: Delta passes over it and its rows."""
        for path in sorted((self.folder / LOG).glob("[0-9]" * 20 + ".json")):
            if int(path.stem) < self.version and not path.stat().st_size:
                message = f"the commit {path.name} is empty"
                raise ValueError(message)

    def commit(self, put: Iterable[Action], gone: Iterable[Action], *, run: str) -> Ledger:
        """Add or replace actions and take others out, in one atomic version, and sync it.

        Parameters
        ----------
        put : iterable of Action
            Actions to add; one of the same stage and unit is replaced.
        gone : iterable of Action
            Actions to take out; a tombstone is written of each.
        run : str
            The run's id, kept in the commit.

        Returns
        -------
        Ledger
            The ledger at the new version.

        Raises
        ------
        StoreError
            The ledger was opened at a version, to be read.
        OSError
            The disk is full, failing or read-only.
        """
        self._refuse_if_pinned()
        rows = [*put, *(action.tombstone(run) for action in gone)]
        name = _new_name()
        written = write_actions(self.folder / name, rows, self.version + 1)
        self._add(name, written, mode="append", run=run)
        return self

    def fold(self, *, run: str) -> Ledger:
        """Write what stands as one file, in a version of its own with the same state.

        Older versions keep their files.
        """
        self._refuse_if_pinned()
        name = _new_name()
        with self._readable():
            rows = folded(*self._data())
        written = write_checked(self.folder / name, rows)
        self._add(name, written, mode="overwrite", run=run, anabatch=_FOLD)
        return self

    def restore(self, version: int, *, run: str) -> Ledger:
        """Bring an older version's state back, as a new version.

        Raises
        ------
        StoreNotFoundError
            There is no such version.
        """
        self._refuse_if_pinned()
        nothing = pa.compute.scalar(value=False)
        Ledger(self.folder, version)._rows(nothing)  # noqa: SLF001 (whether it can be read at all)
        if version < self.version:
            with _numbered_disk_errors():
                self._delta.restore(version, commit_properties=_properties(run))
                self._delta.update_incremental()
            self._sync()
        return self

    def _add(self, name: str, rows: int, *, mode: str, run: str, **facts: str) -> None:
        """Commit a data file that is written. It is on the disk before anything names it."""
        path = self.folder / name
        sync_file(path)
        sync_folder(self.folder)
        moment = int(time.time() * 1000)
        stats = json.dumps({"numRecords": rows})
        added = AddAction(name, path.stat().st_size, {}, moment, data_change=True, stats=stats)
        with _numbered_disk_errors():
            self._delta.create_write_transaction(
                [added],
                mode=mode,
                schema=table_schema("ledger"),
                partition_by=[],
                commit_properties=_properties(run, **facts),
            )
            self._delta.update_incremental()
        self._sync()

    def _refuse_if_pinned(self) -> None:
        if self._pinned:
            what = f"the store was opened at version {self.version}, to be read"
            raise StoreError(what, "Open it without a version to write to it.")

    def _sync(self) -> None:
        """Force the newest commit, and a checkpoint that it brought, to the disk."""
        log = self.folder / LOG
        sync_file(log / f"{self.version:020d}.json")
        for path in sorted(log.glob(f"{self.version:020d}.checkpoint*")):
            sync_file(path)
            sync_file(log / "_last_checkpoint")
        sync_folder(log)
        seal(self.folder, self.version)


def mend(folder: Path) -> int | None:
    """Take the newest commit away if a power cut has torn it; return its version, or None.

    A torn commit was never reported: it is whole on the disk before that, and what it names was
    before it. Only whoever holds the store may mend it.
    """
    log = folder / LOG
    commits = sorted(log.glob("[0-9]" * 20 + ".json"))
    if len(commits) < 2 or _is_whole(commits[-1]):
        return None
    torn = commits[-1]
    torn.replace(folder / f"torn-{torn.stem}-{uuid.uuid4().hex[:8]}.json")
    sync_folder(log)
    sync_folder(folder)
    return int(torn.stem)


def settle(folder: Path) -> None:
    """Force the newest commit to the disk: who wrote it may have died before doing so.

    What is committed next stands upon it, and could not be read without it.
    """
    log = folder / LOG
    commits = sorted(log.glob("[0-9]" * 20 + ".json"))
    if not commits:
        return
    for path in (commits[-1], *sorted(log.glob(f"{commits[-1].stem}.checkpoint*"))):
        sync_file(path)
    if (log / "_last_checkpoint").exists():
        sync_file(log / "_last_checkpoint")
    for each in (log, folder, folder.parent):
        sync_folder(each)


def _is_whole(commit: Path) -> bool:
    try:
        lines = [json.loads(line) for line in commit.read_bytes().splitlines()]
    except ValueError:
        return False
    return bool(lines) and all(isinstance(line, dict) for line in lines)


def _new_name() -> str:
    return f"part-{uuid.uuid4()}.parquet"


def _properties(run: str, **facts: str) -> CommitProperties:
    return CommitProperties(custom_metadata={"run": run, **facts})


def _version_info(entry: dict[str, Any]) -> VersionInfo:
    operations = {"CREATE TABLE": "create", "WRITE": "commit", "RESTORE": "restore"}
    operation = str(entry["operation"])
    return VersionInfo(
        version=int(entry["version"]),
        time=dt.datetime.fromtimestamp(entry["timestamp"] / 1000, dt.UTC),
        run=str(entry.get("run", "")),
        operation=str(entry.get("anabatch", operations.get(operation, operation.lower()))),
    )


@contextmanager
def _numbered_disk_errors() -> Iterator[None]:
    """Give the disk's errors their number: deltalake tells it in the text alone."""
    try:
        yield
    except Exception as error:
        disk = disk_error(error)
        if disk is None or disk is error:
            raise
        raise disk from error


def check_name(folder: Path) -> None:
    """Refuse paths that the Delta library takes for others.

    Raises
    ------
    ConfigurationError
        The folder is at such a path.
    """
    if unquote(str(folder)) != str(folder) or not str(folder).isprintable():
        what = f"a store cannot be at {str(folder.parent)!r}"
        raise ConfigurationError(what, "Name a path without percent codes and control characters.")

"""The ledger: a Delta table of actions. One version of it is one state of the whole store."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import TableNotFoundError

from anabatch.errors import ConfigurationError, PartCorruptError, StoreError, StoreNotFoundError
from anabatch.schema import table_schema, to_table
from anabatch.store.actions import Action
from anabatch.store.disk import disk_error
from anabatch.store.durable import sync_file, sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_SAME = "t.stage = s.stage AND t.unit = s.unit"
_PUT, _DELETE = "put", "delete"
_REMEDY = "Restore the ledger, or read an older version with open_store(path, at=N)."


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
            if disk := disk_error(error):
                raise disk from error
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
        ledger._sync()
        sync_folder(folder.parent)
        return ledger

    @property
    def version(self) -> int:
        """The version that this object shows."""
        return int(self._delta.version())

    def written_ns(self) -> int:
        """Return when the newest version was written, in nanoseconds of the file system's clock."""
        log = (self.folder / "_delta_log").glob("*.json")
        return max(path.stat().st_mtime_ns for path in log)

    def actions(self) -> list[Action]:
        """Return all actions of this version, in the store's order.

        The files are read by pyarrow: reading through deltalake's own datasets was seen to abort
        the process at exit.

        Raises
        ------
        PartCorruptError
            A file of this version is missing, or its bytes are not those that were written.
        OSError
            The disk is failing.
        """
        try:
            return self._read()
        except PartCorruptError:
            raise
        except (OSError, ValueError, pa.ArrowException) as error:
            if disk := disk_error(error):
                raise disk from error
            what = f"version {self.version} of the ledger {self.folder} cannot be read: {error}"
            raise PartCorruptError(what, _REMEDY) from error

    def _read(self) -> list[Action]:
        names = [unquote(uri.rpartition("/")[2]) for uri in self._delta.file_uris()]
        schema = table_schema("ledger")
        tables = [
            pq.read_table(self.folder / name, partitioning=None).cast(schema)
            for name in sorted(names)
        ]
        table = pa.concat_tables(tables) if tables else schema.empty_table()
        if table.num_rows != self._delta.count():
            message = f"it has {table.num_rows} rows, not {self._delta.count()}"
            raise ValueError(message)
        order = pc.sort_indices(
            table,
            sort_keys=[
                ("sequence", "ascending"),
                ("first_row", "ascending"),
                ("stage", "ascending"),
                ("unit", "ascending"),
            ],
        )
        return [Action.from_row(row) for row in table.take(order).to_pylist()]

    def commit(
        self, put: Iterable[Action], delete: Iterable[tuple[str, str]], *, run: str
    ) -> Ledger:
        """Add or replace actions and take others out, in one atomic version, and sync it.

        Parameters
        ----------
        put : iterable of Action
            Actions to add; one of the same stage and unit is replaced.
        delete : iterable of (stage, unit)
            Actions to take out.
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
        if self._pinned:
            what = f"the store was opened at version {self.version}, to be read"
            raise StoreError(what, "Open it without a version to write to it.")
        source = _changes(put, delete)
        schema = table_schema("ledger")
        columns = {name: f"s.{name}" for name in schema.names}
        with _numbered_disk_errors():
            (
                self._delta.merge(
                    source,
                    predicate=_SAME,
                    source_alias="s",
                    target_alias="t",
                    commit_properties=CommitProperties(custom_metadata={"run": run}),
                )
                .when_matched_delete(predicate=f"s.op = '{_DELETE}'")
                .when_matched_update(columns, predicate=f"s.op = '{_PUT}'")
                .when_not_matched_insert(columns, predicate=f"s.op = '{_PUT}'")
                .execute()
            )
        self._sync()
        return self

    def _sync(self) -> None:
        """Force the newest commit and the files that it added to the disk."""
        log = self.folder / "_delta_log"
        commit = log / f"{self.version:020d}.json"
        for line in commit.read_text(encoding="utf-8").splitlines():
            added = json.loads(line).get("add")
            if added:
                sync_file(self.folder / unquote(added["path"]))
        sync_folder(self.folder)
        sync_file(commit)
        sync_folder(log)


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


def _changes(put: Iterable[Action], delete: Iterable[tuple[str, str]]) -> pa.Table:
    put = list(put)
    gone = [Action(stage, unit, key="") for stage, unit in delete]
    table = to_table("ledger", [action.to_row() for action in put + gone])
    operations = [_PUT] * len(put) + [_DELETE] * len(gone)
    return table.append_column("op", pa.array(operations, pa.string()))

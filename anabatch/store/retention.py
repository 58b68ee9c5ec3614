"""Taking away what nothing needs: neither a version that is kept nor a reader that is alive.

What goes is moved to `trash/<time>/` under the path that it had, and deleted days later: to bring it
back, move it back. Where there is no room left it can be deleted at once. The horizon is written before anything is moved, so that a store is whole after
every one of the moves.
"""

from __future__ import annotations

import datetime as dt
import errno
import shutil
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from anabatch.errors import StoreError
from anabatch.store.durable import make_folder, sync_folder
from anabatch.store.leases import horizon, raise_horizon, readers
from anabatch.store.ledger import LOG, Ledger
from anabatch.store.ledger_log import file_sets
from anabatch.store.ledger_rows import read_columns
from anabatch.store.lock import FULL, forget_holder
from anabatch.store.parts import MANIFEST, PARTS
from anabatch.store.root import LEDGER, RUNS
from anabatch.store.seals import SEALS
from anabatch.store.statcache import CACHE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from anabatch.config import KeepConfig
    from anabatch.store.ledger import VersionInfo

TRASH = "trash"
_STAMP = "%Y%m%dT%H%M%SZ"
_DEPTH_OF_PARTS = 4  # table, archive, date, attempt
_UNFINISHED = dt.timedelta(hours=1)
"""Workers of a client that died may still be writing: they hold no lock."""
_ANY = ".*." + "[0-9a-f]" * 8  # as `durable.replace_text` names what it writes first
_TEMPORARY = (
    _ANY,
    f"{CACHE}/{_ANY}",
    f"{LEDGER}/{SEALS}/{_ANY}",
    f"{LEDGER}/torn-*.json",
    f"{LEDGER}/{LOG}/*.tmp",
)
"""Files that whoever was killed was about to put under another name, and torn commits."""


class Kind(StrEnum):
    """What is taken away."""

    PART = "part"
    UNFINISHED = "unfinished part"
    TEMPORARY = "temporary file"
    LEDGER = "ledger file"
    RUN = "run"
    TRASH = "trash"


@dataclass(frozen=True, slots=True)
class Item:
    """Something to be taken away.

    Attributes
    ----------
    kind : Kind
    path : str
        Relative to the store.
    size : int
        Bytes of its files.
    """

    kind: Kind
    path: str
    size: int


@dataclass(frozen=True)
class Collection:
    """What a collection takes away, and what it goes by.

    Attributes
    ----------
    oldest : int
        The oldest version that is kept.
    kept : tuple of int
        All versions whose results are kept: from the oldest on, and those being read.
    items : tuple of Item
    """

    oldest: int
    kept: tuple[int, ...]
    items: tuple[Item, ...]


def oldest_kept(versions: Sequence[VersionInfo], keep: KeepConfig, now: dt.datetime) -> int:
    """Return the oldest version that the rules keep; all after it are kept too.

    Parameters
    ----------
    versions : sequence of VersionInfo
        The oldest first.
    keep : KeepConfig
    now : datetime.datetime
    """
    newest = versions[-keep.versions :]
    limit = now - dt.timedelta(days=keep.days)
    young = [info for info in versions if info.time >= limit]
    return min(info.version for info in (*newest, *young))


def needed(root: Path, versions: Iterable[int]) -> tuple[set[str], set[str]]:
    """Return what some versions need: paths of parts, and the ledger's data files.

    A version that only adds files to the one before it needs, beside what that needs, what the
    added files name, so that the ledger is not read anew for each.

    Parameters
    ----------
    root : Path
        The store's folder.
    versions : iterable of int

    Raises
    ------
    PartCorruptError
        A file of the ledger is missing or cannot be read.
    """
    ledger = root / LEDGER
    wanted = set(versions)
    parts: set[str] = set()
    files: set[str] = set()
    before: tuple[int, frozenset[str]] | None = None
    for version, here in file_sets(ledger, max(wanted, default=-1)):
        if version not in wanted:
            continue
        if before is not None and before[0] == version - 1 and before[1] <= here:
            for name in here - before[1]:
                parts |= {part for (part,) in read_columns(ledger / name, "part") if part}
        else:
            parts |= {action.part for action in Ledger(ledger, version).actions() if action.part}
        files |= here
        before = version, here
    return parts, files


def find(
    root: Path, keep: KeepConfig, now: dt.datetime, *, empty_trash: bool = False
) -> Collection:
    """Return what can be taken away. Nothing is written.

    Parameters
    ----------
    root : Path
        The store's folder. Unless the caller holds it, what is just being written may be found too.
    keep : KeepConfig
    now : datetime.datetime
        The present, UTC.
    empty_trash : bool
        Whether all of the trash is found, whatever its age.
    """
    versions = Ledger(root / LEDGER).versions()
    standing = horizon(root)
    oldest = max(standing, oldest_kept(versions, keep, now))
    kept = {info.version for info in versions if info.version >= oldest} | _read(root, standing)
    parts, files = needed(root, kept)
    young = now - dt.timedelta(days=keep.days)
    runs = {info.run for info in versions if info.version in kept}
    items = (
        *_unneeded_parts(root, parts, young, now),
        *_unneeded_files(root, files),
        *_old_runs(root, runs, keep.versions, young),
        *_temporary(root, now - _UNFINISHED),
        *_old_trash(root, None if empty_trash else now - dt.timedelta(days=keep.trash_days)),
    )
    return Collection(oldest, tuple(sorted(kept)), items)


def _read(root: Path, standing: int) -> set[int]:
    """Return the versions that readers hold.

    Who asks for a version below the horizon has a lease for the moment in which it is refused.
    """
    held = {reader.version for reader in readers(root)}
    return {version for version in held if version >= standing or _is_there(root, version)}


def _is_there(root: Path, version: int) -> bool:
    files = Ledger(root / LEDGER, version).files()
    return all((root / LEDGER / name).exists() for name in files)


def _unneeded_parts(
    root: Path, named: set[str], young: dt.datetime, now: dt.datetime
) -> Iterator[Item]:
    for folder in attempts(root):
        path = folder.relative_to(root).as_posix()
        if path in named:
            continue
        finished = (folder / MANIFEST).exists()
        # the next run may adopt what was finished and is named by none
        limit = young if finished else now - _UNFINISHED
        if _touched(folder) < limit:
            yield Item(Kind.PART if finished else Kind.UNFINISHED, path, size_of(folder))


def attempts(root: Path) -> Iterator[Path]:
    """Yield the folders of all parts, finished or not, in order."""
    pattern = "/".join("*" * _DEPTH_OF_PARTS)
    for path in sorted((root / PARTS).glob(pattern)):
        if path.is_dir():
            yield path


def _unneeded_files(root: Path, named: set[str]) -> Iterator[Item]:
    for path in sorted((root / LEDGER).glob("*.parquet")):
        if path.name not in named:
            yield Item(Kind.LEDGER, path.relative_to(root).as_posix(), path.stat().st_size)


def _old_runs(root: Path, named: set[str], newest: int, young: dt.datetime) -> Iterator[Item]:
    folders = sorted(path for path in (root / RUNS).glob("*") if path.is_dir())
    for folder in folders[:-newest]:  # their names sort by time
        if folder.name not in named and _touched(folder) < young:
            yield Item(Kind.RUN, folder.relative_to(root).as_posix(), size_of(folder))


def _temporary(root: Path, limit: dt.datetime) -> Iterator[Item]:
    for pattern in _TEMPORARY:
        for path in sorted(root.glob(pattern)):
            if path.is_file() and _touched(path) < limit:
                yield Item(Kind.TEMPORARY, path.relative_to(root).as_posix(), size_of(path))


def _old_trash(root: Path, limit: dt.datetime | None) -> Iterator[Item]:
    for folder in sorted((root / TRASH).glob("*")):
        try:
            thrown = dt.datetime.strptime(folder.name, _STAMP).replace(tzinfo=dt.UTC)
        except ValueError:  # nothing that we put there
            continue
        if limit is None or thrown < limit:
            yield Item(Kind.TRASH, folder.relative_to(root).as_posix(), size_of(folder))


def _touched(folder: Path) -> dt.datetime:
    """Return when a folder or anything in it was last written to."""
    seconds = [folder.stat().st_mtime, *(_modified(path) for path in folder.rglob("*"))]
    return dt.datetime.fromtimestamp(max(seconds), dt.UTC)


def _modified(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:  # a writer has just put it under another name
        return dt.datetime.now(dt.UTC).timestamp()


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder."""
    if path.is_dir():
        return sum(item.lstat().st_size for item in path.rglob("*") if item.is_file())
    return path.lstat().st_size


def collect(
    root: Path, keep: KeepConfig, now: dt.datetime, *, empty_trash: bool = False
) -> Collection:
    """Take away what can be taken away.

    The trash goes first: on a full disk nothing else could be done before. The horizon rises before leases are looked at: who comes for an older version after that is
    refused, and who came before has a lease.

    Parameters
    ----------
    root : Path
        The store's folder, held by the caller.
    keep : KeepConfig
    now : datetime.datetime
        The present, UTC.
    empty_trash : bool
        Whether to delete all of the trash, whatever its age, and what is taken away now with it.

    Returns
    -------
    Collection
        What was taken away.

    Raises
    ------
    StoreError
        Something lies on another file system than the trash.
    """
    limit = None if empty_trash else now - dt.timedelta(days=keep.trash_days)
    trash = tuple(_old_trash(root, limit))
    for item in trash:
        shutil.rmtree(root / item.path)
    oldest = oldest_kept(Ledger(root / LEDGER).versions(), keep, now)
    try:
        raise_horizon(root, oldest)
    except OSError as error:
        if error.errno not in FULL:
            raise
        forget_holder(root)
        raise_horizon(root, oldest)
    found = find(root, keep, now)
    if empty_trash:
        for item in found.items:
            _delete(root / item.path)
    else:
        _throw_away(root, root / TRASH / now.strftime(_STAMP), found.items)
    return replace(found, items=(*found.items, *trash))


def _delete(path: Path) -> None:
    """Delete a file or a folder; a part no longer is one from the first moment on."""
    if not path.is_dir():
        path.unlink()
        return
    (path / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(path)


def _throw_away(root: Path, can: Path, items: Sequence[Item]) -> None:
    for item in items:
        _move(root / item.path, can / item.path, root)
    for folder in sorted({(base / item.path).parent for item in items for base in (root, can)}):
        sync_folder(folder)


def _move(source: Path, target: Path, root: Path) -> None:
    make_folder(target.parent, root)
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        what = f"{source} is on another file system than {root / TRASH}"
        raise StoreError(what, "A store lies on one file system.") from error

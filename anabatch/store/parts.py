"""Parts: immutable sets of files, each written by one task under a path of its own.

A part is finished when its `part.json` is there: it is written and synced last, and names every
file with size and digest. What is read is checked against it: files that are read whole by their
digest, arrays by the sizes of all their files, the digest of their metadata and the checksums in
their chunks. (Zarr alone takes a shard that is not there for zeros.)
"""

from __future__ import annotations

import json
import shutil
import uuid
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from anabatch.errors import PartCorruptError
from anabatch.schema import validate
from anabatch.store.durable import (
    make_folder,
    replace_text,
    sync_folder,
    sync_parents,
    sync_tree,
)
from anabatch.store.formats import (
    CHUNK_ROWS,
    SHARD_ROWS,
    array_info,
    decode_bundle,
    decode_rows,
    read_array,
    read_label_images,
    take_array,
    write_array,
    write_bundle,
    write_label_images,
    write_rows,
)
from anabatch.store.keys import action_key, batch_name, bytes_digest, file_digest

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from anabatch.store.actions import Action

PARTS = "parts"
MANIFEST = "part.json"
_FORMAT = 1
_METADATA = "zarr.json"
_REMEDY = "Restore the file, or recompute its part."


@dataclass(frozen=True, slots=True)
class WrittenPart:
    """What a task returns: a small description, never an array.

    Attributes
    ----------
    path : str or None
        The part's folder relative to the store, with `/`; None where there was nothing to write.
    digest : str or None
        Digest over the names, sizes and digests of its files. Equal content gives equal digests.
    actions : tuple of Action
        What the part holds the results of, and what failed beside it.
    """

    path: str | None
    digest: str | None
    actions: tuple[Action, ...]


def day(date: dt.date | None) -> str:
    """Return the name of a date's folder."""
    return f"date={date.isoformat()}" if date else "undated"


class PartWriter:
    """Writes one part; a context manager that removes the attempt if it fails.

    Parameters
    ----------
    store : Path
        The store's folder.
    table : str
        What the part holds, the first folder of its path.
    archive : str
        Archive, the second folder; `all` for what spans archives.
    date : datetime.date or None
        Date, the third folder.
    keys : sequence of str
        Keys of the part's actions, which name the batch.
    """

    def __init__(
        self,
        store: Path,
        table: str,
        *,
        archive: str = "all",
        date: dt.date | None = None,
        keys: Sequence[str],
    ) -> None:
        attempt = f"{batch_name(keys)}-{uuid.uuid4().hex[:8]}"
        self.store = store
        self.path = f"{PARTS}/{table}/{archive}/{day(date)}/{attempt}"
        self.folder = store / self.path

    def __enter__(self) -> Self:
        make_folder(self.folder, self.store)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            error.add_note(f"while writing the part {self.path}")
            # first the file that would call a half-removed part finished
            with suppress(OSError):
                (self.folder / MANIFEST).unlink()
            shutil.rmtree(self.folder, ignore_errors=True)

    def rows(self, name: str, table: pa.Table) -> None:
        """Write a table as `<name>.parquet`.

        Raises
        ------
        SchemaError
            It does not keep the schema of that name.
        """
        validate(name, table)
        write_rows(self.folder / f"{name}.parquet", table)

    def array(
        self, name: str, array: NDArray[Any], *, chunk: int = CHUNK_ROWS, shard: int = SHARD_ROWS
    ) -> None:
        """Write an array, shape (n, ...), as the Zarr array `<name>`."""
        write_array(self.folder / name, array, chunk=chunk, shard=shard)

    def label_images(
        self,
        name: str,
        pairs: Sequence[tuple[NDArray[np.int32], NDArray[np.int32]]],
        *,
        shard: int,
    ) -> None:
        """Write pairs of label images of one shape as the Zarr array `<name>` (images, 2, H, W)."""
        write_label_images(self.folder / name, pairs, shard=shard)

    def bundle(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write a fitted model's arrays as `<name>.npz`."""
        write_bundle(self.folder / f"{name}.npz", arrays)

    def text(self, name: str, text: str) -> None:
        """Write a text file."""
        (self.folder / name).write_text(text, encoding="utf-8")

    def finish(self, actions: Sequence[Action]) -> WrittenPart:
        """Sync all files, read them back, and write `part.json`.

        Parameters
        ----------
        actions : sequence of Action
            Actions whose results the part holds, and failures beside them; those with rows get
            the part's path and digest.

        Returns
        -------
        WrittenPart
        """
        sync_tree(self.folder)
        files = {
            str(path.relative_to(self.folder).as_posix()): [path.stat().st_size, file_digest(path)]
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }
        digest = action_key(files=files)
        placed = tuple(
            action.placed(part=self.path, digest=digest) if action.rows else action
            for action in actions
        )
        manifest = {
            "format": _FORMAT,
            "digest": digest,
            "files": files,
            "actions": [_plain(action) for action in placed],
        }
        manifest["checksum"] = action_key(manifest=manifest)
        replace_text(self.folder / MANIFEST, json.dumps(manifest, indent=1))
        sync_parents(self.folder, self.store)
        return WrittenPart(self.path, digest, placed)


def settle(store: Path, path: str) -> None:
    """Force the names of a finished part to the disk: who wrote it may have died before doing so.

    Parameters
    ----------
    store : Path
        The store's folder.
    path : str
        The part's, relative to it.
    """
    sync_folder(store / path)
    sync_parents(store / path, store)


def _plain(action: Action) -> dict[str, Any]:
    """Return an action's row in types that JSON has."""
    row = action.to_row()
    return row | {"date": action.date.isoformat() if action.date else None}


@lru_cache(maxsize=4096)
def _checked_manifest(folder: Path, modified: int) -> dict[str, Any]:
    """Read a manifest and check that every file is there in full; `modified` keys the cache."""
    del modified
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
        checksum = manifest.pop("checksum")
        whole = checksum == action_key(manifest=manifest) and manifest["format"] == _FORMAT
    except (ValueError, LookupError, TypeError, AttributeError):
        whole = False
    if not whole:
        what = f"{folder / MANIFEST} is not what was written"
        raise PartCorruptError(what, _REMEDY)
    for name, (size, _) in manifest["files"].items():
        _check_size(folder / name, size)
    return manifest


def _check_size(path: Path, size: int) -> None:
    try:
        found = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError) as error:
        what = f"{path} is missing"
        raise PartCorruptError(what, _REMEDY) from error
    if found != size:
        what = f"{path} has {found} bytes, not {size}"
        raise PartCorruptError(what, _REMEDY)


class Part:
    """A finished part, opened for reading.

    Parameters
    ----------
    store : Path
        The store's folder.
    path : str
        The part's path relative to the store.

    Raises
    ------
    PartCorruptError
        The part is unfinished, or a file of it is missing or cut short.
    """

    def __init__(self, store: Path, path: str) -> None:
        self.folder = Path(store) / path
        self.path = path
        try:
            modified = (self.folder / MANIFEST).stat().st_mtime_ns
        except (FileNotFoundError, NotADirectoryError) as error:
            what = f"{self.folder} holds no finished part"
            raise PartCorruptError(what, "Restore the folder, or recompute the part.") from error
        self._manifest = _checked_manifest(self.folder, modified)

    @property
    def digest(self) -> str:
        """Digest of the part's files."""
        return str(self._manifest["digest"])

    @property
    def size(self) -> int:
        """Size of the part's files, in bytes."""
        return sum(size for size, _ in self._manifest["files"].values())

    def actions(self) -> list[dict[str, Any]]:
        """Return the rows of the actions that the part was written with; dates are text."""
        rows: list[dict[str, Any]] = self._manifest["actions"]
        return rows

    def files(self) -> dict[str, tuple[int, str]]:
        """Return the size in bytes and the digest of every file, by its path in the part."""
        return {name: self._file(name) for name in self._manifest["files"]}

    def rows(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """Read the table `<name>.parquet`."""
        path, data = self._verified(f"{name}.parquet")
        return decode_rows(data, path, columns)

    def array(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read rows of an array, shape (stop - start, ...)."""
        return read_array(self._whole_array(name), start, stop)

    def label_images(self, name: str, row: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Read a pair of label images, shape (H, W); of mosaics they are maps of files."""
        return read_label_images(self._whole_array(name), row)

    def take(self, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Read chosen rows of an array, shape (len(rows), ...)."""
        return take_array(self._whole_array(name), rows)

    def bundle(self, name: str) -> dict[str, NDArray[Any]]:
        """Read the arrays of `<name>.npz`."""
        path, data = self._verified(f"{name}.npz")
        return decode_bundle(data, path)

    def array_info(self, name: str) -> tuple[tuple[int, ...], Any]:
        """Return shape and dtype of an array."""
        return array_info(self._whole_array(name))

    def text(self, name: str) -> str:
        """Read a text file."""
        return self._verified(name)[1].decode()

    def _verified(self, name: str) -> tuple[Path, bytes]:
        """Return a file's path and bytes, which are those that were written."""
        path = self.folder / name
        _, digest = self._file(name)
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            what = f"{path} is missing"
            raise PartCorruptError(what, _REMEDY) from error
        if bytes_digest(data) != digest:
            what = f"the bytes of {path} are not those that were written"
            raise PartCorruptError(what, _REMEDY)
        return path, data

    def _file(self, name: str) -> tuple[int, str]:
        try:
            size, digest = self._manifest["files"][name]
        except KeyError as error:
            what = f"the part {self.path} has no {name}"
            raise PartCorruptError(what, "Recompute the part.") from error
        return int(size), str(digest)

    def _whole_array(self, name: str) -> Path:
        """Return an array's folder once all its files are there and its metadata verified.

        Looked at anew every time: a shard may be lost while a worker lives, and Zarr takes one that
        is not there for zeros.
        """
        self._verified(f"{name}/{_METADATA}")
        for file, (size, _) in self._manifest["files"].items():
            if file.startswith(f"{name}/"):
                _check_size(self.folder / file, size)
        return self.folder / name

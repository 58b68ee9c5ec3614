"""Parts: immutable sets of files, each written by one task under a path of its own.

A part is finished when its `part.json` is there: it is written and synced last, and names every
file with size and digest.
"""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from anabatch.errors import PartCorruptError
from anabatch.store.durable import make_folder, replace_text, sync_folder, sync_tree
from anabatch.store.formats import (
    CHUNK_ROWS,
    SHARD_ROWS,
    array_info,
    read_array,
    read_bundle,
    read_rows,
    take_array,
    write_array,
    write_bundle,
    write_rows,
)
from anabatch.store.keys import action_key, batch_name, file_digest

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
        day = f"date={date.isoformat()}" if date else "undated"
        attempt = f"{batch_name(keys)}-{uuid.uuid4().hex[:8]}"
        self.store = store
        self.path = f"{PARTS}/{table}/{archive}/{day}/{attempt}"
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
            shutil.rmtree(self.folder, ignore_errors=True)

    def rows(self, name: str, table: pa.Table) -> None:
        """Write a table as `<name>.parquet`."""
        write_rows(self.folder / f"{name}.parquet", table)

    def array(
        self, name: str, array: NDArray[Any], *, chunk: int = CHUNK_ROWS, shard: int = SHARD_ROWS
    ) -> None:
        """Write an array, shape (n, ...), as the Zarr array `<name>`."""
        write_array(self.folder / name, array, chunk=chunk, shard=shard)

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
            "actions": [action.to_row() for action in placed],
        }
        replace_text(self.folder / MANIFEST, json.dumps(manifest, indent=1, default=str))
        sync_folder(self.folder.parent)
        return WrittenPart(self.path, digest, placed)


@lru_cache(maxsize=4096)
def _checked_manifest(folder: Path, modified: int) -> dict[str, Any]:
    """Read a manifest and check that every file is there in full; `modified` keys the cache."""
    del modified
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    for name, (size, _) in manifest["files"].items():
        try:
            found = (folder / name).stat().st_size
        except FileNotFoundError as error:
            what = f"{folder / name} is missing"
            raise PartCorruptError(what, "Restore the file, or recompute its part.") from error
        if found != size:
            what = f"{folder / name} has {found} bytes, not {size}"
            raise PartCorruptError(what, "Restore the file, or recompute its part.")
    return manifest


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
        except FileNotFoundError as error:
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

    def rows(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """Read the table `<name>.parquet`."""
        return read_rows(self.folder / f"{name}.parquet", columns)

    def array(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read rows of an array, shape (stop - start, ...)."""
        return read_array(self.folder / name, start, stop)

    def take(self, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Read chosen rows of an array, shape (len(rows), ...)."""
        return take_array(self.folder / name, rows)

    def bundle(self, name: str) -> dict[str, NDArray[Any]]:
        """Read the arrays of `<name>.npz`."""
        return read_bundle(self.folder / f"{name}.npz")

    def array_info(self, name: str) -> tuple[tuple[int, ...], Any]:
        """Return shape and dtype of an array."""
        return array_info(self.folder / name)

    def text(self, name: str) -> str:
        """Read a text file."""
        return (self.folder / name).read_text(encoding="utf-8")

"""Making files durable: neither zarr, pyarrow nor deltalake syncs what it writes."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def sync_file(path: Path) -> None:
    """Force a file's bytes to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Force a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(root: Path) -> None:
    """Force all files and folders below a folder, and the folder itself, to the disk."""
    for folder, _, names in os.walk(root, topdown=False, onerror=_raise):
        for name in names:
            sync_file(Path(folder, name))
        sync_folder(Path(folder))


def _raise(error: OSError) -> None:
    raise error


def sync_parents(path: Path, root: Path) -> None:
    """Force the entries of all folders above `path`, up to `root`, to the disk.

    Whoever made a parent may have died before syncing it, so it is not enough to sync one's own.
    """
    for folder in path.relative_to(root).parents:
        sync_folder(root / folder)


def make_folder(path: Path, root: Path) -> None:
    """Make a folder and its parents below `root`, and sync every parent that gained an entry."""
    missing = []
    folder = path
    while folder != root and not folder.exists():
        missing.append(folder)
        folder = folder.parent
    path.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        sync_folder(made.parent)


def replace_text(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old content or the new, and it is on the disk."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)

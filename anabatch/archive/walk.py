"""The walk over an archive's folders. It opens no file, follows no link out, and writes nothing."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"})
"""Extensions of image files, in lower case."""


@dataclass(frozen=True, order=True)
class ListedFile:
    """A file of an archive, as the listing saw it.

    Attributes
    ----------
    relative_path : str
        Path below the archive's root, with `/`.
    size : int
        In bytes.
    mtime_ns : int
        Time of the last change, in nanoseconds since 1970.
    """

    relative_path: str
    size: int
    mtime_ns: int

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.relative_path.rpartition("/")[2]

    def path(self, root: Path) -> Path:
        """Return the file's path below `root`."""
        return root / self.relative_path


@dataclass(frozen=True, order=True)
class Problem:
    r"""Something in an archive that cannot be read.

    Attributes
    ----------
    relative_path : str
        Path below the archive's root, with `/`; bytes that are no UTF-8 stand as `\xNN`.
    reason : str
        What is wrong, in words for the technician who looks after the archive.
    """

    relative_path: str
    reason: str


def is_image(name: str) -> bool:
    """Tell by its extension whether a file is an image, whatever the extension's case."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 -- a name, millions of times


def is_below(path: str, places: Sequence[str]) -> bool:
    """Tell whether a relative path is one of some places, or lies below one; `.` is the root."""
    return any(place in (".", path) or path.startswith(f"{place}/") for place in places)


def walk(root: Path, ignored: Sequence[str]) -> Iterator[ListedFile | Problem]:
    """Go through all files below a folder, sorted by name within each folder.

    Parameters
    ----------
    root : Path
        An archive's root.
    ignored : sequence of str
        Shell patterns of the names of files and folders to pass over, whatever their case.

    Yields
    ------
    ListedFile or Problem
        Regular files, and what could not be read: folders without permission, links that lead out
        of the archive, links to folders, names that are not UTF-8.
    """
    patterns = tuple(pattern.casefold() for pattern in ignored)
    yield from _walk_folder(root.resolve(), "", patterns)


def _walk_folder(
    root: Path, folder: str, ignored: tuple[str, ...]
) -> Iterator[ListedFile | Problem]:
    try:
        with os.scandir(root / folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        yield Problem(folder or ".", f"the folder cannot be read: {error.strerror}")
        return
    for entry in found:
        name = entry.name.casefold()
        if any(fnmatchcase(name, pattern) for pattern in ignored):
            continue
        relative = f"{folder}/{entry.name}" if folder else entry.name
        if _is_folder(entry):
            yield from _walk_folder(root, relative, ignored)
        else:
            yield _listed(root, relative, entry)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False  # the listing of the file then meets the error, and reports it


def _listed(root: Path, relative: str, entry: os.DirEntry[str]) -> ListedFile | Problem:
    readable = relative.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if readable != relative:
        return Problem(readable, "the name is not UTF-8; rename the file or mount with iocharset")
    try:
        if entry.is_symlink():
            target = Path(entry.path).resolve(strict=True)
            if not target.is_relative_to(root):
                return Problem(relative, "a link that leads out of the archive is not followed")
        status = entry.stat()
    except (OSError, RuntimeError) as error:
        # RuntimeError: pathlib's answer to links in a circle, up to Python 3.12
        reason = getattr(error, "strerror", None) or str(error)
        return Problem(relative, f"cannot be read: {reason}")
    if stat.S_ISDIR(status.st_mode):
        return Problem(relative, "a link to a folder is not followed")
    if not stat.S_ISREG(status.st_mode):
        return Problem(relative, "not a regular file")
    return ListedFile(relative, status.st_size, status.st_mtime_ns)

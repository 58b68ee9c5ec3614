"""The walk over an archive's folders. It opens no file, follows no link out, and writes nothing."""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass
from fnmatch import translate
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"})
"""Extensions of image files, in lower case."""

_CIRCLE = "a link that leads in a circle"
_NOWHERE = "a link that leads nowhere"
_NO_FILE = "not a regular file"


class ListedFile(NamedTuple):
    """A file of an archive, as the listing saw it. Files sort by path.

    Attributes
    ----------
    relative_path : str
        Path below the archive's root, with `/`.
    size : int
        In bytes.
    mtime_ns : int
        Time of the last change of the content, in nanoseconds since 1970. Who copies a file can
        set it.
    ctime_ns : int
        Time of the last change of anything about the file, which nobody can set.
    inode : int
        The file's number on its disk; 0 if it is not known.
    """

    relative_path: str
    size: int
    mtime_ns: int
    ctime_ns: int = 0
    inode: int = 0

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


def walk(
    root: Path, ignored: Sequence[str], known: Mapping[str, str] | None = None
) -> Iterator[ListedFile | Problem]:
    """Go through all files below a folder, sorted by name within each folder.

    Parameters
    ----------
    root : Path
        An archive's root.
    ignored : sequence of str
        Shell patterns of the names of files and folders to pass over, whatever their case.
    known : mapping, optional
        Relative paths, each by itself: where a file has one of them, that object is its path.

    Yields
    ------
    ListedFile or Problem
        Regular files, and what could not be read: folders without permission, links that lead out
        of the archive, links to folders, names that are not UTF-8.
    """
    top = root.resolve()
    passed_over = _matcher(ignored)
    paths: Mapping[str, str] = known or {}
    # a stack of folders that are gone through, and no recursion: folders nest as deep as they like
    stack = [_entries(top, "", passed_over, paths)]
    while stack:
        item = next(stack[-1], None)
        if item is None:
            stack.pop()
        elif isinstance(item, _Folder):
            stack.append(_entries(top, item.relative_path, passed_over, paths))
        else:
            yield item


class _Folder(NamedTuple):
    relative_path: str


def _matcher(ignored: Sequence[str]) -> Callable[[str], re.Match[str] | None]:
    """Return a function that tells whether a case-folded name is to be passed over."""
    patterns = [translate(pattern.casefold()) for pattern in ignored]
    return re.compile("|".join(patterns) or r"(?!)").match


def _entries(
    root: Path,
    folder: str,
    passed_over: Callable[[str], re.Match[str] | None],
    known: Mapping[str, str],
) -> Iterator[ListedFile | Problem | _Folder]:
    """Yield what lies in one folder, by name."""
    try:
        with os.scandir(root / folder) as entries:
            found = sorted(entries, key=attrgetter("name"))
    except OSError as error:
        yield Problem(_readable(folder) or ".", f"the folder cannot be read: {error.strerror}")
        return
    above = f"{folder}/" if folder else ""
    for entry in found:
        name = entry.name
        if passed_over(name.casefold()):
            continue
        relative = above + name
        if _is_folder(entry):
            yield _Folder(relative)
        else:
            yield _listed(root, known.get(relative, relative), entry)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False  # the listing of the file then meets the error, and reports it


def _readable(relative: str) -> str:
    """Return a path with bytes that are no UTF-8 written out."""
    if relative.isascii():
        return relative
    return relative.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _listed(root: Path, relative: str, entry: os.DirEntry[str]) -> ListedFile | Problem:
    readable = _readable(relative)
    if readable != relative:
        return Problem(readable, "the name is not UTF-8; rename the file or mount with iocharset")
    found = _status(root, entry)
    if isinstance(found, str):
        return Problem(relative, found)
    if stat.S_ISREG(found.st_mode):
        mtime_ns, ctime_ns = found.st_mtime_ns, found.st_ctime_ns
        if ctime_ns == mtime_ns:  # as of most files that were written here: one number in memory
            ctime_ns = mtime_ns
        return ListedFile(relative, found.st_size, mtime_ns, ctime_ns, found.st_ino)
    folder = stat.S_ISDIR(found.st_mode)
    return Problem(relative, "a link to a folder is not followed" if folder else _NO_FILE)


def _status(root: Path, entry: os.DirEntry[str]) -> os.stat_result | str:
    """Return what the system knows of an entry, or of what it leads to; or why that cannot be told."""
    linked = False
    try:
        linked = entry.is_symlink()
        if not linked or Path(entry.path).resolve(strict=True).is_relative_to(root):
            return entry.stat()
    except RuntimeError:  # pathlib's answer to links in a circle, up to Python 3.12
        return _CIRCLE
    except FileNotFoundError as error:
        return _NOWHERE if linked else f"cannot be read: {error.strerror}"
    except OSError as error:
        return _CIRCLE if error.errno == errno.ELOOP else f"cannot be read: {error.strerror}"
    return "a link that leads out of the archive is not followed"

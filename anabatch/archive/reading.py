"""Reading one file of an archive: whole, once, and only if it held still meanwhile."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from anabatch.errors import UnreadableImageError, UnsettledFileError, UnsupportedImageError

if TYPE_CHECKING:
    from pathlib import Path

    from anabatch.archive.walk import ListedFile

# No image file is larger than 16 bits in four channels, uncompressed, and a megabyte of metadata.
_BYTES_PER_PIXEL = 8
_METADATA_BYTES = 2**20

_LATER = "The next run looks at it again."


def largest_file(max_pixels: int) -> int:
    """Return the bytes that the file of an image of so many pixels can have at most."""
    return max_pixels * _BYTES_PER_PIXEL + _METADATA_BYTES


def read_file(root: Path, file: ListedFile, *, max_bytes: int) -> bytes:
    """Read a file that was listed, and make sure that it is still the file that was listed.

    Parameters
    ----------
    root : Path
        The archive's root.
    file : ListedFile
        The file as it was listed. An inode of 0 is not known, and not compared.
    max_bytes : int
        Longer files are refused, and never held in memory.

    Returns
    -------
    bytes
        The whole content. The file had the listed size and time when it was opened, and when all
        was read.

    Raises
    ------
    UnsettledFileError
        The file changed, or vanished, between the listing and the end of reading.
    UnreadableImageError
        It cannot be opened or read.
    UnsupportedImageError
        It is longer than `max_bytes`.
    """
    path = file.path(root)
    try:
        # not blocking: where the file was, there may be a pipe by now, which nobody writes to
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as stream:  # noqa: PTH123 (it is open already)
            opened = os.fstat(descriptor)
            _check_held_still(file, opened)
            if opened.st_size > max_bytes:
                what = f"the file has {opened.st_size} bytes, more than an allowed image can have"
                raise UnsupportedImageError(what, "Raise scan.max_pixels if the image is real.")
            data = stream.read(opened.st_size + 1)
            _check_held_still(file, os.fstat(descriptor))
        # a file that was put in its place shows only by its name
        _check_held_still(file, path.stat())
    except (FileNotFoundError, NotADirectoryError) as error:
        what = "the file went away after it was listed"
        raise UnsettledFileError(what, _LATER) from error
    except OSError as error:
        if isinstance(error, UnreadableImageError):
            raise
        what = f"the file cannot be read: {error.strerror or error}"
        raise UnreadableImageError(what) from error
    if len(data) != file.size:
        raise _changed()
    return data


def _check_held_still(file: ListedFile, now: os.stat_result) -> None:
    same = now.st_size == file.size and now.st_mtime_ns == file.mtime_ns
    if not same or (file.inode and now.st_ino != file.inode):
        raise _changed()


def _changed() -> UnsettledFileError:
    return UnsettledFileError("the file changed while it was read", _LATER)

"""Images on disk, of which windows are read and written: memory holds windows alone."""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

    from numpy.typing import DTypeLike, NDArray

Window = tuple[slice, slice]
"""Rows and columns, with ends and without steps."""

# Pixels that are mapped together.
_PIXELS = 1 << 22


class DiskImage:
    """An array of zeros on disk, to be filled window by window.

    Its file has no name: it goes when the last that looks into it goes, however the process ends.
    A window is mapped for as long as it takes to copy it, so what was read does not pile up in the
    process's memory.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype
    folder : Path, optional
        Where the file stands; without it where the system keeps temporary files (`TMPDIR`).

    Raises
    ------
    OSError
        There is no room for it; its file name is the folder. All of it is taken at once.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: DTypeLike, folder: Path | None = None
    ) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.ndim = len(shape)
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it lives as long as the image
        weakref.finalize(self, self._file.close)  # maps of it go on
        size = max(1, int(np.prod(shape, dtype=np.int64)) * self.dtype.itemsize)
        _reserve(self._file, size, folder or tempfile.gettempdir())

    def __getitem__(self, window: Any) -> NDArray[Any]:
        """Return a copy of a window."""
        return np.array(self._map("r")[window])

    def __setitem__(self, window: Any, values: Any) -> None:
        """Write a window."""
        self._map("r+")[window] = values

    def as_array(self) -> NDArray[Any]:
        """Return all of it as an array that cannot be written to, and is read where it is touched.

        What was touched counts as the process's memory until it is let go of: see :func:`bands`.
        """
        return self._map("r")

    def _map(self, mode: Any) -> NDArray[Any]:
        if 0 in self.shape:
            return np.zeros(self.shape, self.dtype)
        return np.memmap(self._file, self.dtype, mode=mode, shape=self.shape)


def bands(image: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield an array by some rows at a time, and let go of what was mapped of a file for them."""
    rows = max(1, _PIXELS // max(1, image.shape[1]))
    for start in range(0, image.shape[0], rows):
        yield image[start : start + rows]
        let_go(image)


def let_go(image: object) -> None:
    """Unmap what was read of a file's map; it is read again where it is touched again."""
    base = getattr(image, "base", None)
    if isinstance(base, mmap.mmap):
        base.madvise(mmap.MADV_DONTNEED)


def largest(labels: NDArray[Any]) -> int:
    """Return the largest label of an image, which may be a map of a file; 0 without masks."""
    return max((int(band.max(initial=0)) for band in bands(labels)), default=0)


def _reserve(file: IO[bytes], size: int, folder: Path | str) -> None:
    """Make a file so large, of zeros; a disk that fills up later would kill who writes to a map."""
    disk = os.fstatvfs(file.fileno())
    if size > disk.f_bavail * disk.f_frsize:
        text = f"{os.strerror(errno.ENOSPC)} for {size} temporary bytes"
        raise OSError(errno.ENOSPC, text, str(folder))
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    zeros = bytes(1 << 20)
    for start in range(0, size, len(zeros)):
        file.write(zeros[: size - start])
    file.flush()

"""Contrast-limited adaptive histogram equalisation (OpenCV's) of images too large to be held.

One grid is laid over the whole image; its tables of grey levels are made of the whole, and any
window is equalised by them as it would be within the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.imaging import BYTE_STEP, eight_bits
from anabatch.segmentation.views import Pointwise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anabatch.config import SegmentConfig
    from anabatch.segmentation.scratch import Window
    from anabatch.segmentation.views import Image

FIELD_SIDE = 1388
"""Reference pixels of the longer side of the fields for which the study chose its grid."""

_LEVELS = 256


def contrast_grid(shape: tuple[int, ...], config: SegmentConfig) -> tuple[int, int]:
    """Return the rows and columns of an image's contrast grid.

    The study's is 8 by 8 whatever the image. It stays so while its cells are no larger than they
    are along a field's longer side; a larger image has more of them, for a stain is uneven over a
    distance on the slide, not over a share of the picture.

    Parameters
    ----------
    shape : tuple of int
        (h, w) in reference pixels.
    config : SegmentConfig
    """
    least = config.clahe_grid
    rows, columns = (max(least, round(least * length / FIELD_SIDE)) for length in shape)
    return rows, columns


def equalized(image: Image, grid: tuple[int, int], clip: float) -> Image:
    """Return a view of an image with its contrast equalised, as `imaging.equalize` would.

    Parameters
    ----------
    image : Image of uint8 or uint16, shape (h, w)
        All of it is read now, and the windows when they are asked for.
    grid : tuple of int
        Rows and columns.
    clip : float
        Clip limit, in multiples of the uniform histogram's height.
    """
    return Pointwise(_measure(image, grid, clip).apply, (image,), image.dtype)


@dataclass(frozen=True)
class _Contrast:
    """The tables of one image.

    `tables`, shape (rows, columns, 256): what every grey level becomes at the middle of every cell
    of the grid; `cell`: height and width of a cell.
    """

    tables: NDArray[np.uint8]
    cell: tuple[int, int]

    def apply(self, image: NDArray[Any], window: Window) -> NDArray[Any]:
        """Equalise a window; `window` says where in the image it lies."""
        if image.dtype == np.uint16:
            return self.apply(eight_bits(image), window).astype(np.uint16) * np.uint16(BYTE_STEP)
        (top, bottom, down), (left, right, along) = (
            _between(np.arange(part.start, part.stop), length, cells)
            for part, length, cells in zip(window, self.cell, self.tables.shape, strict=False)
        )
        down = down[:, np.newaxis]
        one = np.float32(1)
        upper = self._look(image, top, left) * (one - along)
        upper += self._look(image, top, right) * along
        lower = self._look(image, bottom, left) * (one - along)
        lower += self._look(image, bottom, right) * along
        mixed = upper * (one - down) + lower * down
        return np.asarray(np.clip(np.rint(mixed), 0, _LEVELS - 1), np.uint8)

    def _look(
        self, image: NDArray[Any], rows: NDArray[np.intp], columns: NDArray[np.intp]
    ) -> NDArray[np.float32]:
        cells = rows[:, np.newaxis] * self.tables.shape[1] + columns
        return np.asarray(self.tables.ravel().take(cells * _LEVELS + image), np.float32)


def _measure(image: Image, grid: tuple[int, int], clip: float) -> _Contrast:
    """Read an image once, a row of cells at a time, and make its tables."""
    height, width = image.shape
    rows, columns = grid
    # OpenCV makes an image divisible by mirroring it at its end: both sides, if either is not, and
    # then a side that is by a whole grid's worth.
    if height % rows or width % columns:
        height, width = height + rows - height % rows, width + columns - width % columns
    cell = height // rows, width // columns
    tables = np.empty((*grid, _LEVELS), np.uint8)
    across = _mirrored(np.arange(width), image.shape[1])
    names = np.repeat(np.arange(columns) * _LEVELS, cell[1])
    for row in range(rows):
        down = _mirrored(np.arange(row * cell[0], (row + 1) * cell[0]), image.shape[0])
        first = int(down.min())
        strip = eight_bits(image[first : int(down.max()) + 1, 0 : image.shape[1]])
        counts = np.zeros(columns * _LEVELS, np.int64)
        for line in down - first:
            counts += np.bincount(strip[line][across] + names, minlength=counts.size)
        tables[row] = _equalizing(counts.reshape(columns, _LEVELS), cell[0] * cell[1], clip)
    return _Contrast(tables, cell)


def _equalizing(counts: NDArray[np.int64], area: int, clip: float) -> NDArray[np.uint8]:
    """Make tables of histograms, shape (cells, 256), what is above the clip limit spread evenly."""
    limit = max(int(clip * area / _LEVELS), 1)
    surplus = np.maximum(counts - limit, 0).sum(axis=1)
    counts = np.minimum(counts, limit) + (surplus // _LEVELS)[:, np.newaxis]
    for cell, left in enumerate(surplus % _LEVELS):
        step = max(_LEVELS // max(int(left), 1), 1)
        counts[cell, : step * int(left) : step] += 1
    scale = np.float32(_LEVELS - 1) / np.float32(area)
    steps = np.cumsum(counts, axis=1).astype(np.float32) * scale
    return np.asarray(np.clip(np.rint(steps), 0, _LEVELS - 1), np.uint8)


def _between(
    at: NDArray[np.intp], length: int, cells: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return the cells before and after pixels, and the share of the one after."""
    place = at.astype(np.float32) * (np.float32(1) / np.float32(length)) - np.float32(0.5)
    before = np.floor(place)
    low = before.astype(np.intp)
    return np.clip(low, 0, cells - 1), np.clip(low + 1, 0, cells - 1), place - before


def _mirrored(at: NDArray[np.intp], length: int) -> NDArray[np.intp]:
    """Mirror places beyond the end, the last pixel not repeated."""
    if length == 1:
        return np.zeros_like(at)
    return np.asarray((length - 1) - np.abs((length - 1) - at % (2 * (length - 1))))

"""The scale bar that acquisition programs burn into an image: where it is, and the image without it.

It is a panel of one grey with a text in its middle ("20 µm") and a brighter line along all of its
lower edge, in the upper left of the image. What gives it away is what no cell has: a straight line
of one brightness under an even ground of another, with something written on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import cv2
import numpy as np
from scipy import ndimage

from anabatch.segmentation.labels import consecutive, count

if TYPE_CHECKING:
    from numpy.typing import NDArray

Box: TypeAlias = tuple[int, int, int, int]
"""First row, first column, and the row and the column after the last."""

# The part of an image that is looked at, as shares of its height and width.
_LOOKED_AT = (1 / 3, 2 / 3)
# How many rows above a row of the line the panel is surely seen: lines are at most so thick.
_ABOVE = 4
# In grey levels of 255: least step from panel to line, and how even either is after JPEG.
_STEP, _EVEN = 25.0, 24.0
_GROUND = 8.0  # how far the panel's pixels may lie from its grey
_SHORTEST = 40  # pixels of the line
_TAIL = 9  # pixels that are no gap in it
_FLAT = 0.85  # least share of the panel beside the text that has its grey
_TEXT = (0.01, 0.6)  # share of the text's own rows and columns that is bright
_LOWEST, _HIGHEST = 6, 1 / 3  # height of the panel: in pixels, and over the line's length
_MARGIN = 3  # pixels around it that compression has mixed with it


def find_scale_bar(signal: NDArray[Any]) -> Box | None:
    """Find the scale bar that is burnt into an image.

    Parameters
    ----------
    signal : ndarray of uint8 or uint16, shape (H, W)
        At the source's resolution.

    Returns
    -------
    tuple of int or None
        The box of panel, text and line with a margin of a few pixels; None if there is none.
    """
    height, width = (
        int(side * share) for side, share in zip(signal.shape, _LOOKED_AT, strict=True)
    )
    if height <= _ABOVE or width < _SHORTEST:
        return None
    corner = signal[:height, :width].astype(np.float32)
    if signal.dtype != np.uint8:  # cameras of 12 bits fill a part of 16
        corner *= np.float32(255 / max(float(corner.max()), 1.0))
    for row in _rows_with_steps(corner):
        run = _line(corner, row)
        top = _panel(corner, row, *run) if run else None
        if run and top is not None:
            return _with_margin(top, run, _foot(corner, row, *run), signal.shape)
    return None


def _rows_with_steps(corner: NDArray[np.float32]) -> list[int]:
    """Return the rows that may be the line's: enough of their pixels are brighter than those above."""
    steps = np.count_nonzero(corner[_ABOVE:] - corner[:-_ABOVE] > _STEP, axis=1)
    return [int(row) + _ABOVE for row in np.flatnonzero(steps >= _SHORTEST)]


def _line(corner: NDArray[np.float32], row: int) -> tuple[int, int] | None:
    """Return the first and the last column but one of the longest even step; None without one."""
    rise = corner[row] - corner[row - _ABOVE] > _STEP
    start, stop = _longest(rise, 0)
    if stop - start < _SHORTEST // 3:
        return None
    even = np.abs(corner[row] - np.median(corner[row, start:stop])) < _EVEN
    ground = np.median(corner[row - _ABOVE, start:stop])
    level = np.abs(corner[row - _ABOVE] - ground) < _EVEN
    # The tail of a letter may reach down to the line, which goes on below it.
    start, stop = _longest(rise & even & level, max(_TAIL, rise.size // 64))
    if stop - start < _SHORTEST or np.mean(even[start:stop]) < _FLAT:
        return None
    return start, stop


def _longest(there: NDArray[np.bool_], gap: int) -> tuple[int, int]:
    """Return the first and the last column but one of the longest run, over gaps of so many pixels."""
    edges = np.flatnonzero(np.diff(there.astype(np.int8), prepend=0, append=0))
    if not edges.size:
        return 0, 0
    wide = np.diff(edges)[1::2] > gap
    starts = edges[::2][np.concatenate([[True], wide])]
    stops = edges[1::2][np.concatenate([wide, [True]])]
    at = int(np.argmax(stops - starts))  # the first of equals
    return int(starts[at]), int(stops[at])


def _panel(corner: NDArray[np.float32], row: int, start: int, stop: int) -> int | None:
    """Return the first row of the panel above a line; None if what is there is no panel."""
    length = stop - start
    ground = float(np.median(corner[row - _ABOVE, start:stop]))
    line = float(np.median(corner[row, start:stop]))
    above = corner[max(0, row - int(length * _HIGHEST)) : row - 1, start:stop]
    middle = above[:, length // 6 : -(length // 6)]
    written = (middle > (ground + line) / 2).any(axis=1)[::-1]  # upwards from the line
    if not written.any():
        return None
    first = int(np.argmax(written))
    gaps = np.flatnonzero(~written[first:])
    if not gaps.size:
        return None
    tall = first + int(gaps[0])  # from the line to the top of the text
    if tall < _LOWEST or not _is_written(middle[-tall:], ground, line):
        return None
    sides = above[-tall:, np.r_[2 : length // 6, length - length // 6 : length - 2]]
    if np.mean(np.abs(sides - ground) < _GROUND) < _FLAT:
        return None
    return row - 1 - _rim(above, ground, tall)


def _is_written(middle: NDArray[np.float32], ground: float, line: float) -> bool:
    """Whether the bright pixels in the middle of a panel are like a text."""
    bright = middle > (ground + line) / 2
    low, high = _TEXT
    return bool(low < bright.mean() < high and np.mean(np.abs(middle - ground) < _GROUND) > low)


def _rim(above: NDArray[np.float32], ground: float, tall: int) -> int:
    """Return how many rows above the line the panel begins: a little above the text."""
    even = np.mean(np.abs(above - ground) < _GROUND, axis=1)[::-1] > 0.5
    end = np.flatnonzero(~even[tall:])
    grown = tall + (int(end[0]) if end.size else even.size - tall)
    return min(grown, round(1.4 * tall))  # around dim cells the background may be as even


def _foot(corner: NDArray[np.float32], row: int, start: int, stop: int) -> int:
    """Return the row after the line's last."""
    line = float(np.median(corner[row, start:stop]))
    foot = row + 1
    while foot < corner.shape[0] and foot - row < _ABOVE:
        if np.mean(np.abs(corner[foot, start:stop] - line) < _EVEN) < 0.5:
            break
        foot += 1
    return foot


def _with_margin(top: int, run: tuple[int, int], foot: int, shape: tuple[int, ...]) -> Box:
    return (
        max(0, top - _MARGIN),
        max(0, run[0] - _MARGIN),
        min(shape[0], foot + _MARGIN),
        min(shape[1], run[1] + _MARGIN),
    )


def without_scale_bar(signal: NDArray[Any], box: Box | None) -> NDArray[Any]:
    """Return an image whose scale bar is filled from around it.

    Parameters
    ----------
    signal : ndarray of uint8 or uint16, shape (H, W)
    box : tuple of int or None
        What :func:`find_scale_bar` found; without one the image comes back as it is.

    Returns
    -------
    ndarray, shape (H, W), the same type
        Every column of the box goes evenly from what is above it to what is below: cells that reach
        under the bar end there, or go on, and no edge is left that contrast enhancement would find.
    """
    if box is None:
        return signal
    y0, x0, y1, x1 = box
    # Rims of a few rows, smoothed along the bar, so that noise draws no streaks.
    above, below = (
        cv2.blur(np.median(rim, axis=0, keepdims=True), (5, 1)) if rim.size else None
        for rim in (
            signal[max(0, y0 - 3) : y0, x0:x1].astype(np.float32),
            signal[y1 : y1 + 3, x0:x1].astype(np.float32),
        )
    )
    upper = below if above is None else above
    lower = above if below is None else below
    filled = signal.copy()
    if upper is None or lower is None:
        filled[y0:y1, x0:x1] = np.median(signal)
        return filled
    share = ((np.arange(y1 - y0, dtype=np.float32) + 0.5) / (y1 - y0))[:, np.newaxis]
    filled[y0:y1, x0:x1] = np.rint((1 - share) * upper + share * lower).astype(signal.dtype)
    return filled


def clear_scale_bar(labels: NDArray[np.int32], box: Box | None) -> tuple[NDArray[np.int32], int]:
    """Take masks off a scale bar.

    Parameters
    ----------
    labels : ndarray of int32, shape (H, W)
        Label image.
    box : tuple of int or None

    Returns
    -------
    labels : ndarray of int32, shape (H, W)
        0 in the box, masks 1 to n. Of a mask that the bar parts, the largest piece is left.
    dropped : int
        Masks that are gone: half of them or more lay on the bar, or in its smaller pieces.
    """
    if box is None:
        return labels, 0
    y0, x0, y1, x1 = box
    touched = np.unique(labels[y0:y1, x0:x1])
    cleared = labels.copy()
    cleared[y0:y1, x0:x1] = 0
    for label in touched[touched != 0]:
        pieces, number = ndimage.label(cleared == label)
        sizes = np.bincount(pieces.ravel())[1:]
        largest = int(np.argmax(sizes)) + 1 if number else 0  # the first of equals
        whole = int(np.count_nonzero(labels == label))
        keeps = number > 0 and 2 * int(sizes[largest - 1]) > whole
        cleared[(pieces > 0) & ((pieces != largest) | (not keeps))] = 0
    return consecutive(cleared), count(labels) - count(cleared)

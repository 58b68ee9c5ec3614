"""The inner loops of the dynamics, compiled.

Each does in one pass over what it needs what Cellpose does in many passes over whole images, by the
same operations in the same order; `fastmath` is off. So results repeat, and equal Cellpose's.

Compiled code is kept beside this file, else in the user's cache folder, or where `NUMBA_CACHE_DIR`
says; a new worker loads it in a fraction of a second. Where nothing of that can be written, every
process compiles anew (about ten seconds), and says so.

Importing this module imports numba: import it inside functions.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numba
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_LOG = logging.getLogger(__name__)

_F = TypeVar("_F", bound="Callable[..., Any]")

_PAD = 20
"""Empty bins around the histogram of where pixels end; this and what follows are Cellpose's own."""

_PEAK = 2
"""A peak of the histogram is the highest bin within so many bins."""

_SEED_PIXELS = 10
"""More pixels than these end in a bin that begins a mask."""

_GROW_PIXELS = 2
"""More pixels than these end in a bin that a mask grows into."""

_GROWTH = 5
"""Bins that a mask grows from its peak."""

_EMPTY = 1e-60
"""Added to lengths, so that none is zero."""


@cache
def _say_that_nothing_is_kept() -> None:
    _LOG.warning(
        "no folder for compiled code can be written, so that this process compiles for itself,"
        " which takes some ten seconds; name a folder in NUMBA_CACHE_DIR"
    )


def _compiled(function: _F) -> _F:
    try:
        return cast("_F", numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # numba finds no folder that can be written
        _say_that_nothing_is_kept()
        return cast("_F", numba.njit(nogil=True)(function))


@_compiled
def _within(place: float, length: int) -> float:
    """Return the nearest place in an image; for what is no number, its edge."""
    if not place > 0.0:
        return 0.0
    return min(place, length - 1.0)


@_compiled
def _between(a: Any, b: Any, c: Any, d: Any, y: Any, x: Any) -> Any:
    """Interpolate between four pixels as Cellpose's kernel rounds: single times single is single."""
    return a * (1 - y) * (1 - x) + b * (1 - y) * x + c * y * (1 - x) + d * y * x


@_compiled
def follow(speed: NDArray[np.float32], starts: NDArray[np.int32], steps: int) -> NDArray[np.int32]:
    """Follow pixels along a flow, by Euler steps with bilinear interpolation.

    A pixel's way depends on where it is alone, so that a place seen twice closes a circle; the rest
    of the steps is then known without walking (Brent 1980). Near a sink that happens early.

    Parameters
    ----------
    speed : ndarray of float32, shape (h, w, 2)
        Pixels a step along y and x.
    starts : ndarray of int32, shape (n, 2)
        Rows and columns.
    steps : int
        Number of steps.

    Returns
    -------
    ndarray of int32, shape (n, 2)
        Rows and columns of where they end, rounded down.
    """
    height, width = speed.shape[0], speed.shape[1]
    ends = np.empty_like(starts)
    for index in range(starts.shape[0]):
        y: Any = np.float32(starts[index, 0])
        x: Any = np.float32(starts[index, 1])
        seen_y, seen_x = y, x
        since, power, left = 0, 1, steps
        while left > 0:
            y0, x0 = int(y), int(x)
            fy, fx = np.float32(y - y0), np.float32(x - x0)
            y1, x1 = min(height - 1, y0 + 1), min(width - 1, x0 + 1)
            a, b, c, d = speed[y0, x0], speed[y0, x1], speed[y1, x0], speed[y1, x1]
            step_y = _between(a[0], b[0], c[0], d[0], fy, fx)
            step_x = _between(a[1], b[1], c[1], d[1], fy, fx)
            y = np.float32(_within(y + np.float32(step_y), height))
            x = np.float32(_within(x + np.float32(step_x), width))
            left -= 1
            since += 1
            if y == seen_y and x == seen_x:
                left %= since
                since, power = 0, steps + 1  # what is left is less than a circle
            elif since == power:
                seen_y, seen_x = y, x
                since, power = 0, 2 * power
        ends[index, 0], ends[index, 1] = np.int32(y), np.int32(x)
    return ends


@_compiled
def gather(
    starts: NDArray[np.int32], ends: NDArray[np.int32], height: int, width: int
) -> tuple[NDArray[np.int32], int]:
    """Make a mask of all pixels that end near one place.

    Parameters
    ----------
    starts, ends : ndarray of int32, shape (n, 2)
        Rows and columns.
    height, width : int
        Of the image.

    Returns
    -------
    labels : ndarray of int32, shape (height, width)
        1 to at most the second; some may be of no pixel.
    masks : int
        Number of peaks, from the lowest to the highest, which wins where two meet.
    """
    density = np.zeros((height + 2 * _PAD, width + 2 * _PAD), np.int32)
    for index in range(ends.shape[0]):
        density[ends[index, 0] + _PAD, ends[index, 1] + _PAD] += 1
    # More peaks there cannot be, for each has its own pixels.
    peaks = np.empty((ends.shape[0] // (_SEED_PIXELS + 1) + 1, 2), np.int32)
    heights = np.empty(peaks.shape[0], np.int32)
    found = 0
    for row in range(_PAD, _PAD + height):
        for column in range(_PAD, _PAD + width):
            here = density[row, column]
            if here <= _SEED_PIXELS:
                continue
            around = density[row - _PEAK : row + _PEAK + 1, column - _PEAK : column + _PEAK + 1]
            if around.max() == here:
                peaks[found, 0], peaks[found, 1] = row, column
                heights[found] = here
                found += 1
    owner = np.zeros_like(density)
    order = np.argsort(heights[:found], kind="mergesort")
    for label in range(1, found + 1):
        peak = order[label - 1]
        _grow(density, owner, peaks[peak, 0], peaks[peak, 1], label)
    labels = np.zeros((height, width), np.int32)
    for index in range(ends.shape[0]):
        labels[starts[index, 0], starts[index, 1]] = owner[
            ends[index, 0] + _PAD, ends[index, 1] + _PAD
        ]
    return labels, found


@_compiled
def _grow(
    density: NDArray[np.int32], owner: NDArray[np.int32], row: int, column: int, label: int
) -> None:
    """Write a label into the bins around a peak that are connected with it and full enough."""
    side = 2 * _GROWTH + 1
    near = density[row - _GROWTH : row + _GROWTH + 1, column - _GROWTH : column + _GROWTH + 1]
    reached = np.zeros((side + 2, side + 2), np.bool_)
    reached[_GROWTH + 1, _GROWTH + 1] = True
    for _ in range(_GROWTH):
        before = reached.copy()
        for y in range(side):
            for x in range(side):
                reached[y + 1, x + 1] = (
                    near[y, x] > _GROW_PIXELS and before[y : y + 3, x : x + 3].any()
                )
    for y in range(side):
        for x in range(side):
            if reached[y + 1, x + 1]:
                owner[row - _GROWTH + y, column - _GROWTH + x] = label


@_compiled
def mark(present: NDArray[np.bool_], labels: NDArray[np.int32]) -> None:
    """Set what is among the labels; in place.

    Parameters
    ----------
    present : ndarray of bool, shape (largest label + 1,)
    labels : ndarray of int32, shape (pixels,)
    """
    for index in range(labels.size):
        present[labels[index]] = True


@_compiled
def boxes_of(labels: NDArray[np.int32], masks: int) -> NDArray[np.int32]:
    """Return the bounding boxes of labels 1 to `masks`.

    Returns
    -------
    ndarray of int32, shape (masks, 4)
        First row, row after the last, first column, column after the last; all zero without pixels.
    """
    height, width = labels.shape
    boxes = np.zeros((masks, 4), np.int32)
    boxes[:, 0], boxes[:, 2] = height, width
    for row in range(height):
        for column in range(width):
            label = labels[row, column]
            if label > 0:
                box = boxes[label - 1]
                box[0] = min(box[0], row)
                box[1] = row + 1
                box[2] = min(box[2], column)
                box[3] = max(box[3], column + 1)
    for index in range(masks):
        if boxes[index, 1] == 0:
            boxes[index] = 0
    return boxes


@_compiled
def flow_errors(
    labels: NDArray[np.int32], flows: NDArray[np.float32], boxes: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Return how far the network's flows are from those that the masks themselves would have.

    A mask's own flow is the gradient of what diffuses in it from its centre.

    Parameters
    ----------
    labels : ndarray of int32, shape (h, w)
    flows : ndarray of float32, shape (2, h, w)
        The network's, in unit lengths.
    boxes : ndarray of int32, shape (n, 4)
        As :func:`boxes_of` returns them.

    Returns
    -------
    ndarray of float64, shape (n,)
        Mean squared difference, summed over the two axes; 0 without pixels.
    """
    errors = np.zeros(boxes.shape[0])
    for index in range(boxes.shape[0]):
        top, bottom, left, right = boxes[index]
        if bottom == top:
            continue
        inside = np.zeros((bottom - top + 2, right - left + 2))
        for row in range(top, bottom):
            for column in range(left, right):
                if labels[row, column] == index + 1:
                    inside[row - top + 1, column - left + 1] = 1.0
        heat = _diffuse(inside)
        pixels = 0
        sum_y = sum_x = 0.0
        for y in range(1, inside.shape[0] - 1):
            for x in range(1, inside.shape[1] - 1):
                if inside[y, x] == 0.0:
                    continue
                dy, dx = heat[y + 1, x] - heat[y - 1, x], heat[y, x + 1] - heat[y, x - 1]
                length = _EMPTY + np.sqrt(dy * dy + dx * dx)
                row, column = top + y - 1, left + x - 1
                sum_y += (dy / length - flows[0, row, column]) ** 2
                sum_x += (dx / length - flows[1, row, column]) ** 2
                pixels += 1
        errors[index] = sum_y / pixels + sum_x / pixels
    return errors


@_compiled
def _diffuse(inside: NDArray[np.float64]) -> NDArray[np.float64]:
    """Let one unit a step diffuse from the centre of a mask (1 inside, 0 outside and around)."""
    height, width = inside.shape
    total = total_y = total_x = 0
    for y in range(height):
        for x in range(width):
            if inside[y, x] != 0.0:
                total, total_y, total_x = total + 1, total_y + y, total_x + x
    mean_y, mean_x = total_y / total, total_x / total
    centre_y = centre_x = 0
    nearest = np.inf
    for y in range(height):
        for x in range(width):
            away = (x - mean_x) ** 2 + (y - mean_y) ** 2
            if inside[y, x] != 0.0 and away < nearest:
                nearest, centre_y, centre_x = away, y, x
    heat, other, within = np.zeros(inside.size), np.zeros(inside.size), inside.ravel()
    for _ in range(2 * (height + width)):
        heat[centre_y * width + centre_x] += 1
        _average(heat, within, other, width)
        heat, other = other, heat
    return heat.reshape(inside.shape)


@_compiled
def _average(
    heat: NDArray[np.float64],
    within: NDArray[np.float64],
    other: NDArray[np.float64],
    width: int,
) -> None:
    """Average 3 x 3 pixels around every pixel of a mask, row after row in one array."""
    pixels = heat.size - 2 * width - 2
    # Views that begin at 0: the compiler sees that no index is negative, and uses vectors.
    above, own, below = heat, heat[width:], heat[2 * width :]
    inside, out = within[width + 1 :], other[width + 1 :]
    for x in range(pixels):
        total = own[x + 1] + above[x + 1] + below[x + 1] + own[x] + own[x + 2]
        total = total + above[x] + above[x + 2] + below[x] + below[x + 2]
        out[x] = inside[x] * ((1 / 9.0) * total)


@_compiled
def fill_holes(labels: NDArray[np.int32], boxes: NDArray[np.int32]) -> None:
    """Give every mask, one after another, what it encloses; in place.

    Outside is what can be reached from a mask's bounding box by steps to the four neighbours.

    Parameters
    ----------
    labels : ndarray of int32, shape (h, w)
    boxes : ndarray of int32, shape (n, 4)
        As :func:`boxes_of` returns them.
    """
    for index in range(boxes.shape[0]):
        label = index + 1
        top, bottom, left, right = boxes[index]
        height, width = bottom - top + 2, right - left + 2
        if height < 5 or width < 5:  # no hole without walls around it
            continue
        closed = np.zeros((height, width), np.bool_)  # the mask, and what has been reached
        for row in range(top, bottom):
            for column in range(left, right):
                closed[row - top + 1, column - left + 1] = labels[row, column] == label
        _flood(closed)
        for row in range(top, bottom):
            for column in range(left, right):
                if not closed[row - top + 1, column - left + 1]:
                    labels[row, column] = label


@_compiled
def _flood(closed: NDArray[np.bool_]) -> None:
    """Close all that can be reached from the first pixel, which is open; in place."""
    height, width = closed.shape
    waiting = np.empty(height * width, np.int32)
    waiting[0] = 0
    closed[0, 0] = True
    count = 1
    while count > 0:
        count -= 1
        y, x = divmod(waiting[count], width)
        for near_y, near_x in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= near_y < height and 0 <= near_x < width and not closed[near_y, near_x]:
                closed[near_y, near_x] = True
                waiting[count] = near_y * width + near_x
                count += 1


@_compiled
def refine(
    labels: NDArray[np.int32],
    speed: NDArray[np.float32],
    probability: NDArray[np.float32],
    places: tuple[NDArray[np.float64], NDArray[np.float64]],
    fine: NDArray[np.int32],
    threshold: float,
    steps: int,
) -> None:
    """Give every fine pixel inside a cell the mask into which its flow leads.

    Parameters
    ----------
    labels : ndarray of int32, shape (h, w)
    speed : ndarray of float32, shape (h, w, 2)
        Coarse pixels a step along y and x.
    probability : ndarray of float32, shape (h, w)
    places : tuple of ndarray of float64, shapes (H,) and (W,)
        Rows and columns of the fine pixels, in coarse pixels.
    fine : ndarray of int32, shape (H, W)
        Written; zero where the interpolated probability is not above the threshold.
    threshold : float
    steps : int
        A pixel walks no further than these, and ends where all four coarse pixels around it are
        of one mask.
    """
    height, width = labels.shape
    rows, columns = places
    for row in range(fine.shape[0]):
        start_y = _within(rows[row], height)
        for column in range(fine.shape[1]):
            start_x = _within(columns[column], width)
            y, x = start_y, start_x
            fine[row, column] = 0
            for step in range(steps + 1):
                y0, x0 = int(y), int(x)
                y1, x1 = min(height - 1, y0 + 1), min(width - 1, x0 + 1)
                fy, fx = y - y0, x - x0
                a, b, c, d = (1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx
                if step == 0 and not (
                    a * probability[y0, x0]
                    + b * probability[y0, x1]
                    + c * probability[y1, x0]
                    + d * probability[y1, x1]
                    > threshold
                ):
                    break
                label = labels[int(y + 0.5), int(x + 0.5)]
                if step == steps or (
                    label > 0
                    and labels[y0, x0] == label
                    and labels[y0, x1] == label
                    and labels[y1, x0] == label
                    and labels[y1, x1] == label
                ):
                    fine[row, column] = label
                    break
                move_y = (
                    a * speed[y0, x0, 0]
                    + b * speed[y0, x1, 0]
                    + c * speed[y1, x0, 0]
                    + d * speed[y1, x1, 0]
                )
                move_x = (
                    a * speed[y0, x0, 1]
                    + b * speed[y0, x1, 1]
                    + c * speed[y1, x0, 1]
                    + d * speed[y1, x1, 1]
                )
                y, x = _within(y + move_y, height), _within(x + move_x, width)

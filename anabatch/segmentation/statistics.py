"""What is known of every mask of a label image too large to be held: its box, its first pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from anabatch.segmentation.scratch import let_go
from anabatch.segmentation.views import windows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anabatch.segmentation.views import Image


@dataclass(frozen=True)
class LabelStatistics:
    """Masks 1 to n of an image of W columns; a label need not be there.

    Attributes
    ----------
    boxes : ndarray of int64, shape (n, 4)
        First row, first column, and the row and the column after the last.
    first : ndarray of int64, shape (n,)
        Row times W plus column of the first pixel, row by row; -1 for labels that are not there.
    """

    boxes: NDArray[np.int64]
    first: NDArray[np.int64]

    @property
    def count(self) -> int:
        """Labels that are there."""
        return int(np.count_nonzero(self.first >= 0))

    @property
    def slices(self) -> list[tuple[slice, slice] | None]:
        """The boxes as `scipy.ndimage.find_objects` returns them."""
        return [
            (slice(int(y0), int(y1)), slice(int(x0), int(x1))) if first >= 0 else None
            for (y0, x0, y1, x1), first in zip(self.boxes, self.first, strict=True)
        ]

    @property
    def mean_side(self) -> float:
        """Mean of the longer sides of the bounding boxes, in pixels; NaN without masks."""
        boxes = self.boxes[self.first >= 0]
        sides = boxes[:, 2:] - boxes[:, :2]
        return float(sides.max(axis=1).mean()) if sides.size else float("nan")


def measure_labels(image: Image, side: int) -> LabelStatistics:
    """Measure every mask of a label image, window by window.

    Parameters
    ----------
    image : Image of int32
    side : int
        Windows of so many pixels a side are held at once.

    Notes
    -----
    `dask_image.ndmeasure.find_objects` gives the same boxes, but looks through a whole chunk for
    every mask in it, and joins tables of Python objects: minutes for a thousand masks.
    """
    width = image.shape[1]
    no_box = np.array([*image.shape, 0, 0], np.int64)
    boxes, first = np.empty((0, 4), np.int64), np.empty(0, np.int64)
    for rows, columns in windows(image.shape, side):
        part = image[rows, columns]
        largest = int(part.max(initial=0))
        if largest > first.size:
            more = largest - first.size
            boxes = np.concatenate([boxes, np.tile(no_box, (more, 1))])
            first = np.concatenate([first, np.full(more, -1)])
        names, corners, at = _measure_part(part, largest)
        origin = np.array([rows.start, columns.start])
        boxes[names, :2] = np.minimum(boxes[names, :2], corners[:, :2] + origin)
        boxes[names, 2:] = np.maximum(boxes[names, 2:], corners[:, 2:] + origin)
        place = (at[:, 0] + rows.start) * width + at[:, 1] + columns.start
        known = first[names]
        first[names] = np.where(known < 0, place, np.minimum(known, place))
        let_go(image)
    return LabelStatistics(boxes, first)


def _measure_part(
    part: NDArray[np.int32], largest: int
) -> tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.int64]]:
    """Return the labels that are there less one, their boxes, and their first pixels' places."""
    there = np.zeros(largest + 1, np.bool_)
    there[part] = True
    there[0] = False
    names = np.flatnonzero(there)
    packed = np.zeros(largest + 1, np.int32)
    packed[names] = np.arange(1, names.size + 1)
    own = packed[part]
    boxes = [
        (rows.start, columns.start, rows.stop, columns.stop)
        for rows, columns in ndimage.find_objects(own)
    ]
    at = np.flatnonzero(own)[::-1]
    first = np.zeros(names.size + 1, np.int64)
    first[own.ravel()[at]] = at  # of several the one written last: the first pixel
    corners = np.array(boxes, np.int64).reshape(-1, 4)
    return names - 1, corners, np.stack(np.divmod(first[1:], part.shape[1]), axis=1)


def renumber(statistics: LabelStatistics) -> tuple[NDArray[np.int32], LabelStatistics]:
    """Return new names, 1 to n by first pixels, for old ones, and the statistics under them."""
    order = np.argsort(statistics.first, kind="stable")
    order = order[statistics.first[order] >= 0]
    names = np.zeros(statistics.first.size + 1, np.int32)
    names[order + 1] = np.arange(1, order.size + 1)
    return names, LabelStatistics(statistics.boxes[order], statistics.first[order])

"""From masks at reference resolution to label images of the source's pixels, on disk.

The same steps as in :mod:`~anabatch.segmentation.results`, window by window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anabatch.segmentation import results
from anabatch.segmentation.consistency import choose_owners, settle, shared_pixels
from anabatch.segmentation.passes import Found, Terms, number_by_place
from anabatch.segmentation.scale_bar import clear_scale_bar
from anabatch.segmentation.scratch import largest
from anabatch.segmentation.views import windows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anabatch.segmentation.scale_bar import Box
    from anabatch.segmentation.scratch import DiskImage


def to_source(
    found: Found, shape: tuple[int, int], bar: Box | None, terms: Terms
) -> tuple[DiskImage, dict[str, int]]:
    """Bring masks to the source's resolution and off the scale bar.

    Parameters
    ----------
    found : Found
        Its label image may be changed.
    shape : tuple of int
        (H, W) of the source.
    bar : tuple of int or None
        The scale bar, in source pixels.
    terms : Terms

    Returns
    -------
    labels : DiskImage of int32, shape (H, W)
        Masks 1 to n by their first pixels, row by row.
    lost : dict
        Masks that were given up, by reason.
    """
    labels = found.labels
    if labels.shape != shape:
        labels = _nearest(labels, shape, terms)
    before = number_by_place(labels, terms.block)
    if bar is not None:
        _clear_bar(labels, before.boxes, bar)
    after = number_by_place(labels, terms.block) if bar is not None else before
    lost = dict(found.dropped)
    vanished = found.statistics.count - before.count
    lost[results.VANISHED] = lost.get(results.VANISHED, 0) + vanished
    lost[results.ON_SCALE_BAR] = before.count - after.count
    return labels, lost


def _nearest(labels: DiskImage, shape: tuple[int, int], terms: Terms) -> DiskImage:
    image = terms.image(shape, np.int32)
    near = [
        np.minimum((np.arange(to) + 0.5) * (of / to), of - 1).astype(np.intp)
        for of, to in zip(labels.shape, shape, strict=True)
    ]
    for window in windows(shape, terms.block):
        rows, columns = (axis[part] for axis, part in zip(near, window, strict=True))
        part = labels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        image[window] = part[np.ix_(rows - rows[0], columns - columns[0])]
    return image


def _clear_bar(labels: DiskImage, boxes: NDArray[np.int64], bar: Box) -> None:
    """Take masks off the scale bar, in the window that holds all that it touches."""
    y0, x0, y1, x1 = bar
    touched = np.unique(labels[y0:y1, x0:x1])
    around = np.array([*boxes[touched[touched > 0] - 1], bar])
    (top, left), (bottom, right) = around[:, :2].min(axis=0), around[:, 2:].max(axis=0)
    window = slice(int(top), int(bottom)), slice(int(left), int(right))
    there = labels[window]
    own = np.where(np.isin(there, touched), there, 0).astype(np.int32)
    left_over, _ = clear_scale_bar(
        own, (y0 - int(top), x0 - int(left), y1 - int(top), x1 - int(left))
    )
    there[(own > 0) & (left_over == 0)] = 0
    labels[window] = there


def make_consistent(nuclei: DiskImage, cells: DiskImage, side: int) -> None:
    """Give every nucleus to one cell, or to none, as `consistency.consistent` does.

    Parameters
    ----------
    nuclei, cells : DiskImage of int32, shape (H, W)
        Changed.
    side : int
        Windows of so many pixels a side are held at once.
    """
    one, other = nuclei.as_array(), cells.as_array()
    owners = choose_owners(*shared_pixels(one, other), largest(one))
    for window in windows(nuclei.shape, side):
        nuclei[window], cells[window] = settle(nuclei[window], cells[window], owners)

"""Small operations on label images: 0 is no mask, every other value is one mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def consecutive(labels: NDArray[Any]) -> NDArray[np.int32]:
    """Renumber masks 1 to n, in the order of their labels."""
    present = _present(labels)
    if present[1:].all():
        return np.array(labels, dtype=np.int32)
    names = np.cumsum(present, dtype=np.int32)
    return np.asarray(names[labels], dtype=np.int32)


def count(labels: NDArray[Any]) -> int:
    """Return the number of masks."""
    return int(np.count_nonzero(_present(labels)))


def count_in(labels: NDArray[Any], part: tuple[slice, slice] | None) -> int:
    """Return the number of masks whose first pixel, row by row, lies in a part (None: anywhere)."""
    if part is None:
        return count(labels)
    at = np.flatnonzero(labels)[::-1]
    first = np.full(int(labels.max(initial=0)) + 1, -1)
    first[labels.ravel()[at]] = at  # of several the one written last: the first pixel
    places = np.divmod(first[first >= 0], labels.shape[1])
    within = [
        (place >= span.start) & (place < span.stop)
        for place, span in zip(places, part, strict=True)
    ]
    return int(np.count_nonzero(within[0] & within[1]))


def _present(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which masks there are, shape (largest label + 1,); 0 is none."""
    from anabatch.segmentation import kernels

    # By their values, for sorting all pixels takes many times as long.
    present = np.zeros(int(labels.max(initial=0)) + 1, np.bool_)
    kernels.mark(present, labels.astype(np.int32, copy=False).ravel())
    present[0] = False
    return present


def fill_and_filter(labels: NDArray[Any], min_size: int) -> NDArray[np.int32]:
    """Drop small masks and fill the holes of the others, as Cellpose does.

    What lies in a hole, stray pixels or a smaller mask, goes to the mask around it.

    Parameters
    ----------
    labels : ndarray of integers, shape (H, W)
    min_size : int
        Masks of fewer pixels are dropped, before and after the filling.

    Returns
    -------
    ndarray of int32, shape (H, W)
        Masks 1 to n.
    """
    from anabatch.segmentation import kernels

    whole = _without_small(labels, min_size)
    kernels.fill_holes(whole, kernels.boxes_of(whole, int(whole.max(initial=0))))
    return _without_small(whole, min_size)


def _without_small(labels: NDArray[Any], min_size: int) -> NDArray[np.int32]:
    packed = consecutive(labels)
    if min_size <= 1:
        return packed
    small = np.bincount(packed.ravel()) < min_size
    small[0] = False
    return consecutive(np.where(small[packed], 0, packed)) if small.any() else packed


def resize_nearest(labels: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.int32]:
    """Scale a label image to `shape` (H, W); every pixel takes the nearest one's label."""
    if labels.shape == shape:
        return labels.astype(np.int32)
    rows, columns = (
        np.minimum((np.arange(to) + 0.5) * (of / to), of - 1).astype(np.intp)
        for of, to in zip(labels.shape, shape, strict=True)
    )
    return np.asarray(labels[np.ix_(rows, columns)], dtype=np.int32)


def refine(
    labels: NDArray[np.int32],
    flows: NDArray[np.float32],
    probability: NDArray[np.float32],
    shape: tuple[int, int],
    threshold: float,
) -> NDArray[np.int32]:
    """Bring masks from the network's resolution to a finer one, along the network's flows.

    A fine pixel that the interpolated probability puts inside a cell belongs to the mask into which
    its flow leads: it walks in steps of a network pixel until all network pixels around it are of
    one mask. That gives smooth outlines at the cost of a few steps at the rims of masks, where
    following all fine pixels to the cells' centres takes hundreds.

    Parameters
    ----------
    labels : ndarray of int32, shape (h, w)
        Masks in network pixels.
    flows : ndarray of float32, shape (2, h, w)
        The network's flows along y and x, five times unit length.
    probability : ndarray of float32, shape (h, w)
        Logits.
    shape : tuple of int
        (H, W), the finer resolution.
    threshold : float
        Logits above it are inside.

    Returns
    -------
    ndarray of int32, shape (H, W)
        The same labels.
    """
    rows, columns = (
        (np.arange(to) + 0.5) * (of / to) - 0.5 for of, to in zip(labels.shape, shape, strict=True)
    )
    return refine_at(labels, flows, probability, (rows, columns), threshold)


def refine_at(
    labels: NDArray[np.int32],
    flows: NDArray[np.float32],
    probability: NDArray[np.float32],
    places: tuple[NDArray[np.float64], NDArray[np.float64]],
    threshold: float,
) -> NDArray[np.int32]:
    """Do as :func:`refine` for a window of fine pixels.

    Parameters
    ----------
    labels, flows, probability
        As there, of the window and at least :data:`REFINING_REACH` network pixels around it.
    places : tuple of ndarray of float64, shapes (H,) and (W,)
        Rows and columns of the fine pixels, in network pixels of what is given.
    threshold : float
        Logits above it are inside.

    Returns
    -------
    ndarray of int32, shape (H, W)
        The same labels.
    """
    from anabatch.segmentation import kernels

    # The flow is blind outside of cells: there it would carry pixels anywhere.
    speed = flows * (probability > threshold) / np.float32(5.0)
    rows, columns = places
    fine = np.empty((rows.size, columns.size), np.int32)
    kernels.refine(
        np.ascontiguousarray(labels, np.int32),
        np.ascontiguousarray(np.moveaxis(speed, 0, -1), np.float32),
        np.ascontiguousarray(probability, np.float32),
        places,
        fine,
        threshold,
        _REFINING_STEPS,
    )
    return fine


# In network pixels: more than from the rim of a mask to its middle.
_REFINING_STEPS = 20

REFINING_REACH = _REFINING_STEPS + 4
"""Network pixels from a fine pixel that may decide to which mask it belongs."""

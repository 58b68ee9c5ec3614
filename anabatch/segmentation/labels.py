"""Small operations on label images: 0 is no mask, every other value is one mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray


def consecutive(labels: NDArray[Any]) -> NDArray[np.int32]:
    """Renumber masks 1 to n, in the order of their labels."""
    present = np.unique(labels)
    present = present[present != 0]
    if present.size == 0:
        return np.zeros(labels.shape, np.int32)
    names = np.zeros(int(present[-1]) + 1, np.int32)
    names[present] = np.arange(1, present.size + 1)
    return np.asarray(names[labels], dtype=np.int32)


def count(labels: NDArray[Any]) -> int:
    """Return the number of masks."""
    return int(np.count_nonzero(np.unique(labels)))


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
    whole = _without_small(labels, min_size)
    for label, box in enumerate(ndimage.find_objects(whole), start=1):
        view = whole[box]
        view[ndimage.binary_fill_holes(view == label)] = label
    return _without_small(whole, min_size)


def _without_small(labels: NDArray[Any], min_size: int) -> NDArray[np.int32]:
    packed = consecutive(labels)
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
    its flow leads within a few network pixels. That gives smooth outlines at the cost of a handful
    of steps, where following all fine pixels to the cells' centres takes hundreds.

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
    height, width = shape
    rows = (np.arange(height, dtype=np.float32) + 0.5) * (labels.shape[0] / height) - 0.5
    columns = (np.arange(width, dtype=np.float32) + 0.5) * (labels.shape[1] / width) - 0.5
    at_y, at_x = (np.ascontiguousarray(grid) for grid in np.meshgrid(rows, columns, indexing="ij"))
    inside = _sample(probability, at_y, at_x) > threshold
    # The flow is blind outside of cells: there it would carry pixels anywhere.
    speed = flows * (probability > threshold) / np.float32(5.0)
    for _ in range(_REFINING_STEPS):
        step_y, step_x = _sample(speed[0], at_y, at_x), _sample(speed[1], at_y, at_x)
        at_y, at_x = at_y + step_y, at_x + step_x
    near_y = np.clip(np.rint(at_y), 0, labels.shape[0] - 1).astype(np.intp)
    near_x = np.clip(np.rint(at_x), 0, labels.shape[1] - 1).astype(np.intp)
    return np.where(inside, labels[near_y, near_x], 0).astype(np.int32)


# In network pixels: enough to leave a mask's rim, too few to cross a mask.
_REFINING_STEPS = 6


def _sample(
    image: NDArray[np.float32], y: NDArray[np.float32], x: NDArray[np.float32]
) -> NDArray[np.float32]:
    return np.asarray(
        cv2.remap(
            np.ascontiguousarray(image), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
    )

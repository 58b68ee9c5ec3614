"""Flows to masks: Cellpose's dynamics, at the network's resolution.

The masks are those of `cellpose.dynamics.compute_masks`, pixel by pixel, in a fraction of the time,
and without importing it.

References
----------
Stringer C., Wang T., Michaelos M., Pachitariu M. (2021). Cellpose: a generalist algorithm for
cellular segmentation. Nature Methods 18, 100-106.
Brent R. P. (1980). An improved Monte Carlo factorization algorithm. BIT 20, 176-184.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from anabatch.segmentation.labels import consecutive, count_in, fill_and_filter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anabatch.config import SegmentConfig

LOSSES = ("too_large", "flow_error", "too_small")
"""Why masks are given up, in the order of Cellpose's checks."""

# Euler steps of one network pixel each; Cellpose's own number.
_STEPS = 200
# Cellpose wants more than ten pixels to flow to one place before it begins a mask.
_FEWEST_PIXELS = 11
# Cellpose's own: larger masks, as a share of the image, are taken for background.
_LARGEST_SHARE = 0.4


@dataclass(frozen=True)
class Masks:
    """Masks of one image, and how many were given up.

    Attributes
    ----------
    labels : ndarray of int32, shape (H, W)
        1 to n in network pixels; 0 is no mask.
    dropped : dict
        Masks lost to each of Cellpose's checks, by :data:`LOSSES`.
    """

    labels: NDArray[np.int32]
    dropped: dict[str, int]


def find_masks(
    flows: NDArray[np.float32],
    probability: NDArray[np.float32],
    config: SegmentConfig,
    *,
    image_pixels: int | None = None,
    counted: tuple[slice, slice] | None = None,
) -> Masks:
    """Follow the flows to masks, at the network's own resolution.

    Parameters
    ----------
    flows : ndarray of float32, shape (2, H, W)
        The network's flows along y and x, five times unit length.
    probability : ndarray of float32, shape (H, W)
        Logits.
    config : SegmentConfig
        Thresholds, and the smallest mask in network pixels.
    image_pixels : int, optional
        Network pixels of the image that this is a block of, for masks of most of the image are
        given up; by default this is all of it.
    counted : tuple of slice, optional
        The part of a block in which a mask's first pixel, row by row, must lie for the mask to be
        counted among the losses: so every loss of an image is counted in one of its blocks.

    Returns
    -------
    Masks
        What `cellpose.dynamics.compute_masks` returns, holes filled, with its losses counted.
    """
    found = follow_to_sinks(flows, probability, config.cellprob_threshold)
    small = _without_large(found, _LARGEST_SHARE * (image_pixels or found.size))
    consistent = small
    if config.flow_threshold > 0:
        consistent = without_inconsistent(small, flows, config.flow_threshold)
    kept = fill_and_filter(consistent, config.min_size)
    counts = [count_in(labels, counted) for labels in (found, small, consistent, kept)]
    losses = (before - after for before, after in pairwise(counts))
    return Masks(kept, dict(zip(LOSSES, losses, strict=True)))


def follow_to_sinks(
    flows: NDArray[np.float32], probability: NDArray[np.float32], threshold: float
) -> NDArray[np.int32]:
    """Group the pixels inside of cells by where their flows lead.

    Parameters
    ----------
    flows : ndarray of float32, shape (2, H, W)
        Along y and x, five times unit length.
    probability : ndarray of float32, shape (H, W)
        Logits.
    threshold : float
        Logits above it are inside.

    Returns
    -------
    ndarray of int32, shape (H, W)
        Masks 1 to n, by the number of pixels at their sinks, ascending.
    """
    from anabatch.segmentation import kernels

    inside = probability > threshold
    starts = np.argwhere(inside).astype(np.int32)
    if starts.shape[0] < _FEWEST_PIXELS:
        return np.zeros(probability.shape, np.int32)
    ends = kernels.follow(speed_of(flows, inside), starts, _STEPS)
    return consecutive(kernels.gather(starts, ends, *probability.shape)[0])


def speed_of(flows: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the flow inside of cells in pixels a step, shape (H, W, 2); elsewhere it is 0."""
    speed = np.asarray(flows, np.float32) * inside / np.float32(5.0)
    return np.ascontiguousarray(np.moveaxis(speed, 0, -1))


def without_inconsistent(
    labels: NDArray[np.int32], flows: NDArray[np.float32], threshold: float
) -> NDArray[np.int32]:
    """Give up masks whose own flows are not the network's.

    Parameters
    ----------
    labels : ndarray of int32, shape (H, W)
        Masks 1 to n.
    flows : ndarray of float32, shape (2, H, W)
        The network's flows along y and x, five times unit length.
    threshold : float
        Mean squared error of the flow of unit length, above which a mask is given up.

    Returns
    -------
    ndarray of int32, shape (H, W)
        The masks that are kept, under their old labels.
    """
    from anabatch.segmentation import kernels

    masks = int(labels.max(initial=0))
    unit = np.asarray(flows, np.float32) / np.float32(5.0)
    errors = kernels.flow_errors(labels, unit, kernels.boxes_of(labels, masks))
    names = np.arange(masks + 1, dtype=np.int32)
    names[1:][errors > threshold] = 0
    return names[labels]


def _without_large(labels: NDArray[np.int32], pixels: float) -> NDArray[np.int32]:
    sizes = np.bincount(labels.ravel())
    large = sizes > pixels
    large[0] = False
    return consecutive(np.where(large[labels], 0, labels)) if large.any() else labels

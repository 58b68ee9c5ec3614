"""One pass over an image too large to be held: channels, a network, masks at reference resolution.

The network's tiles lie on the one grid that the whole image has, so its answers do not depend on
how the rest of the work is cut. The rest is done in blocks: flows to masks, masks of neighbouring
blocks brought together, and masks to the finer resolution.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from anabatch.segmentation.channels import LEAST_CONTRAST, scaled
from anabatch.segmentation.dynamics import LOSSES, find_masks
from anabatch.segmentation.labels import REFINING_REACH, count_in, refine_at
from anabatch.segmentation.results import VANISHED
from anabatch.segmentation.scratch import DiskImage
from anabatch.segmentation.seams import lay_out, merge, plan_blocks, take_pieces
from anabatch.segmentation.statistics import LabelStatistics, measure_labels, renumber
from anabatch.segmentation.streams import run_network
from anabatch.segmentation.views import (
    Pointwise,
    level_counts,
    percentile_of,
    resized,
    windows,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from anabatch.config import SegmentConfig
    from anabatch.segmentation.scratch import Window
    from anabatch.segmentation.seams import Block, Piece
    from anabatch.segmentation.views import Image

HALO = 2.0
"""What a block sees around itself, in diameters of what is looked for."""


class SizedNetwork(Protocol):
    """A network, and the diameter that it works at."""

    diameter: float

    def __call__(self, tiles: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Return flows along y and x and the logit, for every pixel of every tile."""
        ...


@dataclass(frozen=True)
class Terms:
    """What all steps on one image have in common.

    Attributes
    ----------
    config : SegmentConfig
    block : int
        Side of a block, in reference pixels.
    folder : Path or None
        Where images on disk are kept; None is where the system keeps temporary files.
    """

    config: SegmentConfig
    block: int
    folder: Path | None

    def image(self, shape: tuple[int, ...], dtype: Any) -> DiskImage:
        """Return an empty image on disk."""
        return DiskImage(shape, dtype, self.folder)


@dataclass(frozen=True)
class Found:
    """Masks of one kind at reference resolution.

    Attributes
    ----------
    labels : DiskImage of int32, shape (h, w)
        Masks 1 to n by their first pixels, row by row.
    statistics : LabelStatistics
    dropped : Counter
        Masks that were given up, by reason.
    """

    labels: DiskImage
    statistics: LabelStatistics
    dropped: Counter[str]


def nothing(shape: tuple[int, ...], terms: Terms) -> Found:
    """Return no masks."""
    none = LabelStatistics(np.empty((0, 4), np.int64), np.empty(0, np.int64))
    return Found(terms.image(shape, np.int32), none, Counter(dict.fromkeys(LOSSES, 0)))


def find(channels: Sequence[Image], network: SizedNetwork, diameter: float, terms: Terms) -> Found:
    """Run one pass.

    Parameters
    ----------
    channels : sequence of one or two Images of uint8 or uint16, shape (h, w)
        At reference resolution.
    network : callable
    diameter : float
        Of what is looked for, in reference pixels.
    terms : Terms

    Returns
    -------
    Found
    """
    whole = channels[0].shape
    shape = scaled(whole, network.diameter / diameter)
    inputs = [_input(channel, shape, terms) for channel in channels]
    if all(channel is None for channel in inputs):  # there is nothing to look at
        return nothing(whole, terms)
    output = terms.image((3, *shape), np.float32)
    run_network(network, (*inputs, None)[:2], shape, terms.config, output)
    coarse, dropped, kept = _masks(output, network.diameter, shape[0] / whole[0], terms)
    fine = _refined(coarse, output, (whole[0], whole[1]), terms)
    fill_holes(fine, terms.block)
    statistics = number_by_place(fine, terms.block)
    dropped[VANISHED] = max(0, kept - statistics.count)
    return Found(fine, statistics, dropped)


def _input(channel: Image, shape: tuple[int, int], terms: Terms) -> Image | None:
    """Return a view of a channel as the network sees it; None for one without contrast."""
    counts = level_counts(channel, terms.block)
    low, high = percentile_of(counts, 1.0), percentile_of(counts, 99.0)
    if high - low <= LEAST_CONTRAST:
        return None
    start, span = np.float32(low), np.float32(high - low)

    def normalize(image: NDArray[Any], _: Window) -> NDArray[np.float32]:
        return np.asarray((image.astype(np.float32) - start) / span, dtype=np.float32)

    return resized(Pointwise(normalize, (channel,), np.dtype(np.float32)), shape)


def _masks(
    output: DiskImage, diameter: float, scale: float, terms: Terms
) -> tuple[DiskImage, Counter[str], int]:
    """Find masks block by block and bring them together, in network pixels.

    Returns them, those given up by reason, and how many the blocks kept.
    """
    shape = (output.shape[1], output.shape[2])
    blocks = plan_blocks(shape, max(1, ceil(terms.block * scale)), ceil(HALO * diameter))
    pieces: list[Piece] = []
    dropped: Counter[str] = Counter()
    kept = 0
    for index, block in enumerate(blocks):
        top, left, bottom, right = block.seen
        seen = output[:, top:bottom, left:right]
        core = _core_within(block)
        masks = find_masks(
            seen[:2], seen[2], terms.config, image_pixels=shape[0] * shape[1], counted=core
        )
        dropped.update(masks.dropped)
        kept += count_in(masks.labels, core)
        pieces += take_pieces(masks.labels, block, index, shape)
    coarse = terms.image(shape, np.int32)
    lay_out(merge(pieces, blocks), coarse, terms.config.min_size)
    return coarse, dropped, kept


def _core_within(block: Block) -> Window:
    """Return the core of a block as a window of what the block sees."""
    (y0, x0, y1, x1), (top, left, _, _) = block.core, block.seen
    return slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)


def _refined(
    coarse: DiskImage, output: DiskImage, shape: tuple[int, int], terms: Terms
) -> DiskImage:
    """Bring masks to reference resolution, along the network's flows."""
    fine = terms.image(shape, np.int32)
    places = [
        (np.arange(to) + 0.5) * (of / to) - 0.5 for of, to in zip(coarse.shape, shape, strict=True)
    ]
    for window in windows(shape, terms.block):
        own = [axis[part] for axis, part in zip(places, window, strict=True)]
        first = [max(0, int(axis[0]) - REFINING_REACH) for axis in own]
        last = [int(axis[-1]) + 1 + REFINING_REACH for axis in own]
        around = tuple(slice(start, stop) for start, stop in zip(first, last, strict=True))
        seen = output[(slice(None), *around)]
        at = own[0] - first[0], own[1] - first[1]
        fine[window] = refine_at(
            coarse[around], seen[:2], seen[2], at, terms.config.cellprob_threshold
        )
    return fine


def fill_holes(labels: DiskImage, side: int) -> None:
    """Give every mask of an image, one after another, what it encloses.

    Parameters
    ----------
    labels : DiskImage of int32, shape (h, w)
        Changed.
    side : int
        Windows of so many pixels a side are held at once.
    """
    from anabatch.segmentation import kernels

    for label, box in enumerate(measure_labels(labels, side).boxes, start=1):
        top, left, bottom, right = (int(edge) for edge in box)
        if bottom <= top:
            continue
        window = slice(top, bottom), slice(left, right)
        there = labels[window]
        own = (there == label).astype(np.int32)
        kernels.fill_holes(own, np.array([[0, bottom - top, 0, right - left]], np.int32))
        enclosed = (own > 0) & (there != label)
        if enclosed.any():
            there[enclosed] = label
            labels[window] = there


def number_by_place(labels: DiskImage, side: int) -> LabelStatistics:
    """Give the masks of an image the numbers 1 to n by their first pixels, row by row.

    Parameters
    ----------
    labels : DiskImage of int32, shape (h, w)
        Changed.
    side : int
        Windows of so many pixels a side are held at once.
    """
    names, statistics = renumber(measure_labels(labels, side))
    for window in windows(labels.shape, side):
        labels[window] = names[labels[window]]
    return statistics

"""A network over an image too large to be held: tile by tile, blended row of tiles by row of tiles.

Tiles, batches and weights are those of :func:`anabatch.segmentation.tiling.run_tiled`, and so is
every number that comes out.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.segmentation.tiling import fading, plan_grid, run_batches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from anabatch.config import SegmentConfig
    from anabatch.segmentation.scratch import DiskImage
    from anabatch.segmentation.tiling import Grid, TileNetwork
    from anabatch.segmentation.views import Image


# Columns that are worked on together.
_COLUMNS = 1024


@dataclass
class _Band:
    """The weighted sums of what tiles say, and of the weights, of a row of tiles.

    `start` is the first row in the padded image.
    """

    total: NDArray[np.float32]
    weight: NDArray[np.float64]
    start: int = 0


def run_network(
    network: TileNetwork,
    channels: Sequence[Image | None],
    shape: tuple[int, int],
    config: SegmentConfig,
    output: DiskImage,
) -> None:
    """Run a network over an image.

    Parameters
    ----------
    network : callable
        (n, channels, height, width) to (n, 3, height, width).
    channels : sequence of Image of float32, shape (h, w)
        In network pixels; None is a channel of zeros.
    shape : tuple of int
        (h, w).
    config : SegmentConfig
        The tiles' longest side, overlap and number in a batch.
    output : DiskImage of float32, shape (3, h, w)
        Flows along y and x, five times unit length, and logits; written.
    """
    grid = plan_grid(shape, config.tile, config.tile_overlap)
    tiles = (_tile(channels, grid, row, column) for row, column in grid.corners)
    answers = run_batches(network, tiles, config.tiles_at_once)
    weights = fading(grid.tile)
    band = _Band(
        total=np.zeros((3, grid.tile[0], grid.padded[1]), np.float32),
        weight=np.zeros((grid.tile[0], grid.padded[1]), np.float64),
    )
    for start, corners in groupby(grid.corners, key=lambda corner: corner[0]):
        _advance(output, grid, band, start - band.start)
        for _, column in corners:
            part = slice(column, column + grid.tile[1])
            band.total[:, :, part] += next(answers) * weights
            band.weight[:, part] += weights
    _advance(output, grid, band, grid.tile[0])


def _tile(
    channels: Sequence[Image | None], grid: Grid, row: int, column: int
) -> NDArray[np.float32]:
    """Return one tile, zeros where it lies outside of the image."""
    tile = np.zeros((len(channels), *grid.tile), np.float32)
    spans = [
        (max(0, first - before), min(length, first - before + side), before - first)
        for first, before, length, side in zip(
            (row, column), grid.before, grid.shape, grid.tile, strict=True
        )
    ]
    window = tuple(slice(start, stop) for start, stop, _ in spans)
    place = tuple(slice(start + shift, stop + shift) for start, stop, shift in spans)
    for own, channel in zip(tile, channels, strict=True):
        if channel is not None:
            own[place] = channel[window]
    return tile


def _advance(output: DiskImage, grid: Grid, band: _Band, rows: int) -> None:
    """Write the first rows of a band, which are finished, and move the others up."""
    for left in range(0, band.weight.shape[1], _COLUMNS):
        part = slice(left, left + _COLUMNS)
        total, weight = band.total[:, :, part], band.weight[:, part]
        _write(output, grid, (band.start, left), total[:, :rows] / weight[:rows])
        for values in (total, weight):
            kept = values.shape[-2] - rows
            values[..., :kept, :] = values[..., rows:, :]
            values[..., kept:, :] = 0
    band.start += rows


def _write(output: DiskImage, grid: Grid, corner: tuple[int, int], block: NDArray[Any]) -> None:
    """Write a block of the padded image, the padding taken off."""
    spans = [
        (max(start, before), min(start + extent, before + length))
        for start, extent, before, length in zip(
            corner, block.shape[1:], grid.before, grid.shape, strict=True
        )
    ]
    if any(first >= last for first, last in spans):
        return
    to, of = (
        tuple(
            slice(first - origin, last - origin)
            for (first, last), origin in zip(spans, origins, strict=True)
        )
        for origins in (grid.before, corner)
    )
    output[(slice(None), *to)] = block[(slice(None), *of)]

"""A network over an image too large to be held: tile by tile, blended row of tiles by row of tiles.

Tiles, batches and weights are those of :func:`anabatch.segmentation.tiling.run_tiled`, and so is
every number that comes out.
"""

from __future__ import annotations

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
    answers = run_batches(network, tiles, config.tiles_per_batch)
    weights = fading(grid.tile)
    total = np.zeros((3, grid.tile[0], grid.padded[1]), np.float32)
    weight = np.zeros((grid.tile[0], grid.padded[1]), np.float64)
    done = 0
    for start, corners in groupby(grid.corners, key=lambda corner: corner[0]):
        _write(output, grid, done, total[:, : start - done] / weight[: start - done])
        total, weight = _moved(total, start - done), _moved(weight, start - done)
        done = start
        for _, column in corners:
            part = slice(column, column + grid.tile[1])
            total[:, :, part] += next(answers) * weights
            weight[:, part] += weights
    _write(output, grid, done, total / weight)


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


def _moved(band: NDArray[Any], rows: int) -> NDArray[Any]:
    """Return a band so many rows further down."""
    moved = np.zeros_like(band)
    left = band.shape[-2] - rows
    if left > 0:
        moved[..., :left, :] = band[..., rows:, :]
    return moved


def _write(output: DiskImage, grid: Grid, start: int, rows: NDArray[Any]) -> None:
    """Write finished rows of the padded image, the padding taken off."""
    first = max(start, grid.before[0])
    last = min(start + rows.shape[1], grid.before[0] + grid.shape[0])
    if first >= last:
        return
    columns = slice(grid.before[1], grid.before[1] + grid.shape[1])
    place = slice(first - grid.before[0], last - grid.before[0])
    output[:, place] = rows[:, first - start : last - start, columns]

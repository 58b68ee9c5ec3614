"""Images of any size through a network, in tiles that fit them.

All tiles of an image have one shape, which the image's size alone decides: as few as may be, as
small as may be. Tiles of one shape go through the network together, whatever image they are of, in
batches of one size; the last is padded with empty tiles. So the answer for a tile does not depend
on what else is in its batch, and the answer for an image on nothing but the image.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from anabatch.config import SegmentConfig

# The U-Net halves its input several times; Cellpose rounds up to this many pixels, and keeps at
# least half of it empty on every side.
_ROUND = 16
# Width of the sigmoid by which tiles fade towards their border, in network pixels; Cellpose's own.
_FADE = 7.5
# The logit where there is nothing to look at.
_SURELY_OUTSIDE = -10.0


class TileNetwork(Protocol):
    """What runs tiles: (n, channels, height, width) to (n, 3, height, width), float32."""

    def __call__(self, tiles: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Return flows along y and x and the logit, for every pixel of every tile."""
        ...


@dataclass(frozen=True)
class NetworkOutput:
    """What a network says of one image, in network pixels.

    Attributes
    ----------
    flows : ndarray of float32, shape (2, h, w)
        Flows along y and x, five times unit length.
    probability : ndarray of float32, shape (h, w)
        Logits of being inside a cell.
    """

    flows: NDArray[np.float32]
    probability: NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """How one image is cut.

    Attributes
    ----------
    shape : tuple of int
        (h, w) of the image.
    padded : tuple of int
        Its size after padding.
    before : tuple of int
        Rows above and columns left that were padded.
    corners : tuple of (int, int)
        First row and column of every tile in the padded image.
    tile : tuple of int
        Height and width of the tiles.
    """

    shape: tuple[int, int]
    padded: tuple[int, int]
    before: tuple[int, int]
    corners: tuple[tuple[int, int], ...]
    tile: tuple[int, int]


def plan_grid(shape: tuple[int, int], side: int, overlap: float) -> Grid:
    """Cut an image into as few tiles as may be, and these as small as may be.

    Cellpose's own tiles are all of one size, and lie where they fall: at the sizes that fields have,
    it shows every pixel to the network two to three times.

    Parameters
    ----------
    shape : tuple of int
        (h, w) in network pixels.
    side : int
        Longest side of a tile, in pixels; a multiple of 16.
    overlap : float
        What neighbours see both of, at least, as a share of the longest side.
    """
    shared = int(np.ceil(overlap * side))
    before, padded, tile, starts = [], [], [], []
    for length in shape:
        missing = _ROUND * int(np.ceil(length / _ROUND)) - length
        total = length + missing + _ROUND
        tiles = max(1, int(np.ceil((total - shared) / (side - shared))))
        extent = _ROUND * int(np.ceil((total + (tiles - 1) * shared) / tiles / _ROUND))
        before.append(_ROUND // 2 + missing // 2)
        padded.append(total)
        tile.append(extent)
        starts.append([int(at) for at in np.linspace(0, total - extent, tiles)])
    corners = tuple((row, column) for row in starts[0] for column in starts[1])
    return Grid(shape, (padded[0], padded[1]), (before[0], before[1]), corners, (tile[0], tile[1]))


def cut(image: NDArray[np.float32], grid: Grid) -> NDArray[np.float32]:
    """Return the tiles of an image, shape (tiles, channels, height, width)."""
    after = [
        total - first - length
        for total, first, length in zip(grid.padded, grid.before, grid.shape, strict=True)
    ]
    padded = np.pad(image, ((0, 0), (grid.before[0], after[0]), (grid.before[1], after[1])))
    return np.stack(
        [
            padded[:, row : row + grid.tile[0], column : column + grid.tile[1]]
            for row, column in grid.corners
        ]
    )


def blend(tiles: NDArray[np.float32], grid: Grid) -> NetworkOutput:
    """Average overlapping tiles, each fading towards its border, and take the padding off.

    Parameters
    ----------
    tiles : ndarray of float32, shape (tiles, 3, height, width)
    grid : Grid
    """
    total = np.zeros((tiles.shape[1], *grid.padded), np.float32)
    weight = np.zeros(grid.padded, np.float64)
    weights = fading(grid.tile)
    for tile, (row, column) in zip(tiles, grid.corners, strict=True):
        window = slice(row, row + grid.tile[0]), slice(column, column + grid.tile[1])
        total[(slice(None), *window)] += tile * weights
        weight[window] += weights
    total /= weight
    rows = slice(grid.before[0], grid.before[0] + grid.shape[0])
    columns = slice(grid.before[1], grid.before[1] + grid.shape[1])
    whole = np.ascontiguousarray(total[:, rows, columns])
    return NetworkOutput(flows=whole[:2], probability=whole[2])


def fading(tile: tuple[int, int]) -> NDArray[np.float64]:
    """Return weights of a tile, in its shape: 1 in the middle, falling near the border."""
    rows, columns = (
        1 / (1 + np.exp((np.abs(np.arange(side) - (side - 1) / 2) - (side / 2 - 20)) / _FADE))
        for side in tile
    )
    return np.asarray(rows[:, np.newaxis] * columns)


def run_tiled(
    network: TileNetwork, images: Sequence[NDArray[np.float32]], config: SegmentConfig
) -> list[NetworkOutput]:
    """Run a network over images, tiles of one shape pooled into batches of one size.

    Parameters
    ----------
    network : callable
        (n, channels, height, width) to (n, 3, height, width).
    images : sequence of ndarray of float32, shape (channels, h, w)
        Sizes may differ. An image that is 0 everywhere is not shown to the network: there is
        nothing in it.
    config : SegmentConfig
        The tiles' longest side, overlap and number in a batch.

    Returns
    -------
    list of NetworkOutput
        In the order of the images.
    """
    grids = [plan_grid(_size(image), config.tile, config.tile_overlap) for image in images]
    outputs = [_nothing(_size(image)) for image in images]
    alike: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        if image.any():
            alike[grids[index].tile].append(index)
    for indices in alike.values():
        tiles = (tile for index in indices for tile in cut(images[index], grids[index]))
        answers = run_batches(network, tiles, config.tiles_at_once)
        for index in indices:
            own = np.stack([next(answers) for _ in grids[index].corners])
            outputs[index] = blend(own, grids[index])
    return outputs


def _size(image: NDArray[np.float32]) -> tuple[int, int]:
    return image.shape[1], image.shape[2]


def _nothing(shape: tuple[int, int]) -> NetworkOutput:
    return NetworkOutput(
        flows=np.zeros((2, *shape), np.float32),
        probability=np.full(shape, _SURELY_OUTSIDE, np.float32),
    )


def run_batches(
    network: TileNetwork, tiles: Iterator[NDArray[np.float32]], size: int
) -> Iterator[NDArray[np.float32]]:
    """Yield the network's answers for tiles, in their order; the last batch is padded to `size`."""
    batch: list[NDArray[np.float32]] = []
    for tile in tiles:
        batch.append(tile)
        if len(batch) == size:
            yield from network(np.stack(batch))
            batch = []
    if batch:
        filled = len(batch)
        batch += [np.zeros_like(batch[0])] * (size - filled)
        yield from network(np.stack(batch))[:filled]

"""A network in as much memory as there is: batches too large for the device go through in parts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from anabatch.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_LOG = logging.getLogger(__name__)


class Halving:
    """Halves batches for which the device has too little memory, and goes on.

    Once halved it stays so: all that follows goes through in parts of one size, the last padded.

    Parameters
    ----------
    run : callable
        (n, channels, height, width) to (n, 3, height, width), float32; raises
        `torch.OutOfMemoryError` where the memory does not hold so many.
    """

    def __init__(self, run: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> None:
        self._run = run
        self._pixels: int | None = None  # the most that went through since memory ran out

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run tiles at once, or in parts.

        Raises
        ------
        DeviceError
            The memory does not hold a single tile.
        """
        import torch

        size = self._most(tiles)
        while True:
            try:
                return self._in_parts(tiles, size)
            except torch.OutOfMemoryError as error:
                if size == 1:
                    raise _too_small(tiles) from error
            # Outside of the handler: there the traceback still holds the failed try's tensors.
            torch.cuda.empty_cache()
            size //= 2
            self._pixels = size * tiles[0, 0].size
            _LOG.warning(
                "the device's memory does not hold a batch of %d tiles of %d x %d pixels;"
                " this process goes on with batches of at most %d",
                *(len(tiles), *tiles.shape[2:], size),
            )

    def _most(self, tiles: NDArray[np.float32]) -> int:
        if self._pixels is None:
            return len(tiles)
        return int(max(1, min(len(tiles), self._pixels // tiles[0, 0].size)))

    def _in_parts(self, tiles: NDArray[np.float32], size: int) -> NDArray[np.float32]:
        if size >= len(tiles):
            return self._run(tiles)
        missing = -len(tiles) % size
        padded = np.concatenate([tiles, np.zeros((missing, *tiles.shape[1:]), np.float32)])
        parts = [self._run(padded[at : at + size]) for at in range(0, len(padded), size)]
        return np.concatenate(parts)[: len(tiles)]


def _too_small(tiles: NDArray[np.float32]) -> DeviceError:
    height, width = tiles.shape[2:]
    what = f"the device's memory does not hold one tile of {height} x {width} pixels"
    return DeviceError(what, "Make segment.tile smaller, or end what else uses the device.")

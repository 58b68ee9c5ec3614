"""Training samples drawn by several processes."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Drawn = TypeVar("Drawn")

_CHUNK = 8  # fields that a process draws before it asks for more


def draw(make: Callable[[int], Drawn], count: int, workers: int) -> Iterator[Drawn]:
    """Draw samples by index, in the order of the indices, whatever the number of processes.

    Parameters
    ----------
    make : callable
        Index to sample; it pickles.
    count : int
    workers : int
        Processes; 1 draws in this one.

    Yields
    ------
    object
        What `make` returned.
    """
    if workers == 1:
        yield from map(make, range(count))
        return
    started = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=started, initializer=_alone) as pool:
        yield from pool.map(make, range(count), chunksize=_CHUNK)


def _alone() -> None:
    """Keep the numerical libraries of a process to one thread: there is a process a core."""
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)

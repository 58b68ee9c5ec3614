"""Images one behind the other through all steps, so that a GPU never waits for processors.

Every group of images goes through its steps in a thread of its own. What a network does is behind a
gate that few threads pass at once; while they do, the others decode, prepare and follow flows, for
all of that lets go of Python's lock. So the network's next batch is ready when it ends with one.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray

    Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]

_T = TypeVar("_T")
_R = TypeVar("_R")

AT_ONCE = 2
"""Threads inside the networks: while one's tiles are worked on, the other's are copied."""

_MOST_THREADS = 16


class Gate:
    """Lets a few threads at once into the networks that stand behind it."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._free = BoundedSemaphore(at_once)

    def __call__(self, network: Run) -> Run:
        """Return a network that waits for its turn."""

        def guarded(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
            with self._free:
                return network(tiles)

        return guarded


def threads_for_one_gpu() -> int:
    """Return how many groups are worked on at once: one a processor, no less than three."""
    return max(AT_ONCE + 1, min(_MOST_THREADS, len(os.sched_getaffinity(0))))


def pipelined(
    function: Callable[[_T], _R], groups: Iterable[_T], *, threads: int
) -> Generator[_R, None, None]:
    """Apply a function to groups in threads.

    Parameters
    ----------
    function : callable
    groups : iterable
        Taken as they are needed.
    threads : int
        Groups that are worked on at once. As many results wait at most, so that memory is bounded
        however many groups there are.

    Yields
    ------
    object
        The function's results, in the order of the groups. What the function raises is raised in
        its group's place; groups that were not begun are left, the others are waited for.
    """
    remaining = iter(groups)
    with ThreadPoolExecutor(threads, thread_name_prefix="segment") as pool:
        under_way: deque[Future[_R]] = deque(
            pool.submit(function, group) for group in islice(remaining, threads)
        )
        try:
            while under_way:
                result = under_way.popleft().result()
                under_way.extend(pool.submit(function, group) for group in islice(remaining, 1))
                yield result
        finally:
            for future in under_way:
                future.cancel()


def in_groups(
    function: Callable[[Sequence[_T]], list[_R]], items: Sequence[_T], size: int
) -> list[_R]:
    """Apply a function of several items to groups of them, as :func:`pipelined` does for one GPU.

    Parameters
    ----------
    function : callable
        Items to as many results.
    items : sequence
    size : int
        Items in a group.

    Returns
    -------
    list
        In the order of the items.
    """
    groups = (items[at : at + size] for at in range(0, len(items), size))
    return list(chain.from_iterable(pipelined(function, groups, threads=threads_for_one_gpu())))

"""Nodes of graphs: functions of `anabatch` on values or other nodes, which compute nothing yet."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cv2
import dask
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from threadpoolctl import ThreadpoolController

from anabatch.reduction import reduce_tree
from anabatch.store.disk import disk_error

if TYPE_CHECKING:
    from collections.abc import Callable


def limited(function: Callable[..., Any], threads: int, *arguments: Any) -> Any:
    """Call a function with the numerical libraries held to a number of threads.

    Every task of every backend goes through here: results must not depend on where they were
    computed, and sums of floats depend on the number of threads.

    Raises
    ------
    OSError
        The disk's error, whatever the function made of it.
    """
    cv2.setNumThreads(threads)
    with _libraries(len(sys.modules)).limit(limits=threads):
        try:
            return function(*arguments)
        except Exception as error:
            # by its number the driver tells a full disk from a bad batch; causes may not travel
            disk = disk_error(error)
            if disk is None or disk is error:
                raise
            raise OSError(disk.errno, str(disk.strerror), disk.filename) from error


@lru_cache(maxsize=1)
def _libraries(modules: int) -> ThreadpoolController:
    """Find the libraries that have threads, anew where more modules are imported than before.

    It takes 5 ms, which is a hundred times what most sums of a tree take to merge.
    """
    del modules
    return ThreadpoolController()


def task(function: Callable[..., Any], *arguments: Any, threads: int, on: str | None = None) -> Any:
    """Return a node of a graph: a function of `anabatch` on values or other nodes.

    Parameters
    ----------
    function : callable
        A function of `anabatch.*`, which every worker can import.
    *arguments
        Values, or nodes that give them.
    threads : int
        Threads that the numerical libraries may use.
    on : {'GPU', 'CPU'}, optional
        Kind of worker that computes it: those that have this resource, one such task at a time. In
        this process it says nothing.

    Returns
    -------
    dask.delayed.Delayed
    """
    with _placed(on):
        return dask.delayed(limited, pure=False)(function, threads, *arguments)


def gather(nodes: list[Any], *, on: str | None = None) -> Any:
    """Return a node that gives the values of others as a list; `on` as for :func:`task`."""
    with _placed(on):
        return dask.delayed(list, pure=False)(nodes)


def _placed(on: str | None) -> Any:
    return dask.annotate(resources={on: 1}) if on else nullcontext()


def tree(items: list[Any], merge: Callable[[Any, Any], Any], *, threads: int) -> Any:
    """Return a node that merges others pairwise, by position.

    The tree's shape depends on the number of items alone, so that floating-point sums are bitwise
    the same for any number of workers.

    Parameters
    ----------
    items : list of Delayed
        At least one.
    merge : callable
        A function of `anabatch.*` of two values.
    threads : int
        Threads that the numerical libraries may use.
    """
    return reduce_tree(items, lambda left, right: task(merge, left, right, threads=threads))


def flat(node: Any) -> Any:
    """Return a node with all that it depends on in one layer.

    Every node carries the layers of all that it depends on, one a task. Where a thousand nodes depend on
    one that a thousand others lead to, that would be a million.

    Parameters
    ----------
    node : Delayed
        Nothing of it may be bound to a kind of worker.
    """
    name = f"flat-{node.key}"
    layer = MaterializedLayer(dict(node.__dask_graph__()))
    return Delayed(node.key, HighLevelGraph({name: layer}, {name: set()}), layer=name)

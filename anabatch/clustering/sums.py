"""Sums of rows by cluster, which chunks and workers make and which are added up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.reduction import reduce_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ClusterSums:
    """Sums of the rows that belong to each cluster, over one chunk or many.

    Attributes
    ----------
    counts : ndarray of int64, shape (k,)
        Rows.
    sums : ndarray of float64, shape (k, d)
        Sum of the rows.
    inertia : float
        Sum of the squared distances from the rows to their centres.
    """

    counts: NDArray[np.int64]
    sums: NDArray[np.float64]
    inertia: float


def merge(left: ClusterSums, right: ClusterSums) -> ClusterSums:
    """Add the sums of two disjoint sets of rows, made with the same centres."""
    return ClusterSums(
        left.counts + right.counts, left.sums + right.sums, left.inertia + right.inertia
    )


def sum_chunks(
    chunks: Iterator[NDArray[Any]],
    assign: Callable[[NDArray[Any]], tuple[NDArray[np.intp], NDArray[np.float64]]],
    k: int,
) -> ClusterSums:
    """Sum up rows by the cluster that each is assigned to, chunk by chunk, in a fixed tree.

    Parameters
    ----------
    chunks : iterator of ndarray of float, shape (n, d)
        At least one.
    assign : callable
        Takes a chunk, and returns of every row the position of its cluster, from 0 to k - 1, and the
        squared distance to that cluster's centre.
    k : int
    """
    return reduce_tree((_sum_rows(chunk, *assign(chunk), k) for chunk in chunks), merge)


def _sum_rows(
    rows: NDArray[Any], nearest: NDArray[np.intp], squared: NDArray[np.float64], k: int
) -> ClusterSums:
    sums = np.empty((k, rows.shape[1]))
    for column in range(rows.shape[1]):  # bincount adds in the order of the rows, on every machine
        sums[:, column] = np.bincount(nearest, weights=rows[:, column], minlength=k)
    return ClusterSums(np.bincount(nearest, minlength=k), sums, float(squared.sum()))

"""The identity of clusters from one fit to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

LEAST_OVERLAP = 0.2
"""Share of the rows of either that an old cluster and a new one have in common at least (Jaccard's
index) to be one and the same. A cluster that falls into five equal pieces may go on as one of them."""


def match_clusters(old: ArrayLike, new: ArrayLike, k_old: int, k_new: int) -> NDArray[np.int32]:
    """Find for every new cluster the old one that it continues, so that cluster 7 stays cluster 7.

    Parameters
    ----------
    old : array-like of int, shape (n,)
        Labels from 0 to `k_old - 1`.
    new : array-like of int, shape (n,)
        Labels of the same rows, from 0 to `k_new - 1`.
    k_old : int
        One more than the highest number that was ever given: numbers are not used twice.
    k_new : int

    Returns
    -------
    ndarray of int32, shape (k_new,)
        The number of each new cluster: an old one, by the assignment with the most rows in common
        among those that overlap by :data:`LEAST_OVERLAP`, or a fresh one from `k_old` on.

    References
    ----------
    Kuhn, H. (1955). The Hungarian method for the assignment problem. Naval Research Logistics
    Quarterly 2, 83-97.

    Examples
    --------
    >>> match_clusters([0, 0, 1, 1, 1], [1, 1, 0, 0, 2], k_old=2, k_new=3)
    array([1, 0, 2], dtype=int32)
    """
    left, right = np.asarray(old, dtype=np.intp), np.asarray(new, dtype=np.intp)
    if left.shape != right.shape:
        message = f"old and new labels are not of the same rows: {left.shape} and {right.shape}"
        raise ValueError(message)
    common = np.bincount(left * k_new + right, minlength=k_old * k_new)
    return match_counts(common.reshape(k_old, k_new))


def match_counts(common: NDArray[np.int64]) -> NDArray[np.int32]:
    """Find what :func:`match_clusters` does, from the numbers of rows in common.

    Parameters
    ----------
    common : ndarray of int64, shape (k_old, k_new)
        Rows by their old cluster and their new one.

    Returns
    -------
    ndarray of int32, shape (k_new,)
    """
    k_old, k_new = common.shape
    either = common.sum(axis=1)[:, None] + common.sum(axis=0) - common
    alike = np.where(common >= LEAST_OVERLAP * either, common, 0)
    numbers = np.full(k_new, -1, dtype=np.int32)
    for before, after in zip(*linear_sum_assignment(alike, maximize=True), strict=True):
        if alike[before, after]:
            numbers[after] = before
    fresh = numbers < 0
    numbers[fresh] = k_old + np.arange(fresh.sum())
    return numbers

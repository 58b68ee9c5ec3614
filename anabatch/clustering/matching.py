"""The identity of clusters from one fit to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_OVERLAP = 0.2
"""Share of the rows of either that an old cluster and a new one have in common at least (Jaccard's
index) to be one and the same. A cluster that falls into five equal pieces may go on as one of them."""


def match_counts(common: NDArray[np.int64]) -> NDArray[np.int32]:
    """Find for every new cluster the old one that it continues, so that cluster 7 stays cluster 7.

    Parameters
    ----------
    common : ndarray of int64, shape (k_old, k_new)
        Rows by their old cluster and their new one. `k_old` is one more than the highest number that was
        ever given: numbers are not used twice.

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
    >>> match_counts(np.array([[0, 2, 0], [2, 0, 1]]))
    array([1, 0, 2], dtype=int32)
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

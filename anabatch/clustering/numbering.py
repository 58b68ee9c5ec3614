"""The numbers by which clusters are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def by_size(centers: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the order of clusters by decreasing size, and of ties by their centres' coordinates.

    Parameters
    ----------
    centers : ndarray of float64, shape (k, d)
    counts : ndarray of int64, shape (k,)

    Returns
    -------
    ndarray of intp, shape (k,)
    """
    order: NDArray[np.intp] = np.lexsort((*centers.T[::-1], -counts))
    return order


def distinct(numbers: ArrayLike, k: int) -> NDArray[np.int32]:
    """Return the numbers of `k` clusters, shape (k,).

    Raises
    ------
    ValueError
        There are more or fewer of them, or two are the same.
    """
    new = np.asarray(numbers, dtype=np.int32)
    if new.shape != (k,) or len(np.unique(new)) != k:
        message = f"{k} clusters need as many distinct numbers, not {new.tolist()}"
        raise ValueError(message)
    return new

"""What a fitted model of clusters makes of rows, a chunk at a time: k-means and mixtures alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.utils.validation import check_is_fitted, validate_data

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

FLOATS = (np.float64, np.float32, np.float16)
"""Types of rows that are taken as they are."""


class AssigningMixin(ABC):
    """Labels rows by the clusters of a fitted estimator, which says by `_assign` what belongs where."""

    chunk_size: int
    cluster_centers_: NDArray[np.float64]
    cluster_numbers_: NDArray[np.int32]

    @abstractmethod
    def _assign(self, rows: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Return of each row the position of its cluster, and the squared distance to its centre."""

    def predict(self, X: Any) -> NDArray[np.int32]:
        """Return the label of each row's cluster.

        Parameters
        ----------
        X : array-like of float, shape (n, d)
            n may be 0.

        Returns
        -------
        ndarray of int32, shape (n,)
        """
        return self.distances(X)[0]

    def distances(self, X: Any) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the label of each row's cluster, and the row's distance to its centre.

        Parameters
        ----------
        X : array-like of float, shape (n, d)
            n may be 0.

        Returns
        -------
        labels : ndarray of int32, shape (n,)
        distance : ndarray of float32, shape (n,)
            Euclidean.
        """
        rows = self._validate(X)
        labels = np.empty(len(rows), dtype=np.int32)
        distance = np.empty(len(rows), dtype=np.float32)
        start = 0
        for chunk in self._chunks(rows):
            stop = start + len(chunk)
            cluster, squared = self._assign(chunk)
            labels[start:stop] = self.cluster_numbers_[cluster]
            distance[start:stop] = np.sqrt(squared)
            start = stop
        return labels, distance

    def _validate(self, X: Any) -> NDArray[Any]:
        check_is_fitted(self, "cluster_centers_")
        rows: NDArray[Any] = validate_data(self, X, reset=False, dtype=FLOATS, ensure_min_samples=0)
        return rows

    def _chunks(self, rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """Yield the rows in chunks, of which there is one where there are no rows."""
        for start in range(0, max(len(rows), 1), self.chunk_size):
            yield rows[start : start + self.chunk_size]


def nearest(
    rows: NDArray[Any], centers: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return position and squared distance of the nearest centre of each row.

    Parameters
    ----------
    rows : ndarray of float, shape (n, d)
    centers : ndarray of float64, shape (k, d)

    Returns
    -------
    place : ndarray of intp, shape (n,)
    squared : ndarray of float64, shape (n,)
    """
    # by differences, not by a matrix product: nothing cancels, and no number of threads matters
    squared = cdist(rows, centers, "sqeuclidean")
    place = squared.argmin(axis=1)
    return place, squared[np.arange(len(rows)), place]

"""Gaussian mixtures, as clusters: an alternative to k-means where clusters differ in width."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from anabatch.clustering.assigning import FLOATS, AssigningMixin
from anabatch.clustering.numbering import by_size, distinct
from anabatch.clustering.sums import ClusterSums, sum_chunks
from anabatch.errors import PopulationError
from anabatch.estimators import ArraysMixin, check_integers
from anabatch.sampling import draw

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_ITERATIONS = 200
_LEAST_VARIANCE = 1e-3
"""Added to all variances, as a share of their mean: no component closes in on a single row."""


class DiagonalMixture(
    AssigningMixin,
    ArraysMixin,
    ClusterMixin,  # type: ignore[misc]  # scikit-learn publishes no types
    BaseEstimator,  # type: ignore[misc]  # scikit-learn publishes no types
):
    """A mixture of Gaussians with diagonal covariances, fitted by scikit-learn on a pilot.

    It has what :class:`~anabatch.clustering.kmeans.BatchKMeans` has for those who use a fitted model:
    centres, numbers, labels and Euclidean distances. A row's label is its most probable component, which
    need not be the nearest.

    Parameters
    ----------
    n_clusters : int
    restarts : int
        Fits from different k-means; the most likely one is kept.
    pilot_rows : int
        Rows that :meth:`fit` uses.
    chunk_size : int
        Rows that are computed at once.
    random_state : int

    Attributes
    ----------
    cluster_centers_, variances_ : ndarray of float64, shape (k, d)
    weights_ : ndarray of float64, shape (k,)
        Shares of the components.
    cluster_numbers_ : ndarray of int32, shape (k,)
        The label that stands for each component: 0 is the one with the most rows of the pilot.
    counts_ : ndarray of int64, shape (k,)
        Rows of the pilot whose label it is.
    converged_ : bool
        Whether the fit settled within 200 rounds.
    labels_ : ndarray of int32, shape (n,)
        Only after :meth:`fit`.
    n_features_in_ : int

    References
    ----------
    Dempster, A., Laird, N. and Rubin, D. (1977). Maximum likelihood from incomplete data via the EM
    algorithm. Journal of the Royal Statistical Society B 39, 1-38.

    Examples
    --------
    >>> X = np.array([[0.0], [0.1], [0.2], [9.0], [9.1]])
    >>> DiagonalMixture(n_clusters=2).fit(X).labels_
    array([0, 0, 0, 1, 1], dtype=int32)
    """

    _state_stages = (
        (
            "cluster_centers_",
            "variances_",
            "weights_",
            "cluster_numbers_",
            "counts_",
            "converged_",
            "n_features_in_",
        ),
    )

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        restarts: int = 10,
        pilot_rows: int = 20_000,
        chunk_size: int = 4096,
        random_state: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.restarts = restarts
        self.pilot_rows = pilot_rows
        self.chunk_size = chunk_size
        self.random_state = random_state

    def fit(self, X: Any, y: object = None) -> Self:
        """Fit on rows that lie in memory.

        Parameters
        ----------
        X : array-like of float, shape (n, d)
        y : None
            Ignored.

        Raises
        ------
        ConfigurationError
            A parameter is out of range.
        PopulationError
            There are fewer rows than components, or one stays without rows.
        """
        rows = validate_data(self, X, dtype=FLOATS)
        # rows in memory have no ids: their positions are drawn instead
        self._fit(rows[draw(np.arange(len(rows)), self.pilot_rows, self.random_state)], None)
        self.labels_ = self.predict(rows)
        return self

    def fit_pilot(self, pilot: Any, *, means: ArrayLike | None = None) -> Self:
        """Fit on a pilot.

        Parameters
        ----------
        pilot : array-like of float, shape (p, d)
            Rows drawn by :func:`anabatch.sampling.draw`, in its order.
        means : array-like of float, shape (k, d), optional
            Where to start, in place of restarts from k-means: components keep their places in
            `cluster_centers_` then.

        Raises
        ------
        ConfigurationError, PopulationError
            As for :meth:`fit`; but a component that was given its start may stay without rows, as
            `counts_` tells.
        """
        start = None if means is None else np.asarray(means, dtype=np.float64)
        return self._fit(validate_data(self, pilot, dtype=FLOATS), start)

    def _fit(self, pilot: NDArray[Any], means: NDArray[np.float64] | None) -> Self:
        names = ("n_clusters", "restarts", "pilot_rows", "chunk_size")
        check_integers({name: getattr(self, name) for name in names}, least=1)
        check_integers({"random_state": self.random_state}, least=0)
        if len(pilot) < max(self.n_clusters, 2):
            what = f"{self.n_clusters} clusters of n_samples={len(pilot)} cannot be found"
            raise PopulationError(what, "Ask for fewer clusters.")
        rows = np.asarray(pilot, dtype=np.float64)
        mixture = GaussianMixture(
            self.n_clusters,
            covariance_type="diag",
            n_init=self.restarts if means is None else 1,
            max_iter=_ITERATIONS,
            means_init=means,
            reg_covar=max(_LEAST_VARIANCE * float(rows.var(axis=0).mean()), 1e-12),
            random_state=self.random_state,
        )
        # one thread: sums depend on their number
        with threadpool_limits(limits=1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # `converged_` tells
            mixture.fit(rows)
        self.cluster_centers_ = np.asarray(mixture.means_, dtype=np.float64)
        self.variances_ = np.asarray(mixture.covariances_, dtype=np.float64)
        self.weights_ = np.asarray(mixture.weights_, dtype=np.float64)
        self.converged_ = bool(mixture.converged_)
        self.cluster_numbers_ = np.arange(self.n_clusters, dtype=np.int32)
        self.counts_ = self._sums(rows).counts
        if means is not None:  # an older component whose kind is gone keeps its number
            return self
        if not self.counts_.all():
            empty = int((self.counts_ == 0).sum())
            what = f"{empty} of {self.n_clusters} components have no rows of the pilot"
            raise PopulationError(what, "Ask for fewer clusters.")
        return self._number_by_size()

    def _number_by_size(self) -> Self:
        order = by_size(self.cluster_centers_, self.counts_)
        for name in ("cluster_centers_", "variances_", "weights_", "counts_"):
            setattr(self, name, getattr(self, name)[order])
        return self

    def renumber(self, numbers: ArrayLike) -> Self:
        """Give every component the number that was found for it, in the order of the centres."""
        check_is_fitted(self, "cluster_centers_")
        self.cluster_numbers_ = distinct(numbers, self.n_clusters)
        return self

    def partial_sums(self, X: Any) -> ClusterSums:
        """Assign the rows of a chunk to components and sum them up; `n` may be 0."""
        return self._sums(self._validate(X))

    def _sums(self, rows: NDArray[Any]) -> ClusterSums:
        return sum_chunks(self._chunks(rows), self._assign, self.n_clusters)

    def _assign(self, rows: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Return position and squared distance of the most probable component of each row."""
        log_odds = np.empty((len(rows), self.n_clusters))
        squared = np.empty_like(log_odds)
        for number in range(self.n_clusters):
            step = np.square(rows - self.cluster_centers_[number])
            variance = self.variances_[number]
            squared[:, number] = step.sum(axis=1)
            spread = (step / variance).sum(axis=1) + np.log(variance).sum()
            log_odds[:, number] = np.log(self.weights_[number]) - 0.5 * spread
        best = log_odds.argmax(axis=1)
        return best, squared[np.arange(len(rows)), best]

"""k-means over chunks.

Restarts decide the quality, so they happen where they are cheap: on a pilot. All rows then only move
the centres. A fit is :meth:`~BatchKMeans.fit_pilot`; a few rounds, each of which reduces the sums of a
sample of every chunk and ends with :meth:`~BatchKMeans.minibatch_update`; two passes over all rows,
each of which ends with :meth:`~BatchKMeans.lloyd_update`; and :meth:`~BatchKMeans.number_by_size`.
Sums are reduced in a fixed tree (:func:`anabatch.reduction.reduce_tree`), so that the centres are the same
to the last bit for any number of workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from anabatch.clustering.assigning import FLOATS, AssigningMixin, nearest
from anabatch.clustering.numbering import by_size, distinct
from anabatch.clustering.seeding import find_seeds
from anabatch.clustering.sums import ClusterSums, merge, sum_chunks
from anabatch.estimators import ArraysMixin, check_integers
from anabatch.reduction import reduce_tree
from anabatch.sampling import draw

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_LLOYD_PASSES = 2


class BatchKMeans(
    AssigningMixin,
    ArraysMixin,
    ClusterMixin,  # type: ignore[misc]  # scikit-learn publishes no types
    BaseEstimator,  # type: ignore[misc]  # scikit-learn publishes no types
):
    """k-means with restarts on a pilot, mini-batch rounds, and two passes over all rows.

    Parameters
    ----------
    n_clusters : int
    restarts : int
        k-means++ restarts on the pilot; the one with the smallest inertia is kept.
    rounds : int
        Mini-batch rounds in :meth:`fit`.
    pilot_rows : int
        Rows of the pilot in :meth:`fit`.
    minibatch_rows : int
        Rows of each chunk that a mini-batch round uses.
    chunk_size : int
        Rows that are computed at once.
    random_state : int
        Seed of all drawing.

    Attributes
    ----------
    cluster_centers_ : ndarray of float64, shape (k, d)
    cluster_numbers_ : ndarray of int32, shape (k,)
        The label that stands for each centre: 0 to k - 1 after a fit, where 0 is the largest cluster;
        others once the clusters have been matched to those of an older fit.
    counts_ : ndarray of int64, shape (k,)
        Rows that have gone into each centre: of the pilot and the rounds, or of the last full pass.
    inertia_ : float
        Of the rows of the last update, to the centres before it. After :meth:`fit`, of all rows to
        the final centres.
    empty_clusters_ : ndarray of int32
        Labels of the clusters that had no rows in the last full pass, and so kept their centres.
    labels_ : ndarray of int32, shape (n,)
        Only after :meth:`fit`.
    shift_ : float
        Only after :meth:`lloyd_update`: squared length of the last step of all centres, as a share of
        the mean squared distance of the rows.
    n_features_in_ : int

    References
    ----------
    Sculley, D. (2010). Web-scale k-means clustering. WWW '10, 1177-1178.

    Examples
    --------
    >>> X = np.array([[0.0], [0.1], [0.2], [9.0], [9.1]])
    >>> BatchKMeans(n_clusters=2).fit(X).labels_
    array([0, 0, 0, 1, 1], dtype=int32)
    """

    _state_stages = (
        (
            "cluster_centers_",
            "cluster_numbers_",
            "counts_",
            "inertia_",
            "empty_clusters_",
            "n_features_in_",
        ),
    )

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        restarts: int = 10,
        rounds: int = 2,
        pilot_rows: int = 20_000,
        minibatch_rows: int = 1024,
        chunk_size: int = 4096,
        random_state: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.restarts = restarts
        self.rounds = rounds
        self.pilot_rows = pilot_rows
        self.minibatch_rows = minibatch_rows
        self.chunk_size = chunk_size
        self.random_state = random_state

    def fit(self, X: Any, y: object = None) -> Self:
        """Fit on rows that lie in memory.

        Parameters
        ----------
        X : array-like of float, shape (n, d)
        y : None
            Ignored.

        Returns
        -------
        BatchKMeans
            Itself.

        Raises
        ------
        ConfigurationError
            A parameter is out of range.
        PopulationError
            There are fewer distinct rows than clusters.
        """
        rows = validate_data(self, X, dtype=FLOATS)
        # rows in memory have no ids: their positions are drawn instead
        pilot = rows[draw(np.arange(len(rows)), self.pilot_rows, self.random_state)]
        self._fit_pilot(pilot)
        for number in range(self.rounds):
            samples = (
                self.minibatch_sample(chunk, number, position)
                for position, chunk in enumerate(self._chunks(rows))
            )
            self.minibatch_update(reduce_tree((self._sums(one) for one in samples), merge))
        for _ in range(_LLOYD_PASSES):
            self.lloyd_update(self.partial_sums(rows))
        self.number_by_size()
        self.labels_, distance = self.distances(rows)
        self.inertia_ = float(np.square(distance, dtype=np.float64).sum())
        return self

    def fit_pilot(self, pilot: Any) -> Self:
        """Find first centres by full k-means on a pilot, with restarts.

        Parameters
        ----------
        pilot : array-like of float, shape (p, d)
            Rows drawn by :func:`anabatch.sampling.draw`, in its order: the result depends on it.

        Returns
        -------
        BatchKMeans
            Itself. Clusters are numbered by decreasing size, and in case of a tie by the first
            coordinates of their centres.

        Raises
        ------
        ConfigurationError, PopulationError
            As for :meth:`fit`.
        """
        return self._fit_pilot(validate_data(self, pilot, dtype=FLOATS))

    def _fit_pilot(self, pilot: NDArray[Any]) -> Self:
        self._check_parameters()
        seeds = find_seeds(pilot, self.n_clusters, self.restarts, self.random_state)
        self.cluster_centers_ = seeds.centers
        self.counts_ = seeds.counts
        self.inertia_ = seeds.inertia
        self.empty_clusters_ = np.empty(0, dtype=np.int32)
        return self.number_by_size()

    def start_at(self, centers: ArrayLike, numbers: ArrayLike) -> Self:
        """Take centres as they are, as those of an older fit, in place of :meth:`fit_pilot`.

        Parameters
        ----------
        centers : array-like of float, shape (k, d)
        numbers : array-like of int, shape (k,)
            Their labels.

        Returns
        -------
        BatchKMeans
            Itself, which no row has gone into.
        """
        self._check_parameters()
        rows = validate_data(self, centers, dtype=np.float64)
        self.cluster_centers_ = np.array(rows, dtype=np.float64)
        self.cluster_numbers_ = np.arange(self.n_clusters, dtype=np.int32)
        self.counts_ = np.zeros(self.n_clusters, dtype=np.int64)
        self.inertia_ = float("nan")
        self.empty_clusters_ = np.empty(0, dtype=np.int32)
        return self.renumber(numbers)

    def _check_parameters(self) -> None:
        names = ("n_clusters", "restarts", "pilot_rows", "minibatch_rows", "chunk_size")
        check_integers({name: getattr(self, name) for name in names}, least=1)
        check_integers({"rounds": self.rounds, "random_state": self.random_state}, least=0)

    def partial_sums(self, X: Any, *, centers: NDArray[np.float64] | None = None) -> ClusterSums:
        """Assign the rows of a chunk to their nearest centres and sum them up.

        Nothing of the model changes, so that threads may share it.

        Parameters
        ----------
        X : array-like of float, shape (n, d)
            n may be 0.
        centers : ndarray of float64, shape (k, d), optional
            In place of the model's own.

        Returns
        -------
        ClusterSums
        """
        return self._sums(self._validate(X), centers)

    def _sums(self, rows: NDArray[Any], centers: NDArray[np.float64] | None = None) -> ClusterSums:
        here = self.cluster_centers_ if centers is None else centers
        return sum_chunks(self._chunks(rows), lambda chunk: nearest(chunk, here), len(here))

    def minibatch_sample(self, X: NDArray[Any], round: int, chunk_number: int) -> NDArray[Any]:
        """Draw the rows of a chunk that one mini-batch round uses.

        Parameters
        ----------
        X : ndarray, shape (n, d)
        round, chunk_number : int
            They and `random_state` seed the draw.

        Returns
        -------
        ndarray, shape (min(n, minibatch_rows), d)
            In the order of the chunk.
        """
        if len(X) <= self.minibatch_rows:
            return X
        rng = np.random.default_rng([self.random_state, round, chunk_number])
        return X[np.sort(rng.choice(len(X), size=self.minibatch_rows, replace=False))]

    def minibatch_update(self, sums: ClusterSums) -> Self:
        """Move each centre towards the rows nearest to it, by their share of all rows it has seen.

        Parameters
        ----------
        sums : ClusterSums
            Of one round, to the current centres.

        Returns
        -------
        BatchKMeans
            Itself.
        """
        check_is_fitted(self, "cluster_centers_")
        counts = self.counts_ + sums.counts
        # a cluster that has never had a row stays where it is
        seen = np.maximum(counts, 1)[:, None]
        step = (sums.sums - sums.counts[:, None] * self.cluster_centers_) / seen
        self.cluster_centers_ = self.cluster_centers_ + step
        self.counts_ = counts
        self.inertia_ = sums.inertia
        return self

    def lloyd_update(self, sums: ClusterSums) -> Self:
        """Move each centre to the mean of the rows nearest to it. Numbers stay.

        Parameters
        ----------
        sums : ClusterSums
            Of all rows, to the current centres. A centre without rows stays where it is, and is named
            in `empty_clusters_`.

        Returns
        -------
        BatchKMeans
            Itself.
        """
        check_is_fitted(self, "cluster_centers_")
        filled = sums.counts > 0
        centers = self.cluster_centers_.copy()
        centers[filled] = sums.sums[filled] / sums.counts[filled, None]
        self.shift_ = _shift(self.cluster_centers_, centers, sums)
        self.cluster_centers_ = centers
        self.counts_ = sums.counts
        self.empty_clusters_ = self.cluster_numbers_[~filled]
        self.inertia_ = sums.inertia
        return self

    def number_by_size(self) -> Self:
        """Renumber the clusters from 0 by decreasing size, and ties by the centres' coordinates.

        Only for a new fit: clusters that people already know by their numbers are matched instead.

        Returns
        -------
        BatchKMeans
            Itself.
        """
        check_is_fitted(self, "cluster_centers_")
        order = by_size(self.cluster_centers_, self.counts_)
        known = getattr(self, "cluster_numbers_", np.arange(self.n_clusters, dtype=np.int32))
        empty = np.isin(known, self.empty_clusters_)[order]
        self.cluster_centers_ = self.cluster_centers_[order]
        self.counts_ = self.counts_[order]
        self.cluster_numbers_ = np.arange(self.n_clusters, dtype=np.int32)
        self.empty_clusters_ = self.cluster_numbers_[empty]
        return self

    def renumber(self, numbers: ArrayLike) -> Self:
        """Give every cluster the number that :func:`match_counts` found for it.

        Parameters
        ----------
        numbers : array-like of int, shape (k,)
            In the order of `cluster_centers_`, which in a new fit is that of the labels; distinct.

        Returns
        -------
        BatchKMeans
            Itself.
        """
        check_is_fitted(self, "cluster_centers_")
        new = distinct(numbers, self.n_clusters)
        empty = np.isin(self.cluster_numbers_, self.empty_clusters_)
        self.cluster_numbers_ = new
        self.empty_clusters_ = new[empty]
        return self

    def _assign(self, rows: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        return nearest(rows, self.cluster_centers_)


def _shift(old: NDArray[np.float64], new: NDArray[np.float64], sums: ClusterSums) -> float:
    step = float(np.square(new - old).sum())
    spread = sums.inertia / max(int(sums.counts.sum()), 1)
    return step / spread if spread > 0 else 0.0

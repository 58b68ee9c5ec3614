"""How many clusters: what a sample says of each number, and which to take.

No number is right by itself. The within-cluster sum of squares falls with every cluster; silhouettes say
how far clusters are apart; how well fits on resampled images agree says whether the clusters are in the
cells or in the sample. All of these are means over rows, and none of them sees a kind of a few per cent:
for that, small clusters are judged one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import adjusted_rand_score
from sklearn.metrics.cluster import contingency_matrix

from anabatch.clustering.resampling import resamples
from anabatch.errors import PopulationError
from anabatch.silhouettes import sampled_silhouette, simplified_silhouette

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

STABLE = 0.75
"""Agreement of fits on resampled rows from which a number of clusters is called stable."""


STABLE_CLUSTER = 0.85
"""Mean Jaccard index with fits on resampled rows from which a single cluster is called stable."""

SMALL = 0.1
"""Share of the rows up to which a cluster is called small."""

_LEAST_ROWS = 20  # of a small cluster: fewer are outliers, and found again or not with each of them


@dataclass(frozen=True)
class SmallCluster:
    """One cluster of few rows.

    Attributes
    ----------
    share : float
        Of the rows.
    stability : float
        Mean Jaccard index with the most similar cluster of every fit on resampled rows.
    silhouette : float
        Mean simplified silhouette of its own rows.
    """

    share: float
    stability: float
    silhouette: float


@dataclass(frozen=True, eq=False)
class KStudy:
    """What a sample says of one number of clusters.

    Attributes
    ----------
    k : int
    centers : ndarray of float64, shape (k, d)
        Empty if the number was left out.
    silhouette, silhouette_error : float
        Mean silhouette of samples, and its standard error, from how groups differ.
    agreement, agreement_error : float
        Mean adjusted Rand index of fits on resampled groups with the fit on all rows, and the standard
        deviation of those of single fits: how far another set of groups is off the mean.
    small : SmallCluster or None
        Of the clusters with at most :data:`SMALL` of the rows, and at least 20, the most stable one.
    left_out : str
        Why nothing could be found out, and all numbers above are NaN; usually empty.
    groups : int
        Groups of the rows, such as images. With one, rows took their place.
    redrawn : int
        Resamples that could not hold `k` clusters, and in whose place others were drawn: agreement is that of
        resamples that could. 0 if the number was left out.
    """

    k: int
    centers: NDArray[np.float64]
    silhouette: float
    silhouette_error: float
    agreement: float
    agreement_error: float
    small: SmallCluster | None = None
    left_out: str = ""
    groups: int = 0
    redrawn: int = 0

    @property
    def shows_a_small_cluster(self) -> bool:
        """Whether one of the clusters is small, and stable."""
        return self.small is not None and self.small.stability >= STABLE_CLUSTER


def study_k(
    rows: NDArray[Any],
    k: int,
    fit: Callable[[NDArray[Any], int], Any],
    *,
    groups: NDArray[Any] | None = None,
    bootstraps: int,
    seed: int,
) -> KStudy:
    """Fit `k` clusters on a sample, and on resamples of it.

    Parameters
    ----------
    rows : ndarray of float, shape (n, d)
    k : int
    fit : callable
        Takes rows and restarts (0 for as many as usual), and returns a fitted model with
        `cluster_centers_` and `predict`.
    groups : ndarray, shape (n,), optional
        Each row's group, such as its image. Groups are resampled as a whole, and errors are those of
        groups. Every row is one by itself by default, and also where there is one group alone: of what
        others would give nothing is known then, and all is too sure of itself.
    bootstraps : int
        Resamples with replacement that can hold `k` clusters, at least 1. One that cannot, such as one of
        small images alone, is passed over, and the next one is drawn; twice as many are drawn at most.
    seed : int

    Returns
    -------
    KStudy
        Left out if there are fewer distinct rows than clusters, in all or in more than half of the resamples,
        which have two thirds of the groups: what the others say would be true of exceptions only.

    References
    ----------
    Hennig, C. (2007). Cluster-wise assessment of cluster stability. Computational Statistics & Data
    Analysis 52, 258-271. Here all rows are compared, and not only those of a resample.
    """
    single = np.arange(len(rows))
    known = single if groups is None else groups
    count = len(np.unique(known))
    drawn_by = known if count > 1 else single
    try:
        model = fit(rows, 0)
        labels = model.predict(rows)
        silhouette, error = sampled_silhouette(rows, labels, seed=seed, groups=drawn_by)
    except PopulationError as problem:
        return _left_out(rows, k, problem.what, count)
    # lazily: the second half takes the place of those that cannot hold the clusters
    draws = resamples(drawn_by, 2 * bootstraps, [seed, k])
    try:
        scores, overlaps, redrawn = _compare(rows, labels, fit, draws, bootstraps)
    except PopulationError as problem:
        what = "cells" if drawn_by is single else "images"
        why = f"in most resamples, of {what} drawn with replacement, {problem.what}"
        return _left_out(rows, k, why, count)
    centers = np.asarray(model.cluster_centers_)
    return KStudy(
        k,
        centers,
        silhouette,
        error,
        float(np.mean(scores)),
        float(np.std(scores, ddof=1)) if bootstraps > 1 else float("nan"),
        _most_stable(rows, labels, centers, np.mean(overlaps, axis=0)),
        groups=count,
        redrawn=redrawn,
    )


_FEW_RESTARTS = 3


def _compare(
    rows: NDArray[Any],
    labels: NDArray[Any],
    fit: Callable[[NDArray[Any], int], Any],
    draws: Iterable[NDArray[np.intp]],
    wanted: int,
) -> tuple[list[float], list[NDArray[np.float64]], int]:
    """Compare fits on resamples with all rows' labels, until there are as many as are wanted.

    Returns their adjusted Rand indices, the clusters' best overlaps, and how many resamples were passed over
    because they could not be fitted. With more of these than are wanted, PopulationError is raised.
    """
    scores: list[float] = []
    overlaps: list[NDArray[np.float64]] = []
    redrawn = 0
    for chosen in draws:
        try:
            again = fit(rows[chosen], _FEW_RESTARTS).predict(rows)
        except PopulationError:
            redrawn += 1
            if redrawn > wanted:
                raise
            continue
        scores.append(adjusted_rand_score(labels, again))
        overlaps.append(best_overlaps(labels, again))
        if len(scores) == wanted:
            break
    return scores, overlaps, redrawn


def _left_out(rows: NDArray[Any], k: int, why: str, groups: int) -> KStudy:
    unknown = float("nan")
    centers = np.empty((0, rows.shape[1]))
    return KStudy(k, centers, unknown, unknown, unknown, unknown, left_out=why, groups=groups)


def best_overlaps(labels: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
    """Return each cluster's Jaccard index with the cluster of other labels that is most like it.

    Parameters
    ----------
    labels, others : ndarray of int, shape (n,)

    Returns
    -------
    ndarray of float64, shape (clusters,)
        In the order of the labels' values, from 0 to 1.

    Examples
    --------
    >>> best_overlaps(np.array([0, 0, 0, 1]), np.array([7, 7, 2, 2])).round(2).tolist()
    [0.67, 0.5]
    """
    common = contingency_matrix(labels, others)
    either = common.sum(axis=1)[:, None] + common.sum(axis=0) - common
    return np.asarray((common / either).max(axis=1), dtype=np.float64)


def _most_stable(
    rows: NDArray[Any],
    labels: NDArray[Any],
    centers: NDArray[np.float64],
    stability: NDArray[np.float64],
) -> SmallCluster | None:
    values, sizes = np.unique(labels, return_counts=True)
    (small,) = np.nonzero((sizes >= _LEAST_ROWS) & (sizes <= SMALL * len(rows)))
    if not len(small):
        return None
    best = small[stability[small].argmax()]
    own = simplified_silhouette(rows[labels == values[best]], centers)
    return SmallCluster(float(sizes[best] / len(rows)), float(stability[best]), own)


def knee(ks: Sequence[int], squares: Sequence[float]) -> int:
    """Return where a falling curve bends most: the point farthest below the line between its ends.

    A hint and no more: with another range of `ks` it is another one.

    Parameters
    ----------
    ks : sequence of int
        Rising.
    squares : sequence of float
        Within-cluster sums of squares.

    References
    ----------
    Satopää, V. et al. (2011). Finding a "kneedle" in a haystack. ICDCSW '11, 166-171.

    Examples
    --------
    >>> knee([2, 3, 4, 5, 6], [100, 60, 20, 18, 16])
    4
    """
    x, y = np.asarray(ks, dtype=float), np.asarray(squares, dtype=float)
    if len(x) < 3 or y[0] == y[-1]:
        return int(ks[0])
    across = (x - x[0]) / (x[-1] - x[0])
    below = 1 - across - (y - y[-1]) / (y[0] - y[-1])
    return int(ks[int(below.argmax())])


def suggest(studies: Sequence[KStudy]) -> int:
    """Return the number with the largest silhouette, of the stable ones if there are any.

    Raises
    ------
    PopulationError
        All numbers were left out.
    """
    tried = [study for study in studies if not study.left_out]
    if not tried:
        what = f"no number of clusters could be tried: {studies[0].left_out}"
        raise PopulationError(what, "Give smaller numbers, or cluster more cells.")
    stable = [study for study in tried if study.agreement >= STABLE] or tried
    return max(stable, key=lambda study: (study.silhouette, -study.k)).k

"""How well clusters are separated, at a cost that is linear in the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.metrics import silhouette_samples

from anabatch.errors import PopulationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray


def simplified_silhouette(X: ArrayLike, centers: NDArray[np.float64]) -> float:
    """Mean silhouette by distances to centres: linear in the rows, and good for all of them.

    Parameters
    ----------
    X : array-like of float, shape (n, d), n >= 1
    centers : ndarray of float64, shape (k, d), k >= 2

    Returns
    -------
    float
        Mean of `(b - a) / b`, where a and b are the distances to the nearest and the second nearest
        centre; from 0 to 1. Means of several chunks average with their rows as weights.

    References
    ----------
    Hruschka, E., de Castro, L. and Campello, R. (2004). Evolutionary algorithms for clustering
    gene-expression data. ICDM '04, 403-406.
    """
    rows = np.asarray(X, dtype=np.float64)
    if len(centers) < 2 or not len(rows):
        what = f"a silhouette of {len(rows)} rows in {len(centers)} clusters is not defined"
        raise PopulationError(what)
    distance = np.partition(cdist(rows, centers), 1, axis=1)
    near, far = distance[:, 0], distance[:, 1]
    # a row at equal distance 0 from two centres belongs to neither: 0
    return float(np.divide(far - near, far, out=np.zeros_like(far), where=far > 0).mean())


def sampled_silhouette(
    X: NDArray[Any],
    labels: ArrayLike,
    *,
    rows: int = 2000,
    repeats: int = 5,
    seed: int = 0,
    groups: NDArray[Any] | None = None,
) -> tuple[float, float]:
    """Estimate the mean silhouette from samples.

    Every sample has rows of every cluster, so that a cluster of a few rows, or of one, is neither missed
    nor missing; clusters count with their shares of all rows.

    Parameters
    ----------
    X : ndarray of float, shape (n, d)
    labels : array-like of int, shape (n,)
    rows : int
        Rows of a sample, about: each cluster gives its share of them, but no fewer than 20, or all that it
        has. If there are no more than this, all are used, once.
    repeats : int
        Samples, each without replacement.
    seed : int
    groups : ndarray, shape (n,), optional
        Each row's group, such as its image: rows of one group resemble each other.

    Returns
    -------
    mean : float
        From -1 to 1.
    error : float
        Standard error of the mean. With groups, from how they differ, with these clusters: what other
        groups would change; NaN with one group. Without, from how samples differ: what another sample of
        these rows would change, and not what other rows would; 0 when all rows were used, NaN with one
        sample of some.

    Raises
    ------
    PopulationError
        There is only one cluster, or as many clusters as rows.

    References
    ----------
    Rousseeuw, P. (1987). Silhouettes: a graphical aid to the interpretation and validation of cluster
    analysis. Journal of Computational and Applied Mathematics 20, 53-65.

    Cochran, W. (1977). Sampling techniques, chapters 5: stratified random sampling, and 9A: single-stage
    cluster sampling. Wiley.
    """
    _, numbers, sizes = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    if not 2 <= len(sizes) < len(X):
        what = f"a silhouette of {len(X)} rows in {len(sizes)} clusters is not defined"
        raise PopulationError(what)
    few = len(X) <= rows
    samples = [np.arange(len(X))] if few else list(_stratified(numbers, sizes, rows, repeats, seed))
    scored = [_scores(X, numbers, sizes, sample) for sample in samples]
    means = [float(np.average(scores, weights=weights)) for scores, weights in scored]
    mean = float(np.mean(means))
    if groups is not None:
        scores, weights = (np.concatenate(every) for every in zip(*scored, strict=True))
        return mean, _error_by_groups(scores, weights, groups[np.concatenate(samples)])
    if few:
        return mean, 0.0
    if repeats == 1:
        return mean, float("nan")
    return mean, float(np.std(means, ddof=1) / np.sqrt(repeats))


_LEAST_ROWS = 20
"""Of a cluster in a sample: a mean distance to fewer of its rows says too little."""


def _stratified(
    numbers: NDArray[np.intp], sizes: NDArray[np.intp], rows: int, repeats: int, seed: int
) -> Iterator[NDArray[np.intp]]:
    """Yield samples that have rows of every cluster."""
    shares = np.rint(rows * sizes / len(numbers)).astype(int)
    wanted = np.minimum(np.maximum(shares, _LEAST_ROWS), sizes)
    members = np.split(np.argsort(numbers, kind="stable"), np.cumsum(sizes)[:-1])
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat])
        yield np.concatenate(
            [
                rng.choice(here, size=count, replace=False)
                for here, count in zip(members, wanted, strict=True)
            ]
        )


def _scores(
    X: NDArray[Any],
    numbers: NDArray[np.intp],
    sizes: NDArray[np.intp],
    chosen: NDArray[np.intp],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the silhouettes of sampled rows, and for how many of their cluster's rows each stands."""
    here = numbers[chosen]
    scores = silhouette_samples(np.asarray(X[chosen], dtype=np.float64), here)
    return scores, (sizes / np.bincount(here))[here]


def _error_by_groups(
    scores: NDArray[np.float64], weights: NDArray[np.float64], groups: NDArray[Any]
) -> float:
    """Return the standard error of a weighted mean, from how groups differ; NaN with one group."""
    _, places = np.unique(groups, return_inverse=True)
    apart = np.bincount(places, weights * (scores - np.average(scores, weights=weights)))
    if len(apart) < 2:
        return float("nan")
    unbiased = len(apart) / (len(apart) - 1)
    return float(np.sqrt(unbiased * np.square(apart).sum()) / weights.sum())

"""How well clusters are separated, at a cost that is linear in the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.metrics import silhouette_score

from anabatch.errors import PopulationError

if TYPE_CHECKING:
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
    X: NDArray[Any], labels: ArrayLike, *, rows: int = 2000, repeats: int = 5, seed: int = 0
) -> tuple[float, float]:
    """Estimate the mean silhouette from samples.

    Parameters
    ----------
    X : ndarray of float, shape (n, d)
    labels : array-like of int, shape (n,)
    rows : int
        Rows of a sample. If there are no more than this, all are used, once.
    repeats : int
        Samples, each without replacement.
    seed : int

    Returns
    -------
    mean : float
        From -1 to 1.
    error : float
        Standard error of the mean; 0 when all rows were used, NaN with one sample of some.

    Raises
    ------
    PopulationError
        A sample has only one cluster, or as many clusters as rows.

    References
    ----------
    Rousseeuw, P. (1987). Silhouettes: a graphical aid to the interpretation and validation of cluster
    analysis. Journal of Computational and Applied Mathematics 20, 53-65.
    """
    numbers = np.asarray(labels)
    if len(X) <= rows:
        return _silhouette(X, numbers), 0.0
    rngs = [np.random.default_rng([seed, repeat]) for repeat in range(repeats)]
    samples = [rng.choice(len(X), size=rows, replace=False) for rng in rngs]
    scores = [_silhouette(X[sample], numbers[sample]) for sample in samples]
    if repeats == 1:
        return scores[0], float("nan")
    return float(np.mean(scores)), float(np.std(scores, ddof=1) / np.sqrt(repeats))


def _silhouette(rows: NDArray[Any], labels: NDArray[Any]) -> float:
    clusters = len(np.unique(labels))
    if not 2 <= clusters < len(rows):
        what = f"a silhouette of {len(rows)} rows in {clusters} clusters is not defined"
        raise PopulationError(what)
    return float(silhouette_score(np.asarray(rows, dtype=np.float64), labels))

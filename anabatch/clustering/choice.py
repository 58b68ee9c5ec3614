"""How many clusters: what speaks for each number, on a sample and on all rows.

No number is right by itself. The within-cluster sum of squares falls with every cluster; silhouettes say
how far clusters are apart; how well fits on resampled rows agree says whether the clusters are in the
cells or in the sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.metrics import adjusted_rand_score

from anabatch.silhouettes import sampled_silhouette

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

STABLE = 0.75
"""Agreement of fits on resampled rows from which a number of clusters is called stable."""


@dataclass(frozen=True, eq=False)
class KStudy:
    """What a sample says of one number of clusters.

    Attributes
    ----------
    k : int
    centers : ndarray of float64, shape (k, d)
    silhouette, silhouette_error : float
        Mean silhouette of samples, and its standard error.
    agreement, agreement_error : float
        Mean adjusted Rand index of fits on resampled rows with the fit on all, and its standard error.
    """

    k: int
    centers: NDArray[np.float64]
    silhouette: float
    silhouette_error: float
    agreement: float
    agreement_error: float


def study_k(
    rows: NDArray[Any],
    k: int,
    fit: Callable[[NDArray[Any], int], Any],
    *,
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
    bootstraps : int
        Resamples with replacement, at least 1.
    seed : int

    Raises
    ------
    PopulationError
        There are fewer distinct rows than clusters.

    References
    ----------
    Hennig, C. (2007). Cluster-wise assessment of cluster stability. Computational Statistics & Data
    Analysis 52, 258-271.
    """
    model = fit(rows, 0)
    labels = model.predict(rows)
    silhouette, error = sampled_silhouette(rows, labels, seed=seed)
    scores = []
    for number in range(bootstraps):
        rng = np.random.default_rng([seed, k, number])
        resampled = rows[rng.integers(len(rows), size=len(rows))]
        scores.append(adjusted_rand_score(labels, fit(resampled, _FEW_RESTARTS).predict(rows)))
    spread = np.std(scores, ddof=1) / np.sqrt(bootstraps) if bootstraps > 1 else np.nan
    return KStudy(
        k,
        np.asarray(model.cluster_centers_),
        silhouette,
        error,
        float(np.mean(scores)),
        float(spread),
    )


_FEW_RESTARTS = 3


@dataclass(frozen=True, eq=False)
class KScores:
    """Sums over rows for several numbers of clusters, over one chunk or many.

    Attributes
    ----------
    rows : int
    squares : ndarray of float64, shape (numbers,)
        Within-cluster sums of squares.
    silhouettes, silhouette_squares : ndarray of float64, shape (numbers,)
        Sums of the rows' simplified silhouettes, and of their squares.
    """

    rows: int
    squares: NDArray[np.float64]
    silhouettes: NDArray[np.float64]
    silhouette_squares: NDArray[np.float64]

    def merge(self, other: KScores) -> KScores:
        """Add the sums of other rows."""
        return KScores(
            self.rows + other.rows,
            self.squares + other.squares,
            self.silhouettes + other.silhouettes,
            self.silhouette_squares + other.silhouette_squares,
        )

    @property
    def mean_silhouettes(self) -> NDArray[np.float64]:
        """Mean simplified silhouettes, from 0 to 1."""
        return self.silhouettes / max(self.rows, 1)

    @property
    def errors(self) -> NDArray[np.float64]:
        """Their standard errors."""
        count = max(self.rows, 1)
        variance = self.silhouette_squares / count - self.mean_silhouettes**2
        return np.asarray(np.sqrt(np.maximum(variance, 0) / count))


def score_rows(rows: NDArray[Any], studies: Sequence[KStudy]) -> KScores:
    """Sum up what rows say of several numbers of clusters, at centres that a sample gave.

    Parameters
    ----------
    rows : ndarray of float, shape (n, d)
        n may be 0.
    studies : sequence of KStudy

    References
    ----------
    Hruschka, E., de Castro, L. and Campello, R. (2004). Evolutionary algorithms for clustering
    gene-expression data. ICDM '04, 403-406.
    """
    sums = np.zeros((3, len(studies)))
    for column, study in enumerate(studies):
        distance = np.partition(cdist(rows, study.centers), 1, axis=1)
        near, far = distance[:, 0], distance[:, 1]
        score = np.divide(far - near, far, out=np.zeros_like(far), where=far > 0)
        sums[:, column] = np.square(near).sum(), score.sum(), np.square(score).sum()
    return KScores(len(rows), *sums)


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
    """Return the number with the largest silhouette, of the stable ones if there are any."""
    stable = [study for study in studies if study.agreement >= STABLE] or list(studies)
    return max(stable, key=lambda study: (study.silhouette, -study.k)).k

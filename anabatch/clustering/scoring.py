"""What all rows say of several numbers of clusters, at the centres that a sample gave."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.distance import cdist

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from anabatch.clustering.choice import KStudy


@dataclass(frozen=True, eq=False)
class KScores:
    """Sums over rows for several numbers of clusters, over one chunk or many.

    Attributes
    ----------
    rows, groups : int
        Rows, and the groups that they came in.
    squared_rows : int
        Sum of the squares of the groups' rows.
    squares : ndarray of float64, shape (numbers,)
        Within-cluster sums of squares.
    silhouettes : ndarray of float64, shape (numbers,)
        Sums of the rows' simplified silhouettes.
    squared_silhouettes, weighted_silhouettes : ndarray of float64, shape (numbers,)
        Sums over groups of the squares of their sums of silhouettes, and of these sums times their rows.
    """

    rows: int
    groups: int
    squared_rows: int
    squares: NDArray[np.float64]
    silhouettes: NDArray[np.float64]
    squared_silhouettes: NDArray[np.float64]
    weighted_silhouettes: NDArray[np.float64]

    def merge(self, other: KScores) -> KScores:
        """Add the sums of other rows."""
        return KScores(
            *(getattr(self, one.name) + getattr(other, one.name) for one in fields(self))
        )

    @property
    def mean_silhouettes(self) -> NDArray[np.float64]:
        """Mean simplified silhouettes, from 0 to 1."""
        return self.silhouettes / max(self.rows, 1)

    @property
    def errors(self) -> NDArray[np.float64]:
        """Their standard errors, from how groups differ; NaN with one group."""
        if self.groups < 2:
            return np.full_like(self.silhouettes, np.nan)
        mean = self.mean_silhouettes
        # the squared differences of the groups' sums from what the mean would give them
        apart = (
            self.squared_silhouettes
            - 2 * mean * self.weighted_silhouettes
            + mean**2 * self.squared_rows
        )
        unbiased = self.groups / (self.groups - 1)
        return np.asarray(np.sqrt(np.maximum(apart, 0) * unbiased) / self.rows)


def score_rows(
    rows: NDArray[Any], studies: Sequence[KStudy], groups: NDArray[Any] | None = None
) -> KScores:
    """Sum up what rows say of several numbers of clusters, at centres that a sample gave.

    Parameters
    ----------
    rows : ndarray of float, shape (n, d)
        n may be 0.
    studies : sequence of KStudy
        Of a number that was left out everything is NaN.
    groups : ndarray, shape (n,), optional
        Each row's group, such as its image: rows of one group resemble each other, so that errors are
        those of groups. Every row is one by itself by default. A group in two chunks counts as two.

    References
    ----------
    Hruschka, E., de Castro, L. and Campello, R. (2004). Evolutionary algorithms for clustering
    gene-expression data. ICDM '04, 403-406.

    Cochran, W. (1977). Sampling techniques, chapter 9A: single-stage cluster sampling. Wiley.
    """
    each = np.arange(len(rows)) if groups is None else groups
    _, places, sizes = np.unique(each, return_inverse=True, return_counts=True)
    sums = np.full((4, len(studies)), np.nan)
    for column, study in enumerate(studies):
        if study.left_out:
            continue
        distance = np.partition(cdist(rows, study.centers), 1, axis=1)
        near, far = distance[:, 0], distance[:, 1]
        score = np.divide(far - near, far, out=np.zeros_like(far), where=far > 0)
        by_group = np.bincount(places, weights=score, minlength=len(sizes))
        sums[:, column] = (
            np.square(near).sum(),
            score.sum(),
            np.square(by_group).sum(),
            (by_group * sizes).sum(),
        )
    return KScores(len(rows), len(sizes), int(np.square(sizes).sum()), *sums)

"""Rows that no cluster is near to, and whether they make a cluster of their own.

A model that stands for many nights never grows a cluster by itself: cells of a new kind go to the
nearest old one. They lie farther from it than nearly all cells that the model was fitted on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.distance import cdist

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUANTILE = 0.999
"""Share of the fitted rows' distances within which a row is nothing new."""

_BINS_PER_OCTAVE = 64
_OCTAVES = 64  # from 2**-32 to 2**32
_BINS = _BINS_PER_OCTAVE * _OCTAVES
_STARTS = 50
_STEPS = 20


@dataclass(frozen=True, eq=False)
class DistanceSketch:
    """A histogram of distances in steps of 1.1 %, over one chunk or many.

    Attributes
    ----------
    counts : ndarray of int64, shape (4096,)
        By the binary logarithm of the distance, from 2**-32 to 2**32; what is beyond, 0 too, counts
        with the last or the first.
    """

    counts: NDArray[np.int64]

    @classmethod
    def of(cls, distances: NDArray[np.floating[Any]]) -> DistanceSketch:
        """Count distances, shape (n,)."""
        least = 2.0 ** (-_OCTAVES // 2)
        octaves = np.log2(np.maximum(distances.astype(np.float64), least)) + _OCTAVES // 2
        bins = np.clip(octaves * _BINS_PER_OCTAVE, 0, _BINS - 1).astype(np.int64)
        return cls(np.bincount(bins, minlength=_BINS))

    def merge(self, other: DistanceSketch) -> DistanceSketch:
        """Add the counts of other rows."""
        return DistanceSketch(self.counts + other.counts)

    def quantile(self, share: float) -> float:
        """Return a distance that at least this share of the rows lies within.

        Parameters
        ----------
        share : float
            From 0 to 1.

        Returns
        -------
        float
            At most 1.1 % more than the least such distance; 0 if there are no rows.
        """
        total = int(self.counts.sum())
        if not total:
            return 0.0
        last = int(np.searchsorted(np.cumsum(self.counts), share * total))
        return float(2.0 ** ((min(last, _BINS - 1) + 1) / _BINS_PER_OCTAVE - _OCTAVES // 2))


def densest(
    rows: NDArray[np.floating[Any]], radius: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Find the ball of a radius that holds most rows, by mean shift.

    Parameters
    ----------
    rows : ndarray of float, shape (n, d), n >= 1
        In an order that does not depend on their values, as that of their digests: the first 50 are
        where the search starts.
    radius : float

    Returns
    -------
    center : ndarray of float64, shape (d,)
        Mean of the rows in the ball.
    inside : ndarray of bool, shape (n,)

    References
    ----------
    Comaniciu, D. and Meer, P. (2002). Mean shift: a robust approach toward feature space analysis. IEEE
    Transactions on Pattern Analysis and Machine Intelligence 24, 603-619.
    """
    points = np.asarray(rows, dtype=np.float64)
    near = cdist(points[:_STARTS], points) <= radius
    inside: NDArray[np.bool_] = near[near.sum(axis=1).argmax()]
    for _ in range(_STEPS):
        center = points[inside].mean(axis=0)
        moved = cdist(center[None], points)[0] <= radius
        # a ball that loses rows by moving stays where it is
        if moved.sum() <= inside.sum():
            break
        inside = moved
    return points[inside].mean(axis=0), inside


def is_new_kind(together: int, new: int, least: int, criteria: int = 1) -> bool:
    """Tell whether rows beyond the quantile are a cluster, and not what was to be expected.

    Parameters
    ----------
    together : int
        Rows beyond the quantile that lie in one ball.
    new : int
        Rows that the model was not fitted on.
    least : int
        Rows without which there is no cluster.
    criteria : int
        Quantiles of which it is enough to lie beyond one.

    Returns
    -------
    bool
        Whether there are `least` of them, and twice as many as lie beyond the quantiles by their own
        meaning, wherever they lie.
    """
    expected = criteria * (1 - QUANTILE) * new
    return together >= max(least, 2 * expected)

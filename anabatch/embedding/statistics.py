"""Sums over rows of which an embedding is finished; they add up in any grouping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from anabatch.errors import LandmarksError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class KernelStatistics:
    """Sums over the rows of one chunk, or of many, in the landmarks' coordinates.

    Attributes
    ----------
    n : int
        Rows.
    total : ndarray of float64, shape (r,)
        Sum of the rows' coordinates.
    gram : ndarray of float64, shape (r, r)
        Sum of the outer products of the rows' coordinates.
    landmarks : str
        Digest of the landmarks and of what makes coordinates of them: sums of others do not add up.
    """

    n: int
    total: NDArray[np.float64]
    gram: NDArray[np.float64]
    landmarks: str


def merge(left: KernelStatistics, right: KernelStatistics) -> KernelStatistics:
    """Add the statistics of two disjoint sets of rows.

    Parameters
    ----------
    left, right : KernelStatistics

    Returns
    -------
    KernelStatistics

    Raises
    ------
    LandmarksError
        They were made with different landmarks.
    """
    require_same(left.landmarks, right.landmarks)
    n, total, gram = left.n + right.n, left.total + right.total, left.gram + right.gram
    return KernelStatistics(n, total, gram, left.landmarks)


def require_same(one: str, other: str) -> None:
    """Refuse what was made with different landmarks, given by their digests."""
    if one != other:
        what = f"statistics of landmarks {one[:8]} and {other[:8]} do not go together"
        raise LandmarksError(what, "Make all of them with the model that they are for.")

"""Samples drawn anew, to see what others would have given.

Cells of one image share its serum, its slide and its exposure: they resemble each other, and other cells of
the same images tell less than cells of other images would. So whole images are drawn, where it is known
which rows are of one (the cluster bootstrap).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


FEW_GROUPS = 30
"""With fewer groups, what resamples of them tell is too small as an error."""


def resamples(groups: NDArray[Any], number: int, seed: Sequence[int]) -> Iterator[NDArray[np.intp]]:
    """Draw as many groups as there are, with replacement, and yield the positions of their rows.

    Parameters
    ----------
    groups : ndarray, shape (n,)
        Each row's group. Rows that are groups by themselves are resampled one by one.
    number : int
        How many resamples. With a larger number the first ones are the same.
    seed : sequence of int

    Yields
    ------
    ndarray of intp, shape (m,)
        A group that is drawn twice is there twice, all of it; so m is n where all groups have one size.

    References
    ----------
    Davison, A. and Hinkley, D. (1997). Bootstrap methods and their application, section 3.8:
    hierarchical data. Cambridge University Press.

    Cameron, C., Gelbach, J. and Miller, D. (2008). Bootstrap-based improvements for inference with
    clustered errors. Review of Economics and Statistics 90, 414-427.
    """
    _, places, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    members = np.split(np.argsort(places, kind="stable"), np.cumsum(sizes)[:-1])
    for one in range(number):
        rng = np.random.default_rng([*seed, one])
        drawn = rng.integers(len(members), size=len(members))
        yield np.concatenate([members[group] for group in drawn])

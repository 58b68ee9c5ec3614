"""Which labels are enriched in which clusters: a test on units that are independent of each other.

Cells of one image are not independent, nor are images of one serum: tested cell by cell, every label is
enriched in some cluster. The unit is the group, a set of images that share no serum and no picture with
any other. A group leans to a cluster if a larger share of its cells is there than of all groups' cells on
average; Fisher's exact test then asks whether groups with the label lean to it more often than others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import hypergeom

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from typing import Any

    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Enrichment:
    """One label in one cluster.

    Attributes
    ----------
    label : object
    cluster : int
    groups, leaning : int
        Groups with the label, and how many of them lean to the cluster.
    others, others_leaning : int
        The same of groups without it.
    share, others_share : float
        Mean share of a group's cells that are in the cluster, with and without the label.
    p, q : float
        Of the one-sided test, and corrected for all labels and clusters that were tested.
    """

    label: Any
    cluster: int
    groups: int
    leaning: int
    others: int
    others_leaning: int
    share: float
    others_share: float
    p: float
    q: float


def fisher(having: int, leaning: int, both: int, total: int) -> float:
    """Return the probability of at least `both` units by chance: Fisher's exact test, one-sided.

    Parameters
    ----------
    having, leaning : int
        Units with one property, and with the other.
    both : int
        Units with both.
    total : int

    References
    ----------
    Fisher, R. (1922). On the interpretation of chi-squared from contingency tables, and the calculation
    of P. Journal of the Royal Statistical Society 85, 87-94.

    Examples
    --------
    >>> round(fisher(having=3, leaning=3, both=3, total=6), 3)  # 1 of the 20 ways to choose 3 of 6
    0.05
    """
    return float(hypergeom.sf(both - 1, total, having, leaning)) if both else 1.0


def benjamini_hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """Correct p-values for their number: the share of false ones among all that are as small.

    Parameters
    ----------
    p : array-like of float, shape (n,)

    Returns
    -------
    ndarray of float64, shape (n,)

    References
    ----------
    Benjamini, Y. and Hochberg, Y. (1995). Controlling the false discovery rate. Journal of the Royal
    Statistical Society B 57, 289-300.

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.5, 0.03]).tolist()
    [0.03, 0.5, 0.045]
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values)
    scaled = values[order] * len(values) / np.arange(1, len(values) + 1)
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return corrected


def enriched_labels(
    counts: NDArray[np.int64], labels: Sequence[frozenset[Hashable]], numbers: Sequence[int]
) -> list[Enrichment]:
    """Test every label in every cluster.

    Parameters
    ----------
    counts : ndarray of int64, shape (groups, clusters)
        Cells of every group in every cluster; no group is without cells.
    labels : sequence of frozenset, length groups
        Each group's labels.
    numbers : sequence of int, length clusters
        The clusters' numbers.

    Returns
    -------
    list of Enrichment
        By q, then p; labels that all groups have, and labels of one group, are not tested: nothing
        could come of it.
    """
    if not len(counts):
        return []
    shares = counts / counts.sum(axis=1, keepdims=True)
    leans = shares > shares.mean(axis=0)
    total = len(counts)
    found: list[tuple[Any, int, dict[str, Any]]] = []
    for label in sorted({one for some in labels for one in some}, key=str):
        has = np.array([label in some for some in labels])
        if not 1 < has.sum() < total:
            continue
        for column, number in enumerate(numbers):
            both, leaning = int((has & leans[:, column]).sum()), int(leans[:, column].sum())
            facts = {
                "groups": int(has.sum()),
                "leaning": both,
                "others": int((~has).sum()),
                "others_leaning": leaning - both,
                "share": float(shares[has, column].mean()),
                "others_share": float(shares[~has, column].mean()),
                "p": fisher(int(has.sum()), leaning, both, total),
            }
            found.append((label, int(number), facts))
    corrected = benjamini_hochberg([facts["p"] for _, _, facts in found])
    tested = [
        Enrichment(label=label, cluster=number, q=float(q), **facts)
        for (label, number, facts), q in zip(found, corrected, strict=True)
    ]
    return sorted(tested, key=lambda one: (one.q, one.p, -one.share, str(one.label), one.cluster))


def population_stability(counts: ArrayLike, reference: ArrayLike) -> float:
    """Return how far shares of clusters are from those of the fit: the population stability index.

    Parameters
    ----------
    counts : array-like of int, shape (k,)
        Cells by cluster.
    reference : array-like of int, shape (k,)
        Cells by cluster when the model was fitted.

    Returns
    -------
    float
        0 where shares are equal. By custom below 0.1 is nothing, and above 0.25 is a shift; `k - 1` over
        the number of cells is what chance alone gives.

    References
    ----------
    Siddiqi, N. (2006). Credit risk scorecards, chapter 9. Wiley.

    Examples
    --------
    >>> population_stability([10, 30], [100, 300])
    0.0
    """
    now, then = np.asarray(counts, dtype=float), np.asarray(reference, dtype=float)
    # half a cell more in every cluster: none is impossible, and no logarithm infinite
    p = (now + 0.5) / (now + 0.5).sum()
    q = (then + 0.5) / (then + 0.5).sum()
    if np.array_equal(now * then.sum(), then * now.sum()):
        return 0.0
    return float(((p - q) * np.log(p / q)).sum())

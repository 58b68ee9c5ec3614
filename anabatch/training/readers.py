"""Simple classifiers that read patterns off features, with one picture's cells left out at a time.

Whoever is asked about a picture's cells has seen none of them. Features are standardised over all
cells; labels enter through the other pictures alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NEIGHBOURS = 5
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Of ridge regression, times the number of cells; their mean squared length is 1."""

_LEAST = 1e-6  # the smallest divisor of a standard deviation


@dataclass(frozen=True)
class Accuracy:
    """How often the pattern is right, with the standard errors over pictures.

    Attributes
    ----------
    cells, cells_error : float
        Mean over the pictures of the share of their cells that are named right.
    pictures, pictures_error : float
        Share of the pictures that most of their cells' votes name right.
    shares : tuple of float
        Of every picture, the share of its cells that are named right.
    """

    cells: float
    cells_error: float
    pictures: float
    pictures_error: float
    shares: tuple[float, ...] = ()

    def less(self, other: Accuracy) -> tuple[float, float]:
        """Return by how much more cells of a picture are right than in another's answers.

        Parameters
        ----------
        other : Accuracy
            On the same pictures.

        Returns
        -------
        difference, error : float
            Mean over the pictures, and its standard error: the pictures' own difficulty cancels.
        """
        differences = [a - b for a, b in zip(self.shares, other.shares, strict=True)]
        return float(np.mean(differences)), _standard_error(differences)


def standardised(features: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Bring every feature to mean 0 and standard deviation 1; constant ones to 0.

    Parameters
    ----------
    features : ndarray, shape (n, d), float

    Returns
    -------
    ndarray, shape (n, d), float64
    """
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    deviation = centred.std(axis=0)
    return np.asarray(centred / np.where(deviation > _LEAST, deviation, np.inf))


def nearest(
    rows: NDArray[np.float64], classes: NDArray[np.int64], groups: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Name every cell after its 5 nearest neighbours (Euclid) in other pictures.

    Parameters
    ----------
    rows : ndarray, shape (n, d), float64
    classes, groups : ndarray, shape (n,), int64

    Returns
    -------
    ndarray, shape (n,), int64
        Of classes with equally many votes the one of the nearest neighbour among them.
    """
    squares = (rows**2).sum(axis=1)
    distances = squares[:, None] + squares - 2 * rows @ rows.T
    distances[groups[:, None] == groups] = np.inf
    order = np.argsort(distances, axis=1, kind="stable")[:, :NEIGHBOURS]
    votes = np.zeros((len(rows), int(classes.max()) + 1))
    weights = 1 + 1e-3 * np.arange(NEIGHBOURS, 0, -1)  # nearer ones break ties, and nothing more
    for rank in range(order.shape[1]):
        votes[np.arange(len(rows)), classes[order[:, rank]]] += weights[rank]
    return np.asarray(votes.argmax(axis=1))


def cosine(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bring rows to length 1, so that Euclid orders neighbours as the cosine does."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _LEAST))


def linear(
    rows: NDArray[np.float64], classes: NDArray[np.int64], groups: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Name every cell by ridge regression that was fitted to the other pictures.

    The penalty is the one of :data:`PENALTIES` that does best on the pictures other than the one in
    question. What a fit without a picture says of its cells follows in closed form from the fit to
    all: with the hat matrix H and the residuals r of all, those are (I - H_gg)^-1 r_g.

    Parameters
    ----------
    rows : ndarray, shape (n, d), float64
        Standardised.
    classes, groups : ndarray, shape (n,), int64

    Returns
    -------
    ndarray, shape (n,), int64

    References
    ----------
    G. H. Golub, M. Heath and G. Wahba, "Generalized cross-validation as a method for choosing a
    good ridge parameter", Technometrics 21 (1979), for rows one at a time.
    """
    numbers = np.unique(groups)
    kernel = rows @ rows.T / rows.shape[1] + 1.0  # + 1: an intercept that is hardly penalised
    truth = np.eye(int(classes.max()) + 1)[classes]
    fits = left_out(kernel, truth, groups, [share * len(rows) for share in PENALTIES])
    found = np.stack([fit.argmax(axis=1) for fit in fits])
    shares = np.array([[np.mean((fit == classes)[groups == g]) for g in numbers] for fit in found])
    elsewhere = shares.sum(axis=1, keepdims=True) - shares
    best = elsewhere.argmax(axis=0)[np.searchsorted(numbers, groups)]
    return np.asarray(found[best, np.arange(len(classes))])


def left_out(
    kernel: NDArray[np.float64],
    truth: NDArray[np.float64],
    groups: NDArray[np.int64],
    penalties: Sequence[float],
) -> list[NDArray[np.float64]]:
    """Return what kernel ridge regression says of every group if fitted without it.

    Parameters
    ----------
    kernel : ndarray, shape (n, n), float64
    truth : ndarray, shape (n, p), float64
    groups : ndarray, shape (n,), int64
    penalties : sequence of float
        To be added to the kernel's diagonal.

    Returns
    -------
    list of ndarray, shape (n, p), float64
        One a penalty.
    """
    values, vectors = np.linalg.eigh(kernel)
    values = np.maximum(values, 0)
    answers = []
    for penalty in penalties:
        hat = (vectors * (values / (values + penalty))) @ vectors.T
        residuals = truth - hat @ truth
        answer = np.empty_like(truth)
        for number in np.unique(groups):
            own = np.flatnonzero(groups == number)
            beyond = np.linalg.solve(np.eye(len(own)) - hat[np.ix_(own, own)], residuals[own])
            answer[own] = truth[own] - beyond
        answers.append(answer)
    return answers


def accuracy(
    predicted: NDArray[np.int64], classes: NDArray[np.int64], groups: NDArray[np.int64]
) -> Accuracy:
    """Count what is right, cell by cell and picture by picture.

    Parameters
    ----------
    predicted, classes, groups : ndarray, shape (n,), int64
        All cells of a group are of one class.

    Returns
    -------
    Accuracy
        The errors are NaN where there is one picture only.
    """
    shares, votes = [], []
    for number in np.unique(groups):
        own = groups == number
        shares.append(float(np.mean(predicted[own] == classes[own])))
        votes.append(float(np.bincount(predicted[own]).argmax() == classes[own][0]))
    return Accuracy(
        cells=float(np.mean(shares)),
        cells_error=_standard_error(shares),
        pictures=float(np.mean(votes)),
        pictures_error=_standard_error(votes),
        shares=tuple(shares),
    )


def _standard_error(values: list[float]) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")

"""How well one label image agrees with another: intersection over union, matching, precision.

The definitions are those of Cellpose and StarDist, so that figures compare:
average precision at a threshold is TP / (TP + FP + FN), where a true positive is a pair of one true
and one predicted mask whose intersection over union reaches the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

THRESHOLDS = (0.5, 0.75, 0.9)
"""The thresholds that figures are given at."""


@dataclass(frozen=True)
class Overlaps:
    """All pairs of masks that share a pixel.

    Attributes
    ----------
    true_labels, predicted_labels : ndarray of int64, shapes (t,) and (p,)
        The labels of either image, ascending, without 0.
    true_index, predicted_index : ndarray of int64, shape (n,)
        The pairs, as indices into the two.
    iou : ndarray of float64, shape (n,)
        Intersection over union of every pair, in pixels over pixels.
    """

    true_labels: NDArray[np.int64]
    predicted_labels: NDArray[np.int64]
    true_index: NDArray[np.int64]
    predicted_index: NDArray[np.int64]
    iou: NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Counts at one threshold after another; they add up over images.

    Attributes
    ----------
    thresholds : tuple of float
    true_positives, false_positives, false_negatives : ndarray of int64, shape (thresholds,)
    """

    thresholds: tuple[float, ...]
    true_positives: NDArray[np.int64]
    false_positives: NDArray[np.int64]
    false_negatives: NDArray[np.int64]

    def __add__(self, other: Scores) -> Scores:
        if self.thresholds != other.thresholds:
            message = f"thresholds differ: {self.thresholds} and {other.thresholds}"
            raise ValueError(message)
        return Scores(
            self.thresholds,
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.false_negatives + other.false_negatives,
        )

    @property
    def average_precision(self) -> NDArray[np.float64]:
        """TP / (TP + FP + FN), shape (thresholds,); NaN where there is no mask at all."""
        total = self.true_positives + self.false_positives + self.false_negatives
        out = np.full(total.shape, np.nan)
        return np.divide(self.true_positives, total, out=out, where=total > 0)


def overlaps(truth: NDArray[Any], prediction: NDArray[Any]) -> Overlaps:
    """Measure all pairs of masks that share a pixel.

    Parameters
    ----------
    truth, prediction : ndarray of integers, one shape
        Label images; 0 is no mask. Labels need not be consecutive.

    Returns
    -------
    Overlaps

    Raises
    ------
    ValueError
        The shapes differ.
    """
    if truth.shape != prediction.shape:
        message = f"label images of shapes {truth.shape} and {prediction.shape}"
        raise ValueError(message)
    true_labels, true_at = np.unique(truth, return_inverse=True)
    predicted_labels, predicted_at = np.unique(prediction, return_inverse=True)
    shape = (true_labels.size, predicted_labels.size)
    ones = np.ones(truth.size, dtype=np.int64)
    shared = coo_matrix((ones, (true_at.ravel(), predicted_at.ravel())), shape=shape).tocsr()
    shared.sum_duplicates()
    true_area = np.asarray(shared.sum(axis=1)).ravel()
    predicted_area = np.asarray(shared.sum(axis=0)).ravel()
    pairs = shared.tocoo()
    foreground = (true_labels[pairs.row] != 0) & (predicted_labels[pairs.col] != 0)
    rows, columns, common = pairs.row[foreground], pairs.col[foreground], pairs.data[foreground]
    iou = common / (true_area[rows] + predicted_area[columns] - common)
    return Overlaps(
        true_labels=true_labels[true_labels != 0].astype(np.int64),
        predicted_labels=predicted_labels[predicted_labels != 0].astype(np.int64),
        true_index=rows.astype(np.int64) - (0 in true_labels),
        predicted_index=columns.astype(np.int64) - (0 in predicted_labels),
        iou=iou,
    )


def match(pairs: Overlaps, threshold: float) -> NDArray[np.int64]:
    """Match as many true masks as can be, one to one, to predicted masks that overlap enough.

    Parameters
    ----------
    pairs : Overlaps
    threshold : float
        Least intersection over union of a matched pair. From 0.5 on the match is unique, but for
        pairs of exactly 0.5.

    Returns
    -------
    ndarray of int64, shape (matches, 2)
        True label, predicted label; ascending in the true label.
    """
    enough = (pairs.iou >= threshold) & (pairs.iou > 0)
    rows, columns = pairs.true_index[enough], pairs.predicted_index[enough]
    shape = (pairs.true_labels.size, pairs.predicted_labels.size)
    if rows.size == 0:
        return np.empty((0, 2), dtype=np.int64)
    graph = coo_matrix((np.ones(rows.size, dtype=np.int8), (rows, columns)), shape=shape).tocsr()
    partner = maximum_bipartite_matching(graph, perm_type="column")
    matched = np.flatnonzero(partner >= 0)
    return np.column_stack(
        [pairs.true_labels[matched], pairs.predicted_labels[partner[matched]]]
    ).astype(np.int64)


def score(
    truth: NDArray[Any], prediction: NDArray[Any], thresholds: Sequence[float] = THRESHOLDS
) -> Scores:
    """Count right, superfluous and missed masks of one image.

    Parameters
    ----------
    truth, prediction : ndarray of integers, one shape
        Label images; 0 is no mask.
    thresholds : sequence of float
        Least intersection over union of a right mask.

    Returns
    -------
    Scores
        `score(...).average_precision` is what Cellpose's `average_precision` returns first.

    Raises
    ------
    ValueError
        The shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.array([[1, 1, 0, 2]])
    >>> score(truth, np.array([[7, 0, 0, 9]])).average_precision.tolist()
    [1.0, 0.3333333333333333, 0.3333333333333333]
    """
    pairs = overlaps(truth, prediction)
    right = np.array([len(match(pairs, threshold)) for threshold in thresholds], dtype=np.int64)
    return Scores(
        thresholds=tuple(thresholds),
        true_positives=right,
        false_positives=pairs.predicted_labels.size - right,
        false_negatives=pairs.true_labels.size - right,
    )

"""How well one label image agrees with another: precision, foreground, counts, outlines, cuts.

The definitions are those of Cellpose and StarDist, so that figures compare:
average precision at a threshold is TP / (TP + FP + FN), where a true positive is a pair of one true
and one predicted mask whose intersection over union reaches the threshold.

The boundary F1 is Cellpose's `boundary_scores` (Stringer et al. 2021): the outlines of either image
are drawn as bands, and precision and recall are the shares of the predicted and of the true band
that both have in common. Splits and merges follow the containment of Matula et al. 2015: a mask
belongs to the one mask of the other image that holds more than half of it.

References
----------
Stringer C., Wang T., Michaelos M., Pachitariu M. (2021). Cellpose: a generalist algorithm for
cellular segmentation. Nature Methods 18, 100-106.
Matula P. et al. (2015). Cell tracking accuracy measurement based on comparison of acyclic oriented
graphs. PLoS ONE 10, e0144959.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

THRESHOLDS = (0.5, 0.75, 0.9)
"""The thresholds that figures are given at."""

BOUNDARY_SCALE = 0.025
"""How far outlines may lie off: half the width of their bands, as a share of the median diameter of
the true masks. It is ours; at 90 pixels it is 2.25 pixels, about what two people differ by."""


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
    true_share, predicted_share : ndarray of float64, shape (n,)
        What of the true, and of the predicted, mask lies in the other.
    """

    true_labels: NDArray[np.int64]
    predicted_labels: NDArray[np.int64]
    true_index: NDArray[np.int64]
    predicted_index: NDArray[np.int64]
    iou: NDArray[np.float64]
    true_share: NDArray[np.float64]
    predicted_share: NDArray[np.float64]


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


@dataclass(frozen=True)
class Agreement:
    """All that two label images, or two lists of them, are compared by; it adds up over images.

    Attributes
    ----------
    scores : Scores
        Right, superfluous and missed masks.
    true_masks, predicted_masks : int
    miscounted : int
        The difference of the two numbers, without its sign, summed over images.
    shared_pixels, true_pixels, predicted_pixels : int
        Of the foreground: in both, in the truth, in the prediction.
    shared_band, true_band, predicted_band : int
        The same of the bands along the outlines.
    splits : int
        Predicted masks beyond the first that belong to one true mask.
    merges : int
        True masks beyond the first that belong to one predicted mask.
    """

    scores: Scores
    true_masks: int
    predicted_masks: int
    miscounted: int
    shared_pixels: int
    true_pixels: int
    predicted_pixels: int
    shared_band: int
    true_band: int
    predicted_band: int
    splits: int
    merges: int

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(
            *(getattr(self, field.name) + getattr(other, field.name) for field in fields(self))
        )

    @property
    def dice(self) -> float:
        """Dice of the foreground: twice the shared pixels over all; NaN without foreground."""
        return _ratio(2 * self.shared_pixels, self.true_pixels + self.predicted_pixels)

    @property
    def count_error(self) -> float:
        """Masks too many or too few, over the true ones; NaN without true masks."""
        return _ratio(self.miscounted, self.true_masks)

    @property
    def boundary_f1(self) -> float:
        """Harmonic mean of the shares of either band that both have; NaN without outlines."""
        return _ratio(2 * self.shared_band, self.true_band + self.predicted_band)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


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
        true_share=common / true_area[rows],
        predicted_share=common / predicted_area[columns],
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
    return _count(overlaps(truth, prediction), thresholds)


def _count(pairs: Overlaps, thresholds: Sequence[float]) -> Scores:
    right = np.array([len(match(pairs, threshold)) for threshold in thresholds], dtype=np.int64)
    return Scores(
        thresholds=tuple(thresholds),
        true_positives=right,
        false_positives=pairs.predicted_labels.size - right,
        false_negatives=pairs.true_labels.size - right,
    )


def compare(
    truth: NDArray[Any],
    prediction: NDArray[Any],
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    boundary_scale: float = BOUNDARY_SCALE,
) -> Agreement:
    """Compare two label images in every way.

    Parameters
    ----------
    truth, prediction : ndarray of integers, shape (H, W)
        Label images; 0 is no mask.
    thresholds : sequence of float
        As in :func:`score`.
    boundary_scale : float
        Half the width of the bands along outlines, over the median diameter of the true masks; at
        least one pixel is taken.

    Returns
    -------
    Agreement

    Raises
    ------
    ValueError
        The shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.array([[1, 1, 1, 1, 0, 2]])
    >>> found = compare(truth, np.array([[5, 5, 6, 6, 0, 0]]))
    >>> found.splits, found.merges, found.count_error, round(found.dice, 3)
    (1, 0, 0.0, 0.889)
    """
    pairs = overlaps(truth, prediction)
    reach = max(1.0, boundary_scale * median_diameter(truth))
    true_band, predicted_band = outline_band(truth, reach), outline_band(prediction, reach)
    numbers = pairs.true_labels.size, pairs.predicted_labels.size
    return Agreement(
        scores=_count(pairs, thresholds),
        true_masks=numbers[0],
        predicted_masks=numbers[1],
        miscounted=abs(numbers[1] - numbers[0]),
        shared_pixels=int(np.count_nonzero((truth != 0) & (prediction != 0))),
        true_pixels=int(np.count_nonzero(truth)),
        predicted_pixels=int(np.count_nonzero(prediction)),
        shared_band=int(np.count_nonzero(true_band & predicted_band)),
        true_band=int(np.count_nonzero(true_band)),
        predicted_band=int(np.count_nonzero(predicted_band)),
        splits=_surplus(pairs.true_index[pairs.predicted_share > 0.5]),
        merges=_surplus(pairs.predicted_index[pairs.true_share > 0.5]),
    )


def _surplus(owners: NDArray[np.int64]) -> int:
    """Return how many masks share their owner with an earlier one."""
    return int(owners.size - np.unique(owners).size)


def median_diameter(labels: NDArray[Any]) -> float:
    """Return the median over masks of the diameter of the circle of equal area; 0 without masks."""
    areas = np.unique(labels[labels != 0], return_counts=True)[1]
    return float(np.median(np.sqrt(areas)) * 2 / np.sqrt(np.pi)) if areas.size else 0.0


def outline_band(labels: NDArray[Any], reach: float) -> NDArray[np.bool_]:
    """Draw the outer outlines of all masks as bands.

    Parameters
    ----------
    labels : ndarray of integers, shape (H, W)
    reach : float
        Pixels this near to an outline are in its band.

    Returns
    -------
    ndarray of bool, shape (H, W)
        Outlines of holes are left out, as Cellpose does.
    """
    names = np.unique(labels)
    packed = np.searchsorted(names[names != 0], labels) + 1
    packed[labels == 0] = 0
    lines = np.zeros(labels.shape, bool)
    for label, box in enumerate(ndimage.find_objects(packed), start=1):
        mask = (packed[box] == label).astype(np.uint8)
        contours = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
        points = np.concatenate(contours).reshape(-1, 2)
        lines[box][points[:, 1], points[:, 0]] = True
    if not lines.any():
        return lines
    distance = ndimage.distance_transform_edt(~lines)
    return np.asarray(distance <= reach)

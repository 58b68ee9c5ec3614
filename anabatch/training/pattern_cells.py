"""Labelled cells for training: crops of simulated fields with the patterns that were drawn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from anabatch.cells import OUTSIDE, cut_cells
from anabatch.imaging import image_id
from anabatch.simulate.field import PATTERNS
from anabatch.training.drawing import draw
from anabatch.training.fields import training_field

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

_NEGATIVE = "negative"
_CROP = 96

# Half of the fields are cut along looser or tighter outlines than the true ones, of cells and of
# nuclei, by so many pixels at most: those that a segmentation finds are not better.
_OUTLINE_SHARE, _OUTLINE = 0.5, 5
# Scraps at the edge of a field, in source pixels: nobody could tell their pattern.
_SMALLEST_SIDE = 24


@dataclass(frozen=True)
class PatternCells:
    """Cells with the patterns of their fields.

    Attributes
    ----------
    crops : ndarray, shape (n, 96, 96), uint8
    masks : ndarray, shape (n, 96, 96), uint8
        0 outside the cell, 1 cytoplasm, 2 nucleus.
    labels : ndarray, shape (n, number of PATTERNS), bool
        Which of :data:`anabatch.simulate.field.PATTERNS` the cell shows.
    fields : ndarray, shape (n,), int64
        Number of the cell's field: what no split may divide.
    """

    crops: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    labels: NDArray[np.bool_]
    fields: NDArray[np.int64]

    @property
    def inside(self) -> NDArray[np.bool_]:
        """The cells, and the pixel beyond them into which resizing spreads their light, (n, 96, 96)."""
        return np.asarray((self.masks != OUTSIDE) | (self.crops > 0))


def cells_of_field(seed: int, index: int) -> PatternCells:
    """Draw a field of :func:`anabatch.training.fields.training_field` and cut its cells.

    Parameters
    ----------
    seed : int
    index : int
        Of the field.

    Returns
    -------
    PatternCells
        With equal seeds and indices, equal cells; none if the field is empty.
    """
    field = training_field(seed, index)
    outlines = redrawn(field.cells, np.random.default_rng([seed, index, 2]))
    nuclei = redrawn(field.nuclei, np.random.default_rng([seed, index, 4]))
    cut = cut_cells(field.signal, nuclei, outlines, image_id=image_id(field.signal), crop=_CROP)
    kept = no_scraps(cut.rows)
    shown = np.isin(PATTERNS, shown_patterns(field.patterns))
    return PatternCells(
        np.asarray(cut.crops[kept], dtype=np.uint8),
        cut.masks[kept],
        np.tile(shown, (int(kept.sum()), 1)),
        np.full(int(kept.sum()), index, dtype=np.int64),
    )


def no_scraps(rows: Sequence[Mapping[str, Any]]) -> NDArray[np.bool_]:
    """Tell which rows of cells are large enough to show a pattern, shape (n,)."""
    sides = [max(row["y1"] - row["y0"], row["x1"] - row["x0"]) for row in rows]
    return np.array(sides, dtype=np.int64) >= _SMALLEST_SIDE


def shown_patterns(drawn: tuple[str, ...]) -> tuple[str, ...]:
    """Return what a field shows: nothing beside another pattern is not negative."""
    return tuple(name for name in drawn if name != _NEGATIVE) or drawn


def redrawn(cells: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.int32]:
    """Draw the outlines of all cells tighter or looser, as a segmentation may.

    Parameters
    ----------
    cells : ndarray of int32, shape (H, W)
        Label image of at most 32,767 cells, or nuclei.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int32, shape (H, W)
        Cells grow into the background alone; half of all label images stay as they are.
    """
    if rng.random() >= _OUTLINE_SHARE:
        return cells
    side = 2 * int(rng.integers(1, _OUTLINE + 1)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    labels = cells.astype(np.int16)
    if rng.random() < 0.5:
        changed = np.where(labels > 0, labels, cv2.dilate(labels, kernel))
    else:
        # What is left of a label where neither background nor another cell is near.
        kept = cv2.erode(labels, kernel) == cv2.dilate(labels, kernel)
        changed = np.where(kept, labels, 0)
    return changed.astype(np.int32)


def joined(parts: Iterable[PatternCells]) -> PatternCells:
    """Put the cells of several fields into one.

    Parameters
    ----------
    parts : iterable of PatternCells
        At least one.

    Returns
    -------
    PatternCells
        In the order of the fields.
    """
    rows = [(part.crops, part.masks, part.labels, part.fields) for part in parts]
    return PatternCells(*(np.concatenate(column) for column in zip(*rows, strict=True)))


def simulate_cells(seed: int, fields: int, *, workers: int = 1) -> PatternCells:
    """Draw fields and cut their cells.

    Parameters
    ----------
    seed : int
        Fields of two seeds have nothing in common.
    fields : int
        Number of fields; their first patterns go round.
    workers : int
        Processes; the cells do not depend on it.

    Returns
    -------
    PatternCells
        In the order of the fields.
    """
    return joined(draw(partial(cells_of_field, seed), fields, workers))

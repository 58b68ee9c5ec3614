"""Labelled cells for training: crops of simulated fields with the patterns that were drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from anabatch.cells import cut_cells
from anabatch.imaging import image_id
from anabatch.simulate.field import PATTERNS, simulate_field

if TYPE_CHECKING:
    from numpy.typing import NDArray

COMPOSITE_SHARE = 0.35
"""Share of the fields that show two patterns."""

FINE_SHARE = 0.15
"""Share of the fields that are drawn at twice the resolution, as newer instruments give."""

_SIZE = (972, 724)
_NEGATIVE = "negative"
# Textures of the whole nucleoplasm: two of them on top of each other are neither.
_NUCLEOPLASM = frozenset({"homogeneous", "fine speckled", "coarse speckled", "dense fine speckled"})


@dataclass(frozen=True)
class PatternCells:
    """Cells with the patterns of their fields.

    Attributes
    ----------
    crops : ndarray, shape (n, 96, 96), uint8
    labels : ndarray, shape (n, number of PATTERNS), bool
        Which of :data:`anabatch.simulate.field.PATTERNS` the cell shows.
    fields : ndarray, shape (n,), int64
        Number of the cell's field: what no split may divide.
    """

    crops: NDArray[np.uint8]
    labels: NDArray[np.bool_]
    fields: NDArray[np.int64]


def simulate_cells(seed: int, fields: int) -> PatternCells:
    """Draw fields and cut their cells along the true outlines.

    Every pattern is drawn equally often alone; the fields go through JPEG as the archives' images
    did.

    Parameters
    ----------
    seed : int
        Fields of two seeds have nothing in common.
    fields : int
        Number of fields.

    Returns
    -------
    PatternCells
        In the order of the fields.
    """
    crops, labels, numbers = [], [], []
    for number in range(fields):
        rng = np.random.default_rng([seed, number])
        patterns = draw_patterns(rng, number)
        fineness = 2 if rng.random() < FINE_SHARE else 1
        field = simulate_field(
            int(rng.integers(2**62)),
            patterns,
            size=(_SIZE[0] * fineness, _SIZE[1] * fineness),
            pixels_per_reference_pixel=fineness,
        )
        signal = _through_jpeg(field.signal, quality=int(rng.integers(80, 98)))
        cut = cut_cells(signal, field.nuclei, field.cells, image_id=image_id(signal))
        crops.append(cut.crops)
        shown = np.isin(PATTERNS, patterns)
        labels.append(np.tile(shown, (len(cut.rows), 1)))
        numbers.append(np.full(len(cut.rows), number))
    return PatternCells(np.concatenate(crops), np.concatenate(labels), np.concatenate(numbers))


def draw_patterns(rng: np.random.Generator, number: int) -> tuple[str, ...]:
    """Draw the patterns of a field: the first goes round with the field's number.

    Parameters
    ----------
    rng : numpy.random.Generator
    number : int
        The field's number.

    Returns
    -------
    tuple of str
        One pattern, or two that can be told apart in one cell.
    """
    first = PATTERNS[number % len(PATTERNS)]
    if first == _NEGATIVE or rng.random() >= COMPOSITE_SHARE:
        return (first,)
    excluded = {first, _NEGATIVE} | (_NUCLEOPLASM if first in _NUCLEOPLASM else set())
    return first, str(rng.choice([name for name in PATTERNS if name not in excluded]))


def augment(crops: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Turn, flip, zoom, dim or brighten, and blur crops at random, each in its own way.

    Parameters
    ----------
    crops : ndarray, shape (n, side, side), uint8
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (n, side, side), uint8
    """
    return np.stack([_augment_one(crop, rng) for crop in crops])


def _augment_one(crop: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    side = crop.shape[0]
    centre = (side - 1) / 2
    turn = cv2.getRotationMatrix2D(
        (centre, centre), float(rng.uniform(0, 360)), float(rng.uniform(0.85, 1.1))
    )
    image = cv2.warpAffine(crop, turn, (side, side), flags=cv2.INTER_LINEAR)
    if rng.random() < 0.5:
        image = image[:, ::-1]
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(np.ascontiguousarray(image), (0, 0), float(rng.uniform(0.3, 1.2)))
    gain, gamma = np.exp(rng.uniform(-0.5, 0.5)), np.exp(rng.uniform(-0.2, 0.2))
    levels = 255 * np.clip(gain * (np.arange(256) / 255) ** gamma, 0, 1)
    return np.asarray(np.rint(levels).astype(np.uint8)[image])


def _through_jpeg(signal: NDArray[np.uint8], *, quality: int) -> NDArray[np.uint8]:
    encoded: Any = cv2.imencode(".jpg", signal, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)

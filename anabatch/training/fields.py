"""Simulated fields for training and evaluation: drawn by seed, degraded as cameras and files do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from anabatch.simulate.field import PATTERNS, simulate_field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

EVALUATION_SEED = 1_000_000
"""Seeds from here on are never trained on."""

SIZES = ((1388, 1040), (972, 724))
"""Field sizes that are trained on, (width, height) in reference pixels."""


ZOOM = (0.8, 1.5)
"""A third of the fields are drawn larger or smaller than their scale says, within these factors."""


@dataclass(frozen=True)
class TrainingField:
    """A field at reference resolution with its truth.

    Attributes
    ----------
    signal : ndarray of uint8, shape (H, W)
    nuclei, cells : ndarray of int32, shape (H, W)
        Label images.
    """

    signal: NDArray[np.uint8]
    nuclei: NDArray[np.int32]
    cells: NDArray[np.int32]


def training_fields(count: int, seed: int) -> Iterator[TrainingField]:
    """Draw fields of all patterns, alone and in pairs, from bright to dim, sharp to blurred.

    Parameters
    ----------
    count : int
        Number of fields; below :data:`EVALUATION_SEED`.
    seed : int
        With equal seeds, equal fields. Field i does not depend on `count`.

    Yields
    ------
    TrainingField
    """
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        first = PATTERNS[index % len(PATTERNS)]
        second = str(rng.choice(PATTERNS))
        patterns = sorted({first, second}) if rng.random() < 0.25 else [first]
        size = SIZES[int(rng.integers(len(SIZES)))]
        zoom = float(rng.uniform(*ZOOM)) if rng.random() < 0.35 else 1.0
        field = simulate_field(
            int(rng.integers(EVALUATION_SEED)),
            patterns,
            size=size,
            pixels_per_reference_pixel=zoom,
        )
        yield TrainingField(degrade(field.signal, rng), field.nuclei, field.cells)


def degrade(signal: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change exposure, focus and file quality at random.

    Parameters
    ----------
    signal : ndarray of uint8, shape (H, W)
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of uint8, shape (H, W)
    """
    light = signal.astype(np.float32)
    if rng.random() < 0.3:
        light = cv2.GaussianBlur(light, (0, 0), float(rng.uniform(0.5, 2.0)))
    if rng.random() < 0.5:
        light = light * float(np.exp(rng.uniform(np.log(0.15), np.log(1.3))))
    if rng.random() < 0.3:
        light = 255 * (np.clip(light, 0, 255) / 255) ** float(rng.uniform(0.7, 1.4))
    light = light + float(rng.uniform(0, 6)) + rng.normal(0, rng.uniform(0, 1.5), light.shape)
    dimmed = np.clip(np.rint(light), 0, 255).astype(np.uint8)
    return as_jpeg(dimmed, int(rng.integers(70, 97)))


def as_jpeg(signal: NDArray[Any], quality: int) -> NDArray[np.uint8]:
    """Return an image as it comes back from a JPEG file of the given quality."""
    data = cv2.imencode(".jpg", signal, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)

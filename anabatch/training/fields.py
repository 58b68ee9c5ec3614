"""Simulated fields for training and evaluation: drawn by seed, degraded as cameras and files do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from anabatch.simulate.field import PATTERNS, simulate_field

if TYPE_CHECKING:
    from numpy.typing import NDArray

EVALUATION_SEED = 1_000_000
"""Seeds from here on are never trained on."""

SIZES = ((1388, 1040), (972, 724))
"""Field sizes that are trained on, (width, height) in reference pixels."""

ZOOM = (0.6, 2.2)
"""Half of the fields are drawn larger or smaller than their scale says, within these factors."""

# Dividing cells are rare, and the hardest nuclei to see: half of the fields have more of them.
_MITOTIC = (0.1, 0.35)
_EMPTY_SHARE = 0.03
# Panels as programs burn them in: bright or dark, with razor-sharp edges, where no cell is.
_PANEL_SHARE = 0.12


@dataclass(frozen=True)
class TrainingField:
    """A field at reference resolution with its truth.

    Attributes
    ----------
    signal : ndarray of uint8, shape (H, W)
    nuclei, cells : ndarray of int32, shape (H, W)
        Label images.
    patterns : tuple of str
        What was drawn on every cell.
    """

    signal: NDArray[np.uint8]
    nuclei: NDArray[np.int32]
    cells: NDArray[np.int32]
    patterns: tuple[str, ...] = ()


def training_field(seed: int, index: int) -> TrainingField:
    """Draw a field of one or two patterns, from bright to dim, sharp to blurred, small to large.

    Parameters
    ----------
    seed : int
    index : int
        The pattern is the one at this place of the simulator's list, over and over.

    Returns
    -------
    TrainingField
        With equal seeds and indices, equal fields.
    """
    rng = np.random.default_rng([seed, index])
    first = PATTERNS[index % len(PATTERNS)]
    patterns = sorted({first, str(rng.choice(PATTERNS))}) if rng.random() < 0.25 else [first]
    low, high = np.log(ZOOM)
    field = simulate_field(
        int(rng.integers(EVALUATION_SEED)),
        patterns,
        size=SIZES[int(rng.integers(len(SIZES)))],
        pixels_per_reference_pixel=float(np.exp(rng.uniform(low, high) * (rng.random() < 0.5))),
        mitotic_share=float(rng.uniform(*_MITOTIC)) if rng.random() < 0.5 else None,
        empty=bool(rng.random() < _EMPTY_SHARE),
    )
    signal = field.signal
    if rng.random() < _PANEL_SHARE:
        signal = _with_panel(signal, field.cells, rng)
    return TrainingField(degrade(signal, rng), field.nuclei, field.cells, field.patterns)


def _with_panel(
    signal: NDArray[np.uint8], cells: NDArray[np.int32], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Lay an even panel of any grey over a place without cells, if there is one."""
    height, width = int(rng.integers(6, 80)), int(rng.integers(30, 300))
    for _ in range(20):
        y = int(rng.integers(0, max(1, signal.shape[0] - height)))
        x = int(rng.integers(0, max(1, signal.shape[1] - width)))
        window = slice(y, y + height), slice(x, x + width)
        if not cells[window].any():
            changed = signal.copy()
            changed[window] = int(rng.integers(0, 256))
            return changed
    return signal


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

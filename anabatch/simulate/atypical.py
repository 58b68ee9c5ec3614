"""Atypical cells: a few of a field that shine, by their cytoplasm, while all others are dim."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anabatch.simulate.field import SimulatedField

_TYPICAL = 55.0  # grey levels, median over the cells
_BRIGHT = (150.0, 210.0)
_NUCLEUS = (0.45, 0.75)  # of the cytoplasm's brightness
_GRAIN = 2.5  # pixels
_CONTRAST = 0.22
_SOFT = 1.5  # pixels over which a cell's edge fades


def with_atypical_cells(
    field: SimulatedField, share: float, rng: np.random.Generator
) -> tuple[SimulatedField, tuple[int, ...]]:
    """Dim a field to what is usual of its class, and make some cells bright ones.

    Parameters
    ----------
    field : SimulatedField
    share : float
        Probability with which a cell is one of them. Dividing cells are not.
    rng : numpy.random.Generator

    Returns
    -------
    field : SimulatedField
        With another signal.
    labels : tuple of int
        The bright cells, in order.
    """
    inside = field.cells > 0
    level = float(np.median(field.signal[inside])) if inside.any() else _TYPICAL
    signal = field.signal * np.float32(min(1.0, _TYPICAL / max(level, 1.0)))
    labels = range(1, int(field.cells.max()) + 1)
    chosen = [i for i in labels if rng.random() < share and i not in field.mitotic]
    texture = _texture(signal.shape, rng)
    for label in chosen:
        body = (field.cells == label).astype(np.float32)
        dark = (field.nuclei == label) * np.float32(1 - rng.uniform(*_NUCLEUS))
        light = np.float32(rng.uniform(*_BRIGHT)) * (1 + _CONTRAST * texture) * (1 - dark)
        signal = np.maximum(signal, cv2.GaussianBlur(body * light, (0, 0), _SOFT))
    shown = np.clip(np.rint(signal), 0, 255).astype(np.uint8)
    return replace(field, signal=shown), tuple(chosen)


def _texture(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return grains of unit variance, shape (H, W)."""
    noise = rng.normal(size=shape).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), _GRAIN)
    return np.asarray(soft / max(float(soft.std()), 1e-6), np.float32)

"""Features that need no network: what a trained one has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PIXELS = 24
"""Side of the crops whose plain pixels are features."""

_LEVELS = 32  # grey levels that co-occur
_DISTANCES = (1, 2, 4, 8)  # crop pixels between them
_ANGLES = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
_PROPERTIES = ("contrast", "dissimilarity", "homogeneity", "energy", "correlation", "ASM")


def pixels(crops: NDArray[np.uint8], masks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the crops themselves, 24 x 24.

    Parameters
    ----------
    crops, masks : ndarray, shape (n, 96, 96), uint8

    Returns
    -------
    ndarray, shape (n, 576), float32
    """
    del masks
    side = (PIXELS, PIXELS)
    small = [cv2.resize(crop, side, interpolation=cv2.INTER_AREA).ravel() for crop in crops]
    return np.asarray(small, dtype=np.float32).reshape(len(crops), PIXELS**2)


def cooccurrence(crops: NDArray[np.uint8], masks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return properties of the grey levels that lie near each other in the cell.

    Parameters
    ----------
    crops, masks : ndarray, shape (n, 96, 96), uint8

    Returns
    -------
    ndarray, shape (n, 48), float32
        Six properties at four distances, each as its mean and its range over four directions.

    References
    ----------
    R. M. Haralick, K. Shanmugam and I. Dinstein, "Textural features for image classification", IEEE
    Transactions on Systems, Man, and Cybernetics 3 (1973).
    """
    from skimage.feature import graycomatrix, graycoprops

    found = []
    for crop, mask in zip(crops, masks, strict=True):
        # 0 is outside of the cell, and pairs with it are taken out below.
        levels = np.where(mask > 0, 1 + crop // (256 // _LEVELS), 0).astype(np.uint8)
        pairs = graycomatrix(levels, _DISTANCES, _ANGLES, levels=_LEVELS + 1, symmetric=True)
        inside = pairs[1:, 1:].astype(np.float64)
        inside /= np.maximum(inside.sum(axis=(0, 1)), 1)
        values = [graycoprops(inside, name) for name in _PROPERTIES]
        found.append([np.concatenate([v.mean(axis=1), np.ptp(v, axis=1)]) for v in values])
    return np.asarray(found, dtype=np.float32).reshape(len(crops), 2 * 4 * len(_PROPERTIES))

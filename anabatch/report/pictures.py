"""Microscope pictures for the report: stretched in contrast, encoded small."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from anabatch.report.figures import data_uri

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CROP_RANGE = (1.0, 99.7)  # percentiles that become black and white
_FIELD_QUALITY, _CROP_QUALITY = 80, 84  # of JPEG, by eye
_LEAST_RANGE = 1e-6  # grey levels


def stretch(picture: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Return a picture in 8 bits, with `low` black and `high` white.

    Parameters
    ----------
    picture : ndarray, any integer or float dtype
    low, high : float
        In the picture's units. Where they are equal everything above is white.

    Returns
    -------
    ndarray of uint8, the picture's shape
    """
    span = max(float(high) - float(low), _LEAST_RANGE)
    unit = (picture.astype(np.float32) - np.float32(low)) / np.float32(span)
    return np.asarray(np.rint(np.clip(unit, 0, 1) * 255), dtype=np.uint8)


def field_uri(picture: NDArray[np.uint8]) -> str:
    """Return an outlined field as a JPEG; colours keep their full resolution, for the thin lines."""
    return _jpeg(picture, _FIELD_QUALITY)


def crop_uri(crop: NDArray[Any]) -> str:
    """Return a cell's crop as a JPEG, each stretched to its own range.

    Parameters
    ----------
    crop : ndarray, shape (side, side), uint8 or uint16
        Zero outside the cell.
    """
    return _jpeg(_stretched(crop), _CROP_QUALITY)


def crop_thumbnail(crop: NDArray[Any], side: int) -> NDArray[np.uint8]:
    """Return a cell's crop at a smaller size, stretched to its own range.

    Parameters
    ----------
    crop : ndarray, shape (n, n), uint8 or uint16
        Zero outside the cell.
    side : int
        Pixels.

    Returns
    -------
    ndarray of uint8, shape (side, side)
    """
    small = Image.fromarray(_stretched(crop)).resize((side, side), Image.Resampling.BOX)
    return np.asarray(small)


def _stretched(crop: NDArray[Any]) -> NDArray[np.uint8]:
    inside = crop[crop > 0]
    low, high = np.percentile(inside, _CROP_RANGE) if inside.size else (0.0, 1.0)
    return stretch(crop, low, high)


def _jpeg(picture: NDArray[np.uint8], quality: int) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality, subsampling=0, optimize=True)
    return data_uri(buffer.getvalue(), "jpeg")

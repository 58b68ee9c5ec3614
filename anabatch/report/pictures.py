"""Microscope pictures for the report: stretched in contrast, outlined, encoded small."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from anabatch.report.figures import ORANGE, SKY, data_uri

if TYPE_CHECKING:
    from numpy.typing import NDArray

CELL_COLOUR, NUCLEUS_COLOUR = ORANGE, SKY

# Percentiles that become black and white.
_FIELD_RANGE = (0.5, 99.8)
_CROP_RANGE = (1.0, 99.7)
_FIELD_QUALITY, _CROP_QUALITY = 80, 84  # of JPEG, by eye
_FIELD_SIDE = 1000  # pixels
_LEAST_RANGE = 1e-6  # grey levels
_LEAST_CONTRAST = 0.1  # of a field, as a share of its integer type's range


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


def outlines(labels: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Return the pixels of masks that border on another mask or the background.

    Parameters
    ----------
    labels : ndarray of int, shape (H, W)
        0 is background.

    Returns
    -------
    ndarray of bool, shape (H, W)
        Lines of one pixel within each mask. A mask that touches the picture's border is open there.
    """
    edge = np.zeros(labels.shape, dtype=np.bool_)
    vertical = labels[1:] != labels[:-1]
    horizontal = labels[:, 1:] != labels[:, :-1]
    edge[1:] |= vertical
    edge[:-1] |= vertical
    edge[:, 1:] |= horizontal
    edge[:, :-1] |= horizontal
    inside: NDArray[np.bool_] = edge & (labels > 0)
    return inside


def outlined_field(
    signal: NDArray[Any], nuclei: NDArray[np.int32], cells: NDArray[np.int32]
) -> tuple[NDArray[np.uint8], float]:
    """Draw the outlines of nuclei and cells over a field.

    Parameters
    ----------
    signal : ndarray, shape (H, W), uint8 or uint16
    nuclei, cells : ndarray of int32, shape (H, W)

    Returns
    -------
    picture : ndarray of uint8, shape (h, w, 3)
        At most 1,000 pixels a side.
    zoom : float
        Pixels of the picture per source pixel.
    """
    height, width = signal.shape
    zoom = min(1.0, _FIELD_SIDE / max(height, width))
    shape = (max(1, round(height * zoom)), max(1, round(width * zoom)))
    low, high = np.percentile(signal, _FIELD_RANGE)
    # an empty field stays dark: its noise is not stretched to look like a stain
    high = max(high, low + _LEAST_CONTRAST * np.iinfo(signal.dtype).max)
    grey = Image.fromarray(stretch(signal, low, high))
    grey = grey.resize(shape[::-1], Image.Resampling.BOX, reducing_gap=None)
    picture = np.repeat(np.asarray(grey)[..., None], 3, axis=2)
    rows = ((np.arange(shape[0]) + 0.5) / shape[0] * height).astype(np.intp)
    columns = ((np.arange(shape[1]) + 0.5) / shape[1] * width).astype(np.intp)
    for labels, colour in ((cells, CELL_COLOUR), (nuclei, NUCLEUS_COLOUR)):
        picture[_thick(labels[np.ix_(rows, columns)])] = _rgb(colour)
    return picture, zoom


def _thick(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return outlines of two pixels: pages show fields at about half their size."""
    outer = outlines(labels)
    both: NDArray[np.bool_] = outer | outlines(np.where(outer, 0, labels))
    return both


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
    inside = crop[crop > 0]
    low, high = np.percentile(inside, _CROP_RANGE) if inside.size else (0.0, 1.0)
    return _jpeg(stretch(crop, low, high), _CROP_QUALITY)


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def _jpeg(picture: NDArray[np.uint8], quality: int) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality, subsampling=0, optimize=True)
    return data_uri(buffer.getvalue(), "jpeg")

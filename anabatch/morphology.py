"""What is measured of one cell: sizes, shapes and brightnesses, from its masks and the untreated signal.

Measures are in source pixels and in the signal's own units, background included. What depends on the
other cells of the image stands in `anabatch.cell_flags`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

Box = tuple[int, int, int, int]
"""A bounding box in source pixels: (y0, x0, y1, x1), the ends exclusive."""

_PIXEL_VARIANCE = 1 / 12  # of a square of side 1: a single pixel has a length


@dataclass(frozen=True)
class CellPixels:
    """One cell within its bounding box.

    Attributes
    ----------
    edges : tuple of int
        (y0, x0, y1, x1) in source pixels, the ends exclusive.
    signal : ndarray, shape (y1 - y0, x1 - x0), uint8 or uint16
        The untreated signal.
    inside : ndarray of bool, of that shape
        True on the cell.
    nuclei : ndarray of integers, of that shape
        Labels of the nuclei, 0 outside of the cell.
    image : tuple of int
        (H, W) of the image.
    """

    edges: Box
    signal: NDArray[Any]
    inside: NDArray[np.bool_]
    nuclei: NDArray[Any]
    image: tuple[int, int]

    def at_border(self, mask: NDArray[np.bool_]) -> bool:
        """Tell whether a mask within the box has pixels on the image's outermost lines."""
        y0, x0, y1, x1 = self.edges
        sides = (y0 == 0, x0 == 0, y1 == self.image[0], x1 == self.image[1])
        lines = (mask[0], mask[:, 0], mask[-1], mask[:, -1])
        return any(side and bool(line.any()) for side, line in zip(sides, lines, strict=True))


def measure(cell: CellPixels, nucleus_sizes: NDArray[np.intp]) -> dict[str, Any]:
    """Measure one cell.

    Parameters
    ----------
    cell : CellPixels
    nucleus_sizes : ndarray of int, shape (largest label + 1,)
        Pixels of every nucleus of the image, by label.

    Returns
    -------
    dict
        The measures among the columns of :func:`anabatch.cells.cut_cells`.
    """
    y0, x0, y1, x1 = cell.edges
    area = int(cell.inside.sum())
    values = cell.signal[cell.inside]
    major, minor = ellipse_axes(cell.inside)
    pixels = np.bincount(cell.nuclei[cell.inside], minlength=1)
    own = np.flatnonzero(2 * pixels[1:] > nucleus_sizes[1 : pixels.size]) + 1
    return {
        "centroid_y": y0 + float(cell.inside.sum(axis=1) @ np.arange(y1 - y0)) / area,
        "centroid_x": x0 + float(cell.inside.sum(axis=0) @ np.arange(x1 - x0)) / area,
        "area_px": area,
        "major_px": major,
        "minor_px": minor,
        "nucleus_area_px": int(pixels[1:].sum()),
        "nucleus_count": int(own.size),
        "black_fraction": (cell.inside.size - np.count_nonzero(values)) / cell.inside.size,
        "saturated_fraction": np.count_nonzero(values == np.iinfo(values.dtype).max) / area,
        "mean_intensity": float(values.mean(dtype=np.float64)),
        "touches_border": cell.at_border(cell.inside),
        **_nucleus(cell, int(own[pixels[own].argmax()]) if own.size else None),
    }


def _nucleus(cell: CellPixels, label: int | None) -> Mapping[str, float | bool | None]:
    """Measure a cell's largest own nucleus, and brightnesses; all None without one."""
    if label is None:
        return dict.fromkeys(NUCLEUS_MEASURES)
    mask = cell.nuclei == label
    major, minor = ellipse_axes(mask)
    nucleus = _mean(cell.signal[cell.nuclei > 0])
    cytoplasm = _mean(cell.signal[cell.inside & (cell.nuclei == 0)])
    return {
        "nucleus_major_px": major,
        "nucleus_minor_px": minor,
        "nucleus_solidity": solidity(mask),
        "nucleus_touches_border": cell.at_border(mask),
        "nucleus_mean_intensity": nucleus,
        "cytoplasm_mean_intensity": cytoplasm,
        "nucleus_cytoplasm_ratio": nucleus / cytoplasm
        if nucleus is not None and cytoplasm
        else None,
    }


NUCLEUS_MEASURES = (
    *("nucleus_major_px", "nucleus_minor_px", "nucleus_solidity", "nucleus_touches_border"),
    *("nucleus_mean_intensity", "cytoplasm_mean_intensity", "nucleus_cytoplasm_ratio"),
)
"""What a cell without a nucleus of its own has not."""


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean(dtype=np.float64)) if values.size else None


def ellipse_axes(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the axes, longer first, of the ellipse with a mask's second moments.

    Parameters
    ----------
    mask : ndarray of bool, shape (h, w)
        At least one pixel is True. Pixels are squares of side 1.

    Returns
    -------
    major, minor : float
        Whole axes, in pixels.
    """
    rows, columns = mask.sum(axis=1), mask.sum(axis=0)
    total = rows.sum()
    y, x = np.arange(rows.size, dtype=np.float64), np.arange(columns.size, dtype=np.float64)
    y -= rows @ y / total
    x -= columns @ x / total
    down, across = rows @ y**2 / total, columns @ x**2 / total
    both = y @ (mask @ x) / total
    middle, apart = (down + across) / 2 + _PIXEL_VARIANCE, np.hypot((down - across) / 2, both)
    return float(4 * np.sqrt(middle + apart)), float(4 * np.sqrt(max(middle - apart, 0.0)))


def solidity(mask: NDArray[np.bool_]) -> float:
    """Return a mask's pixels over the pixels of its convex hull, at most 1.

    Parameters
    ----------
    mask : ndarray of bool, shape (h, w)
        At least one pixel is True. It need not be connected.
    """
    y = np.flatnonzero(mask.any(axis=1))
    first, last = mask[y].argmax(axis=1), mask.shape[1] - 1 - mask[y, ::-1].argmax(axis=1)
    ends = np.stack([np.concatenate([first, last]), np.concatenate([y, y])], axis=1)
    filled = mask.astype(np.uint8)
    cv2.fillConvexPoly(filled, cv2.convexHull(ends.astype(np.int32)), 1)
    return np.count_nonzero(mask) / np.count_nonzero(filled)

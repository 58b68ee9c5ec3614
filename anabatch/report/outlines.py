"""Fields with what was found in them: stretched in contrast, outlined, marked.

Colours are of Okabe and Ito's palette, which colour-blind eyes tell apart; marks differ in form too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from anabatch.report.figures import ORANGE, PURPLE, SKY, VERMILLION
from anabatch.report.pictures import stretch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

CELL_COLOUR, NUCLEUS_COLOUR = ORANGE, SKY

MITOTIC, NO_NUCLEUS, NO_CELL = "mitotic", "cell without a nucleus", "nucleus without a cell"
YELLOW = "#F0E442"  # of the same palette; on white it cannot be seen, on fields it is the brightest

MARKS = {
    MITOTIC: (YELLOW, "◇", cv2.MARKER_DIAMOND),
    NO_NUCLEUS: (PURPLE, "+", cv2.MARKER_CROSS),
    NO_CELL: (VERMILLION, "\N{MULTIPLICATION SIGN}", cv2.MARKER_TILTED_CROSS),
}
"""Colour of every mark, its form in text, and its form in OpenCV."""

_RANGE = (0.5, 99.8)  # percentiles that become black and white
_SIDE = 1000  # pixels
_LEAST_CONTRAST = 0.1  # of a field, as a share of its integer type's range
_MARK_SIZE = 11  # pixels of the picture


@dataclass(frozen=True)
class Mark:
    """Something to point at.

    Attributes
    ----------
    kind : str
        One of :data:`MARKS`.
    y, x : float
        Where, in source pixels.
    """

    kind: str
    y: float
    x: float


@dataclass(frozen=True)
class Drawing:
    """A field as it is shown.

    Attributes
    ----------
    picture : ndarray of uint8, shape (h, w, 3)
    zoom : float
        Pixels of the picture per source pixel.
    black, white : float
        The signal's levels that are shown black and white.
    """

    picture: NDArray[np.uint8]
    zoom: float
    black: float
    white: float


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
    signal: NDArray[Any],
    nuclei: NDArray[np.int32],
    cells: NDArray[np.int32],
    *,
    side: int = _SIDE,
    largest_zoom: float = 1.0,
    marks: Iterable[Mark] = (),
) -> Drawing:
    """Draw the outlines of nuclei and cells over a field.

    Parameters
    ----------
    signal : ndarray, shape (H, W), uint8 or uint16
    nuclei, cells : ndarray of int32, shape (H, W)
    side : int
        Longer side of the picture, in pixels.
    largest_zoom : float
        Smaller fields are not enlarged by more.
    marks : iterable of Mark

    Returns
    -------
    Drawing
    """
    height, width = signal.shape
    zoom = min(largest_zoom, side / max(height, width))
    shape = (max(1, round(height * zoom)), max(1, round(width * zoom)))
    black, white = display_range(signal)
    grey = Image.fromarray(stretch(signal, black, white))
    method = Image.Resampling.BOX if zoom <= 1 else Image.Resampling.BILINEAR
    grey = grey.resize(shape[::-1], method, reducing_gap=None)
    picture = np.repeat(np.asarray(grey)[..., None], 3, axis=2)
    rows = ((np.arange(shape[0]) + 0.5) / shape[0] * height).astype(np.intp)
    columns = ((np.arange(shape[1]) + 0.5) / shape[1] * width).astype(np.intp)
    for labels, colour in ((cells, CELL_COLOUR), (nuclei, NUCLEUS_COLOUR)):
        picture[_thick(labels[np.ix_(rows, columns)])] = rgb(colour)
    for mark in marks:
        _point_at(picture, mark, (shape[0] / height, shape[1] / width))
    return Drawing(picture, zoom, black, white)


def display_range(signal: NDArray[Any]) -> tuple[float, float]:
    """Return the levels that become black and white: of each field its own.

    An empty field stays dark: its noise is not stretched to look like a stain.
    """
    low, high = (float(level) for level in np.percentile(signal, _RANGE))
    return low, max(high, low + _LEAST_CONTRAST * float(np.iinfo(signal.dtype).max))


def _thick(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return outlines of two pixels: pages show fields at about half their size."""
    outer = outlines(labels)
    both: NDArray[np.bool_] = outer | outlines(np.where(outer, 0, labels))
    return both


def _point_at(picture: NDArray[np.uint8], mark: Mark, zoom: tuple[float, float]) -> None:
    """Draw a mark, with a dark rim that keeps it apart from bright signal."""
    colour, _, form = MARKS[mark.kind]
    place = int((mark.x + 0.5) * zoom[1]), int((mark.y + 0.5) * zoom[0])
    cv2.drawMarker(picture, place, (0, 0, 0), form, _MARK_SIZE + 2, 4)
    cv2.drawMarker(picture, place, rgb(colour), form, _MARK_SIZE, 2)


def unpaired(nuclei: NDArray[np.int32], cells: NDArray[np.int32]) -> list[Mark]:
    """Point at cells without a nucleus, and at nuclei without a cell.

    As for the cells' rows, a nucleus belongs to the cell that more than half of its pixels lie in.

    Parameters
    ----------
    nuclei, cells : ndarray of int32, shape (H, W)

    Returns
    -------
    list of Mark
        Cells first, each by label; at the means of their pixels.
    """
    within = nuclei > 0
    stride = int(cells.max(initial=0)) + 1
    pairs, counts = np.unique(
        nuclei[within].astype(np.int64) * stride + cells[within], return_counts=True
    )
    nucleus, cell = pairs // stride, pairs % stride
    sizes = np.bincount(nuclei.ravel())
    belongs = (cell > 0) & (2 * counts > sizes[nucleus])
    return [
        *_centres(cells, set(cell[belongs].tolist()), NO_NUCLEUS),
        *_centres(nuclei, set(nucleus[belongs].tolist()), NO_CELL),
    ]


def _centres(labels: NDArray[np.int32], paired: set[int], kind: str) -> list[Mark]:
    """Point at the masks that are not paired."""
    from scipy import ndimage

    alone = [label for label in np.unique(labels).tolist() if label and label not in paired]
    if not alone:
        return []
    return [Mark(kind, y, x) for y, x in ndimage.center_of_mass(labels > 0, labels, alone)]


def mitotic(rows: Iterable[Mapping[str, Any]]) -> list[Mark]:
    """Point at the cells that their rows call mitotic; at none where rows know nothing of it.

    Parameters
    ----------
    rows : iterable of mapping
        Rows of `cells`.
    """
    return [Mark(MITOTIC, row["centroid_y"], row["centroid_x"]) for row in rows if row.get(MITOTIC)]


def rgb(colour: str) -> tuple[int, int, int]:
    """Return the three bytes of a colour such as `#E69F00`."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue

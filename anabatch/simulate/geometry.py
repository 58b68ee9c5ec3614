"""Shapes of cells and nuclei, where they lie, and the label images that follow.

Every outline is star-shaped: a radius for each of :data:`ANGLES` directions around the nucleus's centre.
The ratio of a pixel's distance to the outline's radius in its direction (the *reach*, 0 at the centre,
1 on the outline) gives masks, soft edges and the partition of overlapping cells at little cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ANGLES = 180
"""Number of directions in which an outline is sampled."""

THETA = np.linspace(0.0, 2.0 * np.pi, ANGLES, endpoint=False)

LONG_AXIS = (55.0, 120.0)
"""Long axis of an interphase nucleus, smallest and largest, in reference pixels."""

MITOTIC = frozenset({"prometaphase", "metaphase", "rosette", "anaphase", "telophase"})


@dataclass(frozen=True)
class CellShape:
    """The outlines of one cell.

    Attributes
    ----------
    x, y : float
        The nucleus's centre, in pixels.
    nucleus, cell : ndarray, shape (ANGLES,), float64
        Radii in pixels, counted from the x axis towards the y axis.
    bend : float
        Turn of the cell's outline at one maximal radius from the centre, in radians: curved spindles.
    axis : float
        Direction of the nucleus's long axis (of the plate in metaphase and anaphase), in radians.
    kind : str
        ``interphase``, ``rounded``, or one of :data:`MITOTIC`.
    """

    x: float
    y: float
    nucleus: NDArray[np.float64]
    cell: NDArray[np.float64]
    bend: float
    axis: float
    kind: str

    @property
    def long_axis(self) -> float:
        """Length of the nucleus along its long axis, in pixels."""
        return diameter(self.nucleus)

    def moved(self, x: float, y: float) -> CellShape:
        """Return the same shape around another centre, in pixels."""
        return CellShape(x, y, self.nucleus, self.cell, self.bend, self.axis, self.kind)


@dataclass(frozen=True)
class Box:
    """A rectangle of the field: rows ``y0:y1`` and columns ``x0:x1``."""

    y0: int
    x0: int
    y1: int
    x1: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rectangle as an index of an array of shape (H, W)."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.y1 - self.y0, self.x1 - self.x0


def diameter(radii: NDArray[np.float64]) -> float:
    """Return the longest chord through the centre, in the radii's unit.

    Parameters
    ----------
    radii : ndarray, shape (ANGLES,)
        An outline.
    """
    return float((radii + np.roll(radii, ANGLES // 2)).max())


def ellipse(long: float, short: float, axis: float, power: float = 2.0) -> NDArray[np.float64]:
    """Return the radii of a (super)ellipse with full axes `long` and `short`.

    Parameters
    ----------
    long, short : float
        Lengths of the axes, in pixels.
    axis : float
        Direction of the long axis, in radians.
    power : float
        2 for an ellipse; larger values approach a rectangle.
    """
    along = np.abs(np.cos(THETA - axis)) / (long / 2)
    across = np.abs(np.sin(THETA - axis)) / (short / 2)
    radii: NDArray[np.float64] = (along**power + across**power) ** (-1.0 / power)
    return radii


def wobble(rng: np.random.Generator, orders: range, size: float) -> NDArray[np.float64]:
    """Draw a smooth random relative change of a radius, of standard deviation about `size`."""
    total = np.zeros(ANGLES)
    for order in orders:
        phase = rng.uniform(0, 2 * np.pi)
        total += rng.normal() * np.cos(order * THETA + phase) / (order - orders.start + 1)
    return size * total


def draw_nucleus(
    rng: np.random.Generator, long: float, aspect: float, axis: float
) -> NDArray[np.float64]:
    """Draw an interphase nucleus: an uneven ellipse or egg, of exactly the long axis `long` (pixels)."""
    radii = ellipse(long, long / aspect, axis, rng.uniform(1.9, 2.5))
    egg = rng.normal(0, 0.06) * np.cos(THETA - axis)
    radii = radii * (1 + egg + wobble(rng, range(2, 6), 0.018))
    if rng.random() < 0.12:  # a notch, as in bean-shaped nuclei
        where = axis + rng.choice([-1, 1]) * np.pi / 2 + rng.normal(0, 0.4)
        radii = radii * (1 - rng.uniform(0.08, 0.22) * np.exp(8 * (np.cos(THETA - where) - 1)))
    smooth: NDArray[np.float64] = radii * (long / diameter(radii))
    return smooth


def draw_cytoplasm(
    rng: np.random.Generator, nucleus: NDArray[np.float64], axis: float, spread: float
) -> NDArray[np.float64]:
    """Draw the outline of a spread cell around its nucleus, with one to four tapering ends.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of chance.
    nucleus : ndarray, shape (ANGLES,)
        Radii of the nucleus, in pixels.
    axis : float
        Direction in which the cell is stretched, in radians.
    spread : float
        About 1: size of the cytoplasm relative to the nucleus.
    """
    mean = float(nucleus.mean())
    radii = nucleus * rng.uniform(1.1, 1.22) + mean * spread * rng.uniform(0.12, 0.36)
    ends = [axis + rng.normal(0, 0.25), axis + np.pi + rng.normal(0, 0.25)][: rng.integers(1, 3)]
    ends += list(rng.uniform(0, 2 * np.pi, rng.integers(0, 3)))
    for end in ends:
        away = np.abs(np.angle(np.exp(1j * (THETA - end))))
        length = mean * spread * rng.gamma(2.2, 0.5)
        # a cusp, rounded at its tip by 0.05 rad: cells end in points, not in lobes
        radii = radii + length * np.exp(-(np.hypot(away, 0.05) - 0.05) / rng.uniform(0.16, 0.5))
    side = 1 + 0.12 * rng.normal() * np.cos(THETA - rng.uniform(0, 2 * np.pi))
    radii = radii * np.clip(side + wobble(rng, range(3, 9), 0.035), 0.7, 1.5)
    outline: NDArray[np.float64] = np.clip(radii, nucleus * 1.06, 4.5 * mean)
    return outline


def draw_mitosis(rng: np.random.Generator, kind: str, long: float, axis: float) -> list[CellShape]:
    """Draw a dividing cell around the origin; telophase gives two.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of chance.
    kind : str
        One of :data:`MITOTIC`.
    long : float
        Long axis of the field's interphase nuclei, in pixels: the plate's length follows it.
    axis : float
        Direction of the plate, in radians.
    """
    lobes = 1 + wobble(rng, range(5, 13), 0.08 if kind == "prometaphase" else 0.045)
    width = long * rng.uniform(0.24, 0.34)
    round_cell = ellipse(long * rng.uniform(1.08, 1.3), long * rng.uniform(0.98, 1.1), axis)
    if kind == "telophase":
        shapes = []
        gap = long * rng.uniform(0.3, 0.42)
        for side in (-1.0, 1.0):
            away = axis + side * np.pi / 2
            plate = ellipse(long * rng.uniform(0.55, 0.7), width, axis, 2.6) * lobes
            body = ellipse(long * rng.uniform(0.82, 0.95), gap * 1.7, axis, 2.2)
            body = body * (1 + 0.15 * np.cos(THETA - away))
            shift = gap * np.array([np.cos(away), np.sin(away)])
            cell = np.maximum(body, plate * 1.08)
            shapes.append(CellShape(shift[0], shift[1], plate, cell, 0.0, axis, kind))
        return shapes
    plates = {
        "prometaphase": ellipse(long * rng.uniform(0.62, 0.8), long * rng.uniform(0.5, 0.6), axis),
        "metaphase": ellipse(long * rng.uniform(0.66, 0.85), width, axis, 3.0),
        "rosette": ellipse(long * 0.68, long * rng.uniform(0.58, 0.66), axis),
        "anaphase": ellipse(
            long * rng.uniform(0.6, 0.78), long * rng.uniform(0.46, 0.62), axis, 3.5
        ),
    }
    plate = plates[kind] * lobes
    if kind == "anaphase":
        round_cell = ellipse(
            long * rng.uniform(1.2, 1.4), long * rng.uniform(0.95, 1.08), axis + np.pi / 2
        )
    cell = np.maximum(round_cell * (1 + wobble(rng, range(2, 6), 0.02)), plate * 1.1)
    if rng.random() < 0.25:  # still spread, with pointed ends
        cell = np.maximum(cell, draw_cytoplasm(rng, plate, axis + rng.normal(), 1.2))
    return [CellShape(0.0, 0.0, plate, cell, 0.0, axis, kind)]


def draw_rounded(rng: np.random.Generator, long: float, axis: float, least: float) -> CellShape:
    """Draw a rounded, loosely attached cell whose nucleus is at least `least` pixels long."""
    size = max(least, long * rng.uniform(0.7, 0.95))
    nucleus = draw_nucleus(rng, size, rng.uniform(1.0, 1.25), axis)
    cell = nucleus * rng.uniform(1.2, 1.5) * (1 + wobble(rng, range(2, 6), 0.03))
    return CellShape(0.0, 0.0, nucleus, np.maximum(cell, nucleus * 1.06), 0.0, axis, "rounded")


def box_of(shape: CellShape, size: tuple[int, int]) -> Box:
    """Return the part of a field of `size` (width, height) that the cell can cover."""
    reach = float(max(shape.cell.max(), shape.nucleus.max())) + 4
    return Box(
        max(0, int(shape.y - reach)),
        max(0, int(shape.x - reach)),
        min(size[1], int(shape.y + reach) + 2),
        min(size[0], int(shape.x + reach) + 2),
    )


def reaches(shape: CellShape, box: Box) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the reach of every pixel of a box in the nucleus and in the cell.

    Parameters
    ----------
    shape : CellShape
        The cell.
    box : Box
        Where to look.

    Returns
    -------
    nucleus, cell : ndarray, shape (h, w), float32
        Distance from the centre over the outline's radius in that direction.
    """
    dx = np.arange(box.x0, box.x1, dtype=np.float32) - np.float32(shape.x)
    dy = np.arange(box.y0, box.y1, dtype=np.float32)[:, None] - np.float32(shape.y)
    distance = np.sqrt(dx * dx + dy * dy)
    angle = np.arctan2(dy, dx)
    nucleus = distance / _radius(shape.nucleus, angle)
    turned = angle + np.float32(shape.bend) * distance / np.float32(shape.cell.max())
    return nucleus, np.minimum(distance / _radius(shape.cell, turned), nucleus)


def _radius(radii: NDArray[np.float64], angle: NDArray[np.float32]) -> NDArray[np.float32]:
    """Interpolate an outline at any angle (radians)."""
    place = angle * np.float32(ANGLES / (2 * np.pi)) + np.float32(2 * ANGLES)
    low = place.astype(np.int32)
    share = place - low
    table = radii.astype(np.float32)
    following = np.roll(table, -1)
    low %= ANGLES
    value: NDArray[np.float32] = table[low] * (1 - share) + following[low] * share
    return value


def label_cells(
    shapes: Sequence[CellShape], size: tuple[int, int]
) -> tuple[NDArray[np.int32], NDArray[np.int32], list[CellShape]]:
    """Give every pixel to at most one nucleus and one cell.

    A pixel in several outlines goes to the one of which it is deeper inside. Cells of whose nucleus less than
    half is left, by neighbours or by the field's border, are dropped.

    Parameters
    ----------
    shapes : sequence of CellShape
        The cells.
    size : (int, int)
        (width, height) of the field, in pixels.

    Returns
    -------
    nuclei, cells : ndarray, shape (H, W), int32
        Label images, 0 for the background; every nucleus and every cell is one connected piece, a nucleus
        lies in the cell of its label.
    kept : list of CellShape
        ``kept[i]`` has the label ``i + 1``.
    """
    kept = list(shapes)
    while True:
        nuclei = _partition(kept, size)
        whole = [0.45 * shape.nucleus @ shape.nucleus * (np.pi / ANGLES) for shape in kept]
        left = np.bincount(nuclei.ravel(), minlength=len(kept) + 1)[1:]
        good = [shape for shape, had, has in zip(kept, whole, left, strict=True) if has >= had]
        if len(good) == len(kept):
            break
        kept = good
    return nuclei, _partition(kept, size, nuclei), kept


def _partition(
    shapes: Sequence[CellShape], size: tuple[int, int], nuclei: NDArray[np.int32] | None = None
) -> NDArray[np.int32]:
    """Label nuclei (`nuclei` not given) or the cells around given nuclei."""
    labels = np.zeros(size[::-1], np.int32)
    depth = np.ones(size[::-1], np.float32)
    for number, shape in enumerate(shapes, 1):
        box = box_of(shape, size)
        reach = reaches(shape, box)[0 if nuclei is None else 1]
        better = reach < depth[box.slices]
        labels[box.slices][better] = number
        depth[box.slices][better] = reach[better]
    if nuclei is not None:
        labels[nuclei > 0] = nuclei[nuclei > 0]
    for number, shape in enumerate(shapes, 1):
        box = box_of(shape, size)
        mine = labels[box.slices] == number
        anchor = mine if nuclei is None else nuclei[box.slices] == number
        labels[box.slices][mine & ~_main_piece(mine, anchor)] = 0
    return labels


def _main_piece(mask: NDArray[np.bool_], anchor: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the 4-connected piece of `mask` that holds most of `anchor`."""
    pieces = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[1]
    if not anchor.any():
        return np.zeros_like(mask)
    main: NDArray[np.bool_] = pieces == np.bincount(pieces[anchor]).argmax()
    return main

"""Where the cells of a field lie, and of which kind they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from anabatch.simulate.geometry import (
    ANGLES,
    LONG_AXIS,
    CellShape,
    draw_cytoplasm,
    draw_mitosis,
    draw_nucleus,
    draw_rounded,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

REFERENCE_AREA = 1388 * 1040
"""Reference pixels of the field for which :data:`CELL_COUNT` holds."""

CELL_COUNT = (40, 120)
"""Fewest and most cells of a field of :data:`REFERENCE_AREA`."""

# Rounded and dividing cells keep their outline free of other nuclei: they lie on top of their neighbours.
_MITOTIC_KINDS = ("prometaphase", "metaphase", "metaphase", "rosette", "anaphase", "telophase")


@dataclass(frozen=True)
class Crowd:
    """What the cells of one field have in common.

    Attributes
    ----------
    long_axis : float
        Mean long axis of the nuclei, in reference pixels.
    aspect : float
        Mean ratio of the nuclei's axes.
    axis, axis_spread : float
        Direction of the cells and its standard deviation, in radians.
    count : int
        How many cells to place.
    spread : float
        Size of the cytoplasm relative to the nucleus, about 1.
    gap : float
        Least distance of neighbouring nuclei, as a share of the mean long axis.
    clump : float
        Share of cells that may touch or overlap a neighbour.
    patchiness : float
        0 for even density, 1 for large empty patches.
    mitotic, rounded : float
        Shares of dividing and of rounded cells.
    """

    long_axis: float
    aspect: float
    axis: float
    axis_spread: float
    count: int
    spread: float
    gap: float
    clump: float
    patchiness: float
    mitotic: float
    rounded: float


def draw_crowd(rng: np.random.Generator, area: float) -> Crowd:
    """Draw the common properties of a field of `area` reference pixels."""
    long_axis = float(rng.uniform(62, 104))
    aspect = float(rng.uniform(1.2, 1.75))
    nucleus_area = np.pi / 4 * long_axis**2 / aspect
    share = area / REFERENCE_AREA
    wanted = rng.uniform(0.1, 0.34) * area / nucleus_area
    count = round(float(np.clip(wanted, 46 * share, 112 * share)))
    return Crowd(
        long_axis=long_axis,
        aspect=aspect,
        axis=float(rng.uniform(0, np.pi)),
        axis_spread=float(rng.choice([0.35, 0.8, 3.0])),
        count=max(1, count),
        spread=float(rng.uniform(0.7, 1.35)),
        gap=float(rng.uniform(0.0, 0.3)),
        clump=float(rng.choice([0.05, 0.2, 0.5])),
        patchiness=float(rng.choice([0.0, 0.5, 1.0])),
        mitotic=float(rng.choice([0.02, 0.06, 0.14])),
        rounded=float(rng.choice([0.0, 0.04, 0.1])),
    )


def place_cells(
    rng: np.random.Generator,
    crowd: Crowd,
    size: tuple[int, int],
    scale: float,
    blocked: tuple[float, float],
) -> list[CellShape]:
    """Draw cells and put them into a field without too much overlap of their nuclei.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of chance.
    crowd : Crowd
        What the cells have in common.
    size : (int, int)
        (width, height) of the field, in pixels.
    scale : float
        Pixels per reference pixel.
    blocked : (float, float)
        (width, height), in pixels, of the top left corner that a burnt-in scale bar takes: no cell has its
        centre there.

    Returns
    -------
    list of CellShape
        In the order of placing.
    """
    placed: list[CellShape] = []
    density = _density(rng, size, crowd.patchiness)
    family = _draw_family(rng, crowd, scale)
    for attempt in range(40 * crowd.count):
        if len(placed) >= crowd.count:
            break
        late = attempt > 20 * crowd.count
        x, y = rng.uniform(0, size[0]), rng.uniform(0, size[1])
        if (x < blocked[0] and y < blocked[1]) or (
            not late and rng.random() > density[int(8 * y / size[1]), int(8 * x / size[0])]
        ):
            continue
        gap = 0.0 if late or rng.random() < crowd.clump else crowd.gap * crowd.long_axis * scale
        moved = [shape.moved(x + shape.x, y + shape.y) for shape in family]
        if all(_free(shape, placed, gap) for shape in moved):
            placed += moved
            family = _draw_family(rng, crowd, scale)
    return placed


def _density(
    rng: np.random.Generator, size: tuple[int, int], patchiness: float
) -> NDArray[np.float64]:
    """Draw the chance that a centre is accepted, on a grid of 8 by 8 tiles."""
    rough = cv2.GaussianBlur(rng.normal(size=(8, 8)), (0, 0), 1.3, borderType=cv2.BORDER_REFLECT)
    rough = (rough - rough.mean()) / rough.std()
    chance: NDArray[np.float64] = np.clip(1 - patchiness * (0.6 - rough), 0.02, 1.0)
    return chance


def _draw_family(rng: np.random.Generator, crowd: Crowd, scale: float) -> list[CellShape]:
    """Draw one cell, or the two of a telophase, around the origin."""
    axis = crowd.axis + rng.normal(0, crowd.axis_spread)
    limits = LONG_AXIS[0] + 1.0, LONG_AXIS[1] - 1.0
    size = np.clip(crowd.long_axis * np.exp(rng.normal(0, 0.13)), *limits)
    long = float(size) * scale
    chance = rng.random()
    if chance < crowd.mitotic:
        kind = _MITOTIC_KINDS[rng.integers(len(_MITOTIC_KINDS))]
        return draw_mitosis(rng, kind, long, axis)
    if chance < crowd.mitotic + crowd.rounded:
        return [draw_rounded(rng, long, axis, limits[0] * scale)]
    aspect = max(1.05, crowd.aspect * np.exp(rng.normal(0, 0.14)))
    nucleus = draw_nucleus(rng, long, aspect, axis)
    cell = draw_cytoplasm(rng, nucleus, axis, crowd.spread)
    return [CellShape(0.0, 0.0, nucleus, cell, rng.normal(0, 0.2), axis, "interphase")]


def _free(shape: CellShape, placed: list[CellShape], gap: float) -> bool:
    """Tell whether a shape's nucleus keeps `gap` pixels from the placed nuclei, or hardly overlaps them."""
    if not placed:
        return True
    dx = np.array([other.x for other in placed]) - shape.x
    dy = np.array([other.y for other in placed]) - shape.y
    direction = np.round(np.arctan2(dy, dx) * ANGLES / (2 * np.pi)).astype(int)
    mine = _obstacle(shape)[direction % ANGLES]
    opposite = (direction + ANGLES // 2) % ANGLES
    others = np.array([_obstacle(o)[d] for o, d in zip(placed, opposite, strict=True)])
    return bool((np.hypot(dx, dy) > 0.93 * (mine + others) + gap).all())


def _obstacle(shape: CellShape) -> NDArray[np.float64]:
    """Return the outline that other nuclei stay out of."""
    return shape.nucleus if shape.kind == "interphase" else 0.9 * shape.cell

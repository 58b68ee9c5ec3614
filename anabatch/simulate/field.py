"""One field of HEp-2 cells with known truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from anabatch.simulate.canvas import Canvas, Noise
from anabatch.simulate.geometry import box_of, label_cells
from anabatch.simulate.optics import bar_corner, draw_optics, expose
from anabatch.simulate.placement import draw_crowd, place_cells
from anabatch.simulate.texture import CATALOGUE, is_cytoplasmic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from anabatch.simulate.geometry import CellShape
    from anabatch.simulate.texture import Pattern

PATTERNS: tuple[str, ...] = tuple(CATALOGUE)
"""Names of the patterns that can be drawn, alone or together."""


@dataclass(frozen=True)
class SimulatedField:
    """A drawn field and its truth.

    Attributes
    ----------
    signal : ndarray, shape (H, W), uint8
        The green channel, before JPEG.
    nuclei : ndarray, shape (H, W), int32
        Label image of the nuclei (chromosomes in mitosis), 0 for the background.
    cells : ndarray, shape (H, W), int32
        Label image of the whole cells; a nucleus carries the label of its cell and lies in it.
    patterns : tuple of str
        The patterns drawn.
    mitotic : tuple of int
        Labels of the dividing cells.
    """

    signal: NDArray[np.uint8]
    nuclei: NDArray[np.int32]
    cells: NDArray[np.int32]
    patterns: tuple[str, ...]
    mitotic: tuple[int, ...]


@dataclass(frozen=True)
class _Stain:
    """What the cells of a field have in common besides their shapes."""

    patterns: tuple[Pattern, ...]
    nucleus: float  # unspecific staining, as a share of a pattern's brightness
    cytoplasm: float
    grain: float  # contrast of its fine speckles
    variation: float
    defocus: float  # share of cells that lie out of focus
    seam: float  # darkness of the lines where cells meet


def simulate_field(
    seed: int,
    patterns: Sequence[str],
    *,
    size: tuple[int, int] = (1388, 1040),
    pixels_per_reference_pixel: float = 1.0,
    mitotic_share: float | None = None,
    empty: bool = False,
) -> SimulatedField:
    """Draw a field of cells.

    Parameters
    ----------
    seed : int
        The same seed and arguments give the same field.
    patterns : sequence of str
        Names out of :data:`PATTERNS`; several are drawn on top of each other in every cell.
    size : (int, int)
        (width, height), in pixels.
    pixels_per_reference_pixel : float
        2 draws everything twice as fine.
    mitotic_share : float, optional
        Share of dividing cells, in place of the one that the seed draws.
    empty : bool
        Draw the slide, its dirt and its noise, and no cell.

    Returns
    -------
    SimulatedField

    Raises
    ------
    ValueError
        An unknown pattern, or none.
    """
    unknown = [name for name in patterns if name not in CATALOGUE]
    if unknown or not patterns:
        message = f"patterns are among {', '.join(PATTERNS)}; got {', '.join(unknown) or 'none'}"
        raise ValueError(message)
    scale = float(pixels_per_reference_pixel)
    rng = np.random.default_rng(seed)
    optics = draw_optics(rng, dim=set(patterns) == {"negative"})
    stain = _draw_stain(rng, patterns, optics.amplitude)
    crowd = draw_crowd(rng, size[0] * size[1] / scale**2)
    if mitotic_share is not None:
        crowd = replace(crowd, mitotic=mitotic_share)
    blocked = bar_corner(optics, scale)
    placed = [] if empty else place_cells(rng, crowd, size, scale, blocked)
    nuclei, cells, shapes = label_cells(placed, size)
    light = _paint(rng, shapes, cells, stain, scale)
    signal = expose(rng, light, optics, scale)
    mitotic = tuple(
        i for i, shape in enumerate(shapes, 1) if shape.kind not in {"interphase", "rounded"}
    )
    return SimulatedField(signal, nuclei, cells, tuple(patterns), mitotic)


def _draw_stain(rng: np.random.Generator, patterns: Sequence[str], amplitude: float) -> _Stain:
    """Draw how strongly and evenly a field is stained.

    Outside negative fields, what every cell shows is at least 7 grey levels over the background, and nucleus
    and cytoplasm differ clearly: what nobody can see is no truth to measure a segmentation by.
    """
    drawn = tuple(CATALOGUE[name].draw(rng) for name in patterns)
    level = float(np.exp(rng.uniform(np.log(0.04), np.log(0.14))))
    if set(patterns) == {"negative"}:
        ratio = float(np.exp(rng.uniform(np.log(0.9), np.log(5.0))))
    else:
        level = max(level, 7.0 / amplitude)
        darker = rng.random() < (1.0 if any(is_cytoplasmic(name) for name in patterns) else 0.3)
        ratio = float(rng.uniform(0.25, 0.6) if darker else rng.uniform(1.7, 3.0))
    return _Stain(
        patterns=drawn,
        nucleus=level * ratio,
        cytoplasm=level,
        grain=float(rng.uniform(0.05, 0.5)),
        variation=float(rng.uniform(0.08, 0.4)),
        defocus=float(rng.choice([0.0, 0.05, 0.2])),
        seam=float(rng.uniform(0.0, 0.8)),
    )


def _paint(
    rng: np.random.Generator,
    shapes: Sequence[CellShape],
    cells: NDArray[np.int32],
    stain: _Stain,
    scale: float,
) -> NDArray[np.float32]:
    """Add up the light of all cells, shape (H, W)."""
    size = cells.shape[1], cells.shape[0]
    light = np.zeros(cells.shape, np.float32)
    boxes = [box_of(shape, size) for shape in shapes]
    side = max((max(box.shape) for box in boxes), default=1)
    noise = Noise(rng, scale, int(side * 1.5) + 64)
    for label, (shape, box) in enumerate(zip(shapes, boxes, strict=True), 1):
        canvas = Canvas(shape, box, scale, rng, noise)
        image = _paint_cell(canvas, stain)
        others = (cells[box.slices] != label) & (cells[box.slices] > 0)
        image[others] *= 0.25  # neighbours push each other aside, and overlap at thin edges only
        light[box.slices] += image
    return light * (1 - stain.seam * _seams(cells, scale)) + _debris(rng, light.shape, scale)


def _seams(cells: NDArray[np.int32], scale: float) -> NDArray[np.float32]:
    """Return a soft mask, shape (H, W), of the lines along which two cells meet."""
    labels = cells.astype(np.float32)  # exact below 2**24
    kernel = np.ones((3, 3), np.uint8)
    inner = np.where(cells > 0, labels, np.float32(cells.max() + 1))
    meet = (cv2.dilate(labels, kernel) != cv2.erode(inner, kernel)) & (cells > 0)
    soft = cv2.GaussianBlur(meet.astype(np.float32), (0, 0), 1.3 * scale)
    return np.asarray(np.minimum(soft * (1.6 * scale), 1), np.float32)


def _debris(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> NDArray[np.float32]:
    """Draw bright specks and dim threads that belong to no cell, shape (H, W)."""
    layer = np.zeros(shape, np.uint8)
    height, width = shape
    for _ in range(int(rng.integers(0, 12))):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        if rng.random() < 0.4:  # a thread left behind by a cell
            angle, length = rng.uniform(0, 2 * np.pi), scale * rng.uniform(40, 200)
            end = round(x + length * np.cos(angle)), round(y + length * np.sin(angle))
            value = int(rng.uniform(4, 14))
            cv2.line(
                layer, (round(x), round(y)), end, value, max(1, round(2.5 * scale)), cv2.LINE_AA
            )
        else:
            radius = max(1, round(scale * rng.uniform(0.6, 2.2)))
            cv2.circle(
                layer, (round(x), round(y)), radius, int(rng.uniform(20, 200)), -1, cv2.LINE_AA
            )
    soft = cv2.GaussianBlur(layer.astype(np.float32), (0, 0), 0.8 * scale)
    return np.asarray(soft / np.float32(255), np.float32)


def _paint_cell(canvas: Canvas, stain: _Stain) -> NDArray[np.float32]:
    """Paint one cell: its unspecific staining and its patterns."""
    rng = canvas.rng
    thick = float(np.exp(rng.normal(0, 0.6 * stain.variation)))
    if canvas.round:
        thick *= float(rng.uniform(1.1, 2.2))
    body = stain.cytoplasm * canvas.cytoplasm + stain.nucleus * canvas.nucleus * canvas.cell
    fine = canvas.grain(1.1 if stain.grain > 0.3 else 0.7)
    image = thick * body * np.clip(1 + stain.grain * fine + 0.12 * canvas.grain(14.0), 0.1, 3)
    for pattern in stain.patterns:
        strength = float(np.exp(rng.normal(0, stain.variation)))
        image = image + strength * pattern.paint(canvas)
    image = np.maximum(image, 0)
    if rng.random() < stain.defocus + 0.3 * (canvas.shape.kind == "rounded"):
        image = cv2.GaussianBlur(image, (0, 0), canvas.scale * float(rng.uniform(1.5, 4.0)))
    return np.asarray(image, np.float32)

"""One field of HEp-2 cells with known truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from anabatch.simulate.canvas import Canvas, Noise
from anabatch.simulate.geometry import box_of, label_cells
from anabatch.simulate.optics import bar_corner, draw_optics, expose
from anabatch.simulate.placement import draw_crowd, place_cells
from anabatch.simulate.texture import CATALOGUE

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
    variation: float
    defocus: float


def simulate_field(
    seed: int,
    patterns: Sequence[str],
    *,
    size: tuple[int, int] = (1388, 1040),
    pixels_per_reference_pixel: float = 1.0,
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
    stain = _draw_stain(rng, patterns)
    crowd = draw_crowd(rng, size[0] * size[1] / scale**2)
    placed = place_cells(rng, crowd, size, scale, bar_corner(optics, scale))
    nuclei, cells, shapes = label_cells(placed, size)
    light = _paint(rng, shapes, cells, stain, scale)
    signal = expose(rng, light, optics, scale)
    mitotic = tuple(
        i for i, shape in enumerate(shapes, 1) if shape.kind not in {"interphase", "rounded"}
    )
    return SimulatedField(signal, nuclei, cells, tuple(patterns), mitotic)


def _draw_stain(rng: np.random.Generator, patterns: Sequence[str]) -> _Stain:
    """Draw how strongly and evenly a field is stained."""
    drawn = tuple(CATALOGUE[name].draw(rng) for name in patterns)
    level = float(np.exp(rng.uniform(np.log(0.05), np.log(0.16))))
    return _Stain(
        patterns=drawn,
        nucleus=level * float(rng.uniform(0.4, 1.6)),
        cytoplasm=level,
        variation=float(rng.uniform(0.08, 0.35)),
        defocus=float(rng.choice([0.0, 0.05, 0.2])),
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
    return light


def _paint_cell(canvas: Canvas, stain: _Stain) -> NDArray[np.float32]:
    """Paint one cell: its unspecific staining and its patterns."""
    rng = canvas.rng
    thick = float(rng.uniform(1.1, 2.0)) if canvas.round else 1.0
    body = stain.cytoplasm * canvas.cytoplasm + stain.nucleus * canvas.nucleus * canvas.cell
    image = thick * body * (1 + 0.12 * canvas.grain(1.1) + 0.1 * canvas.grain(14.0))
    for pattern in stain.patterns:
        strength = float(np.exp(rng.normal(0, stain.variation)))
        image = image + strength * pattern.paint(canvas)
    image = np.maximum(image, 0)
    if rng.random() < stain.defocus + 0.3 * (canvas.shape.kind == "rounded"):
        image = cv2.GaussianBlur(image, (0, 0), canvas.scale * float(rng.uniform(1.5, 4.0)))
    return np.asarray(image, np.float32)

"""What a pattern is painted on: the soft masks and coordinates of one cell, and noise of several grains."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np

from anabatch.simulate.geometry import MITOTIC, Box, CellShape, reaches

if TYPE_CHECKING:
    from numpy.typing import NDArray

GRAINS = (0.7, 1.1, 1.8, 3.0, 6.0, 14.0)
"""Standard deviations of the noise's smoothing, in reference pixels."""


class Noise:
    """Tiles of smooth random textures of zero mean and unit variance.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of chance.
    scale : float
        Pixels per reference pixel.
    side : int
        Side of a tile, in pixels: as large as the largest box that is asked for.
    """

    def __init__(self, rng: np.random.Generator, scale: float, side: int) -> None:
        self._rng = rng
        self._tiles: dict[float, NDArray[np.float32]] = {}
        for grain in GRAINS:
            white = rng.standard_normal((side, side), np.float32)
            smooth = cv2.GaussianBlur(white, (0, 0), grain * scale)
            self._tiles[grain] = (smooth - smooth.mean()) / smooth.std()
        self._side = side

    def cut(self, grain: float, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Return a random cut of `shape` (h, w), float32, of the texture of one of :data:`GRAINS`."""
        y = self._rng.integers(0, self._side - shape[0] + 1)
        x = self._rng.integers(0, self._side - shape[1] + 1)
        return self._tiles[grain][y : y + shape[0], x : x + shape[1]]


@dataclass(frozen=True)
class Canvas:
    """One cell to paint on; all arrays have the box's shape (h, w) and are float32.

    Attributes
    ----------
    shape : CellShape
        The cell.
    box : Box
        The part of the field.
    scale : float
        Pixels per reference pixel.
    rng : numpy.random.Generator
        Source of chance.
    noise : Noise
        Textures.
    """

    shape: CellShape
    box: Box
    scale: float
    rng: np.random.Generator
    noise: Noise = field(repr=False)

    @cached_property
    def reach(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Reach in the nucleus and in the cell: 0 at the centre, 1 on the outline."""
        return reaches(self.shape, self.box)

    @cached_property
    def depth(self) -> NDArray[np.float32]:
        """Distance to the nucleus's outline, positive inside, in reference pixels, along the radius."""
        return self._along_radius(self.reach[0])

    @cached_property
    def nucleus(self) -> NDArray[np.float32]:
        """Soft mask of the nucleus (of the chromosomes in mitosis): 0 outside, 1 inside."""
        return np.clip(self.depth / 1.6 + 0.5, 0, 1)

    @cached_property
    def cell(self) -> NDArray[np.float32]:
        """Thickness of the cell: 0 outside, rising inwards to 1."""
        inside = np.clip(self._along_radius(self.reach[1]) / 2.0 + 0.5, 0, 1)
        height = np.clip((1 - self.reach[1]) / 0.5, 0, 1) if not self.round else 1.0
        return np.asarray(inside * (0.3 + 0.7 * height), np.float32)

    @cached_property
    def cytoplasm(self) -> NDArray[np.float32]:
        """Thickness of the cytoplasm: the cell without its nucleus."""
        return self.cell * (1 - self.nucleus)

    @property
    def mitotic(self) -> bool:
        """Whether the cell divides: no nuclear envelope, condensed chromosomes."""
        return self.shape.kind in MITOTIC

    @property
    def round(self) -> bool:
        """Whether the cell is rounded: thick up to its edge."""
        return self.shape.kind != "interphase"

    @cached_property
    def chromosomes(self) -> NDArray[np.float32]:
        """Soft mask of the chromosomes of a dividing cell; anaphase has two plates."""
        mask = self.nucleus * (0.85 + 0.15 * self.grain(1.8))
        across = np.abs(self.offset[1])
        if self.shape.kind == "anaphase":
            gap = 0.16 * self.shape.long_axis / self.scale
            mask = mask * np.clip((across - gap * (1 + 0.25 * self.grain(3.0))) / 2.5, 0, 1)
        if self.shape.kind == "rosette":
            mask = mask * np.clip(0.45 + 1.6 * self.reach[0], 0, 1)
        return np.clip(mask, 0, 1.2)

    @cached_property
    def offset(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Coordinates along and across the cell's axis, from the centre, in reference pixels."""
        dx = (np.arange(self.box.x0, self.box.x1, dtype=np.float32) - self.shape.x) / self.scale
        dy = (
            np.arange(self.box.y0, self.box.y1, dtype=np.float32)[:, None] - self.shape.y
        ) / self.scale
        cos, sin = np.cos(self.shape.axis), np.sin(self.shape.axis)
        along, across = dx * cos + dy * sin, dy * cos - dx * sin
        return np.asarray(along, np.float32), np.asarray(across, np.float32)

    @cached_property
    def nucleoli(self) -> list[tuple[float, float, float]]:
        """Nucleoli of an interphase cell: (x, y, radius) in pixels of the box."""
        mean = float(self.shape.nucleus.mean())
        found: list[tuple[float, float, float]] = []
        for _ in range(int(self.rng.integers(2, 7)) * 3):
            radius = mean * float(self.rng.uniform(0.1, 0.24))
            x, y = self.inside(1, 0.72)[0]
            if all(np.hypot(x - u, y - v) > radius + r + 1.5 for u, v, r in found):
                found.append((x, y, radius))
        return found[:6]

    def grain(self, grain: float) -> NDArray[np.float32]:
        """Return a fresh cut of one of the noise textures."""
        return self.noise.cut(grain, self.box.shape)

    def inside(self, count: int, most: float, gap: float = 0.0) -> list[tuple[float, float]]:
        """Draw points in the nucleus: at most `most` of the way out, `gap` pixels apart (box coordinates).

        Fewer than `count` are returned if they do not fit.
        """
        points: list[tuple[float, float]] = []
        for _ in range(12 * count):
            angle = self.rng.uniform(0, 2 * np.pi)
            radius = np.sqrt(self.rng.random()) * most
            radius *= self.shape.nucleus[int(angle / (2 * np.pi) * len(self.shape.nucleus))]
            x = self.shape.x - self.box.x0 + radius * np.cos(angle)
            y = self.shape.y - self.box.y0 + radius * np.sin(angle)
            if all((x - u) ** 2 + (y - v) ** 2 >= gap * gap for u, v in points):
                points.append((float(x), float(y)))
                if len(points) == count:
                    break
        return points

    def dots(
        self, points: list[tuple[float, float]], sigma: float, spread: float = 0.25
    ) -> NDArray[np.float32]:
        """Paint Gaussian dots of height about 1 and `sigma` reference pixels; outside points are dropped."""
        image = np.zeros(self.box.shape, np.float32)
        height = np.exp(self.rng.normal(0, spread, len(points)))
        for (x, y), value in zip(points, height, strict=True):
            row, column = int(y), int(x)
            if 0 <= row < image.shape[0] - 1 and 0 <= column < image.shape[1] - 1:
                v, u = y - row, x - column
                weights = np.outer([1 - v, v], [1 - u, u])
                image[row : row + 2, column : column + 2] += value * weights
        width = sigma * self.scale
        image = cv2.GaussianBlur(image, (0, 0), width) * np.float32(2 * np.pi * width**2)
        return np.asarray(image, np.float32)

    def nucleolus_mask(self, roughness: float) -> NDArray[np.float32]:
        """Return the soft mask of the nucleoli; `roughness` (0 to 1) makes their outlines uneven."""
        mask = np.zeros(self.box.shape, np.float32)
        rows = np.arange(self.box.shape[0], dtype=np.float32)[:, None]
        columns = np.arange(self.box.shape[1], dtype=np.float32)
        bumps = 1 + roughness * 0.45 * self.grain(3.0)
        for x, y, radius in self.nucleoli:
            distance = np.sqrt((rows - y) ** 2 + (columns - x) ** 2)
            np.maximum(
                mask,
                np.clip((radius * bumps - distance) / (1.4 * self.scale) + 0.5, 0, 1),
                out=mask,
            )
        return mask * self.nucleus

    def _along_radius(self, reach: NDArray[np.float32]) -> NDArray[np.float32]:
        along, across = self.offset
        distance = np.sqrt(along**2 + across**2)
        size = float(self.shape.nucleus.min()) / self.scale
        radius = np.maximum(distance, 0.5 * size) / np.maximum(reach, 0.1)
        return np.asarray((1 - reach) * radius, np.float32)

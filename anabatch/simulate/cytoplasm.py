"""The patterns of the cytoplasm; see :mod:`anabatch.simulate.texture` for what a pattern is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anabatch.simulate.canvas import Canvas


@dataclass(frozen=True)
class CytoplasmicDiffuse:
    """AC-19 and AC-20: the cytoplasm densely and finely stained, the nucleus left out or hazy."""

    grain: float
    contrast: float
    nucleus: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> CytoplasmicDiffuse:
        """Draw the grain and the haze over the nucleus."""
        return cls(float(rng.choice([0.7, 1.1])), rng.uniform(0.06, 0.25), rng.uniform(0.05, 0.45))

    def paint(self, canvas: Canvas) -> NDArray[np.float32]:
        """Paint one cell."""
        texture = 0.75 + self.contrast * canvas.grain(self.grain) + 0.08 * canvas.grain(6.0)
        body = canvas.cytoplasm + self.nucleus * canvas.cell * canvas.nucleus
        return np.asarray(body * np.clip(texture, 0, 2), np.float32)


@dataclass(frozen=True)
class CytoplasmicGranular:
    """AC-21 (mitochondria-like): granules and short threads, dense near the nucleus, sparse outwards."""

    grain: float
    threshold: float
    decay: float
    haze: float
    nucleus: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> CytoplasmicGranular:
        """Draw size and density of the granules."""
        return cls(
            float(rng.choice([0.7, 1.1, 1.8])),
            rng.uniform(-0.5, 0.5),
            rng.uniform(0.5, 2.0),
            rng.uniform(0.05, 0.25),
            rng.uniform(0.02, 0.2),
        )

    def paint(self, canvas: Canvas) -> NDArray[np.float32]:
        """Paint one cell."""
        ridge = 1.2 - np.abs(canvas.grain(self.grain)) * 1.6 if canvas.rng.random() < 0.5 else None
        granules = np.clip(canvas.grain(self.grain) - self.threshold, 0, 2.5) / 2.0
        if ridge is not None:
            granules = np.maximum(granules, 0.6 * np.clip(ridge, 0, 1) * (canvas.grain(3.0) > 0))
        outwards = np.exp(-np.maximum(-canvas.depth, 0) * (self.decay / 30.0))
        patch = np.clip(0.8 + 0.35 * canvas.grain(6.0), 0.1, 1.6)
        body = np.clip(canvas.cytoplasm * 1.6, 0, 1) * outwards * patch
        image = body * (self.haze + granules) + self.nucleus * 0.5 * canvas.nucleus * canvas.cell
        return np.asarray(image, np.float32)


@dataclass(frozen=True)
class CytoplasmicFibrillar:
    """AC-15 to AC-17: filaments through the cell, a cage around the nucleus."""

    count: int
    cage: float
    haze: float
    nucleus: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> CytoplasmicFibrillar:
        """Draw number of filaments and strength of the cage."""
        return cls(
            int(rng.integers(35, 90)),
            rng.uniform(0.2, 0.8),
            rng.uniform(0.08, 0.3),
            rng.uniform(0.05, 0.4),
        )

    def paint(self, canvas: Canvas) -> NDArray[np.float32]:
        """Paint one cell."""
        threads = self._threads(canvas)
        rim = (
            np.exp(-np.maximum(-canvas.depth, 0) / 3.5)
            * (1 - canvas.nucleus)
            * (canvas.depth > -25)
        )
        haze = self.haze * canvas.cytoplasm * (1 + 0.2 * canvas.grain(3.0))
        inside = np.clip(canvas.cell * 2.0, 0, 1) * (1 - (1 - self.nucleus) * canvas.nucleus)
        near = 0.35 + 0.65 * np.exp(-np.maximum(-canvas.depth, 0) / 22.0)
        cage = self.cage * rim * np.clip(1 + 0.3 * canvas.grain(1.8), 0, 2)
        image = inside * near * threads + cage * np.clip(canvas.cell * 2, 0, 1) + haze
        return np.asarray(image + 0.5 * self.nucleus * self.haze * canvas.nucleus, np.float32)

    def _threads(self, canvas: Canvas) -> NDArray[np.float32]:
        """Draw curved filaments, in four layers so that crossings add up."""
        rng, shape, scale = canvas.rng, canvas.shape, canvas.scale
        total = np.zeros(canvas.box.shape, np.float32)
        steps = np.linspace(0, 1, 14)
        thickness = max(1, round(scale))
        for _ in range(4):
            layer = np.zeros(canvas.box.shape, np.uint8)
            lines = []
            for _ in range(max(1, self.count // 4)):
                start = rng.uniform(0, 2 * np.pi)
                swing = rng.normal(0, 1.1)
                table = int(start / (2 * np.pi) * len(shape.nucleus)) % len(shape.nucleus)
                first = shape.nucleus[table] * rng.uniform(0.5, 1.25)
                last = shape.cell[table] * rng.uniform(0.7, 1.1)
                radius = (
                    first + (last - first) * steps + 1.2 * scale * rng.normal() * np.sin(6 * steps)
                )
                angle = start + swing * (1 - steps) ** 2 + 0.08 * rng.normal() * steps
                x = shape.x - canvas.box.x0 + radius * np.cos(angle)
                y = shape.y - canvas.box.y0 + radius * np.sin(angle)
                lines.append(np.round(np.stack([x, y], -1) * 16).astype(np.int32))
            cv2.polylines(layer, lines, False, 255, thickness, cv2.LINE_AA, 4)  # noqa: FBT003 - cv2's own order
            total += layer.astype(np.float32) / np.float32(255 * 2)
        return np.asarray(cv2.GaussianBlur(total, (0, 0), 0.6 * scale), np.float32)


@dataclass(frozen=True)
class CytoplasmicDots:
    """AC-18: few to many discrete dots (GW bodies, endosomes, lysosomes) in the cytoplasm."""

    most: int
    size: float
    haze: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> CytoplasmicDots:
        """Draw number and size of the dots."""
        return cls(int(rng.integers(8, 40)), rng.uniform(0.9, 1.9), rng.uniform(0.05, 0.2))

    def paint(self, canvas: Canvas) -> NDArray[np.float32]:
        """Paint one cell."""
        count = int(canvas.rng.integers(4, self.most))
        shape, radii = canvas.shape, canvas.shape.cell
        points = []
        for _ in range(count):
            angle = canvas.rng.uniform(0, 2 * np.pi)
            table = int(angle / (2 * np.pi) * len(radii)) % len(radii)
            inner, outer = shape.nucleus[table] * 1.05, radii[table] * 0.9
            radius = inner + max(0.0, outer - inner) * canvas.rng.random()
            points.append(
                (
                    float(shape.x - canvas.box.x0 + radius * np.cos(angle)),
                    float(shape.y - canvas.box.y0 + radius * np.sin(angle)),
                )
            )
        dots = canvas.dots(points, self.size, 0.4) * (1 - canvas.nucleus)
        haze = self.haze * canvas.cell * (1 + 0.15 * canvas.grain(1.1))
        return np.asarray(dots + haze, np.float32)


@dataclass(frozen=True)
class Golgi:
    """AC-22: uneven ribbons and clumps on one side of the nucleus; in mitosis they scatter."""

    size: float
    spread: float
    haze: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Golgi:
        """Draw size of the clumps and how far around the nucleus they reach."""
        return cls(rng.uniform(1.0, 2.2), rng.uniform(0.25, 0.7), rng.uniform(0.03, 0.15))

    def paint(self, canvas: Canvas) -> NDArray[np.float32]:
        """Paint one cell."""
        rng, shape = canvas.rng, canvas.shape
        side = rng.uniform(0, 2 * np.pi)
        spread = 3.0 if canvas.mitotic else self.spread
        points = []
        for _ in range(int(rng.integers(14, 34))):
            angle = side + rng.normal(0, spread)
            table = int(angle / (2 * np.pi) * len(shape.nucleus)) % len(shape.nucleus)
            inner, outer = shape.nucleus[table], shape.cell[table]
            radius = inner + (outer - inner) * rng.beta(1.3, 2.5) + 1.5 * canvas.scale
            points.append(
                (
                    float(shape.x - canvas.box.x0 + radius * np.cos(angle)),
                    float(shape.y - canvas.box.y0 + radius * np.sin(angle)),
                )
            )
        clumps = np.clip(canvas.dots(points, self.size, 0.3), 0, 1.5) * (
            0.75 + 0.25 * canvas.grain(0.7)
        )
        outside = 1 - 0.75 * canvas.nucleus
        haze = self.haze * canvas.cell * (1 + 0.15 * canvas.grain(1.1))
        return np.asarray(np.clip(clumps, 0, None) * outside + haze, np.float32)

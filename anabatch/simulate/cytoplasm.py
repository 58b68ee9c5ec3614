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
    threads: bool

    @classmethod
    def draw(cls, rng: np.random.Generator) -> CytoplasmicGranular:
        """Draw size and density of the granules."""
        threads = bool(rng.random() < 0.5)
        return cls(
            float(rng.choice([1.1, 1.8] if threads else [0.7, 1.1, 1.8])),
            rng.uniform(-0.5, 0.5),
            rng.uniform(0.2, 1.6),
            rng.uniform(0.08, 0.3),
            rng.uniform(0.1, 0.5),
            threads,
        )

    def paint(self, canvas: Canvas) -> NDArray[np.float32]:
        """Paint one cell."""
        granules = np.clip(canvas.grain(self.grain) - self.threshold, 0, 2.5) / 2.0
        if (
            self.threads
        ):  # thin crests where a smooth texture passes through zero: branching threads
            crest = np.clip(1 - 2.2 * np.abs(canvas.grain(self.grain)), 0, 1)
            granules = 0.75 * crest * np.clip(0.7 + 0.5 * canvas.grain(3.0), 0, 1.5)
        outwards = np.exp(-np.maximum(-canvas.depth, 0) * (self.decay / 30.0))
        patch = np.clip(0.8 + 0.35 * canvas.grain(6.0), 0.1, 1.6)
        body = np.clip(canvas.cytoplasm * 1.6, 0, 1) * outwards * patch
        over = self.nucleus * canvas.nucleus * canvas.cell * (self.haze + 0.4 * granules)
        return np.asarray(body * (self.haze + 1.5 * granules) + over, np.float32)


@dataclass(frozen=True)
class CytoplasmicFibrillar:
    """AC-15 to AC-17: filaments through the cell, a cage around the nucleus."""

    count: int
    cage: float
    haze: float
    nucleus: float
    straight: bool

    @classmethod
    def draw(cls, rng: np.random.Generator) -> CytoplasmicFibrillar:
        """Draw number of filaments, strength of the cage, and whether they are straight bundles."""
        straight = bool(rng.random() < 0.3)
        return cls(
            int(rng.integers(20, 60) if straight else rng.integers(90, 220)),
            0.0 if straight else rng.uniform(0.1, 0.6),
            rng.uniform(0.1, 0.35),
            rng.uniform(0.15, 0.5),
            straight,
        )

    def paint(self, canvas: Canvas) -> NDArray[np.float32]:
        """Paint one cell."""
        inside = np.clip(canvas.cell * 2.0, 0, 1)
        outside = np.maximum(-canvas.depth, 0)
        near = 1.0 if self.straight else 0.3 + 0.7 * np.exp(-outside / 20.0)
        over = 1 - (1 - self.nucleus) * canvas.nucleus
        haze = self.haze * over * canvas.cell * near * (1 + 0.2 * canvas.grain(3.0))
        rim = np.exp(-outside / 4.0) * (1 - canvas.nucleus)
        cage = self.cage * rim * np.clip(0.8 + 0.5 * canvas.grain(1.8), 0, 2)
        threads = 0.5 * near * over * self._threads(canvas)
        return np.asarray(inside * (threads + cage) + haze, np.float32)

    def _threads(self, canvas: Canvas) -> NDArray[np.float32]:
        """Draw filaments, in four layers so that crossings add up."""
        total = np.zeros(canvas.box.shape, np.float32)
        draw = self._bundles if self.straight else self._curves
        for _ in range(4):
            layer = np.zeros(canvas.box.shape, np.uint8)
            lines = [np.round(line * 16).astype(np.int32) for line in draw(canvas, self.count // 4)]
            cv2.polylines(
                layer,
                lines,
                isClosed=False,
                color=255,
                thickness=max(1, round(canvas.scale)),
                lineType=cv2.LINE_AA,
                shift=4,
            )
            total += layer.astype(np.float32) / np.float32(255)
        soft = cv2.GaussianBlur(total, (0, 0), (1.1 if self.straight else 0.6) * canvas.scale)
        return np.asarray(soft * (1.6 if self.straight else 1.0), np.float32)

    @staticmethod
    def _curves(canvas: Canvas, count: int) -> list[NDArray[np.float64]]:
        """Return curves that wind around the nucleus and run outwards, each of shape (14, 2): x, y."""
        rng, shape = canvas.rng, canvas.shape
        steps = np.linspace(0, 1, 14)
        start = rng.uniform(0, 2 * np.pi, (count, 1))
        table = (start / (2 * np.pi) * len(shape.nucleus)).astype(int) % len(shape.nucleus)
        first = shape.nucleus[table] * rng.uniform(0.7, 1.2, (count, 1))
        last = shape.cell[table] * rng.uniform(0.6, 1.05, (count, 1))
        wave = 1.5 * canvas.scale * rng.normal(size=(count, 1)) * np.sin(7 * steps)
        radius = first + (last - first) * steps + wave
        angle = start + rng.normal(0, 1.0, (count, 1)) * (1 - steps) ** 2
        x = shape.x - canvas.box.x0 + radius * np.cos(angle)
        y = shape.y - canvas.box.y0 + radius * np.sin(angle)
        return list(np.stack([x, y], -1))

    @staticmethod
    def _bundles(canvas: Canvas, count: int) -> list[NDArray[np.float64]]:
        """Return straight stress fibres, nearly parallel to the cell's axis, each of shape (2, 2)."""
        rng, shape = canvas.rng, canvas.shape
        reach = float(np.quantile(shape.cell, 0.8))
        middle = rng.uniform(-reach, reach, (count, 2))
        angle = shape.axis + rng.normal(0, 0.18, count)
        half = rng.uniform(0.15, 0.6, count) * reach
        step = np.stack([np.cos(angle) * half, np.sin(angle) * half], -1)
        centre = np.array([shape.x - canvas.box.x0, shape.y - canvas.box.y0])
        return list(np.stack([middle - step, middle + step], 1) + centre)


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
        dots = 1.5 * canvas.dots(points, self.size, 0.4) * (1 - canvas.nucleus)
        haze = self.haze * canvas.cell * (1 + 0.15 * canvas.grain(1.1)) * (1 - 0.5 * canvas.nucleus)
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
        clumps = np.clip(1.3 * canvas.dots(points, self.size, 0.3), 0, 1.8) * (
            0.75 + 0.25 * canvas.grain(0.7)
        )
        outside = 1 - 0.75 * canvas.nucleus
        haze = self.haze * canvas.cell * (1 + 0.15 * canvas.grain(1.1)) * (1 - 0.5 * canvas.nucleus)
        return np.asarray(np.clip(clumps, 0, None) * outside + haze, np.float32)

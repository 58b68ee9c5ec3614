"""The patterns, each painted by its definition.

A pattern is drawn once a field (``draw``: its variant, the sizes of its grains) and then painted on every cell
(``paint``); 1 is the brightness of its bright structures. Definitions follow the International Consensus on
ANA Patterns (ICAP), https://www.anapatterns.org, whose codes are given with each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from anabatch.simulate.cytoplasm import (
    CytoplasmicDiffuse,
    CytoplasmicDots,
    CytoplasmicFibrillar,
    CytoplasmicGranular,
    Golgi,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anabatch.simulate.canvas import Canvas


class Pattern(Protocol):
    """One pattern as one field shows it."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Pattern:
        """Draw the properties that the cells of a field share."""
        ...

    def paint(self, canvas: Canvas) -> NDArray[np.float32]:
        """Return the signal of one cell, shape (h, w), about 1 where the pattern is bright."""
        ...


@dataclass(frozen=True)
class Homogeneous:
    """AC-1: the whole nucleoplasm evenly stained, chromosomes of dividing cells strongly."""

    grain: float
    nucleoli: float
    chromosomes: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Homogeneous:
        """Draw granularity, darkness of the nucleoli and brightness of chromosomes."""
        return cls(rng.uniform(0.02, 0.09), rng.choice([0.0, 0.1, 0.3]), rng.uniform(1.2, 2.0))

    def paint(self, canvas: Canvas) -> NDArray[np.float32]:
        """Paint one cell."""
        if canvas.mitotic:
            body = 0.06 + 0.12 * canvas.rng.random()
            image = canvas.chromosomes * self.chromosomes + canvas.cell * body
        else:
            texture = 0.86 + self.grain * (canvas.grain(1.1) + canvas.grain(6.0))
            image = canvas.nucleus * texture
            if self.nucleoli:
                image = image * (1 - self.nucleoli * canvas.nucleolus_mask(0.3))
        return np.asarray(image, np.float32)


@dataclass(frozen=True)
class Speckled:
    """AC-4 (fine) and AC-5 (coarse): speckles in the nucleoplasm, none on chromosomes of dividing cells."""

    size: float
    contrast: float
    nucleoli: float
    between: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Speckled:
        """Draw fine speckles."""
        size = float(rng.choice([0.7, 1.1]))
        return cls(
            size, rng.uniform(0.12, 0.4), rng.choice([0.0, 0.5, 0.9]), rng.uniform(0.4, 0.65)
        )

    def paint(self, canvas: Canvas) -> NDArray[np.float32]:
        """Paint one cell."""
        speckles = self.between + self.contrast * canvas.grain(self.size) + 0.05 * canvas.grain(6.0)
        if canvas.mitotic:
            image = canvas.cell * (1 - 0.85 * canvas.chromosomes) * 0.5 * np.clip(speckles, 0, 2)
        else:
            image = canvas.nucleus * np.clip(speckles, 0, 2)
            if self.nucleoli:
                image = image * (1 - self.nucleoli * canvas.nucleolus_mask(0.5))
        return np.asarray(image, np.float32)


@dataclass(frozen=True)
class CoarseSpeckled(Speckled):
    """AC-5: large speckles of high contrast."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> CoarseSpeckled:
        """Draw coarse speckles."""
        size = float(rng.choice([1.8, 3.0]))
        return cls(size, rng.uniform(0.25, 0.4), rng.choice([0.6, 0.95]), rng.uniform(0.4, 0.55))


@dataclass(frozen=True)
class DenseFineSpeckled:
    """AC-2 (DFS70): dense uneven speckles in the nucleus and, as strong, on the chromosomes."""

    contrast: float
    chromosomes: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> DenseFineSpeckled:
        """Draw contrast and brightness of chromosomes."""
        return cls(rng.uniform(0.16, 0.28), rng.uniform(1.0, 1.4))

    def paint(self, canvas: Canvas) -> NDArray[np.float32]:
        """Paint one cell."""
        speckles = np.clip(
            0.6 + self.contrast * (canvas.grain(1.1) + 0.7 * canvas.grain(3.0)), 0.1, 2
        )
        if canvas.mitotic:
            image = canvas.chromosomes * speckles * self.chromosomes * 1.4 + 0.1 * canvas.cell
        else:
            image = canvas.nucleus * speckles
        return np.asarray(image, np.float32)


@dataclass(frozen=True)
class Centromere:
    """AC-3: 40 to 60 like dots over the nucleus; in dividing cells they line up in the plate."""

    size: float
    nucleoplasm: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Centromere:
        """Draw the dots' size and the haze between them."""
        return cls(rng.uniform(0.8, 1.35), rng.uniform(0.02, 0.25))

    def paint(self, canvas: Canvas) -> NDArray[np.float32]:
        """Paint one cell."""
        count = int(canvas.rng.integers(36, 64))
        if canvas.mitotic:
            points = canvas.inside(count, 0.8, 1.5 * canvas.scale)
            if canvas.shape.kind == "anaphase":
                points = [p for p in points if canvas.chromosomes[_pixel(p, canvas)] > 0.3]
            glow = 0.7 * self.nucleoplasm * canvas.cell
        else:
            points = canvas.inside(count, 0.92, 2.5 * self.size * canvas.scale)
            glow = self.nucleoplasm * canvas.nucleus * (1 + 0.15 * canvas.grain(3.0))
        return np.asarray(glow + 1.5 * canvas.dots(points, self.size, 0.4), np.float32)


@dataclass(frozen=True)
class Nucleolar:
    """AC-8 (homogeneous), AC-9 (clumpy), AC-10 (punctate): two to six nucleoli, large and bright."""

    variant: str
    nucleoplasm: float
    grain: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Nucleolar:
        """Draw the variant and the nucleoplasm's staining."""
        variant = str(rng.choice(["homogeneous", "clumpy", "punctate"]))
        return cls(variant, rng.uniform(0.03, 0.42), rng.uniform(0.05, 0.3))

    def paint(self, canvas: Canvas) -> NDArray[np.float32]:
        """Paint one cell."""
        texture = np.clip(1 + self.grain * canvas.grain(0.7), 0, 2)
        if canvas.mitotic:
            light = 0.8 if self.variant == "clumpy" else 0.0
            body = canvas.cell * (1.0 - 0.6 * canvas.chromosomes) + light * canvas.chromosomes
            return np.asarray((0.06 + 0.9 * self.nucleoplasm) * texture * body, np.float32)
        mask = canvas.nucleolus_mask(
            {"homogeneous": 0.25, "clumpy": 1.0, "punctate": 0.4}[self.variant]
        )
        if self.variant == "clumpy":
            mask = mask * np.clip(0.85 + 0.25 * canvas.grain(1.8), 0, 1.3)
        if self.variant == "punctate":
            mask = mask * np.clip(0.25 + 0.75 * np.maximum(canvas.grain(1.1), 0), 0, 1.6)
        nucleoplasm = self.nucleoplasm * canvas.nucleus * texture * (1 - 0.5 * mask)
        return np.asarray(nucleoplasm + mask, np.float32)


@dataclass(frozen=True)
class NuclearDots:
    """AC-6 (6 to 20 dots) and AC-7 (1 to 6): round dots of several sizes; none in dividing cells."""

    fewest: int
    most: int
    size: float
    haze: float
    lit: float  # haze of the nucleus relative to the cytoplasm's

    @classmethod
    def draw(cls, rng: np.random.Generator) -> NuclearDots:
        """Draw the number of dots, their size and the cell's haze."""
        fewest, most = (6, 20) if rng.random() < 0.7 else (2, 6)
        lit = float(rng.choice([0.6, 1.7]))
        return cls(fewest, most, rng.uniform(1.1, 2.0), rng.uniform(0.02, 0.22), lit)

    def paint(self, canvas: Canvas) -> NDArray[np.float32]:
        """Paint one cell."""
        haze = self.haze * canvas.cell * np.clip(0.8 + 0.25 * canvas.grain(1.1), 0, 2)
        if canvas.mitotic:
            return np.asarray(haze * (1 - 0.4 * canvas.chromosomes), np.float32)
        haze = haze * (1 + (self.lit - 1) * canvas.nucleus)
        count = int(canvas.rng.integers(self.fewest, self.most + 1))
        points = canvas.inside(count, 0.9, 3.0 * self.size * canvas.scale)
        half = len(points) // 2
        dots = canvas.dots(points[:half], self.size * 0.8, 0.4)
        dots += canvas.dots(points[half:], self.size, 0.4)
        return np.asarray(haze + 1.5 * dots, np.float32)


@dataclass(frozen=True)
class NuclearMembrane:
    """AC-11 (smooth) and AC-12 (punctate): the nucleus with a bright rim; nothing on chromosomes."""

    width: float
    inner: float
    punctate: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> NuclearMembrane:
        """Draw the rim's width, the brightness inside, and whether the rim is dotted."""
        return cls(rng.uniform(1.4, 3.0), rng.uniform(0.12, 0.4), rng.choice([0.0, 0.45]))

    def paint(self, canvas: Canvas) -> NDArray[np.float32]:
        """Paint one cell."""
        if canvas.mitotic:
            body = canvas.cell * (1 - 0.8 * canvas.chromosomes)
            return np.asarray(0.35 * body * (1 + 0.12 * canvas.grain(1.1)), np.float32)
        rim = np.exp(-(((canvas.depth - 1.0) / self.width) ** 2))
        rim = rim * np.clip(1 + self.punctate * canvas.grain(1.1) + 0.12 * canvas.grain(6.0), 0, 2)
        inner = self.inner * canvas.nucleus * (1 + 0.12 * canvas.grain(3.0))
        return np.asarray(np.maximum(rim, inner), np.float32)


@dataclass(frozen=True)
class Negative:
    """AC-0: nothing but what every cell shows."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Negative:
        """Draw nothing: negative fields do not differ."""
        del rng
        return cls()

    def paint(self, canvas: Canvas) -> NDArray[np.float32]:
        """Paint nothing."""
        return np.zeros(canvas.box.shape, np.float32)


def _pixel(point: tuple[float, float], canvas: Canvas) -> tuple[int, int]:
    """Return the (row, column) of a point, kept in the box."""
    height, width = canvas.box.shape
    return min(max(int(point[1]), 0), height - 1), min(max(int(point[0]), 0), width - 1)


CATALOGUE: dict[str, type[Pattern]] = {
    "homogeneous": Homogeneous,
    "fine speckled": Speckled,
    "coarse speckled": CoarseSpeckled,
    "dense fine speckled": DenseFineSpeckled,
    "centromere": Centromere,
    "nucleolar": Nucleolar,
    "nuclear dots": NuclearDots,
    "nuclear membrane": NuclearMembrane,
    "cytoplasmic diffuse": CytoplasmicDiffuse,
    "cytoplasmic granular": CytoplasmicGranular,
    "cytoplasmic fibrillar": CytoplasmicFibrillar,
    "cytoplasmic dots": CytoplasmicDots,
    "golgi": Golgi,
    "negative": Negative,
}
"""The patterns by name."""


def is_cytoplasmic(name: str) -> bool:
    """Tell whether a pattern of :data:`CATALOGUE` stains the cytoplasm and leaves out the nucleus."""
    return CATALOGUE[name].__module__.endswith("cytoplasm")

"""What is said of a cell in view of the other cells of its image: flags, and whether it divides.

All cells are kept; flags only say what is odd about them. Whoever wants other thresholds finds
all measures that these use in the cells table.

A cell that divides rounds up, so that its cytoplasm is thicker and brighter, and its chromosomes
condense; with the nuclear envelope gone, antigens that leave the chromosomes spread into the
cytoplasm. Chromosomes themselves are bright in some patterns and dark in others, so brightness of
the nucleus tells nothing by itself. The rule asks for a nucleus that is small for the brightness of
the cytoplasm around it, in a cell that is compact. Everything is relative to the medians of the
image: exposure, magnification and pattern drop out, and no other image is looked at.

The thresholds were chosen on simulated fields, by `python -m anabatch.training.mitosis --choose`;
the same command measures them on fields that they were not chosen on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Row = Mapping[str, Any]

FEWEST_NUCLEI = 5
"""In images with fewer cells that have a whole nucleus none is judged: medians say too little."""


@dataclass(frozen=True)
class MitosisRule:
    """Thresholds of :func:`is_mitotic`.

    Attributes
    ----------
    condensation : float
        Upper limit of nucleus area / median nucleus area, for a cytoplasm as bright as the median
        one; it grows in proportion to the cytoplasm's brightness, up to 1.
    nucleus_share : float
        Upper limit of nucleus area / cell area.
    elongation : float
        Upper limit of the cell's longer axis over its shorter one.
    """

    condensation: float = 0.45
    nucleus_share: float = 0.45
    elongation: float = 2.0


RULE = MitosisRule()


@dataclass(frozen=True)
class Medians:
    """The image's own medians.

    Attributes
    ----------
    area : float
        Of the cells' areas, in source pixels.
    nucleus_area : float
        The same of the areas in nuclei, over cells whose nucleus the image's edge does not cut.
    cytoplasm : float
        Of the cytoplasm's mean intensities, over the same cells; NaN if none has any.
    nuclei : int
        Those cells.
    """

    area: float
    nucleus_area: float
    cytoplasm: float
    nuclei: int


_SMALL, _LARGE = 0.25, 4.0  # of the median area
_SATURATED = 0.05
# The study kept cells between these shares of black pixels.
_LEAST_BLACK, _MOST_BLACK = 0.03, 0.95

_TESTS: dict[str, tuple[str, Callable[[Row, Medians], bool]]] = {
    "no_nucleus": (
        "no nucleus lies mostly within the cell",
        lambda row, _: row["nucleus_count"] == 0,
    ),
    "several_nuclei": (
        "two or more nuclei lie mostly within the cell",
        lambda row, _: row["nucleus_count"] > 1,
    ),
    "touches_border": (
        "the cell reaches the edge of the image, and part of it may be missing",
        lambda row, _: row["touches_border"],
    ),
    "small": (
        "less than a quarter of the image's median cell area",
        lambda row, image: row["area_px"] < _SMALL * image.area,
    ),
    "large": (
        "more than four times the image's median cell area",
        lambda row, image: row["area_px"] > _LARGE * image.area,
    ),
    "saturated": (
        "more than 5 % of the pixels are as bright as the file can say: brightness is a lower limit",
        lambda row, _: row["saturated_fraction"] > _SATURATED,
    ),
    "little_black": (
        "less than 3 % of the box is black, which the study left out",
        lambda row, _: row["black_fraction"] < _LEAST_BLACK,
    ),
    "mostly_black": (
        "more than 95 % of the box is black, which the study left out",
        lambda row, _: row["black_fraction"] > _MOST_BLACK,
    ),
}

FLAGS = {name: meaning for name, (meaning, _) in _TESTS.items()}
"""All flags of cells, with what they mean; a cell may have several."""


def judged(rows: Sequence[Row], rule: MitosisRule = RULE) -> list[dict[str, Any]]:
    """Return the rows of one image's cells with `flags` and `mitotic`.

    Parameters
    ----------
    rows : sequence of mapping
        All cells of one image, with what :func:`anabatch.morphology.measure` returns.
    rule : MitosisRule

    Returns
    -------
    list of dict
        The rows, in their order, with

        flags
            Names of :data:`FLAGS`, sorted.
        mitotic
            Whether the cell is seen to divide. None where that was not judged: the cell has no
            nucleus, or one that the image's edge cuts, or fewer than :data:`FEWEST_NUCLEI` cells
            of the image have a whole one.
    """
    image = medians(rows)
    return [
        {
            **row,
            "flags": sorted(name for name, (_, test) in _TESTS.items() if test(row, image)),
            "mitotic": is_mitotic(row, image, rule),
        }
        for row in rows
    ]


def medians(rows: Sequence[Row]) -> Medians:
    """Return the medians of one image's cells; NaN where there is nothing to take one of."""
    whole = [row for row in rows if _has_whole_nucleus(row)]
    cytoplasm = [row["cytoplasm_mean_intensity"] for row in whole]
    return Medians(
        area=_median([row["area_px"] for row in rows]),
        nucleus_area=_median([row["nucleus_area_px"] for row in whole]),
        cytoplasm=_median([value for value in cytoplasm if value is not None]),
        nuclei=len(whole),
    )


def is_mitotic(row: Row, image: Medians, rule: MitosisRule = RULE) -> bool | None:
    """Tell whether a cell divides, by its shape and brightness; None if that cannot be judged.

    Parameters
    ----------
    row : mapping
        As in :func:`judged`.
    image : Medians
    rule : MitosisRule

    Returns
    -------
    bool or None
        True if the nucleus takes less than `rule.nucleus_share` of the cell, the cell is less than
        `rule.elongation` times as long as wide, and nucleus area / median nucleus area is below
        `rule.condensation` times cytoplasm / median cytoplasm, and below 1.
    """
    if image.nuclei < FEWEST_NUCLEI or not _has_whole_nucleus(row):
        return None
    if row["cytoplasm_mean_intensity"] is None or not image.cytoplasm > 0:
        return False  # no cytoplasm to be seen around the nucleus
    size = row["nucleus_area_px"] / image.nucleus_area
    brightness = row["cytoplasm_mean_intensity"] / image.cytoplasm
    return bool(
        size < min(1.0, rule.condensation * brightness)
        and row["nucleus_area_px"] < rule.nucleus_share * row["area_px"]
        and row["major_px"] < rule.elongation * row["minor_px"]
    )


def _has_whole_nucleus(row: Row) -> bool:
    return bool(row["nucleus_count"]) and not row["nucleus_touches_border"]


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else float("nan")

"""What the clusters look like in the report's figures: the same in all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from anabatch.report.figures import CATEGORIES, MARKERS

if TYPE_CHECKING:
    from collections.abc import Iterable

# The report's own colours, and then the ones that differ most from all before them (CIEDE2000), from
# white, and from each other for those who do not see red and green: no two of them come closer than 18.
COLOURS = (
    *CATEGORIES,
    *("#5A00B4", "#A5003C", "#696900", "#692D00", "#005A4B", "#695A78", "#00F05A", "#9669FF"),
    *("#96A54B", "#F09687", "#C300A5", "#00D2D2", "#0F3C78", "#4B1E3C", "#695A4B", "#B4B4FF"),
)
"""Colours of clusters. Where there are more clusters, colours come again with other marks."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a cluster looks like.

    Attributes
    ----------
    colour : str
        As HTML has it.
    marker : str
        As matplotlib has it.
    turn : int
        How often the colours were all given away before; 0 for the first 24 clusters.
    """

    colour: str
    marker: str
    turn: int


def cluster_looks(numbers: Iterable[int]) -> dict[int, Look]:
    """Return what the clusters of one model look like.

    A number has the same colour in every model, unless a smaller number of the model has it already:
    then it gets the next free one.

    Parameters
    ----------
    numbers : iterable of int
        The model's clusters: all of them, and not only those that a figure shows.
    """
    looks: dict[int, Look] = {}
    free: set[int] = set()
    for place, number in enumerate(sorted(set(numbers))):
        turn = place // len(COLOURS)
        free = free or set(range(len(COLOURS)))
        wanted = number % len(COLOURS)
        slot = min(free, key=lambda one: (one - wanted) % len(COLOURS))
        free.remove(slot)
        looks[number] = Look(COLOURS[slot], MARKERS[(slot + turn) % len(MARKERS)], turn)
    return looks

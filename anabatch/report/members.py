"""What a report keeps of a cluster's cells while all cells go by: numbers, and the few cells to show."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell, and where it stands.

    Attributes
    ----------
    cell_id, image_id : str
    cluster : int
    distance : float
        To the cluster's centre, in the embedding's units.
    part : str
        Its cell part.
    row : int
        Its row in the part.
    """

    cell_id: str
    image_id: str
    cluster: int
    distance: float
    part: str
    row: int


LEAST = 50
"""Cells of every cluster that maps show, or else all that it has."""

_identity = attrgetter("cell_id")


def _nearness(cell: Cell) -> tuple[float, str]:
    return cell.distance, cell.cell_id


def _farness(cell: Cell) -> tuple[float, str]:
    return -cell.distance, cell.cell_id


@dataclass(frozen=True)
class Chunk:
    """The live cells of one part with their clusters; arrays of one length.

    Attributes
    ----------
    part : str
    rows : ndarray of int64
        Rows in the part.
    cell_ids, image_ids : ndarray of str
    clusters : ndarray of int32
    distances : ndarray of float32
    measures : mapping of str to ndarray of float64
        What is told of every cluster's mean; NaN where it is not known of a cell.
    """

    part: str
    rows: NDArray[np.int64]
    cell_ids: NDArray[np.str_]
    image_ids: NDArray[np.str_]
    clusters: NDArray[np.int32]
    distances: NDArray[np.float32]
    measures: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def cells(self, positions: NDArray[np.intp]) -> list[Cell]:
        """Return the cells at some positions."""
        return [
            Cell(
                str(self.cell_ids[i]),
                str(self.image_ids[i]),
                int(self.clusters[i]),
                float(self.distances[i]),
                self.part,
                int(self.rows[i]),
            )
            for i in positions
        ]


@dataclass
class Tally:
    """A mean in the making.

    Attributes
    ----------
    total : float
    cells : int
        Those of which the value is known.
    """

    total: float = 0.0
    cells: int = 0

    def add(self, values: NDArray[np.float64]) -> None:
        """Add values, of which NaN are not known."""
        known = values[np.isfinite(values)]
        self.total += float(known.sum())
        self.cells += len(known)

    @property
    def mean(self) -> float | None:
        """The mean, or None if nothing is known."""
        return self.total / self.cells if self.cells else None


def _first(
    kept: list[Cell],
    chunk: Chunk,
    here: NDArray[np.intp],
    values: NDArray[np.float32],
    keep: int,
    order: Callable[[Cell], tuple[float, str]],
) -> list[Cell]:
    """Return the first cells of those that are kept and those of a chunk, by a value and their ids."""
    if len(kept) == keep:
        near = values <= order(kept[-1])[0]  # most are not: no ids to sort, and no cells to make
        here, values = here[near], values[near]
    if len(here) > keep:
        near = values <= np.partition(values, keep - 1)[keep - 1]
        here, values = here[near], values[near]
    chosen = here[np.lexsort((chunk.cell_ids[here], values))[:keep]]
    return sorted(kept + chunk.cells(chosen), key=order)[:keep] if len(chosen) else kept


def smallest(kept: list[Cell], chunk: Chunk, here: NDArray[np.intp], keep: int) -> list[Cell]:
    """Return the cells with the smallest ids, of those that are kept and those of a chunk.

    Parameters
    ----------
    kept : list of Cell
        By their ids.
    chunk : Chunk
    here : ndarray of intp
        Positions in the chunk that count.
    keep : int
        Cells to return.
    """
    if len(kept) == keep:
        here = here[np.less(chunk.cell_ids[here], kept[-1].cell_id)]
    chosen = here[np.argsort(chunk.cell_ids[here], kind="stable")[:keep]]
    return sorted(kept + chunk.cells(chosen), key=_identity)[:keep] if len(chosen) else kept


@dataclass
class Members:
    """What is kept of one cluster.

    Attributes
    ----------
    size : int
        Its cells.
    total_distance : float
        Sum of their distances to the centre.
    images : Counter
        Cells per image id.
    measures : dict
        By name.
    nearest, farthest, drawn : list of Cell
        Candidates to show: closest to the centre, most distant, and with the smallest ids, which are
        digests and so as good as random.
    """

    size: int = 0
    total_distance: float = 0.0
    images: Counter[str] = field(default_factory=Counter)
    measures: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    nearest: list[Cell] = field(default_factory=list)
    farthest: list[Cell] = field(default_factory=list)
    drawn: list[Cell] = field(default_factory=list)

    def add(self, chunk: Chunk, here: NDArray[np.intp], keep: int) -> None:
        """Add the cells of a chunk at some positions, and keep `keep` candidates of each kind."""
        distances = chunk.distances[here]
        self.size += len(here)
        self.total_distance += float(distances.sum(dtype=np.float64))
        names, counts = np.unique(chunk.image_ids[here], return_counts=True)
        self.images.update(dict(zip(names.tolist(), counts.tolist(), strict=True)))
        for name, values in chunk.measures.items():
            self.measures[name].add(values[here])
        self.nearest = _first(self.nearest, chunk, here, distances, keep, _nearness)
        self.farthest = _first(self.farthest, chunk, here, -distances, keep, _farness)
        # thrice as many, since those that are shown already are passed over
        self.drawn = smallest(self.drawn, chunk, here, max(3 * keep, LEAST))

    def picks(self, count: int) -> tuple[list[Cell], list[Cell], list[Cell]]:
        """Return up to `count` different cells: a third nearest, farthest and random each."""
        share = -(-count // 3)
        nearest = self.nearest[:share]
        taken = set(nearest)
        farthest = [cell for cell in self.farthest if cell not in taken][: (count - share + 1) // 2]
        taken.update(farthest)
        rest = count - share - (count - share + 1) // 2
        return nearest, farthest, [cell for cell in self.drawn if cell not in taken][:rest]

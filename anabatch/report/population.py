"""One pass over all clustered cells, in memory that does not grow with their number.

It keeps, for every cluster, its size, its cells per image and the few cells to show; and of all cells
a sample to plot. Only ids, clusters and distances are read here, never a crop.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from anabatch.store.live import CELLS, CLUSTER, EMBED, LivePart, cluster_unit, live_parts
from anabatch.store.parts import Part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from anabatch.report.source import Source
    from anabatch.store.actions import Action

SAMPLE = 5_000
"""Cells that are plotted."""


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


_identity = attrgetter("cell_id")


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
    """

    part: str
    rows: NDArray[np.int64]
    cell_ids: NDArray[np.str_]
    image_ids: NDArray[np.str_]
    clusters: NDArray[np.int32]
    distances: NDArray[np.float32]

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
    nearest, farthest, drawn : list of Cell
        Candidates to show: closest to the centre, most distant, and with the smallest ids, which are
        digests and so as good as random.
    """

    size: int = 0
    total_distance: float = 0.0
    images: Counter[str] = field(default_factory=Counter)
    nearest: list[Cell] = field(default_factory=list)
    farthest: list[Cell] = field(default_factory=list)
    drawn: list[Cell] = field(default_factory=list)

    def add(self, chunk: Chunk, here: NDArray[np.intp], keep: int) -> None:
        """Add the cells of a chunk at some positions, and keep `keep` candidates of each kind."""
        ids, distances = chunk.cell_ids[here], chunk.distances[here]
        self.size += len(here)
        self.total_distance += float(distances.sum(dtype=np.float64))
        names, counts = np.unique(chunk.image_ids[here], return_counts=True)
        self.images.update(dict(zip(names.tolist(), counts.tolist(), strict=True)))
        self.nearest += chunk.cells(here[np.lexsort((ids, distances))[:keep]])
        self.nearest = sorted(self.nearest, key=lambda c: (c.distance, c.cell_id))[:keep]
        self.farthest += chunk.cells(here[np.lexsort((ids, -distances))[:keep]])
        self.farthest = sorted(self.farthest, key=lambda c: (-c.distance, c.cell_id))[:keep]
        # thrice as many, since those that are shown already are passed over
        self.drawn += chunk.cells(here[np.argsort(ids, kind="stable")[: 3 * keep]])
        self.drawn = sorted(self.drawn, key=_identity)[: 3 * keep]

    def picks(self, count: int) -> tuple[list[Cell], list[Cell], list[Cell]]:
        """Return up to `count` different cells: a third nearest, farthest and random each."""
        share = -(-count // 3)
        nearest = self.nearest[:share]
        taken = set(nearest)
        farthest = [cell for cell in self.farthest if cell not in taken][: (count - share + 1) // 2]
        taken.update(farthest)
        rest = count - share - (count - share + 1) // 2
        return nearest, farthest, [cell for cell in self.drawn if cell not in taken][:rest]


@dataclass
class Population:
    """All clustered cells.

    Attributes
    ----------
    generation : int
        Generation of the clusters.
    clusters : dict
        Number to what is kept of each cluster.
    sample : list of Cell
        Those with the smallest ids, at most :data:`SAMPLE`.
    without : int
        Live cells that are in no cluster of this generation.
    """

    generation: int
    clusters: dict[int, Members] = field(default_factory=dict)
    sample: list[Cell] = field(default_factory=list)
    without: int = 0

    @property
    def size(self) -> int:
        """Number of clustered cells."""
        return sum(members.size for members in self.clusters.values())


def read_population(source: Source, model: Action) -> Population:
    """Go through all live cells once.

    Parameters
    ----------
    source : Source
    model : Action
        The generation of the cluster model. Cells that only an older one knows are counted in
        `without`.
    """
    population = Population(int(model.components["generation"]))
    # not 0 to k - 1: a refit retires numbers and gives new ones; a cluster without cells counts too
    numbers = source.model(model)["cluster_numbers_"].tolist()
    population.clusters = {number: Members() for number in sorted(numbers)}
    for live in live_parts(source.store.state, CELLS):
        action = source.store.state.get(CLUSTER, cluster_unit(live.path))
        if action is None or action.components["generation"] != population.generation:
            population.without += live.rows
        elif live.rows:
            _add(population, _read(source, live, action), source.config.cells_per_cluster)
    return population


def _read(source: Source, live: LivePart, action: Action) -> Chunk:
    rows = live.indices()
    root = source.store.root
    cells = Part(root, live.path).rows(CELLS, ["cell_id", "image_id"]).take(rows)
    columns = ["cluster", "distance"]
    clusters = Part(root, str(action.part)).rows("clusters", columns).take(rows)
    return Chunk(
        live.path,
        rows,
        np.asarray(cells.column("cell_id").to_pylist(), dtype=np.str_),
        np.asarray(cells.column("image_id").to_pylist(), dtype=np.str_),
        clusters.column("cluster").to_numpy(),
        clusters.column("distance").to_numpy(),
    )


def _add(population: Population, chunk: Chunk, keep: int) -> None:
    for number in np.unique(chunk.clusters).tolist():
        (here,) = np.nonzero(chunk.clusters == number)
        population.clusters.setdefault(number, Members()).add(chunk, here, keep)
    lowest = np.argsort(chunk.cell_ids, kind="stable")[:SAMPLE]
    if len(population.sample) == SAMPLE:
        lowest = lowest[chunk.cell_ids[lowest] < population.sample[-1].cell_id]
    found = population.sample + chunk.cells(lowest)
    population.sample = sorted(found, key=_identity)[:SAMPLE]


def by_part(cells: list[Cell]) -> Iterator[tuple[str, list[Cell]]]:
    """Yield cells part by part, each part's in the order of its rows."""
    parts: dict[str, list[Cell]] = {}
    for cell in cells:
        parts.setdefault(cell.part, []).append(cell)
    for part, members in parts.items():
        yield part, sorted(members, key=lambda cell: cell.row)


def coordinates(
    source: Source, cells: list[Cell], model: Action
) -> tuple[list[Cell], NDArray[np.float32]]:
    """Read the first two components of cells.

    Parameters
    ----------
    source : Source
    cells : list of Cell
    model : Action
        The generation of the kernel PCA. Cells that only an older one embedded are left out.

    Returns
    -------
    cells : list of Cell
        Those that have an embedding, in another order.
    places : ndarray of float32, shape (cells, 2)
        In the embedding's units.
    """
    placed: list[Cell] = []
    places = [np.empty((0, 2), np.float32)]
    for path, members in by_part(cells):
        action = source.store.state.get(EMBED, path)
        if action is None or action.components["model"] != model.part:
            continue
        rows = np.array([cell.row for cell in members], dtype=np.int64)
        places.append(Part(source.store.root, str(action.part)).take("embedding", rows)[:, :2])
        placed += members
    return placed, np.concatenate(places)

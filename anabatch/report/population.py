"""One pass over all clustered cells, in memory that does not grow with their number.

It keeps, for every cluster, its size, its cells per image and the few cells to show; and of all cells
a sample to plot. Only ids, clusters and distances are read here, never a crop.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from anabatch.report import measures
from anabatch.report.members import LEAST, Cell, Chunk, Members, Tally, smallest
from anabatch.schema import completed
from anabatch.store.live import (
    CELLS,
    CLUSTER,
    CLUSTER_MODEL,
    EMBED,
    LivePart,
    cluster_unit,
    live_parts,
)
from anabatch.store.parts import Part

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from anabatch.report.source import Source
    from anabatch.store.actions import Action

SAMPLE = 5_000
"""Cells that are plotted, and those that small clusters lack among them."""


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
    dates : dict
        Date to its cells per cluster.
    squares : dict
        Date to the squared distances of its cells to their centres.
    images : Counter
        Date to its images that have cells in a cluster. A date is that of the cells: a picture that was
        seen on several is counted where its cells are.
    name : str
        The cluster model's: that of the archive, or of a part of it.
    """

    generation: int
    clusters: dict[int, Members] = field(default_factory=dict)
    sample: list[Cell] = field(default_factory=list)
    without: int = 0
    dates: dict[dt.date | None, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    squares: dict[dt.date | None, Tally] = field(default_factory=lambda: defaultdict(Tally))
    images: Counter[dt.date | None] = field(default_factory=Counter)
    name: str = CLUSTER_MODEL

    @property
    def size(self) -> int:
        """Number of clustered cells."""
        return sum(members.size for members in self.clusters.values())

    @property
    def mapped(self) -> list[Cell]:
        """The cells of maps, by their ids: the sample, and at least 50 of every cluster, or all of it.

        Either are those with the smallest ids, so that a cluster of which the sample has enough gets no
        others.
        """
        least = (members.drawn[:LEAST] for members in self.clusters.values())
        cells = {cell.cell_id: cell for cell in chain(self.sample, *least)}
        return [cells[name] for name in sorted(cells)]

    @property
    def enlarged(self) -> list[int]:
        """The clusters of which maps show more than the sample has."""
        here = Counter(cell.cluster for cell in self.sample)
        return [
            number
            for number, members in self.clusters.items()
            if here[number] < min(LEAST, members.size)
        ]


_COLUMNS = ["cell_id", *measures.COLUMNS]


def read_population(source: Source, model: Action) -> Population:
    """Go through all live cells once.

    Parameters
    ----------
    source : Source
    model : Action
        The generation of the cluster model. Cells that only an older one knows are counted in
        `without`.
    """
    name = model.unit.split("/")[1]
    population = Population(int(model.components["generation"]), name=name)
    # not 0 to k - 1: a refit retires numbers and gives new ones; a cluster without cells counts too
    numbers = source.model(model)["cluster_numbers_"].tolist()
    population.clusters = {number: Members() for number in sorted(numbers)}
    scale = measures.scales(source)
    for live in live_parts(source.store.state, CELLS):
        action = source.store.state.get(CLUSTER, cluster_unit(live.path, name))
        if action is None and name != CLUSTER_MODEL:
            continue  # none of its cells is selected
        if action is None or action.components["generation"] != population.generation:
            population.without += live.rows
        elif live.rows:
            chunk = _read(source, live, action, scale)
            _add(population, chunk, source.config.cells_per_cluster)
            population.dates[action.date].update(chunk.clusters.tolist())
            population.squares[action.date].add(np.square(chunk.distances, dtype=np.float64))
            population.images[action.date] += _count_images(chunk)
    return population


def _count_images(chunk: Chunk) -> int:
    """Count the images of a part: one's live cells are all in one part, and follow each other there."""
    names = chunk.image_ids
    return int(len(names) > 0) + int(np.count_nonzero(names[1:] != names[:-1]))


def _read(source: Source, live: LivePart, action: Action, scale: dict[str, float | None]) -> Chunk:
    rows = live.indices()
    root = source.store.root
    columns = ["cluster", "distance"]
    clusters = Part(root, str(action.part)).rows("clusters", columns).take(rows)
    selected = clusters.column("cluster").to_numpy() >= 0
    rows, clusters = rows[selected], clusters.filter(pa.array(selected))
    cells = completed(CELLS, Part(root, live.path).rows(CELLS, _COLUMNS), _COLUMNS).take(rows)
    images = measures.coded(cells, "image_id")
    return Chunk(
        live.path,
        rows,
        np.asarray(cells.column("cell_id").to_pylist(), dtype=np.str_),
        np.asarray(images[0], dtype=np.str_)[images[1]],
        clusters.column("cluster").to_numpy(),
        clusters.column("distance").to_numpy(),
        measures.cell_measures(cells, scale),
    )


def _add(population: Population, chunk: Chunk, keep: int) -> None:
    for number in np.unique(chunk.clusters).tolist():
        (here,) = np.nonzero(chunk.clusters == number)
        population.clusters.setdefault(number, Members()).add(chunk, here, keep)
    every = np.arange(len(chunk.cell_ids))
    population.sample = smallest(population.sample, chunk, every, SAMPLE)


def by_part(cells: list[Cell]) -> Iterator[tuple[str, list[Cell]]]:
    """Yield cells part by part, each part's in the order of its rows."""
    parts: dict[str, list[Cell]] = {}
    for cell in cells:
        parts.setdefault(cell.part, []).append(cell)
    for part, members in parts.items():
        yield part, sorted(members, key=lambda cell: cell.row)


def embedded(
    source: Source, cells: list[Cell], model: Action
) -> tuple[list[Cell], NDArray[np.float32]]:
    """Read the embedding of cells.

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
    values : ndarray of float32, shape (cells, components)
        In the embedding's units; without components if there are no cells.
    """
    placed: list[Cell] = []
    values: list[NDArray[np.float32]] = []
    for path, members in by_part(cells):
        action = source.store.state.get(EMBED, path)
        if action is None or action.components["model"] != model.part:
            continue
        rows = np.array([cell.row for cell in members], dtype=np.int64)
        values.append(Part(source.store.root, str(action.part)).take("embedding", rows))
        placed += members
    return placed, np.concatenate(values) if values else np.empty((0, 0), np.float32)


@dataclass(frozen=True, eq=False)
class Located:
    """The cells of maps that have a place on two axes.

    Those of the archive are its first two components. A part of it may hardly differ along these: its
    axes are the first two principal ones of its own cells, a rotation of the embedding.

    Attributes
    ----------
    population : Population
    cells : list of Cell
        At least one.
    places : ndarray of float32, shape (cells, 2)
        In the embedding's units; from the sample's mean for a part.
    held : ndarray of float64, shape (2,)
        What the axes have of the cells' own variance in all components, as the population's sample has
        it; zeros where they do not vary.
    shares : ndarray of float64, shape (components,)
        The same of each component.
    """

    population: Population
    cells: list[Cell]
    places: NDArray[np.float32]
    held: NDArray[np.float64]
    shares: NDArray[np.float64]

    @property
    def is_part(self) -> bool:
        """Whether these are cells of a part of the archive."""
        return self.population.name != CLUSTER_MODEL


def locate(source: Source, population: Population | None) -> Located | None:
    """Read where the cells of maps lie, once for all maps; None where no cell has such a place."""
    model = source.generation("kpca")
    if population is None or model is None:
        return None
    cells, values = embedded(source, population.mapped, model)
    if values.shape[1] < 2:
        return None
    # maps have more of small clusters than their share; the sample has not
    sampled = {cell.cell_id for cell in population.sample}
    fair = values[[cell.cell_id in sampled for cell in cells]].astype(np.float64)
    variances = fair.var(axis=0) if len(fair) else np.zeros(values.shape[1])
    whole = variances.sum() or 1.0
    shares = variances / whole
    if population.name == CLUSTER_MODEL or not variances.any():
        return Located(population, cells, values[:, :2], shares[:2], shares)
    axes, along = _principal_axes(fair)
    places = ((values - fair.mean(axis=0)) @ axes).astype(np.float32)
    return Located(population, cells, places, along / whole, shares)


def _principal_axes(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the two directions in which rows differ most, as columns, and the variances along them."""
    variances, directions = np.linalg.eigh(np.cov(rows, rowvar=False, bias=True))
    axes = directions[:, :-3:-1]
    # either sign is right: the same one every time
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[np.newaxis], axis=0)
    return axes * np.sign(largest), variances[:-3:-1]

"""One pass over all clustered cells, in memory that does not grow with their number.

It keeps, for every cluster, its size, its cells per image and the few cells to show; and of all cells
a sample to plot. Only ids, clusters and distances are read here, never a crop.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

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
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from anabatch.report.source import Source
    from anabatch.store.actions import Action

SAMPLE = 5_000
"""Cells that are plotted."""

NUCLEUS, CELL, BRIGHTNESS = "nucleus", "cell", "brightness"
NUCLEUS_BRIGHTNESS, MITOTIC = "nucleus_brightness", "mitotic"
"""Names of what is told of a cluster's cells on average."""


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
        ids, distances = chunk.cell_ids[here], chunk.distances[here]
        self.size += len(here)
        self.total_distance += float(distances.sum(dtype=np.float64))
        names, counts = np.unique(chunk.image_ids[here], return_counts=True)
        self.images.update(dict(zip(names.tolist(), counts.tolist(), strict=True)))
        for name, values in chunk.measures.items():
            self.measures[name].add(values[here])
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
    dates : dict
        Date to its cells per cluster.
    distances : dict
        Date to the distances of its cells.
    """

    generation: int
    clusters: dict[int, Members] = field(default_factory=dict)
    sample: list[Cell] = field(default_factory=list)
    without: int = 0
    dates: dict[dt.date | None, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    distances: dict[dt.date | None, Tally] = field(default_factory=lambda: defaultdict(Tally))

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
    name = model.unit.split("/")[1]
    # not 0 to k - 1: a refit retires numbers and gives new ones; a cluster without cells counts too
    numbers = source.model(model)["cluster_numbers_"].tolist()
    population.clusters = {number: Members() for number in sorted(numbers)}
    for live in live_parts(source.store.state, CELLS):
        action = source.store.state.get(CLUSTER, cluster_unit(live.path, name))
        if action is None and name != CLUSTER_MODEL:
            continue  # none of its cells is selected
        if action is None or action.components["generation"] != population.generation:
            population.without += live.rows
        elif live.rows:
            chunk = _read(source, live, action)
            _add(population, chunk, source.config.cells_per_cluster)
            population.dates[action.date].update(chunk.clusters.tolist())
            population.distances[action.date].add(chunk.distances.astype(np.float64))
    return population


def _read(source: Source, live: LivePart, action: Action) -> Chunk:
    rows = live.indices()
    root = source.store.root
    columns = ["cluster", "distance"]
    clusters = Part(root, str(action.part)).rows("clusters", columns).take(rows)
    selected = clusters.column("cluster").to_numpy() >= 0
    rows, clusters = rows[selected], clusters.filter(pa.array(selected))
    cells = completed(CELLS, Part(root, live.path).rows(CELLS)).take(rows)
    images = np.asarray(cells.column("image_id").to_pylist(), dtype=np.str_)
    return Chunk(
        live.path,
        rows,
        np.asarray(cells.column("cell_id").to_pylist(), dtype=np.str_),
        images,
        clusters.column("cluster").to_numpy(),
        clusters.column("distance").to_numpy(),
        _measures(source, cells, images),
    )


def _measures(source: Source, cells: pa.Table, images: NDArray[np.str_]) -> dict[str, Any]:
    """Return what is told of the clusters, by name: sizes in reference pixels, brightness in % of white."""
    pixels = np.array([source.pixels_per_reference_pixel.get(str(i), 1.0) for i in images])
    kinds = cells.column("source_dtype").to_pylist()
    white = np.array([np.iinfo(kind).max for kind in kinds], dtype=np.float64)

    def column(name: str) -> NDArray[np.float64]:
        return np.array(
            cells.column(name).cast(pa.float64(), safe=False).to_pandas(), dtype=np.float64
        )

    nuclei = column("nucleus_area_px")
    nuclei[nuclei == 0] = np.nan
    return {
        NUCLEUS: nuclei / pixels**2,
        CELL: column("area_px") / pixels**2,
        BRIGHTNESS: 100 * column("mean_intensity") / white,
        NUCLEUS_BRIGHTNESS: 100 * column("nucleus_mean_intensity") / white,
        MITOTIC: column("mitotic"),
    }


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

"""Cluster: the embedding of the archive → clusters; the embedding of a cell part → its clusters.

The fit is cut where workers can share it: a pilot with restarts, then passes over all parts, each a
sum in a fixed tree and an update of the centres.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from anabatch.clustering import BatchKMeans, ClusterSums, DiagonalMixture, match_clusters, merge
from anabatch.clustering.novelty import QUANTILE, DistanceSketch
from anabatch.reduction import reduce_tree
from anabatch.schema import table_schema, validate
from anabatch.stages.population import Application, Generation, Source, draw_pilot, read_model
from anabatch.store.keys import action_key
from anabatch.store.live import CLUSTER, CLUSTER_MODEL, cluster_unit
from anabatch.store.parts import Part
from anabatch.store.recipes import Recipe

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from anabatch.config import ClusterConfig
    from anabatch.store.parts import WrittenPart

    Model = BatchKMeans | DiagonalMixture

VERSION = 1
KIND = "kmeans"
"""Cluster models in the ledger, whatever their method: their generations count on when it changes."""

LEFT_OUT = -1
"""Stored in place of a cluster for rows that a model's condition leaves out; nobody reads them."""

# More chunks than a part ever has, so that no two chunks share a seed.
_CHUNKS_PER_PART = 1_000_000
_AT_REST = 1e-6
"""Squared step of the centres, as a share of the mean squared distance, after which Lloyd's passes end."""
_POLICIES = frozenset({"refit_share", "refit", "new_kinds", "least_new"})
"""Parameters that say when a model is fitted, and not what it is."""


def cluster_recipe(config: ClusterConfig, embedding: str, where: str = "") -> Recipe:
    """Return what determines clusters beside the embedding.

    Parameters
    ----------
    config : ClusterConfig
    embedding : str
        Digest of the kernel PCA's part.
    where : str
        The condition that selects the cells; empty for all.
    """
    parameters = config.model_dump(mode="json", exclude=set(_POLICIES))
    if config.method == "kmeans":  # as it was called before there were others
        del parameters["method"]
    if where:
        parameters["where"] = where
    return Recipe(CLUSTER, VERSION, parameters, {"embedding": embedding})


def fit_pilot(store: Path, sources: tuple[Source, ...], config: ClusterConfig, k: int) -> Model:
    """Find `k` clusters on a pilot of all live rows, with restarts."""
    pilot = draw_pilot(store, sources, config.pilot, config.seed)[:, : config.components]
    return new_model(config, k).fit_pilot(pilot)


def new_model(config: ClusterConfig, k: int) -> Model:
    """Return a model that is not fitted yet."""
    shared = {
        "restarts": config.restarts,
        "pilot_rows": config.pilot,
        "chunk_size": config.chunk,
        "random_state": config.seed,
    }
    if config.method == "mixture":
        return DiagonalMixture(k, **shared)
    return BatchKMeans(k, rounds=config.rounds, **shared)


@dataclass(frozen=True, eq=False)
class WarmStart:
    """The generation that a fit goes on from.

    Attributes
    ----------
    part : str
        The generation's part.
    used : int
        One more than the highest number that was ever given.
    extra : ndarray of float64, shape (d,), or None
        Centre of a cluster to be added, which gets the number `used`.
    """

    part: str
    used: int
    extra: NDArray[np.float64] | None = None


def start_warm(
    store: Path, sources: tuple[Source, ...], config: ClusterConfig, start: WarmStart
) -> Model:
    """Return a model at the centres of an older generation, with its numbers, and perhaps one more."""
    older = _model(store, start.part)
    centers, numbers = older.cluster_centers_, older.cluster_numbers_
    if start.extra is not None:
        centers = np.vstack([centers, start.extra])
        numbers = np.append(numbers, np.int32(start.used))
    model = new_model(config, len(centers))
    if isinstance(model, BatchKMeans):
        return model.start_at(centers, numbers)
    pilot = draw_pilot(store, sources, config.pilot, config.seed)[:, : config.components]
    return model.fit_pilot(pilot, means=centers).renumber(numbers)


def partial_sums(
    store: Path, source: Source, model: BatchKMeans, config: ClusterConfig
) -> ClusterSums:
    """Return the sums over the live rows of one part at the model's centres."""
    sums = [
        model.partial_sums(rows[:, : config.components])
        for rows in source.chunks(store, config.chunk)
    ]
    return reduce_tree(sums, merge)


def minibatch_sums(
    store: Path, source: Source, model: BatchKMeans, config: ClusterConfig, place: tuple[int, int]
) -> ClusterSums:
    """Return the sums over a sample of the live rows of one part.

    Parameters
    ----------
    store : Path
    source : Source
    model : BatchKMeans
    config : ClusterConfig
    place : (int, int)
        Number of the round and of the part: they seed the sample.
    """
    round_number, part_number = place
    sums = []
    for number, rows in enumerate(source.chunks(store, config.chunk)):
        chunk_number = part_number * _CHUNKS_PER_PART + number
        sample = model.minibatch_sample(rows[:, : config.components], round_number, chunk_number)
        sums.append(model.partial_sums(sample))
    return reduce_tree(sums, merge)


def minibatch_update(model: BatchKMeans, sums: ClusterSums) -> BatchKMeans:
    """Return a model with centres moved by a mini-batch step."""
    return copy.deepcopy(model).minibatch_update(sums)


def lloyd_update(model: BatchKMeans, sums: ClusterSums) -> BatchKMeans:
    """Return a model with centres moved to the means of their rows."""
    return copy.deepcopy(model).lloyd_update(sums)


def is_at_rest(model: BatchKMeans) -> bool:
    """Whether another pass would not move the centres."""
    return getattr(model, "shift_", np.inf) <= _AT_REST


def sums_till_rest(
    store: Path, source: Source, model: BatchKMeans, config: ClusterConfig
) -> ClusterSums | None:
    """Return what :func:`partial_sums` does; None, without reading, once the centres are at rest."""
    return None if is_at_rest(model) else partial_sums(store, source, model, config)


def merge_till_rest(left: ClusterSums | None, right: ClusterSums | None) -> ClusterSums | None:
    """Add two sums of one pass, of which both are None or neither."""
    return merge(left, right) if left is not None and right is not None else None


def update_till_rest(model: BatchKMeans, sums: ClusterSums | None) -> BatchKMeans:
    """Return what :func:`lloyd_update` does; the model itself once its centres are at rest."""
    return model if sums is None else lloyd_update(model, sums)


def number_by_size(model: BatchKMeans) -> BatchKMeans:
    """Return a model with its clusters numbered by decreasing size: a first generation's."""
    return copy.deepcopy(model).number_by_size()


def common_cells(
    store: Path, source: Source, before: str, model: Model, components: int
) -> NDArray[np.int64]:
    """Return labels of the live rows of one part under an older generation and a new model.

    Parameters
    ----------
    store : Path
    source : Source
    before : str
        The part with the older clusters.
    model : BatchKMeans or DiagonalMixture
    components : int

    Returns
    -------
    ndarray of int64, shape (rows, 2)
        Older label, new label, of the rows that have an older one.
    """
    older = Part(store, before).rows("clusters", ["cluster"]).column("cluster").to_numpy()
    rows = np.concatenate(list(source.chunks(store, model.chunk_size)))
    new = model.predict(rows[:, :components])
    pairs = np.column_stack([older[source.live.indices()], new]).astype(np.int64)
    known: NDArray[np.int64] = pairs[pairs[:, 0] != LEFT_OUT]
    return known


def keep_numbers(model: Model, pairs: list[NDArray[np.int64]], used: int) -> Model:
    """Return a model whose clusters bear the numbers of the older ones that they continue.

    Parameters
    ----------
    model : BatchKMeans or DiagonalMixture
        Numbered by size.
    pairs : list of ndarray of int64, shape (rows, 2)
        Older and new labels of the same cells.
    used : int
        One more than the highest number that was ever given.
    """
    labels = np.concatenate(pairs)
    numbers = match_clusters(labels[:, 0], labels[:, 1], used, model.n_clusters)
    return copy.deepcopy(model).renumber(numbers)


@dataclass(frozen=True, eq=False)
class Census:
    """The rows of one part or many, as a model sees them.

    Attributes
    ----------
    counts : ndarray of int64, shape (k,)
        Rows by cluster, in the order of the centres.
    inertia : float
        Sum of the squared distances to the centres.
    distances : DistanceSketch
    """

    counts: NDArray[np.int64]
    inertia: float
    distances: DistanceSketch


def take_census(store: Path, source: Source, model: Model, components: int) -> Census:
    """Count the live rows of one part."""
    censuses = []
    for rows in source.chunks(store, model.chunk_size):
        numbers, distance = model.distances(rows[:, :components])
        places = np.searchsorted(np.sort(model.cluster_numbers_), numbers)
        order = np.argsort(model.cluster_numbers_)
        counts = np.bincount(order[places], minlength=model.n_clusters)
        inertia = float(np.square(distance, dtype=np.float64).sum())
        censuses.append(Census(counts, inertia, DistanceSketch.of(distance)))
    return reduce_tree(censuses, merge_censuses)


def merge_censuses(left: Census, right: Census) -> Census:
    """Add the censuses of disjoint sets of rows."""
    return Census(
        left.counts + right.counts,
        left.inertia + right.inertia,
        left.distances.merge(right.distances),
    )


def finish(
    generation: Generation, model: Model, census: Census, facts: dict[str, Any]
) -> WrittenPart:
    """Write the generation.

    Parameters
    ----------
    generation : Generation
    model : BatchKMeans or DiagonalMixture
    census : Census
        Of all rows, at the model's centres.
    facts : dict
        `components` used, the `method`, and `used`: one more than the highest number that an older
        generation gave. They and all others are kept.
    """
    rows = sum(generation.rows.values())
    found = {
        "k": len(model.cluster_centers_),
        "inertia": census.inertia,
        "mean_squared_distance": census.inertia / max(rows, 1),
        "quantile": census.distances.quantile(QUANTILE),
        "sizes": census.counts.tolist(),
    }
    used = max(facts["used"], int(model.cluster_numbers_.max()) + 1)
    return generation.write(model.to_arrays(), found | facts | {"used": used})


@dataclass(frozen=True)
class ClusterModel:
    """A generation of clusters to be applied.

    Attributes
    ----------
    name : str
    number : int
        The generation.
    components : int
        Leading components of the embedding that it uses.
    quantile : float or None
        Distance beyond which a row is far from all that the model was fitted on, where that is known.
    """

    name: str
    number: int
    components: int
    quantile: float | None = None


@dataclass(frozen=True)
class Rows:
    """The rows of a part that a model's condition selects."""

    ranges: tuple[tuple[int, int], ...]

    def indices(self) -> NDArray[np.int64]:
        """Return their positions."""
        return np.concatenate([np.arange(*span, dtype=np.int64) for span in self.ranges])


def cluster_key(embedding: str, model: str, name: str = "", rows: Rows | None = None) -> str:
    """Return the key of assigning an embedding to clusters.

    Parameters
    ----------
    embedding, model : str
        Digests of the embedding's part and of the generation's.
    name : str
        Of a model over a part of the archive.
    rows : Rows, optional
        What its condition selects; all by default.
    """
    selected = {"name": name, "rows": rows.ranges} if rows else {}
    return action_key(stage=CLUSTER, version=VERSION, embedding=embedding, model=model, **selected)


def model_of(arrays: dict[str, NDArray[Any]]) -> Model:
    """Return the model that a generation's arrays are of."""
    kind = DiagonalMixture if "variances_" in arrays else BatchKMeans
    model: Model = kind.from_arrays(arrays)
    return model


@lru_cache(maxsize=2)
def _model(store: Path, path: str) -> Model:
    return model_of(read_model(store, path))


def cluster(
    batch: Application, generation: WrittenPart, named: ClusterModel, rows: Rows | None = None
) -> WrittenPart:
    """Put the rows of an embedding part, live or not, into clusters.

    Parameters
    ----------
    batch : Application
        Over the embedding.
    generation : WrittenPart
        The model's part.
    named : ClusterModel
    rows : Rows, optional
        Those that the model's condition selects; all by default.
    """
    model = _model(batch.store, str(generation.path))
    every = np.concatenate([chunk[:, : named.components] for chunk in batch.chunks()])
    labels = np.full(len(every), LEFT_OUT, np.int32)
    distances = np.full(len(every), np.nan, np.float32)
    here = np.arange(len(every)) if rows is None else rows.indices()
    labels[here], distances[here] = model.distances(every[here])
    facts: dict[str, Any] = {"model": generation.path, "generation": named.number}
    if named.quantile is not None:
        facts["beyond"] = int((distances[here] > named.quantile).sum())
    if rows is not None:
        facts["selected"] = len(here)
    name = "" if named.name == CLUSTER_MODEL else named.name
    action = batch.action(
        CLUSTER,
        cluster_unit(batch.cells, named.name),
        cluster_key(batch.digest, str(generation.digest), name, rows),
        **facts,
    )
    with batch.part("clusters", action) as part:
        part.rows("clusters", _table(batch, named, labels, distances))
        return part.finish([action])


def _table(
    batch: Application,
    named: ClusterModel,
    labels: NDArray[np.int32],
    distances: NDArray[np.float32],
) -> pa.Table:
    cell_ids = Part(batch.store, batch.cells).rows("cells", ["cell_id"]).column("cell_id")
    columns = {
        "cell_id": cell_ids.combine_chunks(),
        "cluster": pa.array(labels, pa.int32()),
        "distance": pa.array(distances, pa.float32()),
        "model": pa.array([named.name] * len(labels), pa.string()),
        "generation": pa.array([named.number] * len(labels), pa.int32()),
    }
    return validate("clusters", pa.table(columns).cast(table_schema("clusters")))

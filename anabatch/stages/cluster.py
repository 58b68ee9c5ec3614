"""Cluster: the embedding of the archive → k-means; the embedding of a cell part → its clusters.

The fit is cut where workers can share it: a pilot with restarts, then passes over all parts, each a
sum in a fixed tree and an update of the centres.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from anabatch.clustering import BatchKMeans, ClusterSums, match_clusters, merge
from anabatch.reduction import reduce_tree
from anabatch.schema import table_schema, validate
from anabatch.stages.population import Application, Generation, Source, draw_pilot, read_model
from anabatch.store.keys import action_key
from anabatch.store.live import CLUSTER, cluster_unit
from anabatch.store.parts import Part
from anabatch.store.recipes import Recipe

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from anabatch.config import ClusterConfig
    from anabatch.store.parts import WrittenPart

VERSION = 1
KIND = "kmeans"

# More chunks than a part ever has, so that no two chunks share a seed.
_CHUNKS_PER_PART = 1_000_000


def cluster_recipe(config: ClusterConfig, embedding: str) -> Recipe:
    """Return what determines clusters beside the embedding, by the digest of its model's part."""
    parameters = config.model_dump(mode="json", exclude={"refit_share"})
    return Recipe(CLUSTER, VERSION, parameters, {"embedding": embedding})


def fit_pilot(store: Path, sources: tuple[Source, ...], config: ClusterConfig) -> BatchKMeans:
    """Run k-means with restarts on a pilot of all live rows."""
    pilot = draw_pilot(store, sources, config.pilot, config.seed)[:, : config.components]
    model = BatchKMeans(
        config.k,
        restarts=config.restarts,
        rounds=config.rounds,
        pilot_rows=config.pilot,
        chunk_size=config.chunk,
        random_state=config.seed,
    )
    return model.fit_pilot(pilot)


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


def number_by_size(model: BatchKMeans) -> BatchKMeans:
    """Return a model with its clusters numbered by decreasing size: a first generation's."""
    return copy.deepcopy(model).number_by_size()


def common_cells(
    store: Path, source: Source, before: str, model: BatchKMeans, components: int
) -> NDArray[np.int64]:
    """Return labels of the live rows of one part under an older generation and a new model.

    Parameters
    ----------
    store : Path
    source : Source
    before : str
        The part with the older clusters.
    model : BatchKMeans
    components : int

    Returns
    -------
    ndarray of int64, shape (rows, 2)
        Older label, new label.
    """
    older = Part(store, before).rows("clusters", ["cluster"]).column("cluster").to_numpy()
    rows = np.concatenate(list(source.chunks(store, model.chunk_size)))
    new = model.predict(rows[:, :components])
    return np.column_stack([older[source.live.indices()], new]).astype(np.int64)


def keep_numbers(model: BatchKMeans, pairs: list[NDArray[np.int64]], used: int) -> BatchKMeans:
    """Return a model whose clusters bear the numbers of the older ones that they continue.

    Parameters
    ----------
    model : BatchKMeans
        Numbered by size.
    pairs : list of ndarray of int64, shape (rows, 2)
        Older and new labels of the same cells.
    used : int
        One more than the highest number that was ever given.
    """
    labels = np.concatenate(pairs)
    numbers = match_clusters(labels[:, 0], labels[:, 1], used, model.n_clusters)
    return copy.deepcopy(model).renumber(numbers)


def finish(
    generation: Generation, model: BatchKMeans, sums: ClusterSums, components: int, used: int
) -> WrittenPart:
    """Write the generation.

    Parameters
    ----------
    generation : Generation
    model : BatchKMeans
    sums : ClusterSums
        Of all rows, at the model's centres.
    components : int
        Leading components that it uses.
    used : int
        One more than the highest number that an older generation gave.
    """
    rows = sum(generation.rows.values())
    facts = {
        "k": len(model.cluster_centers_),
        "used": max(used, int(model.cluster_numbers_.max()) + 1),
        "components": components,
        "inertia": float(sums.inertia),
        "mean_squared_distance": float(sums.inertia) / max(rows, 1),
    }
    return generation.write(model.to_arrays(), facts)


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
    """

    name: str
    number: int
    components: int


def cluster_key(embedding: str, model: str) -> str:
    """Return the key of assigning an embedding to clusters, both given by their digests."""
    return action_key(stage=CLUSTER, version=VERSION, embedding=embedding, model=model)


@lru_cache(maxsize=2)
def _model(store: Path, path: str) -> BatchKMeans:
    return BatchKMeans.from_arrays(read_model(store, path))


def cluster(batch: Application, generation: WrittenPart, named: ClusterModel) -> WrittenPart:
    """Assign every row of an embedding part, live or not, to its nearest centre.

    Parameters
    ----------
    batch : Application
        Over the embedding.
    generation : WrittenPart
        The model's part.
    named : ClusterModel
    """
    model = _model(batch.store, str(generation.path))
    pairs = [model.distances(rows[:, : named.components]) for rows in batch.chunks()]
    table = _table(
        batch,
        named,
        np.concatenate([labels for labels, _ in pairs]),
        np.concatenate([distances for _, distances in pairs]),
    )
    action = batch.action(
        CLUSTER,
        cluster_unit(batch.cells, named.name),
        cluster_key(batch.digest, str(generation.digest)),
        model=generation.path,
        generation=named.number,
    )
    with batch.part("clusters", action) as part:
        part.rows("clusters", table)
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

"""The steps of a fit of clusters, cut where workers can share them.

A pilot with restarts, or the centres of an older generation; then passes over all parts, each a sum in a
fixed tree and an update of the centres; then a census of all rows, and the generation's part.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.clustering import BatchKMeans, ClusterSums, DiagonalMixture, match_counts, merge
from anabatch.clustering.novelty import QUANTILE, DistanceSketch
from anabatch.reduction import reduce_tree
from anabatch.stages.population import read_model
from anabatch.store.parts import Part

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from anabatch.config import ClusterConfig
    from anabatch.stages.population import Generation, Source
    from anabatch.store.parts import WrittenPart

    Model = BatchKMeans | DiagonalMixture

LEFT_OUT = -1
"""Stored in place of a cluster for rows that a model's condition leaves out; nobody reads them."""

# More chunks than a part ever has, so that no two chunks share a seed.
_CHUNKS_PER_PART = 1_000_000
_AT_REST = 1e-6
"""Squared step of the centres, as a share of the mean squared distance, after which Lloyd's passes end."""


def fit_pilot(pilot: NDArray[Any], config: ClusterConfig, k: int) -> Model:
    """Find `k` clusters on a pilot of all live rows, with restarts."""
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


def model_of(arrays: dict[str, NDArray[Any]]) -> Model:
    """Return the model that a generation's arrays are of."""
    kind = DiagonalMixture if "variances_" in arrays else BatchKMeans
    model: Model = kind.from_arrays(arrays)
    return model


@lru_cache(maxsize=2)
def read_clusters(store: Path, path: str) -> Model:
    """Return the model of a generation's part."""
    return model_of(read_model(store, path))


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
    store: Path, config: ClusterConfig, start: WarmStart, pilot: NDArray[Any] | None
) -> Model:
    """Return a model at the centres of an older generation, with its numbers, and perhaps one more.

    Parameters
    ----------
    store : Path
    config : ClusterConfig
    start : WarmStart
    pilot : ndarray of float, shape (p, d), or None
        What mixtures are fitted on; of no use to others.
    """
    older = read_clusters(store, start.part)
    centers, numbers = older.cluster_centers_, older.cluster_numbers_
    if start.extra is not None:
        centers = np.vstack([centers, start.extra])
        numbers = np.append(numbers, np.int32(start.used))
    model = new_model(config, len(centers))
    if isinstance(model, BatchKMeans):
        return model.start_at(centers, numbers)
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
    store: Path, source: Source, before: str, model: Model, config: ClusterConfig, used: int
) -> NDArray[np.int64]:
    """Count the live rows of one part by their older cluster and their new one.

    Parameters
    ----------
    store : Path
    source : Source
    before : str
        The part with the older clusters.
    model : BatchKMeans or DiagonalMixture
        Numbered by size.
    config : ClusterConfig
    used : int
        One more than the highest number that was ever given.

    Returns
    -------
    ndarray of int64, shape (used, k)
        Of the rows that have an older cluster.
    """
    older = Part(store, before).rows("clusters", ["cluster"]).column("cluster").to_numpy()
    older = older[source.live.indices()]
    common = np.zeros((used, model.n_clusters), dtype=np.int64)
    start = 0
    for rows in source.chunks(store, config.chunk):
        then = older[start : start + len(rows)]
        known = then != LEFT_OUT
        now = model.predict(rows[:, : config.components])
        np.add.at(common, (then[known], now[known]), 1)
        start += len(rows)
    return common


def add_common(left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Add counts of disjoint sets of rows."""
    return left + right


def keep_numbers(model: Model, common: NDArray[np.int64]) -> Model:
    """Return a model whose clusters bear the numbers of the older ones that they continue.

    Parameters
    ----------
    model : BatchKMeans or DiagonalMixture
        Numbered by size.
    common : ndarray of int64, shape (used, k)
        As :func:`common_cells` counts them.
    """
    return copy.deepcopy(model).renumber(match_counts(common))


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
    generation: Generation,
    model: Model,
    census: Census,
    reach: float | None,
    facts: dict[str, Any],
) -> WrittenPart:
    """Write the generation.

    Parameters
    ----------
    generation : Generation
    model : BatchKMeans or DiagonalMixture
    census : Census
        Of all rows, at the model's centres.
    reach : float or None
        Distance of the fitted cells' features to their second landmarks, where it was measured.
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
        "reach": reach,
    }
    used = max(facts["used"], int(model.cluster_numbers_.max()) + 1)
    return generation.write(model.to_arrays(), found | facts | {"used": used})

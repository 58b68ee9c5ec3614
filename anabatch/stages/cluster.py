"""Cluster: what determines clusters, and the embedding of a cell part → its clusters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from anabatch.schema import table_schema, validate
from anabatch.stages.cluster_fit import LEFT_OUT, read_clusters
from anabatch.store.keys import action_key
from anabatch.store.live import CLUSTER, CLUSTER_MODEL, cluster_unit
from anabatch.store.parts import Part
from anabatch.store.recipes import Recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anabatch.config import ClusterConfig
    from anabatch.stages.new_kinds import Far
    from anabatch.stages.population import Application
    from anabatch.store.parts import WrittenPart

VERSION = 1
KIND = "kmeans"
"""Cluster models in the ledger, whatever their method: their generations count on when it changes."""

_POLICIES = frozenset({"refit_share", "refit", "new_kinds", "least_new"})
"""Parameters that say when a model is fitted, and not what it is."""
_AS_BEFORE = {"method": "kmeans"}
"""What was called by no name before there were others: recipes leave it out."""


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
    if config.method == _AS_BEFORE["method"]:
        del parameters["method"]
    if where:
        parameters["where"] = where
    return Recipe(CLUSTER, VERSION, parameters, {"embedding": embedding}, unsaid=_AS_BEFORE)


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


def cluster(
    batch: Application,
    generation: WrittenPart,
    named: ClusterModel,
    rows: Rows | None = None,
    far: Far | None = None,
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
    far : Far, optional
        What is far from all that the model was fitted on: those rows are counted.
    """
    model = read_clusters(batch.store, str(generation.path))
    whole = batch.source.live
    labels = np.full(whole.rows, LEFT_OUT, np.int32)
    distances = np.full(whole.rows, np.nan, np.float32)
    live = whole if rows is None else replace(whole, ranges=rows.ranges)
    here = live.indices()
    start = 0
    for chunk in replace(batch.source, live=live).chunks(batch.store, batch.chunk):
        span = here[start : start + len(chunk)]
        labels[span], distances[span] = model.distances(chunk[:, : named.components])
        start += len(chunk)
    facts: dict[str, Any] = {"model": generation.path, "generation": named.number}
    if far is not None:
        facts["beyond"] = int(far.rows(batch.store, distances[here], here).sum())
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

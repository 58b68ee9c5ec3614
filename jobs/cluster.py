"""Cluster: embedding → k-means over the whole archive → clusters, one part for every cell part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabatch.clustering import merge
from anabatch.compute import gather, task, tree
from anabatch.stages import cluster as stage
from anabatch.stages.cluster import ClusterModel
from anabatch.stages.embed import KIND as KPCA
from anabatch.store.live import CLUSTER, CLUSTER_MODEL, EMBED, cluster_unit
from anabatch.store.parts import WrittenPart

from . import standing
from .generations import (
    Kind,
    Target,
    applications,
    current,
    drop_damaged,
    fit,
    next_generation,
    reason_to_fit,
    sources,
    usable,
)
from .job import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabatch.stages.population import Application, Generation, Source
    from anabatch.store.actions import Action

    from .context import Context

JOB = Job(
    "cluster", reads=("cells", "embedding"), writes=("clusters", "models"), parameters=("cluster",)
)

_LLOYD_PASSES = 2


def model_kind(context: Context, embedding: Action) -> Kind:
    """Return what determines the clusters: parameters, and the kernel PCA that they stand on."""
    config = context.config.cluster
    recipe = stage.cluster_recipe(config, str(embedding.part_digest))
    return Kind(stage.KIND, CLUSTER_MODEL, recipe, config.refit_share, least=config.k)


def fit_graph(
    context: Context, generation: Generation, found: tuple[Source, ...], before: Action | None
) -> Any:
    """Return the graph of a fit; nothing is computed.

    Parameters
    ----------
    context : Context
    generation : Generation
    found : tuple of Source
    before : Action or None
        The generation whose numbers are kept.
    """
    config, threads = context.config.cluster, context.config.compute.threads
    root = context.store.root

    def sums(model: Any) -> Any:
        parts = [
            task(stage.partial_sums, root, source, model, config, threads=threads)
            for source in found
        ]
        return tree(parts, merge, threads=threads)

    def sampled_sums(model: Any, number: int) -> Any:
        parts = [
            task(stage.minibatch_sums, root, source, model, config, (number, i), threads=threads)
            for i, source in enumerate(found)
        ]
        return tree(parts, merge, threads=threads)

    model = task(stage.fit_pilot, root, found, config, threads=threads)
    for number in range(config.rounds):
        update = sampled_sums(model, number)
        model = task(stage.minibatch_update, model, update, threads=threads)
    for _ in range(_LLOYD_PASSES):
        model = task(stage.lloyd_update, model, sums(model), threads=threads)
    model = task(stage.number_by_size, model, threads=threads)
    used = int(before.components["used"]) if before else 0
    model = _with_numbers_kept(context, model, found, used)
    return task(
        stage.finish, generation, model, sums(model), config.components, used, threads=threads
    )


def _with_numbers_kept(context: Context, model: Any, found: tuple[Source, ...], used: int) -> Any:
    """Match the clusters to those that the same cells are in now, where there are any."""
    config, threads = context.config.cluster, context.config.compute.threads
    pairs = []
    for source in found:
        older = context.store.state.get(CLUSTER, cluster_unit(source.live.path))
        if older is not None:
            pairs.append(
                task(
                    stage.common_cells,
                    context.store.root,
                    source,
                    str(older.part),
                    model,
                    config.components,
                    threads=threads,
                )
            )
    if not pairs:
        return model
    return task(stage.keep_numbers, model, gather(pairs), used, threads=threads)


def target(model: Action) -> Target:
    """Return what the clusters make of a cell part's embedding."""
    digest = str(model.part_digest)

    def key(embedding: str) -> str:
        return stage.cluster_key(embedding, digest)

    return Target(CLUSTER, EMBED, model, cluster_unit, key)


def assign_graphs(
    context: Context, batches: list[Application], model: Action
) -> Iterator[tuple[Application, Any]]:
    """Yield one graph for every part that the model has not assigned; nothing is computed."""
    config, threads = context.config.cluster, context.config.compute.threads
    generation = WrittenPart(model.part, model.part_digest, ())
    number = int(model.components["generation"])
    named = ClusterModel(CLUSTER_MODEL, number, config.components)
    for batch in batches:
        yield batch, task(stage.cluster, batch, generation, named, threads=threads)


def run(context: Context, *, refit: bool = False) -> None:
    """Fit the clusters if that is due, assign what they have not been, and commit both."""
    state = context.store.state
    embedding = current(state, KPCA, CLUSTER_MODEL)
    if embedding is None:
        context.reporter.warn("too_few", "cluster: there is no embedding yet", job="cluster")
        return
    found = sources(state, "embedding")
    kind = model_kind(context, embedding)
    reason = reason_to_fit(context, kind, found)
    if reason or refit:
        generation = next_generation(context, kind, found)
        before = current(state, kind.kind, kind.name)

        def graph() -> Any:
            return fit_graph(context, generation, found, before)

        fit(context, "cluster", generation, graph, least=kind.least, reason=reason)
    model = usable(context, kind)
    if model is None:
        return
    drop_damaged(context, model)
    batches, reasons = applications(context, found, target(model), context.config.cluster.chunk)

    def done(_: Application, part: WrittenPart) -> None:
        state.put(standing.with_reasons(part.actions, reasons))

    context.execute("cluster", assign_graphs(context, batches, model), len(batches), done)
    context.commit()

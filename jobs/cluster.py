"""Cluster: embedding → k-means over the whole archive → clusters, one part for every cell part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabatch.clustering import merge
from anabatch.compute import gather, task, tree
from anabatch.errors import PopulationError
from anabatch.stages import cluster as stage
from anabatch.stages.cluster import ClusterBatch
from anabatch.stages.embed import KIND as KPCA
from anabatch.store.keys import action_key
from anabatch.store.live import CLUSTER, CLUSTER_MODEL, EMBED, cluster_unit
from anabatch.store.parts import WrittenPart

from .generations import Kind, current, next_generation, reason_to_fit, sources
from .job import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabatch.stages.population import Generation, Source
    from anabatch.store.actions import Action

    from .context import Context

JOB = Job(
    "cluster", reads=("cells", "embedding"), writes=("clusters", "models"), parameters=("cluster",)
)

_LLOYD_PASSES = 2


def model_kind(context: Context, embedding: Action) -> Kind:
    """Return what determines the clusters: parameters, and the kernel PCA that they stand on."""
    config = context.config.cluster
    settings = action_key(
        version=stage.VERSION,
        config=config.model_dump(mode="json", exclude={"refit_share"}),
        embedding=embedding.part_digest,
    )
    return Kind(stage.KIND, CLUSTER_MODEL, settings, config.refit_share)


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


def assign_graphs(
    context: Context, found: tuple[Source, ...], model: Action
) -> Iterator[tuple[ClusterBatch, Any]]:
    """Yield one graph for every part that the model has not assigned; nothing is computed."""
    state = context.store.state
    config = context.config.cluster
    generation = WrittenPart(model.part, model.part_digest, ())
    for source in found:
        embedding = state.get(EMBED, source.live.path)
        standing = state.get(CLUSTER, cluster_unit(source.live.path))
        if embedding is None:
            continue
        key = stage.cluster_key(str(embedding.part_digest), str(model.part_digest))
        if standing is not None and standing.key == key:
            continue
        batch = ClusterBatch(
            store=context.store.root,
            archive=embedding.archive,
            date=embedding.date,
            model=CLUSTER_MODEL,
            generation=int(model.components["generation"]),
            cells=source.live.path,
            embedding=source.part,
            embedding_digest=str(embedding.part_digest),
            rows=embedding.rows,
            components=config.components,
            chunk=config.chunk,
            sequence=context.next_sequence(),
            run=context.run,
        )
        yield batch, task(stage.cluster, batch, generation, threads=context.config.compute.threads)


def run(context: Context, *, refit: bool = False) -> None:
    """Fit the clusters if that is due, assign what they have not been, and commit both."""
    state = context.store.state
    embedding = current(state, KPCA, CLUSTER_MODEL)
    if embedding is None:
        context.reporter.warn("too_few", "cluster: there is no embedding yet", job="cluster")
        return
    found = sources(state, "embedding")
    kind = model_kind(context, embedding)
    reason = "it was asked for" if refit else reason_to_fit(context, kind, found)
    if reason and not _fit(context, kind, found, reason):
        return
    model = current(state, kind.kind, kind.name)
    if model is None:
        return
    batches = list(assign_graphs(context, found, model))

    def done(_: ClusterBatch, part: WrittenPart) -> None:
        state.put(part.actions)

    context.execute("cluster", batches, len(batches), done)
    context.commit()


def _fit(context: Context, kind: Kind, found: tuple[Source, ...], reason: str) -> bool:
    """Fit a new generation; return whether there were cells enough."""
    say = context.reporter
    generation = next_generation(context, kind, found)
    before = current(context.store.state, kind.kind, kind.name)
    text = f"cluster: fitting generation {generation.number} of the clusters: {reason}"
    say.say("fit", text, job="cluster", generation=generation.number, reason=reason)
    try:
        fitted = context.cluster.backend.compute(fit_graph(context, generation, found, before))
    except PopulationError as error:
        say.warn("too_few", f"cluster: {error}", job="cluster")
        return False
    context.store.state.put(fitted.actions)
    return True

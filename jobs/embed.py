"""Embed: features → a kernel PCA of the whole archive → embedding, one part for every cell part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabatch.compute import task, tree
from anabatch.embedding import merge
from anabatch.errors import PopulationError
from anabatch.features.vgg16 import features_digest
from anabatch.stages import embed as stage
from anabatch.stages.embed import EmbedBatch
from anabatch.store.keys import action_key
from anabatch.store.live import CLUSTER_MODEL, EMBED, FEATURIZE
from anabatch.store.parts import WrittenPart

from .generations import Kind, current, next_generation, reason_to_fit, sources
from .job import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabatch.stages.population import Generation, Source
    from anabatch.store.actions import Action

    from .context import Context

JOB = Job(
    "embed", reads=("cells", "features"), writes=("embedding", "models"), parameters=("embed",)
)


def model_kind(context: Context) -> Kind:
    """Return what determines the kernel PCA."""
    config = context.config.embed
    settings = action_key(
        version=stage.VERSION,
        config=config.model_dump(mode="json", exclude={"refit_share"}),
        extractor=features_digest(context.config.featurize),
    )
    return Kind(stage.KIND, CLUSTER_MODEL, settings, config.refit_share)


def fit_graph(context: Context, generation: Generation, found: tuple[Source, ...]) -> Any:
    """Return the graph of a fit; nothing is computed."""
    config, threads = context.config.embed, context.config.compute.threads
    root = context.store.root
    landmarks = task(stage.fit_landmarks, root, found, config, threads=threads)
    sums = [
        task(stage.partial_statistics, root, source, landmarks, config.chunk, threads=threads)
        for source in found
    ]
    total = tree(sums, merge, threads=threads)
    return task(stage.finish, generation, landmarks, total, threads=threads)


def transform_graphs(
    context: Context, found: tuple[Source, ...], model: Action
) -> Iterator[tuple[EmbedBatch, Any]]:
    """Yield one graph for every part that the model has not embedded; nothing is computed."""
    state = context.store.state
    generation = WrittenPart(model.part, model.part_digest, ())
    for source in found:
        features = state.get(FEATURIZE, source.live.path)
        standing = state.get(EMBED, source.live.path)
        if features is None:
            continue
        key = stage.embed_key(str(features.part_digest), str(model.part_digest))
        if standing is not None and standing.key == key:
            continue
        batch = EmbedBatch(
            store=context.store.root,
            archive=features.archive,
            date=features.date,
            cells=source.live.path,
            features=source.part,
            features_digest=str(features.part_digest),
            rows=features.rows,
            chunk=context.config.embed.chunk,
            sequence=context.next_sequence(),
            run=context.run,
        )
        yield batch, task(stage.embed, batch, generation, threads=context.config.compute.threads)


def run(context: Context, *, refit: bool = False) -> None:
    """Fit the kernel PCA if that is due, embed what it has not embedded, and commit both."""
    found = sources(context.store.state, "features")
    kind = model_kind(context)
    reason = "it was asked for" if refit else reason_to_fit(context, kind, found)
    if reason and not _fit(context, kind, found, reason):
        return
    model = current(context.store.state, kind.kind, kind.name)
    if model is None:
        return
    batches = list(transform_graphs(context, found, model))

    def done(_: EmbedBatch, part: WrittenPart) -> None:
        context.store.state.put(part.actions)

    context.execute("embed", batches, len(batches), done)
    context.commit()


def _fit(context: Context, kind: Kind, found: tuple[Source, ...], reason: str) -> bool:
    """Fit a new generation; return whether there were cells enough."""
    say = context.reporter
    if not found:
        say.warn("too_few", "embed: there are no cells yet", job="embed")
        return False
    generation = next_generation(context, kind, found)
    text = f"embed: fitting generation {generation.number} of the kernel PCA: {reason}"
    say.say("fit", text, job="embed", generation=generation.number, reason=reason)
    try:
        fitted = context.cluster.backend.compute(fit_graph(context, generation, found))
    except PopulationError as error:
        say.warn("too_few", f"embed: {error}", job="embed")
        return False
    context.store.state.put(fitted.actions)
    return True

"""Embed: features → a kernel PCA of the whole archive → embedding, one part for every cell part."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from anabatch.compute import task, tree
from anabatch.embedding import gamma_warning, merge
from anabatch.stages import embed as stage
from anabatch.stages.featurize import featurize_recipe
from anabatch.stages.pilots import Draw
from anabatch.store.live import CLUSTER_MODEL, EMBED, FEATURIZE
from anabatch.store.parts import WrittenPart

from . import standing
from .generations import (
    Kind,
    Target,
    applications,
    drop_damaged,
    fit,
    next_generation,
    pilot_of,
    reason_to_fit,
    rows_of,
    sources,
    usable,
)
from .job import Job
from .put_back import take_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabatch.stages.population import Application, Generation, Source
    from anabatch.store.actions import Action

    from .context import Context

JOB = Job(
    "embed", reads=("cells", "features"), writes=("embedding", "models"), parameters=("embed",)
)


# A kernel PCA of fewer has no landmarks to speak of.
_LEAST_CELLS = 3


def model_kind(context: Context) -> Kind:
    """Return what determines the kernel PCA."""
    config = context.config.embed
    recipe = stage.embed_recipe(config, featurize_recipe(context.config.featurize).digest)
    return Kind(stage.KIND, CLUSTER_MODEL, recipe, config.refit_share, least=_LEAST_CELLS)


def fit_graph(context: Context, generation: Generation, found: tuple[Source, ...]) -> Any:
    """Return the graph of a fit; nothing is computed."""
    config, threads = context.config.embed, context.config.compute.threads
    root = context.store.root
    pilot = pilot_of(context, found, Draw(stage.pilot_rows(config), rows_of(found), config.seed))
    landmarks = task(stage.fit_landmarks, pilot, config, threads=threads)
    sums = [
        task(
            partial(stage.partial_statistics, root, source),
            landmarks,
            config.chunk,
            threads=threads,
        )
        for source in found
    ]
    total = tree(sums, merge, threads=threads)
    return task(stage.finish, generation, landmarks, total, threads=threads)


def target(model: Action) -> Target:
    """Return what the kernel PCA makes of a cell part's features."""
    digest = str(model.part_digest)

    def key(_: str, features: str) -> str:
        return stage.embed_key(features, digest)

    return Target(EMBED, FEATURIZE, model, str, key)


def transform_graphs(
    context: Context, batches: list[Application], model: Action
) -> Iterator[tuple[Application, Any]]:
    """Yield one graph for every part that the model has not embedded; nothing is computed."""
    generation = WrittenPart(model.part, model.part_digest, ())
    for batch in batches:
        yield batch, task(stage.embed, batch, generation, threads=context.config.compute.threads)


def run(context: Context, *, refit: bool = False) -> bool:
    """Fit the kernel PCA if that is due, embed what it has not embedded, and commit both.

    Returns
    -------
    bool
        Whether all cells are embedded now; not, where there are too few to fit anything on.
    """
    found = sources(context.store.state, "features")
    kind = model_kind(context)
    reason = reason_to_fit(context, kind, found)
    fitted = False
    if refit or (reason and not take_up(context, JOB.name, kind, found)):
        generation = next_generation(context, kind, found)

        def graph() -> Any:
            return fit_graph(context, generation, found)

        fitted = fit(context, "embed", generation, graph, least=kind.least, reason=reason)
    model = usable(context, kind)
    if model is None:
        return False
    if fitted:
        _tell_of_gamma(context, model)
        _tell_of_components(context, model)
        _tell_of_landmarks(context, model)
    drop_damaged(context, model)
    batches, reasons = applications(context, found, target(model), context.config.embed.chunk)

    def done(_: Application, part: WrittenPart) -> None:
        context.store.state.put(standing.with_reasons(part.actions, reasons))

    context.execute("embed", transform_graphs(context, batches, model), len(batches), done)
    context.commit()
    return True


def _tell_of_components(context: Context, model: Action) -> None:
    """Warn where a fit gives fewer components than are asked for."""
    asked, landmarks = context.config.embed.components, context.config.embed.landmarks
    found, cells = int(model.components["components"]), int(model.components["rows"])
    if found >= asked:
        return
    why = f"{cells} cells" if cells < landmarks else f"{landmarks} landmarks (embed.landmarks)"
    text = f"embed: {found} components, and {asked} are asked for: {why} give no more"
    wanted = context.config.cluster.components
    text += f". Clusters use these {found}, not {wanted}" if found < wanted else ""
    context.reporter.warn("components", text, job="embed", components=found, asked=asked)


def _tell_of_landmarks(context: Context, model: Action) -> None:
    """Say where there are fewer cells than landmarks are asked for; a lack of components says so too.

    It is no warning: where all cells are landmarks, kernel PCA is exact.
    """
    config, cells = context.config.embed, int(model.components["rows"])
    if cells >= config.landmarks or int(model.components["components"]) < config.components:
        return
    text = (
        f"embed: {cells} landmarks at most, and {config.landmarks} are asked for (embed.landmarks): "
        "there are no more cells"
    )
    context.reporter.say("landmarks", text, job="embed", cells=cells, asked=config.landmarks)


def _tell_of_gamma(context: Context, model: Action) -> None:
    """Warn of a kernel width that makes kernel PCA something else."""
    gamma, median = (model.components.get(name) for name in ("gamma", "gamma_median"))
    # a generation that a killed run of an older version left has no median
    if gamma and median and (words := gamma_warning(gamma, median)):
        text = f"embed: {words} That is embed.gamma."
        context.reporter.warn("gamma", text, job="embed", gamma=gamma, gamma_median=median)

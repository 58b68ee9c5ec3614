"""Cluster: embedding → clusters over the whole archive → clusters, one part for every cell part.

What is said here of the archive's model holds for models over a part of it too; which cells those are
of is found out in :mod:`.cluster_part`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from anabatch.compute import task
from anabatch.errors import ConfigurationError
from anabatch.stages import cluster as stage
from anabatch.stages.cluster import ClusterModel, Rows
from anabatch.stages.embed import KIND as KPCA
from anabatch.stages.population import read_model
from anabatch.store.generations import current
from anabatch.store.keys import action_key
from anabatch.store.live import CLUSTER, CLUSTER_MODEL, EMBED, cluster_unit
from anabatch.store.parts import WrittenPart
from anabatch.store.recipes import Cause

from . import new_kinds, standing
from .cluster_fit import Start, Subject, fit_graph, start_of, tell_of_components
from .generations import (
    Kind,
    Target,
    applications,
    drop_damaged,
    fit,
    next_generation,
    reason_to_fit,
    sources,
    usable,
)
from .job import Job
from .put_back import take_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabatch.stages.population import Application
    from anabatch.store.actions import Action
    from anabatch.store.recipes import Reason

    from .context import Context

JOB = Job(
    "cluster",
    reads=("cells", "features", "embedding"),
    writes=("clusters", "models"),
    parameters=("cluster",),
)


def start_of_refit(context: Context, reason: Reason) -> str:
    """Say from where clusters are fitted again: with other parameters, centres stand for nothing."""
    return context.config.cluster.refit if reason.cause == Cause.INPUT else "cold"


def model_kind(context: Context, embedding: Action) -> Kind:
    """Return what determines the clusters of the archive."""
    return kind_of(Subject(CLUSTER_MODEL, context.config.cluster, ()), embedding)


def kind_of(subject: Subject, embedding: Action) -> Kind:
    """Return what determines the clusters: parameters, and the kernel PCA that they stand on."""
    config = subject.config
    recipe = stage.cluster_recipe(config, str(embedding.part_digest), subject.where)
    return Kind(stage.KIND, subject.name, recipe, config.refit_share, least=config.k)


def target(model: Action) -> Target:
    """Return what the archive's clusters make of a cell part's embedding."""
    return _target(CLUSTER_MODEL, {}, model)


def _target(name: str, selected: dict[str, Rows], model: Action) -> Target:
    digest = str(model.part_digest)
    mine = "" if name == CLUSTER_MODEL else name

    def unit(path: str) -> str:
        return cluster_unit(path, name)

    def key(path: str, embedding: str) -> str:
        return stage.cluster_key(embedding, digest, mine, selected.get(path))

    return Target(CLUSTER, EMBED, model, unit, key)


def assign_graphs(
    context: Context, subject: Subject, batches: list[Application], model: Action
) -> Iterator[tuple[Application, Any]]:
    """Yield one graph for every part that the model has not assigned; nothing is computed."""
    threads = context.config.compute.threads
    generation = WrittenPart(model.part, model.part_digest, ())
    facts = model.components
    named = ClusterModel(subject.name, int(facts["generation"]), int(facts["components"]))
    far = new_kinds.far_of_parts(context, model) if not subject.where else {}
    for batch in batches:
        rows = subject.selected.get(batch.cells)
        new = far.get(batch.cells)
        put = partial(stage.cluster, batch, generation, named, rows, new)
        yield batch, task(put, threads=threads)


def fit_and_assign(
    context: Context,
    subject: Subject,
    embedding: Action,
    *,
    refit: bool = False,
    add: Any = None,
) -> Action | None:
    """Fit clusters if that is due, and assign what they have not been; nothing is committed.

    Parameters
    ----------
    context : Context
    subject : Subject
    embedding : Action
        The kernel PCA.
    refit : bool
        Fit them also where that is not due.
    add : ndarray of float64, shape (d,), optional
        Centre of a cluster to be added, for which they are fitted.

    Returns
    -------
    Action or None
        The generation that the cells are assigned by; None if there are too few to fit one.
    """
    kind = kind_of(subject, embedding)
    reason = reason_to_fit(context, kind, subject.found)
    anew = refit or add is not None
    if anew or (reason and not take_up(context, JOB.name, kind, subject.found)):
        _fit(context, subject, kind, reason, start_of(context, subject, kind, add=add))
    model = usable(context, kind)
    if model is None:
        return None
    drop_damaged(context, model)
    made = _target(subject.name, subject.selected, model)
    batches, reasons = applications(context, subject.found, made, subject.config.chunk)

    def done(_: Application, part: WrittenPart) -> None:
        context.store.state.put(standing.with_reasons(part.actions, reasons))

    graphs = assign_graphs(context, subject, batches, model)
    context.execute("cluster", graphs, len(batches), done)
    return model


def _fit(
    context: Context, subject: Subject, kind: Kind, reason: Reason | None, start: Start
) -> None:
    basis = action_key(rows=subject.basis, start=start.basis)
    basis = basis if subject.basis or start.basis else ""
    generation = next_generation(context, kind, subject.found, basis)

    def graph() -> Any:
        return fit_graph(context, subject, generation, start)

    if start.warm is not None:
        number = start.before.components["generation"] if start.before else 0
        extra = "" if start.warm.extra is None else f", and cluster {start.used} for a new kind"
        text = f"cluster: {subject.name} goes on from the centres of generation {number}{extra}"
        context.reporter.say("warm", text, model=subject.name)
    fitted = fit(context, "cluster", generation, graph, least=kind.least, reason=reason)
    if fitted:
        tell_of_components(context, subject)
    # what is damaged cannot be read any more
    if fitted and start.before is not None and not context.damage(start.before.part):
        _tell_numbers(context, subject, start.before, usable(context, kind))


def _tell_numbers(context: Context, subject: Subject, before: Action, after: Action | None) -> None:
    """Say which clusters a refit continues."""
    if after is None:
        return
    root = context.store.root
    old, new = (
        set(read_model(root, str(model.part))["cluster_numbers_"].tolist())
        for model in (before, after)
    )
    text = f"cluster: {subject.name}: {len(old & new)} of {len(old)} clusters go on"
    lists = {"new": sorted(new - old), "gone": sorted(old - new)}
    for what, numbers in lists.items():
        text += f"; {what}: {', '.join(map(str, numbers))}" if numbers else ""
    context.reporter.say("numbers", text, model=subject.name, **lists)


def run(context: Context, *, refit: bool = False, add_new: bool = False) -> None:
    """Fit the clusters if that is due, assign what they have not been, and commit both.

    Parameters
    ----------
    context : Context
    refit : bool
        Fit them also where that is not due.
    add_new : bool
        Make a cluster of the new kind of cells that was proposed.

    Raises
    ------
    ConfigurationError
        There is no such proposal.
    """
    state = context.store.state
    embedding = current(state, KPCA, CLUSTER_MODEL)
    if embedding is None:
        context.reporter.warn("too_few", "cluster: there is no embedding yet", job="cluster")
        return
    config = context.config.cluster
    subject = Subject(CLUSTER_MODEL, config, sources(state, "embedding"))
    add = _proposed(context) if add_new else None
    model = fit_and_assign(context, subject, embedding, refit=refit, add=add)
    found_one = model is not None and new_kinds.look(context, subject.found, model, config)
    adds = config.new_kinds == "add" and new_kinds.may_add_itself(state, CLUSTER_MODEL)
    if found_one and adds:
        fit_and_assign(context, subject, embedding, add=_proposed(context))
    context.commit()


def _proposed(context: Context) -> Any:
    """Return the centre of the new kind that was proposed."""
    proposal = new_kinds.standing_proposal(context.store.state, CLUSTER_MODEL)
    if proposal is None:
        what = "no new kind of cells is proposed for the clusters as they are now"
        raise ConfigurationError(what, "Leave --add-new away.")
    return read_model(context.store.root, str(proposal.part))["center"]

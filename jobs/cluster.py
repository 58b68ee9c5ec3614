"""Cluster: embedding → clusters over the whole archive → clusters, one part for every cell part.

What is said here of the archive's model holds for models over a part of it too; which cells those are
of is found out in :mod:`.cluster_part`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from anabatch.clustering import merge
from anabatch.compute import gather, task, tree
from anabatch.errors import ConfigurationError
from anabatch.stages import cluster as stage
from anabatch.stages.cluster import ClusterModel, Rows, WarmStart
from anabatch.stages.embed import KIND as KPCA
from anabatch.stages.population import read_model
from anabatch.store.keys import action_key
from anabatch.store.live import CLUSTER, CLUSTER_MODEL, EMBED, cluster_unit
from anabatch.store.parts import WrittenPart
from anabatch.store.recipes import difference

from . import new_kinds, standing
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

    from anabatch.config import ClusterConfig
    from anabatch.stages.population import Application, Generation, Source
    from anabatch.store.actions import Action
    from anabatch.store.recipes import Reason

    from .context import Context

JOB = Job(
    "cluster", reads=("cells", "embedding"), writes=("clusters", "models"), parameters=("cluster",)
)

_LLOYD_PASSES = 2
_WARM_PASSES = 3
_MOST_PASSES = 25
"""Passes of `lloyd` over all rows; it ends before where the centres are at rest."""


@dataclass(frozen=True)
class Subject:
    """What is clustered under one name.

    Attributes
    ----------
    name : str
    config : ClusterConfig
    found : tuple of Source
        The embedding of its cells: of every part those rows that it has.
    where : str
        The condition that selects the cells; empty for all.
    """

    name: str
    config: ClusterConfig
    found: tuple[Source, ...]
    where: str = ""

    @cached_property
    def selected(self) -> dict[str, Rows]:
        """The selected rows of every cell part; empty where all are."""
        return {s.live.path: Rows(s.live.ranges) for s in self.found} if self.where else {}

    @property
    def basis(self) -> str:
        """Digest of the selection; empty where there is none."""
        ranges = {path: rows.ranges for path, rows in self.selected.items()}
        return action_key(selected=ranges) if ranges else ""


@dataclass(frozen=True)
class Start:
    """Where a fit begins.

    Attributes
    ----------
    k : int
    before : Action or None
        The generation whose numbers are kept.
    added : int
        Clusters that were added to those that the configuration asks for.
    warm : WarmStart or None
        What it goes on from; None where it starts anew.
    """

    k: int
    before: Action | None
    added: int = 0
    warm: WarmStart | None = field(default=None, compare=False)

    @property
    def used(self) -> int:
        """One more than the highest number that was ever given."""
        return int(self.before.components["used"]) if self.before else 0

    @property
    def basis(self) -> str:
        """Digest of what it goes on from; empty where it starts anew."""
        if self.warm is None or self.before is None:
            return ""
        extra = b"" if self.warm.extra is None else self.warm.extra.tobytes()
        digest = hashlib.blake2b(extra, digest_size=16).hexdigest()
        return action_key(before=self.before.part_digest, extra=digest)


def model_kind(context: Context, embedding: Action) -> Kind:
    """Return what determines the clusters of the archive."""
    return kind_of(Subject(CLUSTER_MODEL, context.config.cluster, ()), embedding)


def kind_of(subject: Subject, embedding: Action) -> Kind:
    """Return what determines the clusters: parameters, and the kernel PCA that they stand on."""
    config = subject.config
    recipe = stage.cluster_recipe(config, str(embedding.part_digest), subject.where)
    return Kind(stage.KIND, subject.name, recipe, config.refit_share, least=config.k)


def start_of(context: Context, subject: Subject, kind: Kind, *, add: Any = None) -> Start:
    """Return where the next fit begins.

    Parameters
    ----------
    context : Context
    subject : Subject
    kind : Kind
    add : ndarray of float64, shape (d,), optional
        Centre of a new cluster: it is added to those of the current generation.
    """
    before = current(context.store.state, kind.kind, kind.name)
    if before is None:
        return Start(subject.config.k, None)
    used = int(before.components["used"])
    # with other parameters, or another embedding, centres stand for nothing
    same = not difference(context.recipe(before.components["settings"]), kind.recipe)
    same = same and not context.damage(before.part)
    added = int(before.components.get("added", 0)) if same else 0
    if same and add is not None:
        warm = WarmStart(str(before.part), used, add)
        return Start(int(before.components["k"]) + 1, before, added + 1, warm)
    if same and subject.config.refit == "warm":
        return Start(int(before.components["k"]), before, added, WarmStart(str(before.part), used))
    return Start(subject.config.k + added, before, added)


def fit_graph(context: Context, subject: Subject, generation: Generation, start: Start) -> Any:
    """Return the graph of a fit; nothing is computed.

    Parameters
    ----------
    context : Context
    subject : Subject
    generation : Generation
    start : Start
    """
    config, threads = subject.config, context.config.compute.threads
    root, found = context.store.root, subject.found
    if start.warm is not None:
        model = task(stage.start_warm, root, found, config, start.warm, threads=threads)
        passes = _WARM_PASSES
    else:
        model = task(stage.fit_pilot, root, found, config, start.k, threads=threads)
        passes = _LLOYD_PASSES
    if config.method == "kmeans" and start.warm is None:
        model = _after_rounds(context, subject, model)
    if config.method == "kmeans":
        model = _after_passes(context, subject, model, passes)
    elif config.method == "lloyd":
        model = _at_rest(context, subject, model)
    if start.warm is None:
        if config.method != "mixture":  # whose components are numbered on the pilot
            model = task(stage.number_by_size, model, threads=threads)
        model = _with_numbers_kept(context, subject, model, start.used)
    censuses = [
        task(stage.take_census, root, source, model, config.components, threads=threads)
        for source in found
    ]
    census = tree(censuses, stage.merge_censuses, threads=threads)
    facts: dict[str, Any] = {
        "components": config.components,
        "method": config.method,
        "used": start.used,
        "added": start.added,
    }
    facts |= {"where": subject.where} if subject.where else {}
    return task(stage.finish, generation, model, census, facts, threads=threads)


def _after_rounds(context: Context, subject: Subject, model: Any) -> Any:
    """Return the model after the mini-batch rounds."""
    config, threads, root = subject.config, context.config.compute.threads, context.store.root
    for number in range(config.rounds):
        sums = [
            task(stage.minibatch_sums, root, source, model, config, (number, i), threads=threads)
            for i, source in enumerate(subject.found)
        ]
        total = tree(sums, merge, threads=threads)
        model = task(stage.minibatch_update, model, total, threads=threads)
    return model


def _after_passes(context: Context, subject: Subject, model: Any, passes: int) -> Any:
    """Return the model after a number of passes over all rows."""
    config, threads, root = subject.config, context.config.compute.threads, context.store.root
    for _ in range(passes):
        sums = [
            task(stage.partial_sums, root, source, model, config, threads=threads)
            for source in subject.found
        ]
        model = task(stage.lloyd_update, model, tree(sums, merge, threads=threads), threads=threads)
    return model


def _at_rest(context: Context, subject: Subject, model: Any) -> Any:
    """Return the model after passes over all rows until the centres rest; then a pass reads nothing."""
    config, threads, root = subject.config, context.config.compute.threads, context.store.root
    for _ in range(_MOST_PASSES):
        sums = [
            task(stage.sums_till_rest, root, source, model, config, threads=threads)
            for source in subject.found
        ]
        total = tree(sums, stage.merge_till_rest, threads=threads)
        model = task(stage.update_till_rest, model, total, threads=threads)
    return model


def _with_numbers_kept(context: Context, subject: Subject, model: Any, used: int) -> Any:
    """Match the clusters to those that the same cells are in now, where there are any."""
    config, threads = subject.config, context.config.compute.threads
    pairs = []
    for source in subject.found:
        older = context.store.state.get(CLUSTER, cluster_unit(source.live.path, subject.name))
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
    named = ClusterModel(
        subject.name, int(facts["generation"]), int(facts["components"]), facts.get("quantile")
    )
    for batch in batches:
        rows = subject.selected.get(batch.cells)
        yield batch, task(stage.cluster, batch, generation, named, rows, threads=threads)


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
    if reason or refit or add is not None:
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
    fit(context, "cluster", generation, graph, least=kind.least, reason=reason)


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
    if found_one and config.new_kinds == "add":
        fit_and_assign(context, subject, embedding, add=_proposed(context))
    context.commit()


def _proposed(context: Context) -> Any:
    """Return the centre of the new kind that was proposed."""
    proposal = new_kinds.standing_proposal(context.store.state, CLUSTER_MODEL)
    if proposal is None:
        what = "no new kind of cells is proposed for the clusters as they are now"
        raise ConfigurationError(what, "Leave --add-new away.")
    return read_model(context.store.root, str(proposal.part))["center"]

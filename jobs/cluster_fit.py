"""How clusters are fitted: what of, from where on, and the graph of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from anabatch.clustering import merge
from anabatch.compute import flat, task, tree
from anabatch.stages import cluster_fit as stage
from anabatch.stages.cluster import Rows
from anabatch.stages.cluster_fit import WarmStart
from anabatch.stages.embed import KIND as KPCA
from anabatch.stages.new_kinds import REACH_ROWS, measure_reach
from anabatch.stages.pilots import Draw
from anabatch.stages.population import Source
from anabatch.store.generations import current
from anabatch.store.keys import action_key
from anabatch.store.live import CLUSTER, CLUSTER_MODEL, cluster_unit

from . import new_kinds
from .generations import Kind, changed_settings, pilot_of, rows_of

if TYPE_CHECKING:
    from anabatch.config import ClusterConfig
    from anabatch.stages.population import Generation
    from anabatch.store.actions import Action

    from .context import Context

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
    used : int
        One more than the highest number that was ever given.
    added : int
        Clusters that were added to those that the configuration asks for.
    warm : WarmStart or None
        What it goes on from; None where it starts anew.
    """

    k: int
    before: Action | None
    used: int = 0
    added: int = 0
    warm: WarmStart | None = field(default=None, compare=False)

    @property
    def basis(self) -> str:
        """Digest of what it goes on from; empty where it starts anew."""
        if self.warm is None or self.before is None:
            return ""
        extra = b"" if self.warm.extra is None else self.warm.extra.tobytes()
        digest = hashlib.blake2b(extra, digest_size=16).hexdigest()
        return action_key(before=self.before.part_digest, extra=digest)


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
    same = not changed_settings(context, before, kind) and not context.damage(before.part)
    added = int(before.components.get("added", 0)) if same else 0
    if same and add is not None:
        warm = WarmStart(str(before.part), used, add)
        return Start(int(before.components["k"]) + 1, before, used, added + 1, warm)
    if same and subject.config.refit == "warm":
        warm = WarmStart(str(before.part), used)
        return Start(int(before.components["k"]), before, used, added, warm)
    return Start(subject.config.k + added, before, used, added)


def tell_of_components(context: Context, subject: Subject) -> None:
    """Warn where a fit asks for more components than the embedding has."""
    embedding = current(context.store.state, KPCA, CLUSTER_MODEL)
    if embedding is None:
        return
    asked, has = subject.config.components, int(embedding.components["components"])
    # the fit of an embedding that has fewer than it was to have tells it itself
    told = embedding.run == context.run and has < context.config.embed.components
    if asked <= has or told:
        return
    text = (
        f"cluster: {subject.name} uses {has} components, and {asked} are asked for "
        "(cluster.components): the embedding has no more (embed.components)"
    )
    say = context.reporter
    say.warn("few_components", text, job="cluster", model=subject.name, components=has, asked=asked)


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
    draw = Draw(config.pilot, rows_of(found), config.seed, config.components)
    if start.warm is not None:
        pilot = pilot_of(context, found, draw) if config.method == "mixture" else None
        model = task(stage.start_warm, root, config, start.warm, pilot, threads=threads)
        passes = _WARM_PASSES
    else:
        model = task(
            stage.fit_pilot, pilot_of(context, found, draw), config, start.k, threads=threads
        )
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
        task(partial(stage.take_census, root, source), model, config.components, threads=threads)
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
    reach = None if subject.where else _reach(context, subject)
    return task(stage.finish, generation, model, census, reach, facts, threads=threads)


def _reach(context: Context, subject: Subject) -> Any:
    """Return how far the features of all cells are from the landmarks; None if they are newer."""
    embedding = current(context.store.state, KPCA, CLUSTER_MODEL)
    parts = new_kinds.described(context, embedding) if embedding else {}
    if embedding is None or any(source.live.path not in parts for source in subject.found):
        return None
    found = tuple(Source(s.live, parts[s.live.path], "features") for s in subject.found)
    pilot = pilot_of(context, found, Draw(REACH_ROWS, rows_of(found), subject.config.seed))
    threads = context.config.compute.threads
    return task(measure_reach, context.store.root, str(embedding.part), pilot, threads=threads)


def _after_rounds(context: Context, subject: Subject, model: Any) -> Any:
    """Return the model after the mini-batch rounds."""
    config, threads, root = subject.config, context.config.compute.threads, context.store.root
    for number in range(config.rounds):
        sums = [
            task(
                partial(stage.minibatch_sums, root, source),
                model,
                config,
                (number, i),
                threads=threads,
            )
            for i, source in enumerate(subject.found)
        ]
        total = tree(sums, merge, threads=threads)
        model = flat(task(stage.minibatch_update, model, total, threads=threads))
    return model


def _after_passes(context: Context, subject: Subject, model: Any, passes: int) -> Any:
    """Return the model after a number of passes over all rows."""
    config, threads, root = subject.config, context.config.compute.threads, context.store.root
    for _ in range(passes):
        sums = [
            task(partial(stage.partial_sums, root, source), model, config, threads=threads)
            for source in subject.found
        ]
        total = tree(sums, merge, threads=threads)
        model = flat(task(stage.lloyd_update, model, total, threads=threads))
    return model


def _at_rest(context: Context, subject: Subject, model: Any) -> Any:
    """Return the model after passes over all rows until the centres rest; then a pass reads nothing."""
    config, threads, root = subject.config, context.config.compute.threads, context.store.root
    for _ in range(_MOST_PASSES):
        sums = [
            task(partial(stage.sums_till_rest, root, source), model, config, threads=threads)
            for source in subject.found
        ]
        total = tree(sums, stage.merge_till_rest, threads=threads)
        model = flat(task(stage.update_till_rest, model, total, threads=threads))
    return model


def _with_numbers_kept(context: Context, subject: Subject, model: Any, used: int) -> Any:
    """Match the clusters to those that the same cells are in now, where there are any."""
    config, threads, root = subject.config, context.config.compute.threads, context.store.root
    counts = []
    for source in subject.found:
        older = context.store.state.get(CLUSTER, cluster_unit(source.live.path, subject.name))
        if older is not None:
            count = partial(stage.common_cells, root, source, str(older.part))
            counts.append(task(count, model, config, used, threads=threads))
    if not counts:
        return model
    common = tree(counts, stage.add_common, threads=threads)
    return flat(task(stage.keep_numbers, model, common, threads=threads))

"""Generations of population models: which is current, and whether it is time for another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from anabatch.compute import flat, gather, task
from anabatch.errors import PopulationError
from anabatch.stages import pilots
from anabatch.stages.cluster import KIND as CLUSTERS
from anabatch.stages.population import Application, Generation, Source
from anabatch.store.attempts import Place
from anabatch.store.generations import current, generations, last_number
from anabatch.store.live import CELLS, MODEL, LivePart, array_sources, live_parts
from anabatch.store.recipes import Cause, Reason, Recipe, difference

from . import standing

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabatch.stages.pilots import Draw
    from anabatch.store.actions import Action
    from anabatch.store.state import State

    from .context import Context


@dataclass(frozen=True)
class Kind:
    """A kind of population model.

    Attributes
    ----------
    kind : str
        What is fitted: `kpca` or `kmeans`.
    name : str
        The model's name.
    recipe : Recipe
        What determines it beside its rows.
    refit_share : float
        Share of new and gone rows above which it is fitted again.
    least : int
        Cells without which there is no point in fitting it.
    """

    kind: str
    name: str
    recipe: Recipe
    refit_share: float
    least: int


def sources(state: State, array: str) -> tuple[Source, ...]:
    """Return an array over all live cells, part by part in the store's order.

    Ranges that touch are one, and of images nothing is said: every task of a fit is sent its source.

    Raises
    ------
    MissingRowsError
        Some live cells lack the array.
    """
    parts = [live for live in live_parts(state, CELLS) if live.rows]
    paths = array_sources(state, parts, array)
    return tuple(
        Source(LivePart(live.path, live.joined(), ()), path, array)
        for live, path in zip(parts, paths, strict=True)
    )


def pilot_of(context: Context, found: tuple[Source, ...], draw: Draw) -> Any:
    """Return a node that draws rows from all parts; every part looks for its own.

    Parameters
    ----------
    context : Context
    found : tuple of Source
        At least one.
    draw : Draw
    """
    return _drawn(context, found, draw, pilots.join)


def pilot_with_images(context: Context, found: tuple[Source, ...], draw: Draw) -> Any:
    """Return a node that draws as that of :func:`pilot_of`, and gives the rows' images too, as a `Pilot`."""
    return _drawn(context, found, draw, pilots.join_with_images)


def _drawn(
    context: Context, found: tuple[Source, ...], draw: Draw, join: Callable[..., Any]
) -> Any:
    threads, root = context.config.compute.threads, context.store.root
    candidates = gather(
        [task(partial(pilots.candidates, root, source, draw), threads=threads) for source in found]
    )
    return flat(task(join, draw, candidates, threads=threads))


def rows_of(found: tuple[Source, ...]) -> int:
    """Return the number of live rows of all sources."""
    return sum(source.live.rows for source in found)


def usable(context: Context, kind: Kind) -> Action | None:
    """Return the current generation if what a fit now would differ in is its rows alone.

    Where there are too few cells to fit another, it goes on.
    """
    model = current(context.store.state, kind.kind, kind.name)
    if model is None or context.damage(model.part):
        return None
    return None if changed_settings(context, model, kind) else model


def reason_to_fit(context: Context, kind: Kind, found: tuple[Source, ...]) -> Reason | None:
    """Return why a model has to be fitted; None if the current generation will do."""
    model = current(context.store.state, kind.kind, kind.name)
    if model is None:
        return Reason(Cause.NEW)
    if changed := changed_settings(context, model, kind):
        return changed
    if damage := context.damage(model.part):
        return Reason(damage, str(model.part))
    share = moved_share(context, model, found)
    if share > kind.refit_share:
        return Reason(Cause.INPUT, f"{share:.0%} of the cells are new or gone since the last fit")
    return None


def changed_settings(context: Context, model: Action, kind: Kind) -> Reason | None:
    """Return what a fit now would differ in from a generation, beside its rows; None if in nothing."""
    return difference(context.recipe(model.fact("settings")), kind.recipe)


def moved_share(context: Context, model: Action, found: tuple[Source, ...]) -> float:
    """Return how many rows are new or gone since a generation was fitted, as a share of its own."""
    moved, fitted = moved_rows(context, model, found)
    return moved / max(fitted, 1)


def moved_rows(context: Context, model: Action, found: tuple[Source, ...]) -> tuple[int, int]:
    """Return how many rows are new or gone since a generation was fitted, and how many it was fitted on."""
    before = context.fitted_rows(model)
    now = {source.live.path: source.live.rows for source in found}
    moved = sum(abs(now.get(path, 0) - before.get(path, 0)) for path in now.keys() | before.keys())
    return moved, sum(before.values())


def next_generation(
    context: Context, kind: Kind, found: tuple[Source, ...], basis: str = ""
) -> Generation:
    """Return the generation that comes after the current one.

    Parameters
    ----------
    context : Context
    kind : Kind
    found : tuple of Source
        What it is fitted on.
    basis : str
        Digest of whatever else it depends on.
    """
    every = generations(context.store.state, kind.kind, kind.name)
    return Generation(
        store=context.store.root,
        kind=kind.kind,
        name=kind.name,
        number=1 + last_number(every),
        settings=context.use(kind.recipe),
        rows={source.live.path: source.live.rows for source in found},
        sequence=context.next_sequence(),
        run=context.run,
        basis=basis,
    )


def fit(
    context: Context,
    job: str,
    generation: Generation,
    graph: Callable[[], Any],
    *,
    least: int,
    reason: Reason | None,
) -> bool:
    """Fit a generation and announce why; return whether there were cells enough.

    Parameters
    ----------
    context : Context
    job : str
        The job that asks for it.
    generation : Generation
    graph : callable
        Returns the graph of the fit.
    least : int
        Cells without which there is no point in starting.
    reason : Reason or None
        Why it is fitted; None where it was asked for.
    """
    say = context.reporter
    why = str(reason) if reason else "it was asked for"
    cells = sum(generation.rows.values())
    if cells < least:
        model = current(context.store.state, generation.kind, generation.name)
        text = f"{job}: {waits(context, model, generation.settings, cells, least)}"
        say.warn("too_few", text, job=job, cells=cells, least=least)
        return False
    if standing.adopt(
        context, MODEL, generation.unit, generation.key, Place(generation.name, None)
    ):
        return True
    text = f"{job}: fitting generation {generation.number} of {generation.name}: {why}"
    say.say("fit", text, job=job, generation=generation.number, reason=why)
    try:
        with say.timed(job):
            fitted = context.cluster.backend.compute(graph())
    except PopulationError as error:
        say.warn("too_few", f"{job}: {error}", job=job)
        return False
    identity = MODEL, generation.unit
    reasons = {identity: reason} if reason else {}
    context.store.state.put(standing.with_reasons(fitted.actions, reasons))
    return True


def waits(context: Context, model: Action | None, settings: str, cells: int, least: int) -> str:
    """Say that there are too few cells to fit a model, what holds until then, and what to do.

    Parameters
    ----------
    context : Context
    model : Action or None
        The current generation.
    settings : str
        Digest of the recipe by which another would be fitted.
    cells, least : int
        How many there are, and how many it takes.
    """
    text = f"waits for more cells: there are {cells:,}, and it takes {least:,}"
    if model is None:
        return text
    number = model.components["generation"]
    if model.fact("settings") == settings and not context.damage(model.part):
        return f"{text}. Until then generation {number} goes on, and takes new cells in"
    text += f". Until then generation {number} stays as it is, without new cells"
    of_clusters = model.unit.startswith(f"{CLUSTERS}/")
    return f"{text}. A lower cluster.k takes fewer" if of_clusters else text


def drop_damaged(context: Context, model: Action) -> None:
    """Take out a model's other generations that are damaged: nothing is made of them any more."""
    state = context.store.state
    kind, name, _ = model.unit.split("/")
    others = [a for a in generations(state, kind, name) if a.unit != model.unit]
    state.delete([a for a in others if context.damage(a.part)])


@dataclass(frozen=True)
class Target:
    """What a generation makes of a cell part.

    Attributes
    ----------
    stage : str
    source_stage : str
        The stage that made the sources' arrays.
    model : Action
        The generation.
    unit : callable
        A cell part's path to the action's unit.
    key : callable
        A cell part's path and the source's digest to the action's key.
    """

    stage: str
    source_stage: str
    model: Action
    unit: Callable[[str], str]
    key: Callable[[str, str], str]


def applications(
    context: Context, found: tuple[Source, ...], target: Target, chunk: int
) -> tuple[list[Application], dict[tuple[str, str], Reason]]:
    """Return the parts that a generation has not been applied to, and why they have to be.

    Parameters
    ----------
    context : Context
    found : tuple of Source
    target : Target
    chunk : int
        Rows that are processed at once.
    """
    batches = []
    reasons = {}
    for source in found:
        made = context.store.state.get(target.source_stage, source.live.path)
        if made is None:
            continue
        unit = target.unit(source.live.path)
        key = target.key(source.live.path, str(made.part_digest))
        anew = _reason_to_apply(context, target, unit, key)
        place = Place(made.archive, made.date)
        if anew is None or standing.adopt(context, target.stage, unit, key, place):
            continue
        reasons[target.stage, unit] = anew
        whole = LivePart(source.live.path, ((0, made.rows),), ())
        batches.append(
            Application(
                store=context.store.root,
                archive=made.archive,
                date=made.date,
                source=Source(whole, source.part, source.array),
                digest=str(made.part_digest),
                chunk=chunk,
                sequence=context.next_sequence(),
                run=context.run,
            )
        )
    return batches, reasons


def _reason_to_apply(context: Context, target: Target, unit: str, key: str) -> Reason | None:
    action = context.store.state.get(target.stage, unit)
    if action is None:
        return Reason(Cause.NEW)
    if action.key != key:
        number = target.model.components["generation"]
        return Reason(Cause.UPSTREAM, f"generation {number} of {target.model.unit.split('/')[0]}")
    damage = context.damage(action.part)
    return Reason(damage, str(action.part)) if damage else None

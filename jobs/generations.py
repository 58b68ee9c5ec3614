"""Generations of population models: which is current, and whether it is time for another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anabatch.errors import PopulationError
from anabatch.stages.population import MODEL, Application, Generation, Source, fitted_rows
from anabatch.store.live import CELLS, LivePart, array_sources, live_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    settings : str
        Digest of parameters, code version and the kind of its input.
    refit_share : float
        Share of new and gone rows above which it is fitted again.
    """

    kind: str
    name: str
    settings: str
    refit_share: float


def sources(state: State, array: str) -> tuple[Source, ...]:
    """Return an array over all live cells, part by part in the store's order.

    Raises
    ------
    MissingRowsError
        Some live cells lack the array.
    """
    parts = [live for live in live_parts(state, CELLS) if live.rows]
    paths = array_sources(state, parts, array)
    return tuple(Source(live, path, array) for live, path in zip(parts, paths, strict=True))


def current(state: State, kind: str, name: str) -> Action | None:
    """Return the newest generation of a model, or None."""
    found = [a for a in state.stage(MODEL) if a.unit.startswith(f"{kind}/{name}/")]
    return max(found, key=lambda action: action.unit, default=None)


def reason_to_fit(context: Context, kind: Kind, found: tuple[Source, ...]) -> str | None:
    """Return why a model has to be fitted, in words; None if the current generation will do."""
    model = current(context.store.state, kind.kind, kind.name)
    if model is None:
        return "there is none yet"
    if model.components["settings"] != kind.settings:
        return "parameters or inputs changed"
    before = fitted_rows(context.store.root, str(model.part))
    now = {source.live.path: source.live.rows for source in found}
    moved = sum(abs(now.get(path, 0) - before.get(path, 0)) for path in now.keys() | before.keys())
    share = moved / max(sum(before.values()), 1)
    if share > kind.refit_share:
        return f"{share:.0%} of the cells are new or gone since the last fit"
    return None


def next_generation(context: Context, kind: Kind, found: tuple[Source, ...]) -> Generation:
    """Return the generation that comes after the current one."""
    model = current(context.store.state, kind.kind, kind.name)
    number = int(model.components["generation"]) + 1 if model else 1
    return Generation(
        store=context.store.root,
        kind=kind.kind,
        name=kind.name,
        number=number,
        settings=kind.settings,
        rows={source.live.path: source.live.rows for source in found},
        sequence=context.next_sequence(),
        run=context.run,
    )


def fit(
    context: Context,
    job: str,
    generation: Generation,
    graph: Callable[[], Any],
    *,
    least: int,
    reason: str,
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
    reason : str
        Why it is fitted, in words.
    """
    say = context.reporter
    cells = sum(generation.rows.values())
    if cells < least:
        text = f"{job}: waits for more cells: there are {cells}, and it takes {least}"
        say.warn("too_few", text, job=job, cells=cells, least=least)
        return False
    text = f"{job}: fitting generation {generation.number} of {generation.kind}: {reason}"
    say.say("fit", text, job=job, generation=generation.number, reason=reason)
    try:
        fitted = context.cluster.backend.compute(graph())
    except PopulationError as error:
        say.warn("too_few", f"{job}: {error}", job=job)
        return False
    context.store.state.put(fitted.actions)
    return True


def applications(
    context: Context,
    found: tuple[Source, ...],
    stage: str,
    chunk: int,
    stands: Callable[[str, str], bool],
) -> Iterator[Application]:
    """Yield the parts that a generation has not been applied to.

    Parameters
    ----------
    context : Context
    found : tuple of Source
    stage : str
        The stage that made the sources' arrays.
    chunk : int
        Rows that are processed at once.
    stands : callable
        Whether the result for a cell part, with its source's digest, is there already.
    """
    for source in found:
        made = context.store.state.get(stage, source.live.path)
        if made is None or stands(source.live.path, str(made.part_digest)):
            continue
        whole = LivePart(source.live.path, ((0, made.rows),), ())
        yield Application(
            store=context.store.root,
            archive=made.archive,
            date=made.date,
            source=Source(whole, source.part, source.array),
            digest=str(made.part_digest),
            chunk=chunk,
            sequence=context.next_sequence(),
            run=context.run,
        )

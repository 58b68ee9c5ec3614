"""Forecast: whether the cells that a run will find have population models fitted again.

No image is read: a new one is taken to have as many cells as those have that were cut before.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anabatch.stages.cluster import KIND as CLUSTERS
from anabatch.stages.embed import KIND as KPCA
from anabatch.stages.population import Source
from anabatch.store.actions import NO_CELLS, OK
from anabatch.store.generations import current, parts
from anabatch.store.live import (
    CELLS,
    CLUSTER,
    CLUSTER_MODEL,
    EMBED,
    LivePart,
    cluster_unit,
)

from . import cluster, embed
from .generations import moved_rows, reason_to_fit, rows_of, waits

if TYPE_CHECKING:
    from collections.abc import Collection

    from anabatch.store.actions import Action
    from anabatch.store.recipes import Reason
    from anabatch.store.state import State

    from .context import Context
    from .foreseen import Foreseen
    from .generations import Kind
    from .segment import ImagePlan

_NEW_PARTS = "those that a run will write"


@dataclass(frozen=True)
class Outlook:
    """The cells as a run will leave them, as far as that is known before.

    Attributes
    ----------
    found : tuple of Source
        The cell parts, and one that stands for all that come.
    new, gone : int
        Cells that come, which is an estimate, and that go. Those that were cut, and no more, come.
    """

    found: tuple[Source, ...]
    new: int
    gone: int

    @property
    def standing(self) -> tuple[Source, ...]:
        """The cell parts of which rows stay."""
        return tuple(s for s in self.found if s.live.path != _NEW_PARTS and s.live.rows)


def outlook(context: Context, files: Foreseen, images: ImagePlan) -> Outlook:
    """Return what a run will make of the cells.

    Files with other bytes are not counted: most have the pixels that they had.

    Parameters
    ----------
    context : Context
        Its state is what a scan will leave.
    files : Foreseen
    images : ImagePlan
    """
    state = context.store.state
    cut = {a.unit: a for a in state.stage(CELLS) if a.outcome in (OK, NO_CELLS)}
    anew = {unit for stage, unit in images.reasons if stage == CELLS}
    rows: Counter[str] = Counter()
    for action in cut.values():
        if action.part and action.unit not in anew:
            rows[action.part] += action.rows
    before = files.cells
    gone = sum(a.rows for image, a in before.items() if image in anew or image not in cut)
    mean = sum(action.rows for action in before.values()) / max(len(before), 1)
    again = sum(cut[image].rows if image in cut else mean for image in anew)
    fresh = round(again + files.new.total() * mean)
    done = _done(state)
    waiting = sum(number for path, number in rows.items() if path not in done)
    rows[_NEW_PARTS] = fresh
    found = tuple(
        Source(LivePart(path, ((0, number),), ()), path, "") for path, number in rows.items()
    )
    return Outlook(found, fresh + waiting, gone)


def _done(state: State) -> set[str]:
    """Return the cell parts that have been through all models that there are."""
    last = CLUSTER if current(state, CLUSTERS, CLUSTER_MODEL) else EMBED
    units = {action.unit for action in state.stage(last)}
    return {unit.removeprefix(cluster_unit("")) for unit in units}


@dataclass(frozen=True)
class Forecast:
    """What cells that come and go do to the models.

    Attributes
    ----------
    notes : list of str
        A line for every model.
    refits : tuple of str
        Kinds of models that are fitted again.
    """

    notes: list[str]
    refits: tuple[str, ...] = ()


def forecast(context: Context, cells: Outlook, due: Collection[str]) -> Forecast:
    """Return of every model what cells that come and go do to it; nothing where none do.

    Parameters
    ----------
    context : Context
    cells : Outlook
    due : collection of str
        Kinds of models that are fitted whatever comes.
    """
    embedding = current(context.store.state, KPCA, CLUSTER_MODEL)
    if embedding is None or KPCA in due or not (cells.new or cells.gone):
        return Forecast([])
    if context.damage(embedding.part):  # it is fitted again, and what it was fitted on is lost
        return Forecast([])
    first = embed.model_kind(context)
    shares = _shares(context, first, embedding, cells)
    if _reason(context, first, cells):
        return _both(context, cells, f"embed: {shares}: kpca is fitted again")
    lines = [f"embed: {shares}: kpca stays"]
    second = cluster.model_kind(context, embedding)
    clusters = current(context.store.state, second.kind, second.name)
    if clusters is None or second.kind in due or context.damage(clusters.part):
        return Forecast(lines)
    shares = _shares(context, second, clusters, cells)
    if not (reason := _reason(context, second, cells)):
        return Forecast([*lines, f"cluster: {shares}: the clusters stay"])
    how = cluster.start_of_refit(context, reason)
    lines.append(f"cluster: {shares}: the clusters are fitted again, {how}")
    return Forecast(lines, (CLUSTERS,))


def _reason(context: Context, kind: Kind, cells: Outlook) -> Reason | None:
    """Return why a run will fit a model; None if it will not, as where there are too few cells."""
    if rows_of(cells.found) < kind.least:
        return None
    return reason_to_fit(context, kind, cells.found)


def _both(context: Context, cells: Outlook, again: str) -> Forecast:
    """Return what another kernel PCA does to the clusters too, for which there may be too few cells."""
    number, least = rows_of(cells.found), context.config.cluster.k
    if number >= least:
        return Forecast([f"{again}, and then the clusters, cold"], (KPCA, CLUSTERS))
    clusters = current(context.store.state, CLUSTERS, CLUSTER_MODEL)
    told = waits(context, clusters, "", number, least)  # no generation is on that embedding
    return Forecast([again, f"{cluster.JOB.name}: {told}"], (KPCA,))


def _shares(context: Context, kind: Kind, model: Action, cells: Outlook) -> str:
    """Return how many cells are new or gone, beside those that a model was fitted on."""
    moved, fitted = moved_rows(context, model, cells.found)
    gone = f", {cells.gone:,} gone" if cells.gone else ""
    return (
        f"about {cells.new:,} new cells{gone}; new and gone ones since generation "
        f"{model.components['generation']} of {kind.kind} are then {moved / max(fitted, 1):.0%} of "
        f"the {fitted:,} that it was fitted on (refit_share is {kind.refit_share:.0%})"
    )


def first_models(context: Context) -> list[str]:
    """Say of cells that are to be found what comes after them, where no model is fitted yet."""
    if current(context.store.state, KPCA, CLUSTER_MODEL):
        return []
    return ["embed and cluster follow: their first models are fitted on the cells that are found"]


def parts_left(context: Context, embedding: Action | None) -> list[str]:
    """Name the clusters of parts of the archive that are on another embedding, which runs leave there.

    Parameters
    ----------
    context : Context
    embedding : Action or None
        The one that a run goes on with; None if it makes another, which they will not be on.
    """
    names = parts(context.store.state, CLUSTERS)
    if embedding is None:
        then = "a run makes another embedding, and leaves clusters of parts on theirs"
    else:
        names = [name for name in names if not _is_on(context, name, embedding)]
        then = "clusters of parts are on another embedding, and runs leave them there"
    if not names:
        return []
    return [f"cluster: {then}: {', '.join(names)} (anabatch cluster --name {names[0]})"]


def _is_on(context: Context, name: str, embedding: Action) -> bool:
    model = current(context.store.state, CLUSTERS, name)
    recipe = context.recipe(model.components["settings"]) if model else None
    return recipe is not None and bool(recipe.models["embedding"] == embedding.part_digest)

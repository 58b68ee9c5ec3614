"""What the next run does to population models, and to the cells by them, as far as that is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from anabatch.stages.cluster import KIND as CLUSTERS
from anabatch.stages.cluster import cluster_recipe
from anabatch.stages.embed import KIND as KPCA
from anabatch.store.generations import current
from anabatch.store.live import CLUSTER, CLUSTER_MODEL, EMBED, FEATURIZE, MODEL, cluster_unit
from anabatch.store.recipes import Cause, Reason, difference

from . import cluster, embed
from .generations import Kind, applications, reason_to_fit, rows_of, sources, usable, waits
from .put_back import restorable

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from anabatch.stages.population import Source
    from anabatch.store.actions import Action

    from .context import Context
    from .generations import Target

_ANOTHER_KPCA = "another kpca"


class Entry(NamedTuple):
    """One action that the next run would do, on a model or on a part of the cells."""

    stage: str
    unit: str
    archive: str
    date: dt.date | None
    reason: Reason


@dataclass(frozen=True)
class ModelPlan:
    """What is known of one kind of model.

    Attributes
    ----------
    model : Action or None
        The generation that a run goes on with; None if it fits another, or has none.
    fits : bool
        Whether it fits another.
    entries : tuple of Entry
        The model if it is fitted or taken up again, and then the parts that are put through it.
    waits : str
        What is said where it should be fitted and there are too few cells; empty if it is not so.
    """

    model: Action | None
    fits: bool
    entries: tuple[Entry, ...]
    waits: str = ""

    @property
    def is_due(self) -> bool:
        """Whether the model itself is fitted, or taken up again."""
        return any(entry.stage == MODEL for entry in self.entries)

    @property
    def anew(self) -> frozenset[str]:
        """Cell parts of which it makes something else than it has; what is lost is made as it was."""
        lost = Cause.MISSING, Cause.CORRUPT
        parts = (e for e in self.entries if e.stage != MODEL and e.reason.cause not in lost)
        units = (entry.unit for entry in parts)
        return frozenset(unit.removeprefix(cluster_unit("")) for unit in units)


@dataclass(frozen=True)
class _Subject:
    """A kind of model, and what it makes of the cells.

    Attributes
    ----------
    kind : Kind
    found : tuple of Source
        The cells, part by part.
    stage : str
        What is made of a part by it.
    unit : callable
        A cell part's path to the unit of that.
    target : callable
        A generation to what it makes.
    upstream : frozenset of str
        Cell parts that are made anew before.
    """

    kind: Kind
    found: tuple[Source, ...]
    stage: str
    unit: Callable[[str], str]
    target: Callable[[Action], Target]
    upstream: frozenset[str] = frozenset()


def plan_models(context: Context, *, moving: bool) -> tuple[ModelPlan, ...]:
    """Return what a run does to the kernel PCA and to the clusters of the archive.

    Parameters
    ----------
    context : Context
    moving : bool
        Whether cells come or go. What their share has fitted again is then told by an estimate
        (:mod:`.forecast`), and not here.

    Returns
    -------
    tuple of ModelPlan
        The kernel PCA's, and the clusters' if there is an embedding that they can stand on.

    Raises
    ------
    MissingRowsError
        Some live cells have no features.
    """
    found = sources(context.store.state, "features")
    kind = embed.model_kind(context)
    kpca = _plan(context, _Subject(kind, found, EMBED, str, embed.target), moving=moving)
    if kpca.fits:
        return kpca, _clusters_on_another(context, found)
    if kpca.model is None:
        return (kpca,)
    kind = cluster.model_kind(context, kpca.model)
    subject = _Subject(kind, found, CLUSTER, cluster_unit, cluster.target, kpca.anew)
    return kpca, _plan(context, subject, moving=moving)


def parts_anew(
    context: Context, found: tuple[Source, ...], refits: tuple[str, ...]
) -> dict[str, tuple[Entry, ...]]:
    """Return the parts that are put through models which an estimate has fitted again, by stage.

    With another kernel PCA and no clusters on it yet, no part is put through clusters.

    Parameters
    ----------
    context : Context
    found : tuple of Source
        The cell parts that stay.
    refits : tuple of str
        Kinds of models.
    """
    made: dict[str, tuple[str, Callable[[str], str]]] = {
        KPCA: (EMBED, str),
        CLUSTERS: (CLUSTER, cluster_unit),
    }
    none: dict[str, tuple[Entry, ...]] = {CLUSTER: ()} if KPCA in refits else {}
    return none | {
        made[kind][0]: _all(context, found, *made[kind], f"another {kind}, by an estimate")
        for kind in refits
    }


def _plan(context: Context, subject: _Subject, *, moving: bool) -> ModelPlan:
    kind, found = subject.kind, subject.found
    reason = reason_to_fit(context, kind, found)
    again = restorable(context, kind, found) if reason else None
    told = ""
    if reason and not again and rows_of(found) < kind.least:
        told = _waits(context, kind, found, kind.recipe.digest)
        reason = None
    model = again or usable(context, kind)
    parts = _applied(context, subject, model) if model else ()
    moving = moving or any(part.reason.cause == Cause.NEW for part in parts)
    if reason is None or (reason.cause == Cause.INPUT and moving):
        return ModelPlan(model, fits=False, entries=parts, waits=told)
    if again:
        number = again.components["generation"]
        detail = f"{reason.detail}; generation {number} is taken up again".removeprefix("; ")
        fit = _fit(kind, Reason(reason.cause, detail))
        return ModelPlan(model, fits=False, entries=(fit, *parts))
    detail = f"another {kind.kind}{_how(context, kind, reason)}"
    parts = _all(context, found, subject.stage, subject.unit, detail)
    return ModelPlan(None, fits=True, entries=(_fit(kind, reason), *parts))


def _waits(context: Context, kind: Kind, found: tuple[Source, ...], settings: str) -> str:
    """Say that there are too few cells; nothing where no model is there that they could have had.

    The settings are the digest of those that another would be fitted by; empty where it is not known.
    """
    model = current(context.store.state, kind.kind, kind.name)
    if model is None and not found:
        return ""
    job = cluster.JOB.name if kind.kind == CLUSTERS else embed.JOB.name
    said = waits(context, model, settings, rows_of(found), kind.least)
    return f"{job}: {said}"


def _how(context: Context, kind: Kind, reason: Reason) -> str:
    """Say from where clusters are fitted."""
    return f", {cluster.start_of_refit(context, reason)}" if kind.kind == CLUSTERS else ""


def _fit(kind: Kind, reason: Reason) -> Entry:
    return Entry(MODEL, f"{kind.kind}/{kind.name}", "", None, reason)


def _clusters_on_another(context: Context, found: tuple[Source, ...]) -> ModelPlan:
    """Return what becomes of the clusters with an embedding that is not there yet: they are other ones."""
    config = context.config.cluster
    model = current(context.store.state, CLUSTERS, CLUSTER_MODEL)
    before = context.recipe(model.fact("settings")) if model else None
    recipe = cluster_recipe(config, str(before.models["embedding"]) if before else "")
    kind = Kind(CLUSTERS, CLUSTER_MODEL, recipe, config.refit_share, least=config.k)
    if rows_of(found) < kind.least:
        told = _waits(context, kind, found, settings="")  # no generation is on that embedding
        return ModelPlan(None, fits=False, entries=(), waits=told)
    reason = Reason(Cause.NEW)
    if model:
        other = difference(before, recipe)
        details = [_ANOTHER_KPCA, *([other.detail] if other else [])]
        reason = Reason(Cause.UPSTREAM, ", ".join(details))
    parts = _all(context, found, CLUSTER, cluster_unit, f"another {kind.kind}, cold")
    return ModelPlan(None, fits=True, entries=(_fit(kind, reason), *parts))


def _applied(context: Context, subject: _Subject, model: Action) -> tuple[Entry, ...]:
    """Return the parts that a generation has not been applied to, or that are made anew before it is."""
    standing = tuple(s for s in subject.found if s.live.path not in subject.upstream)
    batches, reasons = applications(context, standing, subject.target(model), chunk=1)
    found = [
        Entry(subject.stage, unit, batch.archive, batch.date, reasons[subject.stage, unit])
        for batch in batches
        for unit in (subject.unit(batch.cells),)
    ]
    anew = tuple(s for s in subject.found if s.live.path in subject.upstream)
    return (*found, *_all(context, anew, subject.stage, subject.unit))


def _all(
    context: Context,
    found: tuple[Source, ...],
    stage: str,
    unit_of: Callable[[str], str],
    detail: str = "",
) -> tuple[Entry, ...]:
    """Return all parts, which are put through what is not there yet."""
    state = context.store.state
    entries = []
    for source in found:
        unit = unit_of(source.live.path)
        described = state.get(FEATURIZE, source.live.path)
        if described is not None:
            known = state.get(stage, unit)
            reason = Reason(Cause.UPSTREAM, detail) if known else Reason(Cause.NEW)
            entries.append(Entry(stage, unit, described.archive, described.date, reason))
    return tuple(entries)

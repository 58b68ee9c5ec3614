"""Annotate: exports and class folders → annotations, one part for every archive and date."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anabatch.compute import task
from anabatch.stages.annotate import (
    AnnotateBatch,
    annotate,
    export_unit,
    failed_exports,
    waits,
)
from anabatch.store.actions import DEFERRED
from anabatch.store.attempts import Place
from anabatch.store.live import ANNOTATE
from anabatch.store.recipes import Cause, Reason

from . import standing
from .guards import refuse_recompute
from .job import Job
from .labels import ArchiveLabels, is_kept
from .places import refuse_lost_exports

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Iterator

    from anabatch.config import ArchiveConfig
    from anabatch.store.actions import Action
    from anabatch.store.parts import WrittenPart

    from .context import Context
    from .export_digests import ExportDigests

JOB = Job(
    "annotate",
    reads=("exports", "acquisitions"),
    writes=("annotations",),
    parameters=("annotate",),
)


@dataclass(frozen=True)
class AnnotatePlan:
    """What has to be labelled.

    Attributes
    ----------
    batches : list of AnnotateBatch
        Dates whose labels are to be made.
    gone : list of Action
        Labels of what is no longer there.
    reasons : dict
        Why, by stage and unit.
    waiting : list of Action
        Exports for which labels wait.
    rows : dict
        The standing actions of exports, by their date's unit.
    digests : dict
        What was read of each archive's exports, to be saved, by the archive's name.
    """

    batches: list[AnnotateBatch]
    gone: list[Action]
    reasons: dict[tuple[str, str], Reason]
    waiting: list[Action]
    rows: dict[str, list[Action]]
    digests: dict[str, ExportDigests]


def plan(context: Context) -> AnnotatePlan:
    """Compare every date's exports and images with the ledger, and adopt what is finished.

    Raises
    ------
    GuardError
        An archive has lost more exports than a run would accept.
    """
    found = AnnotatePlan([], [], {}, [], {}, {})
    for archive in context.config.archives:
        _plan_archive(context, archive, found)
    return found


def _plan_archive(context: Context, archive: ArchiveConfig, found: AnnotatePlan) -> None:
    labels = ArchiveLabels(context, archive)
    refuse_lost_exports(context, archive.name, labels.known_exports, labels.lost_exports)
    found.digests[archive.name] = labels.digests
    found.rows.update(labels.rows)
    needed: set[str] = set()
    for date in labels.dates:
        unit = labels.unit(date)
        rows = labels.rows[unit]
        if not labels.is_whole(date):
            needed |= {unit, *(action.unit for action in rows)}
        elif labels.exports[date] or labels.scans[date]:
            needed.add(unit)
            if context.wanted(date):
                needed |= {action.unit for action in _plan_date(context, labels, date, found)}
    found.gone.extend(
        action
        for unit, action in labels.known.items()
        if unit not in needed and context.wanted(action.date)
    )


def _plan_date(
    context: Context, labels: ArchiveLabels, date: dt.date | None, found: AnnotatePlan
) -> list[Action]:
    """Find out what is to be done about a date; return those actions of exports that stay so long."""
    unit = labels.unit(date)
    here = {export_unit(unit, path) for path in labels.exports[date]}
    failed = [action for action in labels.rows[unit] if action.unit in here]
    others, waiting = labels.other_statuses(date)
    if waiting := labels.waiting(date) or waiting:
        place: dict[str, Any] = {"archive": labels.archive.name, "date": date, "run": context.run}
        actions = [waits(unit, export, **place) for export in waiting]
        found.waiting.extend(actions)
        return failed + actions
    key = labels.key(date, others)
    changed = Reason(Cause.INPUT, "exports, images, or labels of other dates")
    anew = standing.reason(context, ANNOTATE, unit, key, labels.recipe, otherwise=changed)
    if not anew:
        return failed
    if done := standing.adopt(context, ANNOTATE, unit, key, Place(labels.archive.name, date)):
        failed = failed_exports(done)
        context.store.state.put(failed)
        return failed
    found.batches.append(_batch(context, labels, date, unit, key, others))
    found.reasons[ANNOTATE, unit] = anew
    return labels.rows[unit]


def _batch(
    context: Context,
    labels: ArchiveLabels,
    date: dt.date | None,
    unit: str,
    key: str,
    others: dict[str, frozenset[str]],
) -> AnnotateBatch:
    return AnnotateBatch(
        store=context.store.root,
        root=labels.archive.path,
        archive=labels.archive.name,
        date=date,
        unit=unit,
        key=key,
        recipe=labels.recipe.digest,
        exports=tuple(labels.digests.of(path) for path in labels.exports[date]),
        acquisitions=tuple(labels.acquisitions(date)),
        other_statuses=others,
        layout=labels.layout,
        vocabulary=context.config.annotate.vocabulary,
        sequence=context.next_sequence(),
        run=context.run,
    )


def graphs(batches: list[AnnotateBatch], threads: int) -> Iterator[tuple[AnnotateBatch, Any]]:
    """Yield one graph a batch; nothing is computed."""
    for batch in batches:
        yield batch, task(annotate, batch, threads=threads)


def run(context: Context) -> None:
    """Bring `annotations` up to date."""
    found = plan(context)
    refuse_recompute(context, found.reasons)
    _save(found)
    state = context.store.state
    state.delete(found.gone)
    _wait(context, found, found.waiting)

    def done(batch: AnnotateBatch, part: WrittenPart) -> None:
        waiting = [action for action in part.actions if is_kept(action)]
        units = {action.unit for action in waiting}
        over = (a for a in found.rows.get(batch.unit, ()) if a.unit not in units)
        state.delete(action for action in over if is_kept(action) or not waiting)
        if waiting:
            for action in waiting:
                found.digests[batch.archive].forget(action.components["relative_path"])
            _wait(context, found, waiting)
        else:
            state.put(standing.with_reasons(part.actions, found.reasons))

    threads = context.config.compute.threads
    context.execute("annotate", graphs(found.batches, threads), len(found.batches), done)
    _save(found)
    if context.commits:
        context.commit()


def _save(found: AnnotatePlan) -> None:
    for digests in found.digests.values():
        digests.save()


def _wait(context: Context, found: AnnotatePlan, waiting: Iterable[Action]) -> None:
    """Keep a row of every export for which labels wait, and tell of it."""
    standing_keys = {a.unit: a.key for rows in found.rows.values() for a in rows if is_kept(a)}
    for action in waiting:
        path = action.components["relative_path"]
        text = (
            f"archive {action.archive}: {path!r}: the labels of {action.date} wait: {action.reason}"
        )
        kind = "deferred" if action.outcome == DEFERRED else "problem"
        context.reporter.warn(kind, text, archive=action.archive, path=path)
        if standing_keys.get(action.unit) != action.key:
            context.store.state.put([action])

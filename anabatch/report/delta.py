"""Section: what is new since the last report."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from anabatch.errors import PartCorruptError, StoreNotFoundError
from anabatch.report.changes import changes_since
from anabatch.report.delta_labels import label_news
from anabatch.report.section import Section
from anabatch.store.actions import DEFERRED, FAILED, NO_CELLS, OK
from anabatch.store.live import CELLS, MODEL, SCAN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anabatch.report.changes import Change
    from anabatch.report.source import Source
    from anabatch.store.actions import Action

_ROWS = 31
"""Dates that are listed."""

_NAMES = 50
"""Files of one kind that are listed."""

_KINDS = {"kpca": "embedding", "kmeans": "clusters"}
_TITLE = "Since the last report"


def section(source: Source) -> Section:
    """Compare the store with the version that the last report told of."""
    since = source.since
    if since is None:
        return _absent("There is no earlier report to compare with: all that is here is new.")
    try:
        changes = changes_since(source.store, since.version)
    except (StoreNotFoundError, PartCorruptError) as error:
        return _absent(f"The state of the last report cannot be compared with: {error.what}.")
    scans = [change for change in changes if change.action.stage == SCAN]
    facts = {
        "since": since,
        "version": source.store.version,
        "days": _days(scans),
        "gone": _names(source, [c for c in scans if _image(c.before) and c.now is None]),
        "changed": _names(source, [c for c in scans if _is_other_picture(c)]),
        "saved_anew": sum(_is_same_picture(change) for change in scans),
        "labels": label_news(source, changes),
        "failed": _reasons(source, [c for c in changes if _fell_into(c, FAILED)]),
        "deferred": _reasons(source, [c for c in changes if _fell_into(c, DEFERRED)]),
        "mended": _names(source, [c for c in changes if _is_mended(c)]),
        "left": _names(source, [c for c in changes if _was_failed(c) and c.now is None]),
        "cells": _cells(changes),
        "models": _models(source, changes),
    }
    return Section("delta", _TITLE, "delta.html", facts | {"nothing": not changes})


def _absent(why: str) -> Section:
    return Section("delta", _TITLE, "delta.html", absent=why)


def _image(action: Action | None) -> str | None:
    """Return the picture that a scan has found, if it has found one."""
    return action.components.get("image_id") if action else None


def _is_new(change: Change) -> bool:
    return bool(_image(change.now)) and not _image(change.before)


def _is_other_picture(change: Change) -> bool:
    before, now = _image(change.before), _image(change.now)
    return bool(before and now and before != now)


def _is_same_picture(change: Change) -> bool:
    """Whether a file has other bytes, and shows the same picture."""
    before, now = change.before, change.now
    if before is None or now is None or not _image(now) or _image(before) != _image(now):
        return False
    return before.components.get("file_sha256") != now.components.get("file_sha256")


def _was_failed(change: Change) -> bool:
    return change.before is not None and change.before.outcome == FAILED


def _is_mended(change: Change) -> bool:
    return _was_failed(change) and change.now is not None and change.now.outcome in (OK, NO_CELLS)


def _fell_into(change: Change, outcome: str) -> bool:
    """Whether a unit has an outcome that it had not, or for another reason."""
    now, before = change.now, change.before
    if now is None or now.outcome != outcome:
        return False
    return before is None or (before.outcome, before.reason) != (outcome, now.reason)


def _days(scans: Iterable[Change]) -> dict[str, Any]:
    """Count files by date and archive, newest date first."""
    days: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for change in scans:
        action = change.action
        day = days[str(action.date or ""), action.archive]
        day["new"] += _is_new(change)
        day["changed"] += _is_other_picture(change)
        day["gone"] += bool(_image(change.before)) and change.now is None
        day["failed"] += _fell_into(change, FAILED)
    names = ("new", "changed", "gone", "failed")
    told = sorted((key for key, day in days.items() if day.total()), reverse=True)
    rows = [
        {"date": date or "undated", "archive": archive}
        | {name: days[date, archive][name] for name in names}
        for date, archive in told[:_ROWS]
    ]
    return {
        "rows": rows,
        "more": len(told) - len(rows),
        "totals": {name: sum(day[name] for day in days.values()) for name in names},
    }


def _names(source: Source, changes: Sequence[Change]) -> dict[str, Any]:
    shown = [_place(source, change.action) for change in changes[:_NAMES]]
    return {"total": len(changes), "rows": shown, "more": len(changes) - len(shown)}


def _reasons(source: Source, changes: Sequence[Change]) -> dict[str, Any]:
    shown = [
        _place(source, change.action)
        | {"reason": change.action.reason or "no reason was given", "run": change.action.run}
        for change in changes[:_NAMES]
    ]
    return {"total": len(changes), "rows": shown, "more": len(changes) - len(shown)}


def _place(source: Source, action: Action) -> dict[str, str]:
    return {"stage": action.stage, "archive": action.archive, "file": source.place(action)}


def _cells(changes: Iterable[Change]) -> dict[str, int]:
    cut = [change for change in changes if change.action.stage == CELLS]
    return {
        "images": sum(change.now is not None for change in cut),
        "made": sum(change.now.rows for change in cut if change.now),
        "gone": sum(change.before.rows for change in cut if change.before),
    }


def _is_same_model(change: Change) -> bool:
    """Whether a generation was there before: after a rollback, another one may have its number."""
    return bool(change.before and change.now and change.before.key == change.now.key)


def _models(source: Source, changes: Iterable[Change]) -> list[dict[str, Any]]:
    """Return the generation of every kind of model, and whether it is new, or another than before."""
    put = {
        change.now.unit: "taken up again" if _is_same_model(change) else "fitted"
        for change in changes
        if change.now and change.now.stage == MODEL
    }
    models = ((name, source.generation(kind)) for kind, name in _KINDS.items())
    return [
        {"name": name, "generation": model.components["generation"], "new": put.get(model.unit, "")}
        for name, model in models
        if model
    ]

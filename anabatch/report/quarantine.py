"""Section: what failed, and why, and what waits for the next run."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from anabatch.report.section import Section
from anabatch.store.actions import DEFERRED

if TYPE_CHECKING:
    from anabatch.report.source import Source
    from anabatch.store.actions import Action

_ROWS = 200


def section(source: Source) -> Section:
    """Gather the actions in quarantine, newest date first, and those that are put off."""
    failures = sorted(source.store.state.failures(), key=_newest, reverse=True)
    actions = source.store.state.actions()
    waiting = [action for action in actions if action.outcome == DEFERRED]
    waiting.sort(key=_newest, reverse=True)
    return Section(
        "quarantine",
        "Quarantine",
        "quarantine.html",
        {
            "total": len(failures),
            "stages": Counter(action.stage for action in failures).most_common(),
            "rows": [_row(source, action) for action in failures[:_ROWS]],
            "more": max(0, len(failures) - _ROWS),
            "waiting": len(waiting),
            "waiting_rows": [_row(source, action) for action in waiting[:_ROWS]],
            "waiting_more": max(0, len(waiting) - _ROWS),
        },
    )


def _newest(action: Action) -> tuple[str, tuple[str, str]]:
    return str(action.date or ""), action.identity


def _row(source: Source, action: Action) -> dict[str, Any]:
    return {
        "stage": action.stage,
        "archive": action.archive,
        "date": str(action.date) if action.date else "",
        "file": source.place(action),
        "reason": action.reason or "no reason was given",
        "new": bool(source.run) and action.run == source.run,
    }

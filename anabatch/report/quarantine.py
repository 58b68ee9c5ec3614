"""Section: what failed, and why."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from anabatch.report.section import Section

if TYPE_CHECKING:
    from anabatch.report.source import Source
    from anabatch.store.actions import Action

_ROWS = 200


def section(source: Source) -> Section:
    """Gather the actions in quarantine, newest date first."""
    failures = source.store.state.failures()
    failures.sort(key=lambda action: (str(action.date or ""), action.identity), reverse=True)
    return Section(
        "quarantine",
        "Quarantine",
        "quarantine.html",
        {
            "total": len(failures),
            "stages": Counter(action.stage for action in failures).most_common(),
            "rows": [_row(source, action) for action in failures[:_ROWS]],
            "more": max(0, len(failures) - _ROWS),
        },
    )


def _row(source: Source, action: Action) -> dict[str, Any]:
    return {
        "stage": action.stage,
        "archive": action.archive,
        "date": str(action.date) if action.date else "",
        "file": _file(source, action),
        "reason": action.reason or "no reason was given",
        "new": bool(source.run) and action.run == source.run,
    }


def _file(source: Source, action: Action) -> str:
    if "relative_path" in action.components:
        return str(action.components["relative_path"])
    image = source.images.get(action.unit)
    return image.relative_path if image else action.unit

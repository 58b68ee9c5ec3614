"""Section: what the run said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabatch.report.section import Section

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anabatch.report.source import Source

_ROWS = 200


def section(source: Source) -> Section:
    """Gather the run's messages: all warnings before the rest, where there are too many."""
    if not source.events:
        return Section(
            "log",
            "What the run said",
            "log.html",
            absent="No messages of a run were handed to this report.",
        )
    rows = [_row(event) for event in source.events]
    warned = [row for row in rows if row["warn"]]
    kept = rows if len(rows) <= _ROWS else (warned + [r for r in rows if not r["warn"]])[:_ROWS]
    kept.sort(key=lambda row: str(row["time"]))
    return Section(
        "log",
        "What the run said",
        "log.html",
        {"rows": kept, "warnings": len(warned), "more": len(rows) - len(kept)},
    )


def _row(event: Mapping[str, Any]) -> dict[str, Any]:
    level = str(event.get("level", "info"))
    return {
        "time": str(event.get("timestamp", ""))[:19].replace("T", " "),
        "level": level,
        "warn": level not in ("info", "debug"),
        "text": str(event.get("message") or event.get("event") or ""),
    }

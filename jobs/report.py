"""Report: the store → one HTML file for the people of the laboratory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from anabatch.report.build import build_report
from anabatch.report.source import News, Since

from .job import Job
from .record import EVENTS, REPORT, read_last

if TYPE_CHECKING:
    from pathlib import Path

    from .context import Context

JOB = Job(
    "report",
    reads=(
        "archive",
        "acquisitions",
        "annotations",
        "labels",
        "cells",
        "embedding",
        "clusters",
        "models",
    ),
    writes=("report",),
    parameters=("report",),
)


def is_due(context: Context) -> bool:
    """Whether the store has no report of its last commit: an earlier run did not get that far."""
    return context.store.version > 0 and not context.store.kept_since_commit(REPORT)


def run(context: Context) -> Path:
    """Write the report of the store as it is now, and say where it lies."""
    reported = read_last(context.store.root).report
    news = News(
        run=context.run,
        events=_events(context.folder / EVENTS),
        since=Since(reported.run, reported.version) if reported else None,
    )
    out = build_report(
        context.store,
        context.folder / REPORT,
        config=context.config.report,
        news=news,
        archive_roots={archive.name: archive.path for archive in context.config.archives},
    )
    context.did_something = True
    context.reporter.say("report", f"report: {out}", path=str(out))
    return out


def _events(record: Path) -> list[dict[str, Any]]:
    """Return what the run said; not what it noted in its record alone, which is long."""
    if not record.exists():
        return []
    with record.open(encoding="utf-8") as lines:
        events = (json.loads(line) for line in lines)
        return [event for event in events if event["level"] != "debug"]

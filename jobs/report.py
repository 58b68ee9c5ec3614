"""Report: the store → one HTML file for the people of the laboratory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from anabatch.report.build import build_report

from .job import Job
from .session import EVENTS

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

REPORT = "report.html"


def is_due(context: Context) -> bool:
    """Whether the store has no report of its last commit: an earlier run did not get that far."""
    return context.store.version > 0 and not context.store.kept_since_commit(REPORT)


def run(context: Context) -> Path:
    """Write the report of the store as it is now, and say where it lies."""
    events = context.folder / EVENTS
    lines = events.read_text(encoding="utf-8").splitlines() if events.exists() else []
    out = build_report(
        context.store,
        context.folder / REPORT,
        config=context.config.report,
        run=context.run,
        events=[json.loads(line) for line in lines],
        archive_roots={archive.name: archive.path for archive in context.config.archives},
    )
    context.did_something = True
    context.reporter.say("report", f"report: {out}", path=str(out))
    return out

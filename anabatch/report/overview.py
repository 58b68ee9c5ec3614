"""Section: the headline numbers, and where they come from."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from anabatch.report.footing import footing
from anabatch.report.section import Section
from anabatch.report.text import number, plural
from anabatch.store.live import CELLS, SEGMENT

if TYPE_CHECKING:
    import datetime as dt

    from anabatch.report.source import Source


def section(source: Source) -> Section:
    """Gather the headline numbers."""
    facts = {"tiles": _tiles(source), "provenance": provenance(source)}
    return Section("overview", "At a glance", "overview.html", facts)


def provenance(source: Source) -> dict[str, str]:
    """Return where a report comes from: names and values."""
    return {
        "store": str(source.store.root),
        "store version": str(source.store.version),
        "run": source.run or "not named",
        "written": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "anabatch": version("anabatch"),
    }


def _tiles(source: Source) -> list[dict[str, Any]]:
    state = source.store.state
    failures = state.failures()
    dates = sorted({action.date for action in source.scans if action.date})
    cells = sum(action.rows for action in state.stage(CELLS))
    segmented = sum(action.part is not None for action in state.stage(SEGMENT))
    labels = {pair for pairs in source.labels.values() for pair in pairs}
    return [
        _tile("images", len(source.images), f"in {plural(len(source.scans), 'file')}"),
        _tile(
            "dates",
            len(dates),
            _span(dates[0], dates[-1]) if dates else "no dated folder",
        ),
        _tile("labels in use", len(labels), f"on {plural(len(source.labels), 'image')}"),
        _tile("cells", cells, f"in {plural(segmented, 'segmented image')}"),
        _clusters(source),
        _tile(
            "in quarantine",
            len(failures),
            "see below for the reasons" if failures else "nothing failed",
            warn=bool(failures),
        ),
    ]


def _clusters(source: Source) -> dict[str, Any]:
    model = source.generation("kmeans")
    if model is None:
        return _tile("clusters", None, "not computed yet")
    stand = footing(source, model).stands
    note = f"generation {model.components['generation']}"
    note = note if stand else f"{note}, not on the current embedding"
    return _tile("clusters", model.components["k"], note, warn=not stand)


def _span(first: dt.date, last: dt.date) -> str:
    # hyphens at which no line breaks
    return f"{first} to {last}".replace("-", "\N{NON-BREAKING HYPHEN}")


def _tile(name: str, value: int | None, note: str, *, warn: bool = False) -> dict[str, Any]:
    return {"name": name, "value": number(value), "note": note, "warn": warn}

"""Section: what came in, by date, and what this run did."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anabatch.report.figures import (
    BLUE,
    ORANGE,
    SKY,
    WIDTH,
    Plot,
    figure_text,
    new_figure,
    style,
    to_plot,
    whole_numbers,
)
from anabatch.report.file_flags import file_flags
from anabatch.report.section import Section
from anabatch.store.actions import DEFERRED, FAILED
from anabatch.store.live import (
    ANNOTATE,
    CELLS,
    CLUSTER,
    CLUSTER_MODEL,
    EMBED,
    FEATURIZE,
    MODEL,
    SCAN,
    SEGMENT,
)

if TYPE_CHECKING:
    import datetime as dt

    from anabatch.report.source import Source
    from anabatch.store.actions import Action

_ROWS = 31
"""Days that the table shows."""

_BARS = 62
"""Days that the figure shows one by one; more are shown by month."""

_STAGES = {
    SCAN: "files read",
    ANNOTATE: "dates annotated",
    SEGMENT: "images segmented",
    CELLS: "images cut into cells",
    FEATURIZE: "batches of cells described (features)",
    MODEL: "models fitted",
    EMBED: "batches of cells embedded",
    CLUSTER: "batches of cells put into clusters",
}


@dataclass
class Day:
    """What one date of one archive holds.

    Attributes
    ----------
    files, quarantined, waiting, added : int
        Files; those in quarantine; those put off to the next run; whole ones that this run read
        for the first time or anew.
    images : set of str
    cells : int
        Cells of images that were first seen on this date.
    """

    files: int = 0
    quarantined: int = 0
    waiting: int = 0
    added: int = 0
    images: set[str] = field(default_factory=set)
    cells: int = 0


def section(source: Source) -> Section:
    """Gather what came in."""
    base = Section("incoming", "What came in", "incoming.html")
    if not source.scans:
        return Section(
            base.anchor,
            base.title,
            base.template,
            absent="No image file was read yet.",
            command="anabatch scan",
        )
    days = _days(source)
    shown = sorted(days, key=lambda key: (str(key[1] or ""), key[0]), reverse=True)
    rows = [_row(source, archive, date, days[archive, date]) for archive, date in shown[:_ROWS]]
    news = [action for action in source.scans if source.run and action.run == source.run]
    return Section(
        base.anchor,
        base.title,
        base.template,
        {
            "plot": _plot(days),
            "rows": rows,
            "more": len(shown) - len(rows),
            "run": source.run,
            "news": len(news),
            "news_quarantined": sum(action.outcome == FAILED for action in news),
            "stages": _stages(source),
            "duplicates": sum(bool(a.components["image_id"]) for a in source.scans)
            - len(source.images),
            "flags": file_flags(source),
        },
    )


def _days(source: Source) -> dict[tuple[str, dt.date | None], Day]:
    days: dict[tuple[str, dt.date | None], Day] = defaultdict(Day)
    for action in source.scans:
        day = days[action.archive, action.date]
        day.files += 1
        if not action.components["image_id"]:
            day.quarantined += action.outcome == FAILED
            day.waiting += action.outcome == DEFERRED
            continue
        day.images.add(action.components["image_id"])
        day.added += bool(source.run) and action.run == source.run
    for action in source.store.state.stage(CELLS):
        image = source.images.get(action.unit)
        if image:
            days[image.archive, image.date].cells += action.rows
    return dict(days)


def _row(source: Source, archive: str, date: dt.date | None, day: Day) -> dict[str, Any]:
    return {
        "date": str(date) if date else "undated",
        "archive": archive,
        "files": day.files,
        "images": len(day.images),
        "added": day.added,
        "quarantined": day.quarantined,
        "labelled": sum(image in source.labels for image in day.images),
        "cells": day.cells,
    }


def _stages(source: Source) -> list[dict[str, Any]]:
    """Return, stage by stage, how much there is, and how much of it this run did."""
    rows = []
    for stage, name in _STAGES.items():
        actions = [
            a
            for a in source.store.state.stage(stage)
            if a.outcome not in (FAILED, DEFERRED) and _is_of_the_way(a)
        ]
        done: list[Action] = [a for a in actions if source.run and a.run == source.run]
        rows.append({"name": name, "total": len(actions), "added": len(done)})
    return rows


def _is_of_the_way(action: Action) -> bool:
    """Whether it is of what every night does, and not of what was asked for beside it."""
    if action.stage == CLUSTER:
        return action.unit.startswith(f"{CLUSTER_MODEL}:")
    kind, _, rest = action.unit.partition("/")
    return action.stage != MODEL or (
        kind in ("kpca", "kmeans") and rest.startswith(f"{CLUSTER_MODEL}/")
    )


def _plot(days: dict[tuple[str, dt.date | None], Day]) -> Plot:
    dates = {date for _, date in days if date}
    by_month = len(dates) > _BARS
    older: Counter[str] = Counter()
    added: Counter[str] = Counter()
    bad: Counter[str] = Counter()
    for (archive, date), day in days.items():
        name = _bar(archive, date, by_month=by_month)
        older[name] += day.files - day.quarantined - day.waiting - day.added
        added[name] += day.added
        bad[name] += day.quarantined
    # undated archives stand behind all dates
    undated = {archive for archive, date in days if date is None}
    names = sorted(older, key=lambda name: (name in undated, name))
    with style():
        figure = new_figure(WIDTH, 3.0)
        axes = figure.add_subplot()
        _bars(axes, names, (("in the store before", older, SKY), ("read by this run", added, BLUE)))
        _bars(axes, names, (("in quarantine", bad, ORANGE),), beneath=older + added)
        highest = max(older[name] + added[name] + bad[name] for name in names)
        axes.set_ylim(0, 1.08 * highest)
        axes.set_xlim(-0.6, max(len(names), 8) - 0.4)
        axes.set_ylabel("image files")
        axes.set_xlabel("month" if by_month else "date of the folder")
        axes.grid(visible=True, axis="y")
        whole_numbers(axes, "y")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0)
        caption = f"Image files by {'month' if by_month else 'date'}."
        alt = f"Bar chart of image files for {len(names)} {'months' if by_month else 'dates'}"
        return to_plot(figure, alt=alt, caption=caption)


def _bar(archive: str, date: dt.date | None, *, by_month: bool) -> str:
    if date is None:
        return archive
    return f"{date:%Y-%m}" if by_month else str(date)


def _bars(
    axes: Any,
    names: list[str],
    parts: tuple[tuple[str, Counter[str], str], ...],
    beneath: Counter[str] | None = None,
) -> None:
    floor = [beneath[name] if beneath else 0 for name in names]
    for label, counts, colour in parts:
        heights = [counts[name] for name in names]
        hatch = "///" if colour == ORANGE else None
        axes.bar(range(len(names)), heights, 0.8, floor, label=label, color=colour, hatch=hatch)
        floor = [low + height for low, height in zip(floor, heights, strict=True)]
    step = max(1, len(names) // 24)
    ticks = range(0, len(names), step)
    turn = 45 if len(names) > 6 else 0
    axes.set_xticks(
        ticks,
        [figure_text(names[tick], 20) for tick in ticks],
        rotation=turn,
        ha="right" if turn else "center",
        rotation_mode="anchor",
    )

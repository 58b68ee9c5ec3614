"""Section: what the networks proposed, what was kept, and images without cells."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from anabatch.report.dropped import REASONS, in_words
from anabatch.report.figures import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    WIDTH,
    Plot,
    figure_text,
    new_figure,
    style,
    to_plot,
    whole_numbers,
)
from anabatch.report.section import Section
from anabatch.store.actions import NO_CELLS
from anabatch.store.live import CELLS, SEGMENT

if TYPE_CHECKING:
    from anabatch.report.source import Source
    from anabatch.store.actions import Action

_KINDS = ("nuclei", "cells")
_COLOURS = (BLUE, ORANGE, PURPLE, VERMILLION, GREEN, SKY)
_WORST = 10
_NAMES = 100


def section(source: Source) -> Section:
    """Gather what became of all masks."""
    segmented = [a for a in source.store.state.stage(SEGMENT) if a.part is not None]
    if not segmented:
        return Section(
            "masks",
            "Masks kept and dropped",
            "proposals.html",
            absent="No image is segmented yet.",
            command="anabatch segment",
        )
    reasons = _reasons(segmented)
    kinds = [_kind(kind, segmented, reasons) for kind in _KINDS]
    empty = [a for a in source.store.state.stage(CELLS) if a.outcome == NO_CELLS]
    return Section(
        "masks",
        "Masks kept and dropped",
        "proposals.html",
        {
            "images": len(segmented),
            "reasons": [in_words(reason) for reason in reasons],
            "kinds": kinds,
            "plot": _plot(kinds, reasons, segmented),
            "worst": _worst(source, segmented),
            "empty": [
                {"file": source.file_name(a.unit), "labels": source.label_text(a.unit)}
                for a in empty[:_NAMES]
            ],
            "more_empty": max(0, len(empty) - _NAMES),
        },
    )


def _dropped(action: Action, kind: str) -> Counter[str]:
    """Return the dropped masks of one kind in an image, by reason."""
    prefix = f"{kind}_"
    return Counter(
        {
            name.removeprefix(prefix): int(count)
            for name, count in action.components["dropped"].items()
            if name.startswith(prefix)
        }
    )


def _reasons(segmented: list[Action]) -> list[str]:
    """Return the known reasons, and then the others that occur."""
    found = {reason for a in segmented for kind in _KINDS for reason in _dropped(a, kind)}
    return [*REASONS, *sorted(found - REASONS.keys())]


def _kind(kind: str, segmented: list[Action], reasons: list[str]) -> dict[str, Any]:
    dropped: Counter[str] = Counter()
    for action in segmented:
        dropped.update(_dropped(action, kind))
    kept = sum(int(action.components[kind]) for action in segmented)
    proposed = kept + dropped.total()
    return {
        "name": kind,
        "proposed": proposed,
        "kept": kept,
        "share": kept / proposed if proposed else None,
        "dropped": [dropped[reason] for reason in reasons],
    }


def _worst(source: Source, segmented: list[Action]) -> list[dict[str, Any]]:
    """Return the images that lost the largest share of their cells."""
    rows = []
    for action in segmented:
        kept = int(action.components["cells"])
        dropped = _dropped(action, "cells").total()
        if dropped:
            rows.append((-dropped / (kept + dropped), action.unit, kept, dropped))
    return [
        {
            "file": source.file_name(image),
            "labels": source.label_text(image),
            "kept": kept,
            "dropped": dropped,
            "share": -share,
        }
        for share, image, kept, dropped in sorted(rows)[:_WORST]
    ]


def _plot(kinds: list[dict[str, Any]], reasons: list[str], segmented: list[Action]) -> Plot:
    diameters = [
        a.components["mean_nucleus_diameter"]
        for a in segmented
        if a.components["mean_nucleus_diameter"] is not None
    ]
    with style():
        figure = new_figure(WIDTH, 2.9)
        bars, counts, sizes = figure.subplots(1, 3, width_ratios=(1.5, 1, 1))
        _bars(bars, kinds, reasons)
        _histogram(counts, [a.components["cells"] for a in segmented], "cells in the image")
        counts.set_title("Cells per image")
        whole_numbers(counts, "x")
        _histogram(sizes, diameters, "reference pixels")
        sizes.set_title("Mean nucleus diameter")
        caption = (
            "Masks of the networks; cells per image; mean longer side of the nuclei's "
            "bounding boxes per image."
        )
        alt = "Bar chart of masks kept and dropped, histograms of cells per image and of diameters"
        return to_plot(figure, alt=alt, caption=caption)


def _bars(axes: Any, kinds: list[dict[str, Any]], reasons: list[str]) -> None:
    names = [kind["name"] for kind in kinds]
    floor = [kind["kept"] for kind in kinds]
    axes.barh(names, floor, 0.6, color=BLUE, label="kept")
    for number, reason in enumerate(reasons):
        heights = [kind["dropped"][number] for kind in kinds]
        if any(heights):
            label = figure_text(f"dropped: {in_words(reason)}", 40)
            colour = _COLOURS[1 + number % (len(_COLOURS) - 1)]
            axes.barh(names, heights, 0.6, floor, color=colour, label=label, hatch="//")
        floor = [low + height for low, height in zip(floor, heights, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("masks")
    axes.set_title("Masks proposed")
    axes.grid(visible=True, axis="x")
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=2)
    whole_numbers(axes, "x")


def _histogram(axes: Any, values: list[float], unit: str) -> None:
    if values:
        axes.hist(values, bins=min(20, max(5, len(values) // 4)), color=BLUE, edgecolor="white")
    else:
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", va="center")
    axes.set_xlabel(unit)
    axes.set_ylabel("images")
    axes.grid(visible=True, axis="y")
    whole_numbers(axes, "y")

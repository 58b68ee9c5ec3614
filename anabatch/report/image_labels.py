"""Section: images per label, axis by axis, and what is doubtful about them."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anabatch.annotations import FLAGS
from anabatch.report.figures import (
    BLUE,
    ORANGE,
    WIDTH,
    Plot,
    bar_names,
    new_figure,
    style,
    to_plot,
    whole_numbers,
)
from anabatch.report.section import Section
from anabatch.report.source import AXES

if TYPE_CHECKING:
    from anabatch.report.source import Source

_TITLES = {
    "pattern": "Patterns",
    "antigen": "Antigens",
    "class": "Class folders, as they are named",
    "status": "Status",
}
_COLUMNS = (
    *("image_id", "archive", "axis", "label", "raw"),
    *("flag", "reason", "repeats", "source_file", "source_row"),
)
_EXAMPLES = 5
_BARS = 60


@dataclass
class Label:
    """Images of one label.

    Attributes
    ----------
    images, flagged : set of str
        Image ids; those whose row of the annotations has a flag.
    archives : dict
        Archive to image ids.
    """

    images: set[str] = field(default_factory=set)
    flagged: set[str] = field(default_factory=set)
    archives: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))


@dataclass
class Flag:
    """Rows of the annotations with one flag."""

    rows: int = 0
    images: set[str] = field(default_factory=set)
    examples: dict[str, None] = field(default_factory=dict)


def section(source: Source) -> Section:
    """Gather images per label."""
    if not source.is_annotated:
        return Section(
            "labels",
            "Images per label",
            "image_labels.html",
            absent="No labels were read yet.",
            command="anabatch annotate",
        )
    labels, flags, repeats = _count(source)
    archives = sorted({name for found in labels.values() for name in found.archives})
    axes = [_axis(axis, labels, archives) for axis in AXES if any(a == axis for a, _ in labels)]
    return Section(
        "labels",
        "Images per label",
        "image_labels.html",
        {
            "axes": axes,
            "archives": archives if len(archives) > 1 else [],
            "flags": _flag_rows(flags),
            "labelled": len(source.labels),
            "unlabelled": len(source.images.keys() - source.labels.keys()),
            "repeats": repeats,
            "superseded": sum(
                table.num_rows for table in source.store.table("annotations_history").batches()
            ),
        },
    )


def _count(source: Source) -> tuple[dict[tuple[str, str], Label], dict[str, Flag], int]:
    """Return labels, flags, and how many rows of exports say again what others say."""
    labels: dict[tuple[str, str], Label] = defaultdict(Label)
    flags: dict[str, Flag] = defaultdict(Flag)
    repeats = 0
    for table in source.store.table("annotations").batches():
        for row in table.select(_COLUMNS).to_pylist():
            repeats += row["repeats"]
            if row["flag"]:
                _count_flag(flags[row["flag"]], row)
            if row["image_id"] and row["label"]:
                found = labels[row["axis"], row["label"]]
                found.images.add(row["image_id"])
                found.archives[row["archive"]].add(row["image_id"])
                if row["flag"]:
                    found.flagged.add(row["image_id"])
    return dict(labels), dict(flags), repeats


def _count_flag(flag: Flag, row: dict[str, Any]) -> None:
    flag.rows += 1
    if row["image_id"]:
        flag.images.add(row["image_id"])
    if len(flag.examples) < _EXAMPLES:
        place = row["source_file"] + (f", line {row['source_row']}" if row["source_row"] else "")
        told = row["reason"] or row["raw"]
        flag.examples[f"{place}: {told}" if told else place] = None


def _axis(axis: str, labels: dict[tuple[str, str], Label], archives: list[str]) -> dict[str, Any]:
    found = {name: label for (of, name), label in labels.items() if of == axis}
    order = sorted(found, key=lambda name: (-len(found[name].images), name))
    rows = [
        {
            "label": name,
            "images": len(found[name].images),
            "flagged": len(found[name].flagged),
            "archives": [len(found[name].archives.get(archive, ())) for archive in archives],
        }
        for name in order
    ]
    return {"axis": axis, "title": _TITLES[axis], "plot": _plot(axis, rows), "rows": rows}


def _plot(axis: str, rows: list[dict[str, Any]]) -> Plot:
    drawn = rows[:_BARS]
    counts = [row["images"] for row in drawn]
    flagged = [row["flagged"] for row in drawn]
    sound = [total - odd for total, odd in zip(counts, flagged, strict=True)]
    with style():
        figure = new_figure(WIDTH, 1.0 + 0.2 * max(len(drawn), 2))
        axes = figure.add_subplot()
        places = range(len(drawn))
        axes.barh(places, sound, color=BLUE, label="without a flag")
        if any(flagged):
            axes.barh(places, flagged, left=sound, color=ORANGE, hatch="///", label="flagged")
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)
        for place, count in zip(places, counts, strict=True):
            axes.annotate(
                str(count), (count, place), (3, 0), textcoords="offset points", va="center"
            )
        bar_names(axes, [row["label"] for row in drawn])
        axes.set_xlabel("images")
        axes.margins(x=0.06)
        whole_numbers(axes, "x")
        more = f" The {_BARS} most frequent; the table has all." if len(rows) > _BARS else ""
        caption = f"{_TITLES[axis]}: images per label.{more}"
        top = ", ".join(f"{row['label']} {row['images']}" for row in drawn[:3])
        return to_plot(figure, alt=f"Bar chart of images per {axis}: {top} …", caption=caption)


def _flag_rows(flags: dict[str, Flag]) -> list[dict[str, Any]]:
    order = Counter({name: flag.rows for name, flag in flags.items()}).most_common()
    return [
        {
            "flag": name,
            "meaning": FLAGS.get(name, ""),
            "rows": rows,
            "images": len(flags[name].images),
            "examples": list(flags[name].examples),
        }
        for name, rows in order
    ]

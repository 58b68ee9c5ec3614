"""Section: how large the clusters are, and how the cells of every label spread over them."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.report.figures import DARK, WIDTH, Plot, bar_names, new_figure, style, to_plot
from anabatch.report.footing import making
from anabatch.report.section import Section
from anabatch.report.source import AXES
from anabatch.report.text import plural

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anabatch.report.population import Population
    from anabatch.report.source import Source
    from anabatch.store.actions import Action

_NONE = ("", "no label")
_COLUMNS_WITH_NUMBERS = 20
_HEADINGS = {
    "pattern": "Patterns",
    "antigen": "Antigens",
    "class": "Class folders",
    "status": "Status",
    "": "Neither",
}


def section(source: Source, population: Population | None, model: Action | None) -> Section:
    """Gather cluster sizes per label."""
    if population is None or model is None or not population.size:
        return Section(
            "clusters",
            "Clusters and labels",
            "cluster_labels.html",
            absent="No cell is in a cluster yet.",
            command="anabatch cluster",
        )
    numbers = sorted(population.clusters)
    counts = _count(source, population)
    axes = [axis for axis in (*AXES, "") if any(of == axis for of, _ in counts)]
    tables = [_table(axis, counts, numbers) for axis in axes]
    # then every label spreads over the clusters as all cells do
    alike = any(axes) and all(row.total() == population.size for row in counts.values())
    return Section(
        "clusters",
        "Clusters and labels",
        "cluster_labels.html",
        {
            "facts": making(source, model),
            "numbers": numbers,
            "sizes": [_size(population, number) for number in numbers],
            "total": population.size,
            "without": population.without,
            "tables": tables,
            "alike": alike,
            "plots": [
                _heat_map(table, numbers)
                for table in tables
                if table["axis"] and not alike and (len(table["rows"]) > 1 or len(axes) == 1)
            ],
        },
    )


def _size(population: Population, number: int) -> dict[str, Any]:
    members = population.clusters[number]
    return {
        "number": number,
        "cells": members.size,
        "share": members.size / population.size,
        "images": len(members.images),
        "distance": members.total_distance / members.size if members.size else None,
    }


def _count(source: Source, population: Population) -> dict[tuple[str, str], Counter[int]]:
    """Return, by axis and label, the cells of every cluster."""
    counts: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    for number, members in population.clusters.items():
        for image, cells in members.images.items():
            for pair in source.labels.get(image) or (_NONE,):
                counts[pair][number] += cells
    return dict(counts)


def _table(
    axis: str, counts: dict[tuple[str, str], Counter[int]], numbers: list[int]
) -> dict[str, Any]:
    found = {label: row for (of, label), row in counts.items() if of == axis}
    order = sorted(found, key=lambda label: (-found[label].total(), label))
    return {
        "axis": axis,
        "title": _HEADINGS[axis],
        "rows": [
            {
                "label": label,
                "total": found[label].total(),
                "cells": [found[label][number] for number in numbers],
            }
            for label in order
        ],
    }


def _heat_map(table: dict[str, Any], numbers: list[int]) -> Plot:
    rows = table["rows"]
    cells = np.array([row["cells"] for row in rows], dtype=np.float64)
    shares = 100 * cells / cells.sum(axis=1, keepdims=True)
    with style():
        figure = new_figure(WIDTH, 1.3 + 0.26 * len(rows))
        axes = figure.add_subplot()
        picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
        bar_names(axes, [row["label"] for row in rows], [row["total"] for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(visible=False)
        axes.set_xticks(range(len(numbers)), [str(number) for number in numbers])
        axes.tick_params(length=0)
        axes.set_xlabel("cluster")
        if len(numbers) <= _COLUMNS_WITH_NUMBERS:
            _write_shares(axes, shares)
        bar = figure.colorbar(picture, ax=axes, pad=0.01)
        bar.set_label("% of the label's cells")
        name = table["title"]
        caption = (
            f"{name}: how the cells of every label spread over the clusters, in % of the label's cells "
            "(their number in brackets). A cell counts for every label of its image."
        )
        alt = f"Heat map of {plural(len(rows), 'label')} by {plural(len(numbers), 'cluster')}"
        return to_plot(figure, alt=alt, caption=caption)


def _write_shares(axes: Any, shares: NDArray[np.float64]) -> None:
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.5:
            colour = "white" if share > 60 else DARK
            axes.text(
                column, row, f"{share:.0f}", ha="center", va="center", color=colour, fontsize=8
            )

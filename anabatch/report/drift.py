"""Section: whether the cells of late dates are still those that the clusters were fitted on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.clustering.enrichment import population_stability
from anabatch.report.colours import cluster_looks
from anabatch.report.figures import BLUE, WIDTH, Plot, new_figure, style, to_plot
from anabatch.report.section import Section

if TYPE_CHECKING:
    import datetime as dt

    from anabatch.report.population import Population
    from anabatch.report.source import Source
    from anabatch.store.actions import Action

_SHIFT = 0.25
"""Population stability index from which shares are called shifted, by custom."""
_TIMES_CHANCE = 2
_ROWS = 60  # the latest


def section(source: Source, population: Population | None, model: Action | None) -> Section:
    """Compare every date with the fit."""
    if population is None or model is None or not population.size:
        return Section(
            "drift",
            "Drift of the clusters",
            "drift.html",
            absent="No cell is in a cluster yet.",
            command="anabatch cluster",
        )
    numbers, reference = _reference(source, population, model)
    dates = sorted(population.dates, key=lambda date: (date is None, date), reverse=True)
    rows = [_row(date, population, (numbers, reference)) for date in dates]
    return Section(
        "drift",
        "Drift of the clusters",
        "drift.html",
        {
            "numbers": numbers,
            "reference": (reference / max(reference.sum(), 1)).tolist(),
            "fitted": model.components["mean_squared_distance"] ** 0.5,
            "rows": rows[:_ROWS],
            "more": max(0, len(rows) - _ROWS),
            "seen_before": _seen_before(source, population),
            "shifted": sum(row["shifted"] for row in rows),
            "plot": _plot(rows[:_ROWS][::-1], numbers) if len(rows) > 1 else None,
        },
    )


def _seen_before(source: Source, population: Population) -> list[str]:
    """Return the dates without a row of which pictures, first seen elsewhere, have cells in a cluster."""
    clustered = {image for members in population.clusters.values() for image in members.images}
    dates = {scan.date for scan in source.scans if scan.components["image_id"] in clustered}
    return sorted(
        date.isoformat() if date else "undated" for date in dates - population.dates.keys()
    )


def _reference(source: Source, population: Population, model: Action) -> tuple[list[int], Any]:
    """Return the clusters' numbers, and the cells that each had when it was fitted."""
    arrays = source.model(model)
    sizes = model.components.get("sizes", arrays["counts_"].tolist())
    by_number = dict(zip(arrays["cluster_numbers_"].tolist(), sizes, strict=True))
    numbers = sorted(population.clusters)
    return numbers, np.array([by_number.get(number, 0) for number in numbers], dtype=np.int64)


def _row(
    date: dt.date | None, population: Population, fit: tuple[list[int], Any]
) -> dict[str, Any]:
    numbers, reference = fit
    images = population.images[date]
    mean = population.squares[date].mean
    counts = np.array([population.dates[date][number] for number in numbers])
    cells = int(counts.sum())
    index = population_stability(counts, reference)
    chance = (len(numbers) - 1) / max(images, 1)  # cells of one image are no evidence of their own
    return {
        "date": date.isoformat() if date else "undated",
        "cells": cells,
        "images": images,
        "shares": (counts / max(cells, 1)).tolist(),
        "distance": None if mean is None else mean**0.5,
        "index": index,
        "chance": chance,
        "shifted": index > max(_SHIFT, _TIMES_CHANCE * chance),
    }


def _plot(rows: list[dict[str, Any]], numbers: list[int]) -> Plot:
    shares = 100 * np.array([row["shares"] for row in rows]).T
    places, looks = np.arange(len(rows)), cluster_looks(numbers)
    with style():
        figure = new_figure(WIDTH, 3.4)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        floor = np.zeros(len(rows))
        for number, share in zip(numbers, shares, strict=True):
            look = looks[number]
            hatch = "//" * look.turn or None
            above.bar(places, share, 0.9, floor, color=look.colour, label=str(number), hatch=hatch)
            floor += share
        above.set_ylabel("% of the cells")
        above.set_title("Clusters by date")
        figure.legend(loc="outside right upper", title="cluster")
        below.bar(places, [row["distance"] or 0 for row in rows], 0.9, color=BLUE)
        below.set_ylabel("RMS distance")
        step = max(1, len(rows) // 12)
        below.set_xticks(places[::step], [row["date"] for row in rows[::step]], rotation=30)
        for axes in (above, below):
            axes.grid(visible=True, axis="y")
        alt = f"Stacked bars of the clusters' shares, and bars of distances, on {len(rows)} dates"
        caption = (
            "Share of every cluster in the cells of a date, and the root mean square (RMS) of their "
            "distances to the clusters' centres, the earliest date first."
        )
        return to_plot(figure, alt=alt, caption=caption)

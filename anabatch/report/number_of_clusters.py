"""Section: what speaks for which number of clusters, on features and on their embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.clustering.choice import STABLE
from anabatch.report.figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    WIDTH,
    Plot,
    new_figure,
    style,
    to_plot,
    whole_numbers,
)
from anabatch.report.section import Section

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anabatch.report.source import Source

_TITLE = "How many clusters"


def section(source: Source, name: str) -> Section:
    """Draw the newest study of a model's number of clusters."""
    study = source.generation("choice", name)
    if study is None:
        part = "" if name == "archive" else f" --name {name}"
        return Section(
            "number",
            _TITLE,
            "number_of_clusters.html",
            absent="No numbers of clusters were tried yet.",
            command=f"anabatch cluster{part} --choose-k 2..12",
        )
    arrays = source.model(study)
    facts = study.components
    spaces = (
        ("features_", "Features", int(facts["scored_features"])),
        ("", "Embedding", int(facts["scored"])),
    )
    return Section(
        "number",
        _TITLE,
        "number_of_clusters.html",
        {
            "run": study.run,
            "suggested": facts["suggested"],
            "knee": facts["knee"],
            "rises": facts["rises"],
            "stable": STABLE,
            "rows": _rows(arrays),
            "plots": [_plot(arrays, *space) for space in spaces],
        },
    )


def _rows(arrays: dict[str, NDArray[Any]]) -> list[dict[str, Any]]:
    names = ("k", "squares", "simplified", "silhouette", "silhouette_error", "agreement")
    columns = [arrays[name].tolist() for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _plot(arrays: dict[str, NDArray[Any]], prefix: str, title: str, cells: int) -> Plot:
    k = arrays["k"]
    found = {name: arrays[f"{prefix}{name}"] for name in _MEASURES}
    errors = {name: np.nan_to_num(arrays[f"{prefix}{name}_error"]) for name in _WITH_ERRORS}
    with style():
        figure = new_figure(WIDTH, 2.9)
        left, middle, right = figure.subplots(1, 3)
        left.plot(k, found["squares"], color=BLUE, marker="o", markersize=4)
        left.set_ylabel("sum of squares")
        left.set_title(f"{title}: within clusters")
        for name, colour in (("silhouette", ORANGE), ("simplified", GREEN)):
            middle.errorbar(
                k, found[name], errors[name], color=colour, marker="o", markersize=4, label=name
            )
        middle.set_title("Silhouettes")
        middle.legend(fontsize=8)
        right.errorbar(
            k, found["agreement"], errors["agreement"], color=PURPLE, marker="o", markersize=4
        )
        right.axhline(STABLE, color=GREY, linewidth=0.8, linestyle="--")
        right.set_ylim(min(0.0, float(found["agreement"].min())), 1.02)
        right.set_title("Agreement of resampled fits")
        for axes in (left, middle, right):
            axes.set_xlabel("number of clusters")
            whole_numbers(axes, "x")
            axes.grid(visible=True)
        caption = (
            f"{title} ({cells:,} cells): within-cluster sum of squares; mean silhouette of samples and "
            "simplified silhouette of all these cells, with standard errors; mean adjusted Rand index of "
            "fits on resampled cells with the fit on all."
        )
        alt = f"Line plots of three measures against the number of clusters, on {title.lower()}"
        return to_plot(figure, alt=alt, caption=caption)


_WITH_ERRORS = ("silhouette", "simplified", "agreement")
_MEASURES = ("squares", *_WITH_ERRORS)

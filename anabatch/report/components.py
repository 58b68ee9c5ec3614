"""Section: the kernel PCA, its spectrum, and the cells on its first two components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.embedding import gamma_warning
from anabatch.report.colours import cluster_looks
from anabatch.report.figures import (
    BLUE,
    DARK,
    GREY,
    WIDTH,
    Plot,
    new_figure,
    style,
    to_plot,
    whole_numbers,
)
from anabatch.report.members import LEAST
from anabatch.report.population import SAMPLE
from anabatch.report.section import Section
from anabatch.report.text import number, plural

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anabatch.report.population import Located
    from anabatch.report.source import Source
    from anabatch.store.actions import Action

_COUNTS = (1, 2, 5, 10, 20, 35, 60, 100, 150)
"""Components whose share of the variance the table gives."""
_LEGEND_ROWS = 28  # as many as the figure is high


def section(source: Source, located: Located | None) -> Section:
    """Draw the spectrum and the first two components."""
    model = source.generation("kpca")
    if model is None:
        return Section(
            "components",
            "Embedding",
            "components.html",
            absent="No kernel PCA is fitted yet.",
            command="anabatch embed",
        )
    arrays = source.model(model)
    shares = arrays["explained_variance_ratio_"]
    counts = sorted({count for count in _COUNTS if count < len(shares)} | {len(shares)})
    return Section(
        "components",
        "Embedding",
        "components.html",
        {
            "facts": _facts(model, arrays),
            "warning": gamma_warning(float(arrays["gamma_"]), float(arrays["gamma_median_"])),
            "spectrum": _spectrum(arrays["eigenvalues_"], shares),
            "shares": [(count, float(shares[:count].sum())) for count in counts],
            "own": _own(located, counts),
            "components": len(shares),
            "cells": located.population.size if located else 0,
            "sampled": SAMPLE,
            "scatter": _scatter(located, shares) if located else None,
        },
    )


def _own(located: Located | None, counts: list[int]) -> list[float]:
    """Return the shares of a part's own variance; nothing for the whole archive."""
    if located is None or not located.is_part:
        return []
    return [float(located.shares[:count].sum()) for count in counts]


def _facts(model: Action, arrays: dict[str, NDArray[Any]]) -> dict[str, str]:
    return {
        "generation": str(model.components["generation"]),
        "fitted by run": model.run,
        "cells fitted on": number(int(arrays["n_samples_seen_"])),
        "features": str(int(arrays["n_features_in_"])),
        "landmarks": str(len(arrays["landmarks_"])),
        "components": str(len(arrays["eigenvalues_"])),
        "kernel width (gamma)": f"{float(arrays['gamma_']):.3g}",
        "gamma times median squared distance": f"{float(arrays['gamma_median_']):.3g}",
    }


def _spectrum(values: NDArray[np.float64], shares: NDArray[np.float64]) -> Plot:
    numbers = np.arange(1, len(values) + 1)
    positive = values > 0
    with style():
        figure = new_figure(WIDTH, 3.0)
        left, right = figure.subplots(1, 2)
        left.plot(numbers[positive], values[positive], color=BLUE, marker=".", linewidth=1)
        if positive.any():
            left.set_yscale("log")
        left.set_title("Eigenvalues")
        left.set_ylabel("variance in feature space")
        right.plot(numbers, 100 * np.cumsum(shares), color=BLUE, marker=".", linewidth=1)
        right.set_ylim(0, 102)
        right.set_title("Explained variance, cumulated")
        right.set_ylabel("% of the whole variance")
        for axes in (left, right):
            axes.set_xlabel("component")
            whole_numbers(axes, "x")
            axes.grid(visible=True)
        alt = f"Line plots of {plural(len(values), 'eigenvalue')} and of the cumulated explained variance"
        caption = (
            "Eigenvalue spectrum of the kernel PCA, and the share of the whole variance that the first "
            "components explain."
        )
        return to_plot(figure, alt=alt, caption=caption)


def _scatter(located: Located, shares: NDArray[np.float64]) -> Plot:
    cells, places = located.cells, located.places
    numbers = np.array([cell.cluster for cell in cells])
    looks = cluster_looks(located.population.clusters)
    size = float(np.clip(20_000 / len(cells), 6, 30))  # points squared, so that few can be seen
    with style():
        figure = new_figure(WIDTH, 5.6)
        axes = figure.add_subplot()
        for cluster in np.unique(numbers).tolist():
            here = places[numbers == cluster]
            axes.scatter(
                here[:, 0],
                here[:, 1],
                s=size,
                color=looks[cluster].colour,
                marker=looks[cluster].marker,
                alpha=0.55,
                linewidths=0,
                label=str(cluster),
            )
        _number_clusters(axes, places, numbers)
        axes.axhline(0, color=GREY, linewidth=0.5, zorder=0)
        axes.axvline(0, color=GREY, linewidth=0.5, zorder=0)
        across, up = axis_names(located, shares)
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.set_aspect("equal", adjustable="datalim")
        columns = -(-len(np.unique(numbers)) // _LEGEND_ROWS)
        figure.legend(loc="outside right upper", title="cluster", markerscale=2, ncols=columns)
        caption = (
            f"{number(len(cells))} of {plural(located.population.size, 'cell')} on {_axes(located)}, in the "
            f"embedding's units: a sample, and at least {LEAST} of every cluster, or all that it has. A "
            "cluster's number stands at the median of its cells."
        )
        alt = f"Scatter plot of {plural(len(cells), 'cell')} on two axes, coloured by cluster"
        return to_plot(figure, alt=alt, caption=caption, points=True)


def _axes(located: Located) -> str:
    if located.is_part:
        return "the two axes of the embedding along which they differ most"
    return "the first two components"


def axis_names(located: Located, shares: NDArray[np.float64]) -> list[str]:
    """Return what the two axes of maps are called.

    Parameters
    ----------
    located : Located
        The cells; those of a part of the archive have axes of their own.
    shares : ndarray of float64, shape (components,)
        What the components explain of the variance of all cells.
    """
    if located.is_part:
        of = f"these cells' variance in {len(located.shares)} components"
        return [f"own axis {i} ({s:.1%} of {of})" for i, s in enumerate(located.held, start=1)]
    return [f"component {i} ({s:.1%} of the variance)" for i, s in enumerate(shares[:2], start=1)]


def _number_clusters(axes: Any, places: NDArray[np.float32], numbers: NDArray[np.int_]) -> None:
    from matplotlib.patheffects import withStroke

    for cluster in np.unique(numbers).tolist():
        middle = np.median(places[numbers == cluster], axis=0)
        text = axes.text(
            *middle, str(cluster), color=DARK, fontsize=12, weight="bold", ha="center", va="center"
        )
        text.set_path_effects([withStroke(linewidth=3, foreground="white")])

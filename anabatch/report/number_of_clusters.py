"""Section: what speaks for which number of clusters, on features and on their embedding."""

from __future__ import annotations

import shlex
from math import isnan
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.clustering.choice import SMALL, STABLE, STABLE_CLUSTER
from anabatch.clustering.resampling import FEW_GROUPS
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
from anabatch.report.footing import components_used
from anabatch.report.section import Section
from anabatch.report.tried import differences, made_of, tried_on
from anabatch.store.generations import cells_of
from anabatch.store.live import CLUSTER_MODEL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anabatch.report.source import Source
    from anabatch.report.tried import Making
    from anabatch.store.actions import Action

_TITLE = "How many clusters"
_OBEYED = frozenset('"$`\\!')  # within double quotes of a shell


def section(source: Source, name: str) -> Section:
    """Draw the newest study of a model's number of clusters."""
    study = source.generation("choice", name)
    own = name != CLUSTER_MODEL
    part = f" --name {name}" if own else ""
    if study is None:
        return Section(
            "number",
            _TITLE,
            "number_of_clusters.html",
            absent="No numbers of clusters were tried yet.",
            command=f"anabatch cluster{part} --choose-k 2..12",
        )
    model, tried = source.model(study), tried_on(source, study)
    arrays = _completed(model)
    facts = study.components
    images = facts.get("images")  # in older studies cells were resampled
    drawn = "images" if images and images > 1 else "cells"
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
            "cells": int(facts["scored"]),
            "now": cells_of(source.store.state, name) if own else 0,
            "tried": tried,
            "own": own,
            "components": tried and components_used(source, study, tried.components),
            "images": images,
            "images_features": facts.get("images_features"),
            "few": FEW_GROUPS,
            "drawn": drawn,
            "suggested": facts["suggested"],
            "knee": facts["knee"],
            "next": _next(source, study, tried),
            "rises": facts["rises"],
            "stable": STABLE,
            "any_stable": bool((arrays["agreement"] >= STABLE).any()),
            "small": SMALL,
            "stable_cluster": STABLE_CLUSTER,
            "looked_for_small": "small_share" in model,
            "shown": _shown(arrays, int(facts["suggested"])),
            "left_out": facts.get("left_out", []),
            "redrawn": facts.get("redrawn", []),
            "left_out_features": arrays["k"][np.isnan(arrays["features_squares"])].tolist(),
            "rows": _rows(arrays),
            "plots": [_plot(arrays, drawn, *space) for space in spaces],
        },
        warning=(apart := differences(source, study)),
        mark="not of these clusters" if apart else "old clusters",
        command=f"anabatch cluster{part} --choose-k {_span(arrays)}{_kept(source, study)}",
    )


def _next(source: Source, study: Action, tried: Making | None) -> str:
    """Return the command that makes as many clusters as are suggested, or the key that says so.

    A name knows its condition and its method: they stand there where they are others.
    """
    name, k = study.unit.split("/")[1], study.components["suggested"]
    if name == CLUSTER_MODEL:
        return f"cluster.k = {k}"
    model = source.generation("kmeans", name)
    made = made_of(model) if model else None
    command = f"anabatch cluster --name {shlex.quote(name)}"
    if tried and (made is None or made.where != tried.where):
        command += f" --where {_quoted(tried.where)}"
    if tried and (made is None or made.method != tried.method):
        command += f" --method {shlex.quote(tried.method)}"
    return f"{command} --k {k}"


def _quoted(text: str) -> str:
    """Return a condition as one word of a shell: in double quotes, where nothing in them is obeyed."""
    return shlex.quote(text) if _OBEYED & set(text) else f'"{text}"'


def _span(arrays: dict[str, NDArray[Any]]) -> str:
    """Return the numbers that were tried, as the command takes them."""
    return f"{arrays['k'][0]}..{arrays['k'][-1]}"


def _kept(source: Source, study: Action) -> str:
    """Return the option with which trying numbers anew leaves the clusters of a part as they are."""
    name = study.unit.split("/")[1]
    model = source.generation("kmeans", name)
    return "" if model is None or name == CLUSTER_MODEL else f" --k {model.components['k']}"


def _completed(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Add what older studies did not look for, as not known."""
    unknown = np.full(len(arrays["k"]), np.nan)
    names = [f"{prefix}{name}" for prefix in ("features_", "") for name in _OF_SMALL]
    return dict.fromkeys(names, unknown) | arrays


def _shown(arrays: dict[str, NDArray[Any]], suggested: int) -> dict[str, Any] | None:
    """Return where a small cluster is stable, or None."""
    (here,) = np.nonzero(arrays["small_stability"] >= STABLE_CLUSTER)
    if not len(here):
        return None
    numbers = arrays["k"][here].tolist()
    share = float(arrays["small_share"][here[0]])
    return {"numbers": numbers, "share": share, "suggested": suggested in numbers}


def _rows(arrays: dict[str, NDArray[Any]]) -> list[dict[str, Any]]:
    measures = [*_MEASURES, *(f"{name}_error" for name in _WITH_ERRORS), *_OF_SMALL]
    names = ["k", *measures]
    columns = [_known(arrays[name]) for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _known(values: NDArray[Any]) -> list[float | None]:
    return [None if isnan(value) else value for value in values.tolist()]


def _plot(arrays: dict[str, NDArray[Any]], drawn: str, prefix: str, title: str, cells: int) -> Plot:
    k = arrays["k"]
    found = {name: arrays[f"{prefix}{name}"] for name in _MEASURES}
    errors = {name: np.nan_to_num(arrays[f"{prefix}{name}_error"]) for name in _WITH_ERRORS}
    with style():
        figure = new_figure(WIDTH, 5.2)
        (left, middle), (right, last) = figure.subplots(2, 2)
        left.plot(k, found["squares"], color=BLUE, marker="o", markersize=4)
        left.set_ylabel("sum of squares")
        left.set_title(f"{title}: within clusters")
        for name, colour in (("silhouette", ORANGE), ("simplified", GREEN)):
            middle.errorbar(
                k, found[name], errors[name], color=colour, marker="o", markersize=4, label=name
            )
        middle.set_title("Silhouettes, mean of the cells")
        middle.legend(fontsize=8)
        right.errorbar(
            k, found["agreement"], errors["agreement"], color=PURPLE, marker="o", markersize=4
        )
        right.axhline(STABLE, color=GREY, linewidth=0.8, linestyle="--")
        right.set_ylim(np.nanmin(found["agreement"], initial=0.0), 1.02)
        right.set_title("Agreement of resampled fits")
        _small(last, k, *(arrays[f"{prefix}{name}"] for name in _OF_SMALL))
        for axes in (left, middle, right, last):
            axes.set_xlabel("number of clusters")
            whole_numbers(axes, "x")
            axes.grid(visible=True)
        caption = (
            f"{title} ({cells:,} cells): within-cluster sum of squares; mean silhouette of samples and "
            "simplified silhouette of all these cells, with their errors; mean adjusted Rand index of "
            f"fits on resampled {drawn} with the fit on all; and, of the clusters with at most "
            f"{SMALL:.0%} of the cells, the one that resampled fits find most alike (mean Jaccard index), "
            "with its share of the cells and its own simplified silhouette."
        )
        alt = f"Line plots of four measures against the number of clusters, on {title.lower()}"
        return to_plot(figure, alt=alt, caption=caption)


def _small(
    axes: Any,
    k: NDArray[Any],
    shares: NDArray[np.float64],
    stabilities: NDArray[np.float64],
    silhouettes: NDArray[np.float64],
) -> None:
    axes.plot(k, stabilities, color=PURPLE, marker="o", markersize=4, label="stability")
    axes.plot(k, silhouettes, color=GREEN, marker="o", markersize=4, label="its silhouette")
    axes.axhline(STABLE_CLUSTER, color=GREY, linewidth=0.8, linestyle="--")
    for number, share, stability in zip(k, shares, stabilities, strict=True):
        if np.isfinite(share):
            place = (number, stability)
            axes.annotate(
                f"{100 * share:.2g}%",
                place,
                (0, 5),
                textcoords="offset points",
                ha="center",
                fontsize=7,
            )
    # numbers without a small cluster have a place as well
    axes.set_xlim(k[0] - 0.5, k[-1] + 0.5)
    axes.set_ylim(0, 1.1)
    axes.set_title("The most stable small cluster")
    axes.legend(fontsize=8)


_OF_SMALL = ("small_share", "small_stability", "small_silhouette")
_WITH_ERRORS = ("silhouette", "simplified", "agreement")
_MEASURES = ("squares", *_WITH_ERRORS)

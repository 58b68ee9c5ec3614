"""How clusters were made, and on which embedding they stand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from anabatch.report.text import number
from anabatch.store.generations import generations
from anabatch.store.live import CLUSTER_MODEL
from anabatch.store.recipes import RECIPE

if TYPE_CHECKING:
    from anabatch.report.section import Section
    from anabatch.report.source import Source
    from anabatch.store.actions import Action

_EMBEDDING = "kpca"
_METHODS = {
    "kmeans": "k-means in mini-batches",
    "lloyd": "k-means in passes over all cells",
    "mixture": "a mixture of Gaussians with diagonal covariances",
}
_RESULTS = {
    "kmeans": ("These clusters were made", ""),
    "choice": ("These numbers of clusters were tried", " --choose-k 2..12"),
}
_UNKNOWN = "not known any more"
_SHOWN_APART = ("k", "components", "method", "where")


@dataclass(frozen=True)
class Footing:
    """The embedding that clusters stand on.

    Attributes
    ----------
    fitted : int or None
        Its generation; None if nobody knows it any more.
    current : int or None
        Generation of the current embedding; None if there is none.
    stands : bool
        Whether it is the current one.
    """

    fitted: int | None
    current: int | None
    stands: bool

    @property
    def text(self) -> str:
        """The embedding in words."""
        name = _UNKNOWN if self.fitted is None else f"generation {self.fitted}"
        return name if self.stands else f"{name}, which is not the current one"

    def warning(self, what: str) -> str:
        """Return what is to be said where results are shown; empty if they stand on the current one.

        Parameters
        ----------
        what : str
            The results, and that they were made, as the sentence begins.
        """
        if self.stands:
            return ""
        old = f"generation {self.fitted} of the embedding"
        if self.fitted is None:
            old = f"an embedding that is {_UNKNOWN}"
        if self.current is None:
            return f"{what} on {old}. There is no embedding now."
        return f"{what} on {old}. The current one is generation {self.current}."


def footing(source: Source, model: Action) -> Footing:
    """Return what clusters stand on.

    Parameters
    ----------
    source : Source
    model : Action
        A generation of a cluster model.
    """
    fitted, current = _embedding(source, model), source.generation(_EMBEDDING)
    return Footing(
        int(fitted.components["generation"]) if fitted else None,
        int(current.components["generation"]) if current else None,
        fitted is not None and current is not None and fitted.part_digest == current.part_digest,
    )


def _embedding(source: Source, model: Action) -> Action | None:
    """Return the generation of the embedding that a model stands on; None if nobody knows it any more."""
    recipe = recipe_of(source, model)
    digest = recipe["models"].get("embedding") if recipe else None
    known = generations(source.store.state, _EMBEDDING, CLUSTER_MODEL)
    return next((one for one in reversed(known) if one.part_digest == digest), None)


def components_used(source: Source, model: Action, asked: int) -> str:
    """Return how many components are used of those that are asked for, and both where that is fewer.

    Parameters
    ----------
    source : Source
    model : Action
        A generation of a cluster model, or what was found of numbers of clusters.
    asked : int
    """
    embedding = _embedding(source, model)
    has = int(embedding.components["components"]) if embedding else asked
    return f"{has} ({asked} are asked for)" if has < asked else str(asked)


def recipe_of(source: Source, model: Action) -> dict[str, Any] | None:
    """Return what determined a generation beside its rows; None if nobody knows it any more."""
    found = source.store.state.get(RECIPE, str(model.components["settings"]))
    return found.components if found else None


def warned(source: Source, model: Action | None, section: Section, more: str = "") -> Section:
    """Return a section with a warning where what it shows is of another embedding.

    Parameters
    ----------
    source : Source
    model : Action or None
        The clusters that it shows, or what was found of their number; None if there are none.
    section : Section
        Of which a warning and a command of its own stay.
    more : str
        What the warning is to say beside that.
    """
    if model is None or section.absent:
        return section
    kind, name = model.unit.split("/")[:2]
    what, option = _RESULTS[kind]
    part = "" if name == CLUSTER_MODEL else f" --name {name}"
    warning = footing(source, model).warning(what)
    if not warning:
        return section
    command = section.command or f"anabatch cluster{part}{option}"
    every = [warning + more, section.warning]
    return replace(section, warning=" ".join(filter(None, every)), command=command)


def method_of(model: Action) -> str:
    """Return the method that made clusters, as the configuration names it."""
    return str(model.components.get("method", "kmeans"))


def making(source: Source, model: Action) -> dict[str, str]:
    """Return how clusters were made: names and values."""
    facts, method = model.components, method_of(model)
    recipe = recipe_of(source, model)
    parameters = recipe["parameters"] if recipe else {}
    others = [
        f"{name} = {parameters[name]}" for name in sorted(parameters.keys() - {*_SHOWN_APART})
    ]
    return {
        "method": f"{method}, {_METHODS[method]}" if method in _METHODS else method,
        "clusters (k)": str(facts["k"]),
        "components used": components_used(source, model, int(facts["components"])),
        "other parameters": ", ".join(others) or _UNKNOWN,
        "generation": str(facts["generation"]),
        "fitted by run": model.run,
        "cells fitted on": number(int(facts["rows"])),
        "embedding": footing(source, model).text,
        "mean squared distance, embedding's units": f"{float(facts['mean_squared_distance']):.4g}",
    }

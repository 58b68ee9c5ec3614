"""What numbers of clusters were tried on, and whether the clusters are made of that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from anabatch.report.footing import method_of, recipe_of

if TYPE_CHECKING:
    from anabatch.report.source import Source
    from anabatch.store.actions import Action

_UNNAMED = "kmeans"  # recipes leave it out
_FITTED_ALIKE = {"lloyd": "kmeans"}  # on the rows that numbers are tried on


@dataclass(frozen=True)
class Making:
    """What clusters are made of, or what numbers of them were tried on.

    Attributes
    ----------
    where : str
        The condition that selects the cells; empty for all.
    method : str
        As the configuration names it.
    components : int
        Leading components of the embedding that are asked for.
    """

    where: str
    method: str
    components: int

    @property
    def cells(self) -> str:
        """The cells in words."""
        return f"the cells where {self.where}" if self.where else "all cells"

    def differences(self, clusters: Making) -> str:
        """Return in what clusters differ from this, which was tried; empty if in nothing.

        Parameters
        ----------
        clusters : Making
        """
        told = []
        if self.where != clusters.where:
            told.append(f"on {self.cells}; the clusters are of {clusters.cells}")
        methods = [_FITTED_ALIKE.get(one.method, one.method) for one in (self, clusters)]
        if len(set(methods)) > 1:
            told.append(f"with {self.method}; the clusters are made with {clusters.method}")
        if self.components != clusters.components:
            told.append(
                f"with {self.components} components; the clusters use {clusters.components}"
            )
        return " ".join(f"These numbers of clusters were tried {one}." for one in told)


def tried_on(source: Source, choice: Action) -> Making | None:
    """Return what numbers of clusters were tried on; None if nobody knows it any more.

    Parameters
    ----------
    source : Source
    choice : Action
        What was found of them.
    """
    recipe = recipe_of(source, choice)
    if recipe is None:
        return None
    parameters = recipe["parameters"]
    return Making(
        str(parameters.get("where", "")).strip(),
        str(parameters.get("method", _UNNAMED)),
        int(parameters["components"]),
    )


def made_of(model: Action) -> Making:
    """Return what clusters are made of.

    Parameters
    ----------
    model : Action
        A generation of a cluster model.
    """
    facts = model.components
    where = str(facts.get("where", "")).strip()
    return Making(where, method_of(model), int(facts["components"]))


def differences(source: Source, choice: Action) -> str:
    """Return in what the clusters of a name are others than those that were tried for it.

    Parameters
    ----------
    source : Source
    choice : Action
        What was found of numbers of clusters.

    Returns
    -------
    str
        Empty if they are the same in what matters, if there are no clusters, or if nobody knows any
        more what was tried.
    """
    model = source.generation("kmeans", choice.unit.split("/")[1])
    tried = tried_on(source, choice)
    return tried.differences(made_of(model)) if model and tried else ""

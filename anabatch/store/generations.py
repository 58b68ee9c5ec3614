"""Generations of population models in a state: all that stand, and the one that is current."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabatch.store.live import CLUSTER, CLUSTER_MODEL, MODEL, cluster_unit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anabatch.store.actions import Action
    from anabatch.store.state import State


def generations(state: State, kind: str, name: str) -> list[Action]:
    """Return a model's generations, the current one last.

    Parameters
    ----------
    state : State
    kind : str
        What was fitted: `kpca` or `kmeans`; or what was found out: `choice`, `novelty`.
    name : str
        The model's name.
    """
    prefix = f"{kind}/{name}/"
    found = [action for action in state.stage(MODEL) if action.unit.startswith(prefix)]
    # not by number: one that is taken up again comes after those that followed it
    return sorted(found, key=lambda action: (action.sequence, action.unit))


def current(state: State, kind: str, name: str) -> Action | None:
    """Return the generation that was fitted, or taken up again, last; or None."""
    found = generations(state, kind, name)
    return found[-1] if found else None


def parts(state: State, kind: str) -> list[str]:
    """Return the names of the models over parts of the archive, in order.

    Parameters
    ----------
    state : State
    kind : str
    """
    units = (action.unit.split("/") for action in state.stage(MODEL))
    return sorted({unit[1] for unit in units if unit[0] == kind} - {CLUSTER_MODEL})


def cells_of(state: State, name: str) -> int:
    """Return how many cells are in the clusters of a part of the archive.

    Parameters
    ----------
    state : State
    name : str
        The cluster model's.
    """
    prefix = cluster_unit("", name)
    assigned = (action for action in state.stage(CLUSTER) if action.unit.startswith(prefix))
    return sum(int(action.fact("selected", 0)) for action in assigned)


def last_number(every: Iterable[Action]) -> int:
    """Return the highest number that a model's generations ever had; 0 if there are none.

    One that is taken up again knows of those that came after it, which may be gone since.
    """
    numbers = (max(int(one.components["generation"]), int(one.fact("last", 0))) for one in every)
    return max(numbers, default=0)

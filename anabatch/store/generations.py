"""Generations of population models in a state: all that stand, and the one that is current."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabatch.store.live import MODEL

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


def last_number(every: Iterable[Action]) -> int:
    """Return the highest number that a model's generations ever had; 0 if there are none.

    One that is taken up again knows of those that came after it, which may be gone since.
    """
    numbers = (max(int(one.components["generation"]), int(one.fact("last", 0))) for one in every)
    return max(numbers, default=0)

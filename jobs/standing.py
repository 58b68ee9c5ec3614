"""What stands, and why the rest has to be done."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from anabatch.store.actions import DEFERRED, FAILED, Action
from anabatch.store.recipes import Cause, Reason, Recipe, difference

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anabatch.store.attempts import Place

    from .context import Context

TRANSIENT = "transient"
"""Component of a failure that may be over tomorrow, as of a file that could not be read."""

WHY = "why"
"""Component that says why an action was done."""


def reason(
    context: Context,
    stage: str,
    unit: str,
    key: str,
    recipe: Recipe,
    otherwise: Reason,
) -> Reason | None:
    """Return why an action has to be done; None if its result stands.

    Parameters
    ----------
    context : Context
    stage, unit, key : str
        The action, and the key that it should have.
    recipe : Recipe
        What the key is made of beside the input.
    otherwise : Reason
        The reason where the recipe is the same and the key is not.
    """
    action = context.store.state.get(stage, unit)
    if action is None:
        return Reason(Cause.NEW)
    if action.key != key:
        return difference(context.recipe(action.fact("recipe", None)), recipe) or otherwise
    if action.outcome == DEFERRED or (action.outcome == FAILED and action.fact(TRANSIENT, None)):
        return Reason(Cause.RETRY, action.reason or "")
    damage = context.damage(action.part)
    return Reason(damage, str(action.part)) if damage else None


def adopt(context: Context, stage: str, unit: str, key: str, place: Place) -> Action | None:
    """Take over a finished action that does not stand; None if there is none."""
    found = context.finished.find(stage, unit, key, place)
    return context.adopt(found) if found else None


def with_reasons(
    actions: Iterable[Action], reasons: Mapping[tuple[str, str], Reason]
) -> list[Action]:
    """Return actions with the reason why they were done, where it is known."""
    return [
        replace(action, components=action.components | {WHY: str(reasons[action.identity])})
        if action.identity in reasons
        else action
        for action in actions
    ]

"""Recipes: what determines a stage's results beside its inputs, kept once for all actions of it.

An action's key holds its recipe's digest. The ledger keeps the recipe itself, so that a plan can say
which parameter, which weights or which version of the code has changed, and from what to what.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from anabatch.store.actions import Action
from anabatch.store.keys import action_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RECIPE = "recipe"
"""The ledger's stage of recipes; their unit is their digest."""

_SHOWN_DIGITS = 8


class Cause(StrEnum):
    """Why an action has to be done."""

    NEW = "NEW"
    INPUT = "INPUT"
    PARAM = "PARAM"
    CODE = "CODE"
    MODEL = "MODEL"
    UPSTREAM = "UPSTREAM"
    MISSING = "MISSING"
    CORRUPT = "CORRUPT"
    RETRY = "RETRY"


@dataclass(frozen=True, slots=True, order=True)
class Reason:
    """Why an action has to be done, in a word and in detail.

    Attributes
    ----------
    cause : Cause
    detail : str
        What changed, as `nucleus_diameter 60 -> 70`; empty where the cause says it all.
    """

    cause: Cause
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.cause.value} {self.detail}".rstrip()

    @property
    def again(self) -> bool:
        """Whether it computes anew what once was computed."""
        return self.cause not in (Cause.NEW, Cause.RETRY)


@dataclass(frozen=True)
class Recipe:
    """What determines a stage's results beside its inputs.

    Attributes
    ----------
    stage : str
    version : int
        The stage's version, which its author raises when its results change.
    parameters : mapping
        Parameters by name; values that JSON can hold.
    models : mapping
        Digests of weights and of tables, by what they are for.
    """

    stage: str
    version: int
    parameters: Mapping[str, Any] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """32 hex digits that change with any of it."""
        return action_key(**self._plain())

    def _plain(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "version": self.version,
            "parameters": dict(self.parameters),
            "models": dict(self.models),
        }

    def action(self, run: str) -> Action:
        """Return the row that keeps the recipe in the ledger."""
        digest = self.digest
        return Action(RECIPE, digest, digest, components=self._plain(), run=run)

    @classmethod
    def from_action(cls, action: Action) -> Recipe:
        """Return the recipe of a ledger's row."""
        facts = action.components
        return cls(facts["stage"], facts["version"], facts["parameters"], facts["models"])


def difference(old: Recipe | None, new: Recipe) -> Reason | None:
    """Return why results of an old recipe do not stand for a new one; None if they do.

    Parameters
    ----------
    old : Recipe or None
        None if nobody knows it any more.
    new : Recipe
    """
    if old is None:
        return Reason(Cause.CODE, "made by a recipe that is not known")
    if old.digest == new.digest:
        return None
    if old.version != new.version:
        return Reason(Cause.CODE, f"version {old.version} -> {new.version}")
    if changed := ", ".join(_changes(old.models, new.models, digests=True)):
        return Reason(Cause.MODEL, changed)
    return Reason(Cause.PARAM, ", ".join(_changes(old.parameters, new.parameters, digests=False)))


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], *, digests: bool) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before != after:
            yield f"{name} {_shown(before, digests)} -> {_shown(after, digests)}"


def _shown(value: Any, digest: bool) -> str:  # noqa: FBT001 (how to show it)
    if value is None:
        return "none"
    return str(value)[:_SHOWN_DIGITS] if digest else str(value)

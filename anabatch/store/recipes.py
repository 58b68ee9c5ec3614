"""Recipes: what determines a stage's results beside its inputs, kept once for all actions of it.

An action's key holds its recipe's digest. The ledger keeps the recipe itself, so that a plan can say
which parameter, which weights or which version of the code has changed, and from what to what.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from anabatch.store.actions import Action
from anabatch.store.keys import action_key

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    unsaid : mapping
        Values of parameters that are left out of `parameters` where they have them: what was called
        by no name before there were others. They only tell people what has changed, and are in no
        digest and in no row.
    subject : str
        The parameter of `unsaid` that names what has them, as `extractor`: what another value names may
        have no such parameters. Empty where whatever the stage does has them all.
    """

    stage: str
    version: int
    parameters: Mapping[str, Any] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    unsaid: Mapping[str, Any] = field(default_factory=dict, compare=False)
    subject: str = field(default="", compare=False)

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
    before, after = (_in_full(recipe.parameters, new) for recipe in (old, new))
    models = _changes(old.models, new.models, digests=True)
    # what only one of them has came or went with something that both have, as weights with an extractor
    both = [*_shared(_changes(before, after)), *_shared(models)]
    every = [*models, *_changes(old.parameters, new.parameters)]
    is_model = any(change in models for change in both or every)
    detail = ", ".join(str(change) for change in both or every)
    return Reason(Cause.MODEL if is_model else Cause.PARAM, detail)


def _in_full(parameters: Mapping[str, Any], recipe: Recipe) -> Mapping[str, Any]:
    """Return parameters with what a recipe leaves unsaid, if they are of the subject that has it."""
    subject = recipe.unsaid.get(recipe.subject)
    if parameters.get(recipe.subject, subject) != subject:
        return parameters
    return {**recipe.unsaid, **parameters}


class _Change(NamedTuple):
    """What has changed, as it is shown; None where a recipe lacks it."""

    name: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        return f"{self.name} {self.before or 'none'} -> {self.after or 'none'}"


def _changes(
    old: Mapping[str, Any], new: Mapping[str, Any], *, digests: bool = False
) -> list[_Change]:
    names = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    return [
        _Change(name, _shown(old.get(name), digests), _shown(new.get(name), digests))
        for name in names
    ]


def _shared(changes: list[_Change]) -> list[_Change]:
    return [change for change in changes if None not in (change.before, change.after)]


def _shown(value: Any, digest: bool) -> str | None:  # noqa: FBT001 (how to show it)
    if value is None:
        return None
    return str(value)[:_SHOWN_DIGITS] if digest else str(value)

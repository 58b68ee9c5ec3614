"""The actions of one ledger version in memory, and the changes that are not committed yet."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anabatch.store.actions import FAILED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anabatch.store.actions import Action


@dataclass(frozen=True, slots=True)
class Changes:
    """What one commit brings: actions to put, actions to take out."""

    put: tuple[Action, ...]
    delete: tuple[Action, ...]

    def __bool__(self) -> bool:
        return bool(self.put or self.delete)


def _place(action: Action) -> tuple[int, int, str]:
    """Return where an action stands in the store's order."""
    return action.sequence, action.first_row, action.unit


class State:
    """All actions, with those of the running job on top of those of the ledger.

    Parameters
    ----------
    actions : iterable of Action
        The ledger's, in the store's order.
    """

    def __init__(self, actions: Iterable[Action] = ()) -> None:
        self._stages: dict[str, dict[str, Action]] = defaultdict(dict)
        self._in_order: dict[str, tuple[int, list[Action]]] = {}
        self._put: dict[tuple[str, str], Action] = {}
        self._deleted: dict[tuple[str, str], Action] = {}
        self._before: dict[tuple[str, str], Action | None] = {}
        self._highest = 0
        self._revision = 0
        for action in actions:
            self._stages[action.stage][action.unit] = action
            self._highest = max(self._highest, action.sequence)

    @property
    def revision(self) -> int:
        """A number that rises with every change: what was made of the state at it still holds."""
        return self._revision

    def get(self, stage: str, unit: str) -> Action | None:
        """Return the action of a stage on a unit, or None."""
        return self._stages[stage].get(unit)

    def stage(self, stage: str) -> list[Action]:
        """Return a stage's actions in the store's order."""
        revision, found = self._in_order.get(stage, (-1, []))
        if revision != self._revision:
            found = sorted(self._stages[stage].values(), key=_place)
            self._in_order[stage] = self._revision, found
        return list(found)

    def actions(self) -> list[Action]:
        """Return all actions, by stage and unit."""
        found = [action for stage in self._stages.values() for action in stage.values()]
        return sorted(found, key=lambda action: action.identity)

    def next_sequence(self) -> int:
        """Return a sequence number above all that this state ever held."""
        return self._highest + 1

    def failures(self) -> list[Action]:
        """Return all actions in quarantine, by stage and unit."""
        every = (action for stage in self._stages.values() for action in stage.values())
        failed = (action for action in every if action.outcome == FAILED)
        return sorted(failed, key=lambda action: action.identity)

    def put(self, actions: Iterable[Action]) -> None:
        """Add or replace actions."""
        for action in actions:
            self._revision += 1
            identity = self._remember(action)
            self._stages[action.stage][action.unit] = action
            self._put[identity] = action
            self._highest = max(self._highest, action.sequence)
            self._deleted.pop(identity, None)

    def delete(self, actions: Iterable[Action]) -> None:
        """Take actions out."""
        for action in actions:
            self._revision += 1
            identity = self._remember(action)
            self._stages[action.stage].pop(action.unit, None)
            self._put.pop(identity, None)
            if self._before[identity] is not None:  # else the ledger has never had it
                self._deleted[identity] = action

    def _remember(self, action: Action) -> tuple[str, str]:
        """Keep what is committed of a unit, before the first change on top of it."""
        identity = action.identity
        if identity not in self._before:
            self._before[identity] = self.get(*identity)
        return identity

    def after(self, changes: Changes) -> State:
        """Return the state that the ledger shows once some of the pending changes are committed."""
        shown = State()
        shown._stages = defaultdict(dict, {name: dict(on) for name, on in self._stages.items()})
        for (stage, unit), before in self._before.items():
            if before is None:
                shown._stages[stage].pop(unit, None)
            else:
                shown._stages[stage][unit] = before
        for action in changes.put:
            shown._stages[action.stage][action.unit] = action
        for action in changes.delete:
            shown._stages[action.stage].pop(action.unit, None)
        return shown

    def pending(self, select: Callable[[Action], bool] = lambda _: True) -> Changes:
        """Return the uncommitted changes whose action is selected."""
        return Changes(
            tuple(action for action in self._put.values() if select(action)),
            tuple(action for action in self._deleted.values() if select(action)),
        )

    def settle(self, changes: Changes) -> None:
        """Note that changes were committed."""
        for action in changes.put:
            self._before[action.identity] = action
            if self._put.get(action.identity) is action:  # else it changed again meanwhile
                del self._put[action.identity]
                del self._before[action.identity]
            elif action.unit not in self._stages[action.stage]:
                self._deleted[action.identity] = action
        for action in changes.delete:
            self._deleted.pop(action.identity, None)
            self._before[action.identity] = None
            if action.identity not in self._put:
                del self._before[action.identity]

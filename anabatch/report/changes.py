"""What differs between two versions of a store: pairs of actions, before and now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from anabatch.store.live import MODEL
from anabatch.store.root import open_store

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anabatch.store.actions import Action
    from anabatch.store.root import Store


@dataclass(frozen=True, slots=True)
class Change:
    """One unit of one stage whose result differs between two versions.

    Attributes
    ----------
    before, now : Action or None
        None where the version has none. At least one is there.
    """

    before: Action | None
    now: Action | None

    @property
    def action(self) -> Action:
        """The newer of the two that is there."""
        action = self.now or self.before
        if action is None:
            message = "a change of nothing into nothing"
            raise ValueError(message)
        return action


def changes_since(store: Store, version: int) -> list[Change]:
    """Return what differs between an older version of a store and the one that it shows.

    Results that only moved, as into a compacted part, are not changes.

    Parameters
    ----------
    store : Store
    version : int
        The older version.

    Raises
    ------
    StoreNotFoundError
        There is no such version.
    PartCorruptError
        It cannot be read.
    """
    if version == store.version:
        return []
    with open_store(store.root, version) as older:
        return compare(older.state.actions(), store.state.actions())


def compare(before: Iterable[Action], now: Iterable[Action]) -> list[Change]:
    """Return the changes from one set of actions to another, by stage and unit."""
    old = {action.identity: action for action in before}
    changes = []
    for action in now:
        known = old.pop(action.identity, None)
        if known is None or _result(known) != _result(action):
            changes.append(Change(known, action))
    changes += [Change(action, None) for action in old.values()]
    return sorted(changes, key=lambda change: change.action.identity)


def _result(action: Action) -> tuple[str, str, str | None, int, int]:
    # of a model's generations the last in order is current: one that was taken up again has moved
    place = action.sequence if action.stage == MODEL else 0
    return action.key, action.outcome, action.reason, action.rows, place

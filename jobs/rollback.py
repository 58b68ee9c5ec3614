"""Rollback: an older state of the store as its newest version."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anabatch.store.recipes import RECIPE

from .session import session

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from anabatch.config import Config
    from anabatch.store.actions import Action

    from .reporter import Reporter


@dataclass(frozen=True)
class Lost:
    """What the older state lacks of one stage.

    Attributes
    ----------
    stage : str
    actions : int
    dates : tuple of datetime.date
        In order.
    """

    stage: str
    actions: int
    dates: tuple[dt.date, ...]

    def __str__(self) -> str:
        span = (
            f"{self.dates[0]} to {self.dates[-1]}"
            if self.dates[1:]
            else "".join(map(str, self.dates))
        )
        return f"{self.stage} {self.actions}" + (f" ({span})" if span else "")


def rollback(config: Config, reporter: Reporter, *, to: int) -> tuple[Lost, ...]:
    """Bring an older version's state back, as a new version, and say what that takes away.

    Readers of newer versions go on; parts stay where they are, so that the next run adopts what is
    still finished by its key.

    Parameters
    ----------
    config : Config
    reporter : Reporter
    to : int
        The version.

    Returns
    -------
    tuple of Lost
        What stood and does not stand any more, by stage.

    Raises
    ------
    StoreLockedError
        A run holds the store.
    StoreNotFoundError
        There is no such version, or it is no longer kept.
    """
    with session(config, reporter, create=False, command="rollback") as context:
        store = context.store
        before, version = store.state.actions(), store.version
        store.restore(to, context.run)
        context.did_something = store.version != version
        standing = {(action.identity, action.key) for action in store.state.actions()}
        lost = tuple(_by_stage(a for a in before if (a.identity, a.key) not in standing))
        if not context.did_something:
            text = f"version {to} is the newest: there is nothing to roll back"
            reporter.say("nothing", text, version=version)
            return ()
        text = (
            f"version {store.version} is what version {to} was; version {version} can still be read"
        )
        reporter.say("rollback", text, version=store.version, restored=to, before=version)
        if lost:
            text = (
                "the next run adopts what is still there, and computes anew what is not: "
                + ", ".join(str(item) for item in lost)
            )
            reporter.say("lost", text, stages={item.stage: item.actions for item in lost})
    return lost


def _by_stage(actions: Iterable[Action]) -> list[Lost]:
    stages: dict[str, list[Action]] = defaultdict(list)
    for action in actions:
        if action.stage != RECIPE:
            stages[action.stage].append(action)
    return [
        Lost(stage, len(found), tuple(sorted({a.date for a in found if a.date})))
        for stage, found in stages.items()
    ]

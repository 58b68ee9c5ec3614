"""Quarantine: what failed and what waits, and having the next run try again."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from anabatch.errors import ConfigurationError
from anabatch.report.text import printable
from anabatch.store.actions import DEFERRED, FAILED
from anabatch.store.live import ANNOTATE, LIST, SCAN

from .images import shown_images
from .standing import TRANSIENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anabatch.store.actions import Action
    from anabatch.store.state import State

    from .context import Context

_AGAIN = "the next run tries it again"
_REMEDIES = {
    LIST: "make the place readable, or move what lies there: every run looks again",
    SCAN: "put a good copy of the file in its place: the next run reads what has changed",
    ANNOTATE: "export it again: the next run reads what has changed",
}
_RETRY = "anabatch quarantine retry, when the cause is gone"


@dataclass(frozen=True)
class Item:
    """One thing in quarantine, or put off.

    Attributes
    ----------
    stage, unit, archive : str
    date : str or None
        ISO 8601.
    path : str
        The file's path in its archive; the unit where there is no file.
    outcome : {'failed', 'deferred'}
    since : str
        When it was found so, ISO 8601 in UTC; empty if its run does not tell.
    run : str
        The run that found it so.
    reason, remedy : str
    """

    stage: str
    unit: str
    archive: str
    date: str | None
    path: str
    outcome: str
    since: str
    run: str
    reason: str
    remedy: str


def items(state: State) -> list[Item]:
    """Return what is in quarantine and what is put off, by archive, path and stage."""
    paths = _paths(state)
    found = [
        _item(action, paths) for action in state.actions() if action.outcome in (FAILED, DEFERRED)
    ]
    return sorted(found, key=lambda item: (item.archive, item.path, item.stage))


def _item(action: Action, paths: dict[str, str]) -> Item:
    return Item(
        stage=action.stage,
        unit=action.unit,
        archive=action.archive,
        date=str(action.date) if action.date else None,
        path=_path(action, paths),
        outcome=action.outcome,
        since=_time(action.run),
        run=action.run,
        reason=action.reason or "no reason was given",
        remedy=_remedy(action),
    )


def _remedy(action: Action) -> str:
    if action.outcome == DEFERRED or action.components.get(TRANSIENT):
        return _AGAIN
    return _REMEDIES.get(action.stage, _RETRY)


def _paths(state: State) -> dict[str, str]:
    """Return the file of every image's first acquisition."""
    return {
        image: str(acquisitions[0].components["relative_path"])
        for image, acquisitions in shown_images(state).items()
    }


def _path(action: Action, paths: dict[str, str]) -> str:
    own = action.components.get("relative_path")
    return str(own) if own else paths.get(action.unit, action.unit)


def _time(run: str) -> str:
    """Return the time that a run's id begins with."""
    found = re.match(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z", run)
    return "{}-{}-{}T{}:{}:{}Z".format(*found.groups()) if found else ""


def retry(context: Context, patterns: Sequence[str]) -> int:
    """Have the next run try failures again, although nothing has changed, and commit that.

    They stay in quarantine until they are mended.

    Parameters
    ----------
    context : Context
    patterns : sequence of str
        Paths in the archive, in which `*` and `?` stand for anything, or units; none means all.

    Returns
    -------
    int
        How many.

    Raises
    ------
    ConfigurationError
        A pattern fits nothing in quarantine.
    """
    state = context.store.state
    chosen = _chosen(state, patterns)
    state.put(_again(state, chosen))
    if chosen:
        context.commit()
    return len(chosen)


def _chosen(state: State, patterns: Sequence[str]) -> list[Action]:
    paths = _paths(state)
    failures = state.failures()
    if not patterns:
        return failures
    chosen: dict[tuple[str, str], Action] = {}
    for pattern in patterns:
        found = [one for one in failures if _fits(pattern, one.unit, _path(one, paths))]
        if not found:
            what = f"nothing in quarantine is called {pattern!r}"
            raise ConfigurationError(what, "`anabatch quarantine ls` lists it.")
        chosen |= {action.identity: action for action in found}
    return list(chosen.values())


def _fits(pattern: str, unit: str, path: str) -> bool:
    names = (path, printable(path))  # as it is, and as it is listed
    return pattern in (unit, *names) or any(fnmatchcase(name, pattern) for name in names)


def _again(state: State, chosen: Iterable[Action]) -> list[Action]:
    """Return the actions that let the plan see that something is to be done again.

    An export is read with all others of its date: what is to be done again is the date's labels,
    which stand until then.
    """
    marked = []
    for action in chosen:
        marked.append(_transient(action))
        if action.stage == ANNOTATE:
            path = str(action.components["relative_path"])
            date = state.get(ANNOTATE, action.unit.removesuffix(f"/{path}"))
            marked += [replace(date, key="")] if date else []
    return marked


def _transient(action: Action) -> Action:
    return replace(action, components=action.components | {TRANSIENT: True})

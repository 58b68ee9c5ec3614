"""Explain: what was done with one image, when and why, and what would be done next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from anabatch.errors import ConfigurationError
from anabatch.store.actions import GONE, NO_CELLS, OK, Action
from anabatch.store.live import (
    ANNOTATE,
    CELLS,
    CLUSTER,
    EMBED,
    FEATURIZE,
    LIST,
    SCAN,
    SEGMENT,
    annotate_unit,
    cluster_unit,
)

from .standing import WHY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabatch.store.root import Store

    from .plan import Survey

_FOUND_AGAIN = "it had been computed before, and was found again"
"""Why what has no reason stands: nobody did it then."""

_LEAST_DIGITS = 6
"""Digits of an image id that name it."""


@dataclass(frozen=True)
class Step:
    """One stage on the image, or on what holds it.

    Attributes
    ----------
    stage, unit, outcome : str
    when : str
        When the run started that did it, ISO 8601 in UTC; empty if its name does not say.
    run : str
    why : str
        Why it was done, or why it failed.
    key : str
    part : str or None
        Where the result stands in the store.
    next : str
        Why the next run would do it again; empty if it would not.
    past : tuple of str
        What the ledger still tells of it from before, the oldest first.
    """

    stage: str
    unit: str
    outcome: str
    when: str
    run: str
    why: str
    key: str
    part: str | None
    next: str = ""
    past: tuple[str, ...] = ()


def explain(store: Store, image: str, survey: Survey | None = None) -> list[Step]:
    """Return every stage of an image, in the order of the data's way.

    An image that is gone is known until the ledger is folded next, and one that was put off before
    it was ever read is known by its path alone.

    Parameters
    ----------
    store : Store
    image : str
        An image id (six digits of it do), or the path of its file, or the end of that path.
    survey : Survey, optional
        What the next run would do.

    Raises
    ------
    ConfigurationError
        No image is called so, or several are.
    """
    found = _named(store, image)
    planned = {(item.stage, item.unit): str(item.reason) for item in survey.items} if survey else {}
    steps = []
    for action in _way(store, found):
        # a scan is planned by the file's path, and features that follow from cells by the image
        names = (action.unit, str(action.components.get("relative_path", "")))
        coming = next((planned[action.stage, n] for n in names if (action.stage, n) in planned), "")
        steps.append(_step(store, action, coming))
    return steps


def _named(store: Store, image: str) -> list[Action]:
    """Return what was made of the files of one image, or why nothing was: the images named so."""
    state = store.state
    scans = [action for action in state.stage(SCAN) if _is_called(action, image)]
    if not scans:
        scans = [action for action in store.gone(SCAN) if _is_called(action, image)]
    pictures = {str(a.components["image_id"]) for a in scans if a.components.get("image_id")}
    others = (a for a in state.stage(SCAN) if a.components.get("image_id") in pictures)
    scans += [action for action in others if action not in scans]
    places = {_place(action) for action in scans}
    waiting = [a for a in state.stage(LIST) if _place(a) in places or _is_called(a, image)]
    _refuse_several(image, scans, waiting)
    return [*waiting, *scans]


def _refuse_several(image: str, scans: list[Action], waiting: list[Action]) -> None:
    """Refuse a name that fits no image, or several."""
    named = {_place(a): str(a.components.get("image_id") or a.unit) for a in (*waiting, *scans)}
    if not named:
        what = f"no image of the store is called {image!r}"
        remedy = "Give an image id, or the end of a file's path."
        raise ConfigurationError(what, f"{remedy} What is long gone is not known any more.")
    if len(set(named.values())) > 1:
        paths = ", ".join(path for _, path in list(named)[:5])
        what = f"{len(set(named.values()))} images are called {image!r}: {paths}"
        raise ConfigurationError(what, "Give more of the path.")


def _place(action: Action) -> tuple[str, str]:
    return action.archive, str(action.components.get("relative_path", ""))


def _is_called(action: Action, image: str) -> bool:
    path = str(action.components.get("relative_path", ""))
    identity = str(action.components.get("image_id") or "")
    by_id = len(image) >= _LEAST_DIGITS and identity.startswith(image)
    by_path = path == image or path.endswith(f"/{image}") or image.endswith(f"/{path}")
    return by_id or by_path


def _way(store: Store, named: list[Action]) -> Iterator[Action]:
    yield from named
    state = store.state
    scans = [action for action in named if action.stage == SCAN]
    here = [action for action in scans if action.outcome != GONE]
    for day in dict.fromkeys(annotate_unit(a.archive, a.date) for a in here):
        yield from _present(state.get(ANNOTATE, day))
    picture = next((str(a.components["image_id"]) for a in scans if "image_id" in a.components), "")
    yield from _last(store, SEGMENT, picture)
    yield from _last(store, CELLS, picture)
    cells = state.get(CELLS, picture)
    if cells and cells.part:
        yield from _present(state.get(FEATURIZE, cells.part))
        yield from _present(state.get(EMBED, cells.part))
        yield from _present(state.get(CLUSTER, cluster_unit(cells.part)))


def _last(store: Store, stage: str, unit: str) -> list[Action]:
    """Return what stands of a unit, or the tombstone of what did."""
    standing = store.state.get(stage, unit)
    return [standing] if standing else [action for _, action in store.history(stage, unit)[-1:]]


def _present(action: Action | None) -> list[Action]:
    return [action] if action else []


def _step(store: Store, action: Action, coming: str) -> Step:
    why = action.reason or str(action.components.get(WHY, ""))
    if action.outcome == GONE and action.stage == SCAN:
        why = "its file is no longer in the archive"
    elif not why and action.outcome in (OK, NO_CELLS):
        why = _FOUND_AGAIN
    past = store.history(action.stage, action.unit)[:-1]
    return Step(
        stage=action.stage,
        unit=str(action.components.get("relative_path", action.unit)),
        outcome=action.outcome,
        when=run_time(action.run),
        run=action.run,
        why=why,
        key=action.key,
        part=action.part,
        next=coming,
        past=tuple(_past(version, older) for version, older in past),
    )


def _past(version: int, action: Action) -> str:
    what = "gone" if action.outcome == GONE else action.outcome
    why = action.reason or str(action.components.get(WHY, ""))
    return f"version {version}: {what} {why}".rstrip()


def run_time(run: str) -> str:
    """Return when a run started, as its id says, ISO 8601 in UTC; empty if it does not say."""
    try:
        moment = datetime.strptime(run.partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return ""
    return moment.isoformat()

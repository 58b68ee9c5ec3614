"""Which images the archives show, and the results that nothing shows any more."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from anabatch.store.actions import OK
from anabatch.store.live import CELLS, CLUSTER, EMBED, FEATURIZE, SCAN, SEGMENT

if TYPE_CHECKING:
    from anabatch.store.actions import Action
    from anabatch.store.state import State


def shown_images(state: State) -> dict[str, list[Action]]:
    """Return the live acquisitions of every image, the earliest first, in the order of those."""
    shown: dict[str, list[Action]] = defaultdict(list)
    for action in state.stage(SCAN):
        if action.outcome == OK:
            shown[str(action.fact("image_id"))].append(action)
    for acquisitions in shown.values():
        acquisitions.sort(key=_earliest)
    return dict(sorted(shown.items(), key=lambda item: _earliest(item[1][0])))


def _earliest(action: Action) -> tuple[bool, str, str, str]:
    path = str(action.fact("relative_path"))
    return action.date is None, str(action.date), action.archive, path


def drop_unshown(state: State) -> None:
    """Take out the results of images that no acquisition shows, and what hangs on them.

    It goes with the commit that takes the last acquisition out: a cell always has its image.
    """
    shown = {str(a.fact("image_id")) for a in state.stage(SCAN) if a.outcome == OK}
    unshown = [
        action
        for stage in (SEGMENT, CELLS)
        for action in state.stage(stage)
        if action.unit not in shown
    ]
    state.delete(unshown)
    drop_orphans(state)


def drop_orphans(state: State) -> None:
    """Take out what was made of cell parts of which no row is live any more."""
    alive = {action.part for action in state.stage(CELLS) if action.part}
    orphans = [
        action
        for stage in (FEATURIZE, EMBED, CLUSTER)
        for action in state.stage(stage)
        if action.unit.rpartition(":")[2] not in alive
    ]
    state.delete(orphans)

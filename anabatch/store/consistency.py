"""What must hold across tables before a commit: every cell has its image, every array its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabatch.errors import InconsistentError
from anabatch.store.live import CELLS, CLUSTER, EMBED, FEATURIZE, SCAN, SEGMENT
from anabatch.store.parts import Part

if TYPE_CHECKING:
    from pathlib import Path

    from anabatch.store.actions import Action
    from anabatch.store.state import State

_ARRAYS = {CELLS: ("crops", "masks"), FEATURIZE: ("features",), EMBED: ("embedding",)}


def check(root: Path, state: State, put: tuple[Action, ...]) -> None:
    """Check the actions of a commit against each other and against their parts.

    Parameters
    ----------
    root : Path
        The store's folder.
    state : State
        As the commit will leave it.
    put : tuple of Action
        What is to be committed. Every live cell is checked for its image, whether new or not: what
        a commit takes away must not leave cells behind.

    Raises
    ------
    InconsistentError
        A cell has no image or no label image, or an array has other rows than its cells.
    PartCorruptError
        A part is not what it was when it was written.
    """
    shown = {str(a.fact("image_id", None)) for a in state.stage(SCAN)}
    totals = _rows_of_cell_parts(state)
    for action in state.stage(CELLS):
        _check_image(state, shown, action)
    looked_at: set[tuple[str, str]] = set()
    for action in put:
        if action.part and action.stage in _ARRAYS:
            cells = action.part if action.stage == CELLS else action.unit
            if (action.part, cells) not in looked_at:  # a part holds the results of many actions
                _check_arrays(root, action, cells)
                looked_at.add((action.part, cells))
        if action.stage in (FEATURIZE, EMBED, CLUSTER):
            _check_cells(totals, action)


def _rows_of_cell_parts(state: State) -> dict[str, int]:
    """Return, for every live cell part, how far its live rows reach."""
    reach: dict[str, int] = {}
    for action in state.stage(CELLS):
        if action.part:
            end = action.first_row + action.rows
            reach[action.part] = max(reach.get(action.part, 0), end)
    return reach


def _check_image(state: State, shown: set[str], action: Action) -> None:
    if action.unit not in shown:
        what = f"the cells of image {action.unit} have no acquisition"
        raise InconsistentError(what)
    segmented = state.get(SEGMENT, action.unit)
    if segmented is None or segmented.part is None:
        what = f"the cells of image {action.unit} have no label image"
        raise InconsistentError(what)


def _check_arrays(root: Path, action: Action, cells: str) -> None:
    (expected, *_), _ = Part(root, cells).array_info("crops")
    for name in _ARRAYS[action.stage]:
        (rows, *_), _ = Part(root, str(action.part)).array_info(name)
        if rows != expected:
            what = f"{name} of {action.part} has {rows} rows, and its cell part has {expected}"
            raise InconsistentError(what)


def _check_cells(totals: dict[str, int], action: Action) -> None:
    cells = action.unit.rpartition(":")[2]
    if cells not in totals:
        what = f"{action.stage} was done on {cells}, of which no cell is live"
        raise InconsistentError(what)
    if totals[cells] > action.rows:
        what = f"{action.stage} of {cells} has {action.rows} rows for {totals[cells]} cells"
        raise InconsistentError(what)

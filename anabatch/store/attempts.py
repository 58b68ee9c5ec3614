"""Finished parts that no action names: what a run that was killed had done, to be adopted.

A part is whole when its `part.json` is there, and that says which actions it holds the results of.
An action's key says all that determines its result: where keys are equal, results are. So whoever
plans an action looks here first, and also finds what an older version of the store still has.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from anabatch.errors import PartCorruptError
from anabatch.store.actions import NO_CELLS, OK, Action
from anabatch.store.damage import read_damage
from anabatch.store.live import CLUSTER, EMBED, FEATURIZE, SCAN
from anabatch.store.parts import MANIFEST, PARTS, Part

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Their unit is a cell part's path. Parts of equal content have equal digests, of which these keys
# are made: what was computed of one holds for the other.
_OF_CELL_PARTS = frozenset({FEATURIZE, EMBED, CLUSTER})


class Attempts:
    """Finished parts that the state does not name. They are looked for when first asked for.

    Parameters
    ----------
    root : Path
        The store's folder.
    named : set of str
        Parts that the state names.
    """

    def __init__(self, root: Path, named: set[str]) -> None:
        self._root = root
        self._named = named

    def find(self, stage: str, unit: str, key: str) -> Action | None:
        """Return a finished action by what it is, or None.

        Parameters
        ----------
        stage, unit, key : str

        Returns
        -------
        Action or None
            With the part that holds its result, whole and in full.
        """
        for action in self._by_key.get((stage, key), ()):
            if stage in _OF_CELL_PARTS:
                return replace(action, unit=unit)
            if action.unit == unit:
                return action
        return None

    def scanned(self, unit: str, recipe: str) -> list[Action]:
        """Return finished scans of a file, by its acquisition id and the recipe, whatever its bytes."""
        return [a for a in self._scans.get(unit, ()) if a.components.get("recipe") == recipe]

    @cached_property
    def _actions(self) -> list[Action]:
        return [action for path in self._paths() for action in self._read(path)]

    @cached_property
    def _by_key(self) -> dict[tuple[str, str], list[Action]]:
        found: dict[tuple[str, str], list[Action]] = defaultdict(list)
        for action in self._actions:
            found[action.stage, action.key].append(action)
        return dict(found)

    @cached_property
    def _scans(self) -> dict[str, list[Action]]:
        found: dict[str, list[Action]] = defaultdict(list)
        for action in self._actions:
            if action.stage == SCAN:
                found[action.unit].append(action)
        return dict(found)

    def _paths(self) -> Iterator[str]:
        passed_over = self._named | read_damage(self._root).keys()
        for manifest in sorted((self._root / PARTS).glob(f"*/*/*/*/{MANIFEST}")):
            path = manifest.parent.relative_to(self._root).as_posix()
            if path not in passed_over:
                yield path

    def _read(self, path: str) -> list[Action]:
        try:
            rows = Part(self._root, path).actions()
        except PartCorruptError:
            return []  # nobody relies on it: it is computed anew
        found = []
        for row in rows:
            date = dt.date.fromisoformat(row["date"]) if row["date"] else None
            found.append(Action.from_row(row | {"date": date}))
        return [action for action in found if action.outcome in (OK, NO_CELLS)]

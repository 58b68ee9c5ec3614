"""Finished actions that do not stand: what a run that was killed had done, to be adopted.

A part is whole when its `part.json` is there, and that says which actions it holds the results of.
An action's key says all that determines its result: where keys are equal, results are. So whoever
plans an action looks here first, and also finds what an older version of the store still has, and
what a part that is in use holds of images that have come back.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from anabatch.errors import PartCorruptError
from anabatch.store.actions import NO_CELLS, OK, Action
from anabatch.store.damage import read_damage
from anabatch.store.live import (
    ANNOTATE,
    CELLS,
    CLUSTER,
    EMBED,
    FEATURIZE,
    MODEL,
    SCAN,
    SEGMENT,
)
from anabatch.store.parts import MANIFEST, PARTS, Part, day

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Their unit is a cell part's path. Parts of equal content have equal digests, of which these keys
# are made: what was computed of one holds for the other.
_OF_CELL_PARTS = frozenset({FEATURIZE, EMBED, CLUSTER})


_TABLES = {
    SCAN: "acquisitions",
    ANNOTATE: "annotations",
    SEGMENT: "labels",
    CELLS: "cells",
    FEATURIZE: "features",
    EMBED: "embedding",
    CLUSTER: "clusters",
    MODEL: "models",
}
"""Where the parts of a stage lie."""


@dataclass(frozen=True, slots=True)
class Place:
    """An archive and a date of it, below which parts of a stage lie."""

    archive: str
    date: dt.date | None


class Attempts:
    """Finished actions of all whole parts, looked for place by place when first asked for.

    Parameters
    ----------
    root : Path
        The store's folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._found: dict[tuple[str, Place], dict[str, list[Action]]] = {}
        self._scans: dict[Place, dict[str, list[Action]]] = {}

    def find(self, stage: str, unit: str, key: str, place: Place) -> Action | None:
        """Return a finished action by what it is, or None.

        Parameters
        ----------
        stage, unit, key : str
        place : Place
            Where to look.

        Returns
        -------
        Action or None
            With the part that holds its result, whole and in full.
        """
        for action in self._by_key(stage, place).get(key, ()):
            if stage in _OF_CELL_PARTS:
                return replace(action, unit=unit)
            if action.unit == unit:
                return action
        return None

    def scanned(self, unit: str, recipe: str, place: Place) -> list[Action]:
        """Return finished scans of a file, by its acquisition id and the recipe, whatever its bytes."""
        if place not in self._scans:
            by_unit: dict[str, list[Action]] = defaultdict(list)
            for found in self._by_key(SCAN, place).values():
                for action in found:
                    by_unit[action.unit].append(action)
            self._scans[place] = dict(by_unit)
        mine = self._scans[place].get(unit, ())
        return [action for action in mine if action.fact("recipe", None) == recipe]

    def _by_key(self, stage: str, place: Place) -> dict[str, list[Action]]:
        if (stage, place) not in self._found:
            found: dict[str, list[Action]] = defaultdict(list)
            for path in self._paths(stage, place):
                for action in self._read(path):
                    found[action.key].append(action)
            self._found[stage, place] = dict(found)
        return self._found[stage, place]

    @cached_property
    def _damaged(self) -> frozenset[str]:
        return frozenset(read_damage(self._root))

    def _paths(self, stage: str, place: Place) -> Iterator[str]:
        folder = self._root / PARTS / _TABLES[stage] / (place.archive or "all") / day(place.date)
        for manifest in sorted(folder.glob(f"*/{MANIFEST}")):
            path = manifest.parent.relative_to(self._root).as_posix()
            if path not in self._damaged:
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

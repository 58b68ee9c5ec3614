"""The action: one stage on one unit, and what came of it. One row of the ledger."""

from __future__ import annotations

import datetime as dt  # noqa: TC003 (dataclass fields are read at run time)
import json
from dataclasses import dataclass, field, fields, replace
from typing import Any

from anabatch.store.keys import canonical_json
from anabatch.store.packed import Packed, fact, pack, unpack

OK = "ok"
NO_CELLS = "no_cells"
FAILED = "failed"
DEFERRED = "deferred"
"""Left for the next run, as a file that is still being written."""
GONE = "gone"
"""A tombstone: the unit is no longer there. It stands in the ledger, and in no state."""


@dataclass(frozen=True, slots=True)
class Action:
    """One stage on one unit.

    Attributes
    ----------
    stage : str
        The stage's name.
    unit : str
        What the stage worked on: an acquisition id, an image id, a cell part's path.
    key : str
        Digest of all that determines the result.
    archive : str
        Archive of the unit; empty for population models and what hangs on them.
    date : datetime.date or None
        Date of the unit.
    outcome : {'ok', 'no_cells', 'failed', 'deferred', 'gone'}
    reason : str or None
        Why it failed, or waits.
    components : dict
        What the key is made of, and facts about the result. Each asking makes a new dictionary of
        what is kept: changing it changes nothing.
    part : str or None
        The part that holds the result, relative to the store.
    first_row, rows : int
        Where the result stands in the part.
    part_digest : str or None
        Digest of the part's files.
    sequence : int
        Place of the part in the store's order.
    run : str
        The run that did it.
    """

    stage: str
    unit: str
    key: str
    archive: str = ""
    date: dt.date | None = None
    outcome: str = OK
    reason: str | None = None
    components: dict[str, Any] = field(default_factory=dict)
    part: str | None = None
    first_row: int = 0
    rows: int = 0
    part_digest: str | None = None
    sequence: int = 0
    run: str = ""

    @property
    def identity(self) -> tuple[str, str]:
        """Stage and unit: the ledger holds one action for each."""
        return self.stage, self.unit

    def fact(self, name: str, *default: Any) -> Any:
        """Return one of the components, in a fraction of the time that all of them take.

        Parameters
        ----------
        name : str
        *default
            What to return where there is none of that name.

        Raises
        ------
        KeyError
            There is none, and no default.
        """
        return fact(_SLOT.__get__(self), name, *default)

    def to_row(self) -> dict[str, Any]:
        """Return the action as a row, its components as JSON."""
        row = {name: getattr(self, name) for name in FIELDS}
        row["components"] = canonical_json(self.components)
        return row

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Action:
        """Make an action of its row."""
        values = {name: row[name] for name in FIELDS}
        return cls(**(values | {"components": json.loads(row["components"])}))

    def tombstone(self, run: str) -> Action:
        """Return the row that says that the unit is no longer there, and where it was."""
        places = ("relative_path", "image_id")
        facts = self.components
        kept = {name: facts[name] for name in places if name in facts}
        return Action(
            self.stage,
            self.unit,
            self.key,
            self.archive,
            self.date,
            outcome=GONE,
            components=kept,
            sequence=self.sequence,
            run=run,
        )

    def placed(self, *, part: str, digest: str) -> Action:
        """Return the action with the part that holds its result."""
        return replace(self, part=part, part_digest=digest)


FIELDS = tuple(item.name for item in fields(Action))
"""Names of an action's values, in the order in which it is made of them."""


class _Components:
    """The attribute of that name: packed where it is kept, and a dictionary for whoever asks."""

    def __get__(self, action: Action | None, owner: type[Action] | None = None) -> Any:
        return self if action is None else unpack(_SLOT.__get__(action))

    def __set__(self, action: Action, value: dict[str, Any] | Packed) -> None:
        _SLOT.__set__(action, value if isinstance(value, tuple) else pack(value))


_SLOT = Action.__dict__["components"]
Action.components = _Components()  # type: ignore[assignment, misc]  # it stands before the slot

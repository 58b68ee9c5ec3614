"""The action: one stage on one unit, and what came of it. One row of the ledger."""

from __future__ import annotations

import datetime as dt  # noqa: TC003 (dataclass fields are read at run time)
import json
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from anabatch.store.keys import canonical_json
from anabatch.store.packed import Packed, digits_of, fact, number_of, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable

OK = "ok"
NO_CELLS = "no_cells"
FAILED = "failed"
DEFERRED = "deferred"
"""Left for the next run, as a file that is still being written."""
GONE = "gone"
"""A tombstone: the unit is no longer there. It stands in the ledger, and in no state."""

_NO_FACTS = pack({})
_MOST_SHARED = 1_024


class _Shared(NamedTuple):
    """What an action has in common with those that one task did on other units."""

    stage: str
    archive: str
    date: dt.date | None
    outcome: str
    reason: str | None
    part: str | None
    part_digest: str | None
    sequence: int
    run: str


class _Kept:
    """What is in memory of an action: a ledger has three for every image, for as long as a run takes."""

    __slots__ = ("_components", "_key", "_shared", "first_row", "rows", "unit")

    _components: Packed
    _key: int | str
    _shared: _Shared

    @property
    def _digits(self) -> str:
        return digits_of(self._key)

    @property
    def _facts(self) -> dict[str, Any]:
        return unpack(self._components)


@dataclass(frozen=True, init=False)
class Action(_Kept):
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

    __slots__ = ()

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

    def __init__(  # noqa: PLR0913 (as many as a row has columns)
        self,
        stage: str,
        unit: str,
        key: str,
        archive: str = "",
        date: dt.date | None = None,
        outcome: str = OK,
        reason: str | None = None,
        components: dict[str, Any] | Packed = _NO_FACTS,
        part: str | None = None,
        first_row: int = 0,
        rows: int = 0,
        part_digest: str | None = None,
        sequence: int = 0,
        run: str = "",
    ) -> None:
        shared = (stage, archive, date, outcome, reason, part, part_digest, sequence, run)
        _SET_UNIT(self, unit)
        _SET_KEY(self, number_of(key))
        _SET_COMPONENTS(self, components if isinstance(components, tuple) else pack(components))
        _SET_FIRST_ROW(self, first_row)
        _SET_ROWS(self, rows)
        _SET_SHARED(self, _one_of(shared))

    def __reduce__(self) -> tuple[type[Action], tuple[Any, ...]]:
        """Return what makes the action in another process."""
        return Action, tuple(getattr(self, name) for name in FIELDS)

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
        return fact(self._components, name, *default)

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


def _setter(name: str) -> Callable[[Action, Any], None]:
    """Return what sets a value of an action, which nobody else can."""
    setter: Callable[[Action, Any], None] = getattr(_Kept, name).__set__
    return setter


_SET_UNIT, _SET_KEY, _SET_COMPONENTS, _SET_FIRST_ROW, _SET_ROWS, _SET_SHARED = map(
    _setter, ("unit", "_key", "_components", "first_row", "rows", "_shared")
)
_shared: dict[tuple[Any, ...], _Shared] = {}


def _one_of(values: tuple[Any, ...]) -> _Shared:
    """Return equal values that another action has, if one was made of late."""
    found = _shared.get(values)
    if found is None:
        if len(_shared) >= _MOST_SHARED:
            _shared.clear()
        found = _Shared(*values)
        _shared[found] = found
    return found


def _attributes() -> dict[str, Any]:
    """Return an action's attributes by name: the class has had but the defaults of some of them."""
    kept = vars(_Kept)
    found = {name: kept[name] for name in ("unit", "first_row", "rows")}
    found |= {"key": kept["_digits"], "components": kept["_facts"]}
    return found | {name: property(attrgetter(f"_shared.{name}")) for name in _Shared._fields}


for _name, _attribute in _attributes().items():
    setattr(Action, _name, _attribute)

"""What the fits over the whole archive share: their rows and their model parts."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.store.actions import Action
from anabatch.store.keys import action_key
from anabatch.store.live import MODEL
from anabatch.store.parts import Part, PartWriter, WrittenPart

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from anabatch.store.live import LivePart

_PIECE_BYTES = 10_000_000
"""Read at once: a thousand rows of features, or all of a part's embedding."""
_BUNDLE = "model"
_FITTED = "fitted.json"
_NUMBER = "generation.json"


@dataclass(frozen=True, slots=True)
class Source:
    """An array over a cell part, and which of its rows are live.

    Attributes
    ----------
    live : LivePart
        The cell part.
    part : str
        The part that holds the array, row by row as the cell part.
    array : str
        The array's name.
    """

    live: LivePart
    part: str
    array: str

    def chunks(self, store: Path, rows: int) -> Iterator[NDArray[Any]]:
        """Yield the live rows, at most `rows` at a time."""
        indices = self.live.indices()
        part = Part(store, self.part)
        if not len(indices):
            return
        piece = _piece_rows(part, self.array)
        for start in range(0, len(indices), rows):
            chosen = indices[start : start + rows]
            first, last = int(chosen[0]), int(chosen[-1]) + 1
            values = _read(part, self.array, first, last, piece)
            yield values if len(values) == len(chosen) else values[chosen - first]


def _piece_rows(part: Part, array: str) -> int:
    """Return how many rows to read at once: Zarr holds all that it decodes for one read a second time."""
    (_, *rest), dtype = part.array_info(array)
    return max(1, _PIECE_BYTES // max(1, math.prod(rest) * int(dtype.itemsize)))


def _read(part: Part, array: str, first: int, last: int, piece: int) -> NDArray[Any]:
    """Read rows in pieces of some rows."""
    values = part.array(array, first, min(first + piece, last))
    if len(values) == last - first:
        return values
    rows = np.empty((last - first, *values.shape[1:]), values.dtype)
    rows[: len(values)] = values
    for start in range(first + piece, last, piece):
        stop = min(start + piece, last)
        rows[start - first : stop - first] = part.array(array, start, stop)
    return rows


@dataclass(frozen=True)
class Application:
    """One cell part that a generation is applied to.

    Attributes
    ----------
    store : Path
    archive : str
    date : datetime.date or None
    source : Source
        All rows of the part's array, live or not.
    digest : str
        Digest of the part that holds the array.
    chunk : int
        Rows that are processed at once.
    sequence : int
    run : str
    """

    store: Path
    archive: str
    date: dt.date | None
    source: Source
    digest: str
    chunk: int
    sequence: int
    run: str

    @property
    def cells(self) -> str:
        """Path of the cell part."""
        return self.source.live.path

    def chunks(self) -> Iterator[NDArray[Any]]:
        """Yield all rows, a chunk at a time."""
        return self.source.chunks(self.store, self.chunk)

    def action(self, stage: str, unit: str, key: str, **components: Any) -> Action:
        """Return the action of a stage on this part."""
        return Action(
            stage=stage,
            unit=unit,
            key=key,
            archive=self.archive,
            date=self.date,
            components=components,
            rows=self.source.live.rows,
            sequence=self.sequence,
            run=self.run,
        )

    def part(self, table: str, action: Action) -> PartWriter:
        """Return the writer of the part that holds the action's result."""
        return PartWriter(
            self.store, table, archive=self.archive, date=self.date, keys=[action.key]
        )


@dataclass(frozen=True)
class Generation:
    """A fitted model to be written.

    Attributes
    ----------
    store : Path
    kind : str
        What was fitted: `kpca` or `kmeans`; or what was found out: `choice`, `novelty`.
    name : str
        The model's name.
    number : int
        The generation, from 1.
    settings : str
        Digest of the recipe.
    rows : dict
        Live rows of every cell part that it was fitted on.
    sequence : int
    run : str
    basis : str
        Digest of whatever else it depends on, as on which rows of a part a condition selects.
    """

    store: Path
    kind: str
    name: str
    number: int
    settings: str
    rows: dict[str, int]
    sequence: int
    run: str
    basis: str = ""

    @property
    def unit(self) -> str:
        """The unit of the generation's action."""
        return generation_unit(self.kind, self.name, self.number)

    @property
    def key(self) -> str:
        """The key of the generation's action."""
        beside = {"basis": self.basis} if self.basis else {}
        return action_key(settings=self.settings, rows=self.rows, **beside)

    def write(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> WrittenPart:
        """Write the model's arrays, and what it was fitted on."""
        components = {
            "generation": self.number,
            "settings": self.settings,
            "rows": sum(self.rows.values()),
            **facts,
        }
        action = Action(
            stage=MODEL,
            unit=self.unit,
            key=self.key,
            components=components,
            rows=1,
            sequence=self.sequence,
            run=self.run,
        )
        with PartWriter(self.store, "models", archive=self.name, keys=[action.key]) as part:
            part.bundle(_BUNDLE, arrays)
            part.text(_FITTED, json.dumps(self.rows, sort_keys=True))
            # A fit that finds what the one before it found is another generation all the same: its
            # digest is another, so that rows are told their generation anew.
            part.text(_NUMBER, json.dumps(self.number))
            return part.finish([action])


def generation_unit(kind: str, name: str, number: int) -> str:
    """Return the unit of a model generation's action."""
    return f"{kind}/{name}/{number:06d}"


def read_model(store: Path, path: str) -> dict[str, NDArray[Any]]:
    """Read the arrays of a model generation's part."""
    return Part(store, path).bundle(_BUNDLE)


def fitted_rows(store: Path, path: str) -> dict[str, int]:
    """Return how many live rows of every cell part a generation was fitted on."""
    rows: dict[str, int] = json.loads(Part(store, path).text(_FITTED))
    return rows

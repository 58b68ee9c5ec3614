"""Compaction: parts that are mostly dead or very small are written anew, and the ledger as one file.

Nothing that anybody reads changes: rows, arrays, ids and keys stay what they are, so that no later plan
finds anything to do. What is written anew is what nothing else names by its path: `acquisitions`,
merged by date, and label images. Cell parts stay, live or not: features, embedding, clusters and
the records of what models were fitted on name them, row by row.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from anabatch.store.live import SCAN, SEGMENT, LivePart, live_parts, read_live_rows
from anabatch.store.parts import Part, PartWriter

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator
    from pathlib import Path

    from anabatch.store.actions import Action
    from anabatch.store.parts import WrittenPart
    from anabatch.store.root import Store
    from anabatch.store.state import State

_ACQUISITIONS = "acquisitions"
_LABELS = "labels"
_SMALL_ROWS = 20
"""A part of fewer acquisitions is merged with others of its date; a scan's batch has twice as many."""
_IMAGES_PER_SHARD = 4
_METADATA = "/zarr.json"


@dataclass(frozen=True)
class Rewriting:
    """Parts of one archive and date that become one.

    Attributes
    ----------
    table : {'acquisitions', 'labels'}
    archive : str
    date : datetime.date or None
    parts : tuple of LivePart
    """

    table: str
    archive: str
    date: dt.date | None
    parts: tuple[LivePart, ...]


@dataclass(frozen=True)
class Compaction:
    """What a compaction did.

    Attributes
    ----------
    rewritten : dict
        Table to parts before and after.
    files : int
        Files of the ledger that became one; 0 if there was one already.
    """

    rewritten: dict[str, tuple[int, int]]
    files: int


def plan_compaction(root: Path, state: State) -> list[Rewriting]:
    """Return what is worth writing anew.

    Parameters
    ----------
    root : Path
        The store's folder.
    state : State
    """
    return [*_acquisitions(root, state), *_labels(root, state)]


def _acquisitions(root: Path, state: State) -> Iterator[Rewriting]:
    by_day: dict[tuple[str, dt.date | None], list[LivePart]] = defaultdict(list)
    dead: set[str] = set()
    for live in live_parts(state, SCAN):
        first = state.get(SCAN, live.images[0])
        total = Part(root, live.path).rows(_ACQUISITIONS, ["acquisition_id"]).num_rows
        if 2 * live.rows < total:
            dead.add(live.path)
        if first is not None and (live.rows < _SMALL_ROWS or live.path in dead):
            by_day[first.archive, first.date].append(live)
    for (archive, date), parts in by_day.items():
        if len(parts) > 1 or parts[0].path in dead:
            yield Rewriting(_ACQUISITIONS, archive, date, tuple(parts))


def _labels(root: Path, state: State) -> Iterator[Rewriting]:
    for live in live_parts(state, SEGMENT):
        part = Part(root, live.path)
        names = {name.removesuffix(_METADATA) for name in part.files() if name.endswith(_METADATA)}
        total = sum(part.array_info(name)[0][0] for name in names)
        first = state.get(SEGMENT, live.images[0])
        if first is not None and 2 * live.rows < total:
            yield Rewriting(_LABELS, first.archive, first.date, (live,))


def compact(store: Store, *, run: str) -> Compaction:
    """Write anew what is worth it, in one commit, and then the ledger as one file.

    Parameters
    ----------
    store : Store
        Held by the caller.
    run : str
        The run's id.

    Raises
    ------
    PartCorruptError
        A part that is to be written anew is damaged. Nothing is committed.
    """
    found = plan_compaction(store.root, store.state)
    rewritten: dict[str, tuple[int, int]] = {}
    write = {_ACQUISITIONS: _merge_acquisitions, _LABELS: _rewrite_labels}
    for rewriting in found:
        store.state.put(write[rewriting.table](store.root, store.state, rewriting).actions)
        before, after = rewritten.get(rewriting.table, (0, 0))
        rewritten[rewriting.table] = before + len(rewriting.parts), after + 1
    store.commit(run)
    return Compaction(rewritten, store.fold(run))


def _merge_acquisitions(root: Path, state: State, rewriting: Rewriting) -> WrittenPart:
    tables = [read_live_rows(root, live, _ACQUISITIONS) for live in rewriting.parts]
    old = [a for live in rewriting.parts for a in _actions(state, SCAN, live)]
    moved = []
    row = 0
    for action in old:
        moved.append(replace(action, first_row=row))
        row += action.rows
    with _writer(root, rewriting, moved) as part:
        part.rows(_ACQUISITIONS, pa.concat_tables(tables))
        return part.finish(moved)


def _rewrite_labels(root: Path, state: State, rewriting: Rewriting) -> WrittenPart:
    (live,) = rewriting.parts
    by_array: dict[str, list[Action]] = defaultdict(list)
    for action in _actions(state, SEGMENT, live):
        by_array[str(action.components["array"])].append(action)
    moved = [
        replace(action, first_row=row)
        for actions in by_array.values()
        for row, action in enumerate(actions)
    ]
    source = Part(root, live.path)
    with _writer(root, rewriting, moved) as part:
        for name, actions in by_array.items():
            pairs = [source.label_images(name, action.first_row) for action in actions]
            part.label_images(name, pairs, shard=_IMAGES_PER_SHARD)
        return part.finish(moved)


def _actions(state: State, stage: str, live: LivePart) -> Iterator[Action]:
    for unit in live.images:
        action = state.get(stage, unit)
        if action is not None:
            yield action


def _writer(root: Path, rewriting: Rewriting, actions: list[Action]) -> PartWriter:
    return PartWriter(
        root,
        rewriting.table,
        archive=rewriting.archive,
        date=rewriting.date,
        keys=[action.key for action in actions],
    )

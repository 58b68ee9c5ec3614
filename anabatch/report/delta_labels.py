"""Which labels came, went and changed since the last report."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, TypeAlias

from anabatch.report.source import AXES
from anabatch.store.history import read_annotations
from anabatch.store.live import ANNOTATE, SCAN, LivePart

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from anabatch.report.changes import Change
    from anabatch.report.source import Source
    from anabatch.store.actions import Action

_ROWS = 50

Term: TypeAlias = tuple[str, str]
"""An axis, and a label on it."""


def label_news(source: Source, changes: Iterable[Change]) -> dict[str, Any]:
    """Compare the labels of the dates that were annotated anew.

    Returns
    -------
    dict
        `new`, `changed`, `lost`: files that had no labels, other labels, or have none any more;
        `terms`: labels with the files that gained and lost them, and whether nothing bore them
        before; `rows` and `more`: files whose labels changed or went.
    """
    annotated = [change for change in changes if change.action.stage == ANNOTATE]
    before = _labels(source.store.root, (change.before for change in annotated))
    now = _labels(source.store.root, (change.now for change in annotated))
    names = sorted(before.keys() | now.keys())
    here = [name for name in names if source.store.state.get(SCAN, name)]  # what is gone is told
    moved = [name for name in here if before[name] != now[name]]
    told = [name for name in moved if before[name]]
    return {
        "new": sum(not before[name] for name in moved),
        "changed": sum(bool(before[name] and now[name]) for name in moved),
        "lost": sum(not now[name] for name in moved),
        "terms": _terms(source, annotated, before, now),
        "rows": [_row(source, name, before[name], now[name]) for name in told[:_ROWS]],
        "more": max(0, len(told) - _ROWS),
    }


def _labels(root: Path, actions: Iterable[Action | None]) -> dict[str, set[Term]]:
    """Read the labels of dates, by acquisition."""
    found: dict[str, set[Term]] = defaultdict(set)
    for action in actions:
        if action is None or action.part is None:
            continue
        span = (action.first_row, action.first_row + action.rows)
        rows = read_annotations(root, LivePart(action.part, (span,), ()))
        for row in rows.select(["acquisition_id", "axis", "label"]).to_pylist():
            if row["acquisition_id"] and row["label"]:
                found[row["acquisition_id"]].add((row["axis"], row["label"]))
    return found


def _terms(
    source: Source,
    annotated: Iterable[Change],
    before: dict[str, set[Term]],
    now: dict[str, set[Term]],
) -> list[dict[str, Any]]:
    gained: Counter[Term] = Counter()
    lost: Counter[Term] = Counter()
    for name in before.keys() | now.keys():
        gained.update(now[name] - before[name])
        lost.update(before[name] - now[name])
    anew = {change.now.part for change in annotated if change.now}
    known = {term for part, terms in source.terms.items() if part not in anew for term in terms}
    known |= {term for terms in before.values() for term in terms}
    order = sorted(
        gained.keys() | lost.keys(), key=lambda term: (AXES.index(term[0]), -gained[term], term[1])
    )
    return [
        {
            "axis": term[0],
            "label": term[1],
            "gained": gained[term],
            "lost": lost[term],
            "first": term not in known,
        }
        for term in order
    ]


def _row(source: Source, name: str, before: set[Term], now: set[Term]) -> dict[str, str]:
    scanned = source.store.state.get(SCAN, name)
    return {
        "file": source.place(scanned) if scanned else name,
        "before": _text(before),
        "now": _text(now),
    }


def _text(terms: set[Term]) -> str:
    ordered = sorted(terms, key=lambda term: (AXES.index(term[0]), term[1]))
    return ", ".join(dict.fromkeys(label for _, label in ordered)) or "no label"

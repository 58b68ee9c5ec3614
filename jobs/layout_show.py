"""A layout check on a terminal, and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from rich.table import Table
from rich.text import Text

from anabatch.archive.layout import SHIPPED
from anabatch.report.text import plural

from .screen import screen

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from anabatch.archive.layout import Fits

    from .layout import LayoutCheck

_SHOWN = 5


def to_json(check: LayoutCheck | None, fits: Fits | None, refused: str) -> str:
    """Return one JSON object: what was detected, and the check of the layout that was chosen."""
    content = {
        "detected": asdict(fits) | {"good": fits.good} if fits else None,
        "refused": refused or None,
        "check": asdict(check) if check else None,
    }
    return json.dumps(content, default=str, ensure_ascii=False, indent=2)


def show_fits(root: Path, fits: Fits) -> None:
    """Print how many images and exports each shipped layout would take."""
    table = _table("layout", "images", "exports", title=f"layouts that {root} could have")
    for name in SHIPPED:
        exports = f"{fits.fitting_exports[name]:,}" if name in fits.fitting_exports else "-"
        mark = " (fits)" if name in fits.good else ""
        _row(table, f"{name}{mark}", f"{fits.fitting_images[name]:,}", exports)
    _row(table, "files looked at", f"{fits.images:,}", f"{fits.exports:,}")
    _print(table)


def show_check(check: LayoutCheck) -> None:
    """Print a check: patterns, what they say, dates, sizes, exports, and what does not fit."""
    _show_patterns(check)
    _show_groups(check)
    _show_dates(check)
    if check.classes:
        table = _table("class", "images", "labels", title="class folders")
        for name, images, labels in check.classes:
            _row(table, name, f"{images:,}", ", ".join(labels) or "unknown")
        _print(table)
    _show_sizes(check)
    if check.export_contents.opened:
        _show_exports(check)
    _show_problems(check)
    if check.others:
        others = ", ".join(f"{n:,} {_plain(suffix)}" for suffix, n in check.others.items())
        _say(f"other files, which nothing reads: {others}")
    for note in check.notes:
        _say(f"note: {note}", "yellow")
    for sentence in check.unmatched:
        _say(f"does not fit: {sentence}", "red")
    if not check.unmatched:
        _say(
            f"all matched: {plural(check.images, 'image')}, {plural(check.exports, 'export')}",
            "green",
        )


def _show_patterns(check: LayoutCheck) -> None:
    title = f"layout {check.layout} on {check.root}"
    table = _table("pattern", "matched", "unmatched", "tried on", title=title)
    for pattern in check.patterns:
        numbers = (f"{pattern.matched:,}", f"{pattern.unmatched:,}")
        _row(table, pattern.pattern, *numbers, pattern.tried_on)
    _print(table)
    if any(pattern.examples for pattern in check.patterns):
        table = _table("pattern", "files", "such as", "why", title="unmatched")
        for pattern in check.patterns:
            for example in pattern.examples:
                row = (pattern.pattern, f"{example.files:,}", example.name, example.reason)
                _row(table, *row)
        _print(table)


def _show_groups(check: LayoutCheck) -> None:
    if not check.groups:
        return
    table = _table("group", "images", "without", "distinct", "values", title="what names say")
    for group in check.groups:
        if not group.images and group.group == "other_run":
            continue
        values = ", ".join(group.values) + (", ..." if group.distinct > len(group.values) else "")
        numbers = (f"{n:,}" for n in (group.images, group.silent, group.distinct))
        _row(table, f"{group.pattern}: {group.group}", *numbers, values)
    _print(table)


def _show_dates(check: LayoutCheck) -> None:
    dates = check.dates
    if dates is None or dates.first is None:
        return
    gap = f"; longest gap {plural(dates.longest_gap, 'day')}, after {dates.gap_after}"
    span = f"dates: {plural(dates.days, 'day')} with images, from {dates.first} to {dates.last}"
    _say(span + (gap if dates.longest_gap else ""))


def _show_sizes(check: LayoutCheck) -> None:
    title = f"sizes of {plural(check.sizes.opened, 'image that was', 'images that were')} opened"
    table = _table("size", "images", "pixels per reference pixel", title=title)
    for size, images, pixels in check.sizes.sizes:
        _row(table, size, f"{images:,}", "unknown" if pixels is None else f"{pixels:g}")
    _print(table)
    _list("not readable", check.sizes.unreadable)


def _show_exports(check: LayoutCheck) -> None:
    found = check.export_contents
    title = f"{found.opened} of {check.exports:,} exports, which were opened"
    table = _table("what", "found", title=title)
    separators = {{"\t": "tab"}.get(key, key): n for key, n in found.separators.items()}
    for name, counts in (
        ("kind", found.kinds),
        ("encoding", found.encodings),
        ("separator", separators),
        *((f"column {role}", columns) for role, columns in found.columns.items()),
    ):
        told = ", ".join(f"{key} ({n:,})" for key, n in counts.items())
        _row(table, name, told or "none")
    _row(table, "rows", f"{found.rows:,}, {found.rows_with_image:,} with their image")
    _print(table)
    if found.codes:
        table = _table("code", "rows", "label", "such as", title="codes in these exports")
        for code in found.codes:
            label = code.label or "unknown"
            _row(table, str(code.code), f"{code.rows:,}", label, code.example)
        _print(table)
    _list("cannot be understood", found.unreadable)
    _list(
        "names no image beside it", ((f"{a}, line {n}", b) for a, n, b in found.rows_without_image)
    )


def _show_problems(check: LayoutCheck) -> None:
    _list("cannot be read", check.problems)
    _list("empty", ((path, "no bytes") for path in check.empty))


def _list(what: str, items: Iterable[tuple[str, str]]) -> None:
    every = list(items)
    for path, reason in every[:_SHOWN]:
        _say(f"{what}: {path}: {reason}")
    if len(every) > _SHOWN:
        _say(f"{what}: {len(every) - _SHOWN:,} more")


_NUMBERS = frozenset({"matched", "unmatched", "images", "exports", "files", "without", "distinct"})


def _table(*columns: str, title: str) -> Table:
    table = Table(title=Text(_plain(title)), title_justify="left")
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in _NUMBERS else "left"
        table.add_column(column, justify=justify, overflow="fold")
    return table


def _row(table: Table, *cells: str) -> None:
    """Add a row as it stands: the code [7] is no markup."""
    table.add_row(*(Text(_plain(cell)) for cell in cells))


def _print(table: Table) -> None:
    screen().print(table)


def _say(text: str, style: str | None = None) -> None:
    screen().print(_plain(text), style=style, markup=False)


def _plain(text: Any) -> str:
    """Return text on one line: names of files may hold anything."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))

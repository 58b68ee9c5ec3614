"""What a layout makes of the names of an archive's files: its patterns, their groups, and dates."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from os.path import splitext
from typing import TYPE_CHECKING

from anabatch.archive.walk import ListedFile, Problem, is_image, walk

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from anabatch.archive.layout import Layout

_TABLES = frozenset({".csv", ".tsv"})

# The values of a group that are shown.
_VALUES = 3


@dataclass(frozen=True)
class Example:
    """Names of one shape that a pattern does not take.

    Attributes
    ----------
    name : str
        One of them.
    reason : str
    files : int
        How many differ from it in their digits and letters alone.
    """

    name: str
    reason: str
    files: int


@dataclass(frozen=True)
class PatternReport:
    """What one pattern of a layout makes of the names that it is tried on.

    Attributes
    ----------
    pattern : str
        Its key in the layout.
    tried_on : str
        What it is tried on.
    matched, unmatched : int
    examples : tuple of Example
        Of what is not matched, the most frequent shapes first.
    """

    pattern: str
    tried_on: str
    matched: int
    unmatched: int
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True)
class GroupReport:
    """What one named group says.

    Attributes
    ----------
    pattern, group : str
    images : int
        Images of which it says something.
    silent : int
        Images that the pattern takes, and of which the group says nothing.
    distinct : int
        Different values.
    values : tuple of str
        The first of them.
    """

    pattern: str
    group: str
    images: int
    silent: int
    distinct: int
    values: tuple[str, ...]


@dataclass(frozen=True)
class DatesReport:
    """The dates of an archive's images.

    Attributes
    ----------
    first, last : datetime.date or None
    days : int
        Dates that have images.
    longest_gap : int
        Days without images between two that have some, at most.
    gap_after : datetime.date or None
        The day before that gap.
    """

    first: dt.date | None = None
    last: dt.date | None = None
    days: int = 0
    longest_gap: int = 0
    gap_after: dt.date | None = None


@dataclass
class Files:
    """What lies in an archive, before the layout has a say."""

    images: list[ListedFile] = field(default_factory=list)
    exports: list[ListedFile] = field(default_factory=list)
    tables: list[ListedFile] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)


def list_files(root: Path, layout: Layout) -> Files:
    """Return all files of an archive by what they are; what cannot be read is the listing's."""
    found = Files()
    for item in walk(root, layout.ignored):
        if isinstance(item, Problem):
            continue  # the listing tells them
        suffix = splitext(item.name)[1].lower()  # noqa: PTH122 -- a name, a hundred thousand times
        if is_image(item.name):
            found.images.append(item)
        elif layout.is_export(item.name):
            found.exports.append(item)
        elif suffix in _TABLES:
            found.tables.append(item)
        else:
            found.others[suffix or "(none)"] += 1
    return found


def try_patterns(layout: Layout, found: Files, examples: int) -> Iterable[PatternReport]:
    """Yield what each pattern makes of all names, with examples of what it does not take."""

    def report(
        key: str, tried_on: str, texts: Iterable[str], why: Callable[[str], str]
    ) -> PatternReport:
        counts: Counter[bool] = Counter()
        shapes: dict[tuple[str, str], tuple[str, int]] = {}
        for text in texts:
            reason = why(text)
            counts[not reason] += 1
            if reason:
                first, files = shapes.get(kind := (_shape(text), reason), (text, 0))
                shapes[kind] = first, files + 1
        frequent = sorted(shapes.items(), key=lambda shape: (-shape[1][1], shape[1][0]))[:examples]
        shown = tuple(Example(name, reason, n) for (_, reason), (name, n) in frequent)
        return PatternReport(key, tried_on, counts[True], counts[False], shown)

    files = sorted([*found.images, *found.exports])
    paths = (file.relative_path for file in files)
    yield report("path", "images and exports", paths, _why_unfit(layout, files))
    if layout.image_name:
        names = (file.name for file in found.images)
        yield report("image_name", "names of images", names, _why_nameless(layout))
    if layout.export_name:
        tables = sorted([*found.exports, *found.tables])
        paths = (file.relative_path for file in tables)
        yield report("export_name", "names of .csv and .tsv files", paths, _why_no_export(layout))


def _why_unfit(layout: Layout, files: Iterable[ListedFile]) -> Callable[[str], str]:
    paths = [file.relative_path for file in files]
    depths = sorted({path.count("/") for path in paths if layout.parse_path(path)})
    where = " or ".join(map(str, depths))

    def why(path: str) -> str:
        reason = layout.why_unfit(path)
        depth = path.count("/")
        if reason and depths and depth not in depths:
            return f"folders above it: {depth}; above what fits: {where}"
        return reason

    return why


def _why_nameless(layout: Layout) -> Callable[[str], str]:
    pattern = re.compile(layout.image_name)

    def why(name: str) -> str:
        fits = pattern.fullmatch(splitext(name)[0])  # noqa: PTH122 -- a name, a hundred thousand times
        return "" if fits else "the name says nothing"

    return why


def _why_no_export(layout: Layout) -> Callable[[str], str]:
    def why(path: str) -> str:
        if layout.is_export(path.rpartition("/")[2]):
            return ""
        return "not read; if it is no export, name it in ignored"

    return why


def _shape(text: str) -> str:
    """Return what names of one kind have in common: all but their digits and letters."""
    return re.sub(r"[0-9]+", "9", re.sub(r"[^\W\d_]+", "a", text))


def read_groups(layout: Layout, images: Sequence[ListedFile]) -> Iterable[GroupReport]:
    """Yield what each named group says of the images at the layout's places."""
    for key, pattern in (("path", layout.path), ("image_name", layout.image_name)):
        compiled = re.compile(pattern)
        if not compiled.groupindex:
            continue
        values: dict[str, Counter[str]] = defaultdict(Counter)
        matched = 0
        for file in images:
            text = file.relative_path if key == "path" else splitext(file.name)[0]  # noqa: PTH122 -- a name
            match = compiled.fullmatch(text)
            matched += match is not None
            for group, value in (match.groupdict() if match else {}).items():
                if value:
                    values[group][value] += 1
        for group in compiled.groupindex:
            said = values[group].total()
            first = tuple(sorted(values[group])[:_VALUES])
            yield GroupReport(key, group, said, matched - said, len(values[group]), first)


def read_dates(layout: Layout, images: Sequence[ListedFile]) -> DatesReport:
    """Return the dates of the images at the layout's places."""
    parts = (layout.parse_path(file.relative_path) for file in images)
    days = sorted({part.date for part in parts if part and part.date})
    if not days:
        return DatesReport()
    gap, after = max(
        (((later - earlier).days - 1, earlier) for earlier, later in pairwise(days)),
        default=(0, None),
        key=lambda found: found[0],
    )
    return DatesReport(days[0], days[-1], len(days), gap, after if gap else None)

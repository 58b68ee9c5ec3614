"""Layout check: what a layout makes of an archive, before anything runs.

It walks the whole archive and tries every pattern on every name. Of contents it opens a sample: the
headers of some images and some exports, spread evenly over the archive. It writes nothing and needs no
store.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from anabatch.archive.listing import list_archive

from .layout_contents import ExportsReport, SizesReport, look_at_exports, look_at_headers
from .layout_findings import notes, unmatched
from .layout_names import (
    DatesReport,
    GroupReport,
    PatternReport,
    list_files,
    read_dates,
    read_groups,
    try_patterns,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from anabatch.archive.layout import Layout
    from anabatch.archive.walk import ListedFile
    from anabatch.vocabulary import Vocabulary

EXAMPLES = 5
"""How many kinds of unmatched names are shown for each pattern."""

SAMPLE = 50
"""How many images, and how many exports, are opened."""


@dataclass(frozen=True)
class LayoutCheck:
    """What a layout makes of an archive.

    Attributes
    ----------
    root, layout : str
    images, exports : int
        At the layout's places.
    patterns : tuple of PatternReport
    groups : tuple of GroupReport
    dates : DatesReport or None
        None for a layout without dates.
    sizes : SizesReport
    export_contents : ExportsReport
    classes : tuple of (str, int, tuple of str)
        Class, images, and the labels that the class table gives it.
    empty : tuple of str
        Images and exports of zero bytes.
    others : mapping
        Files that are neither images nor exports, by their extension.
    problems : tuple of (str, str)
        Places of the archive that a run puts in quarantine, with the reason; those that `path`
        does not take stand with the patterns.
    unmatched : tuple of str
        Everything that does not fit the layout, as sentences. None: all matched.
    notes : tuple of str
        What a run takes as it is, and what may still be a mistake.
    """

    root: str
    layout: str
    images: int
    exports: int
    patterns: tuple[PatternReport, ...]
    groups: tuple[GroupReport, ...]
    dates: DatesReport | None
    sizes: SizesReport
    export_contents: ExportsReport
    classes: tuple[tuple[str, int, tuple[str, ...]], ...]
    empty: tuple[str, ...]
    others: dict[str, int]
    problems: tuple[tuple[str, str], ...]
    unmatched: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def check_layout(
    root: Path,
    layout: Layout,
    vocabulary: Vocabulary,
    *,
    examples: int = EXAMPLES,
    sample: int = SAMPLE,
) -> LayoutCheck:
    """Tell what a layout makes of an archive.

    Parameters
    ----------
    root : Path
        The archive's root.
    layout : Layout
    vocabulary : Vocabulary
        With the layout's tables of codes and classes.
    examples : int
        Kinds of unmatched names that are given for each pattern.
    sample : int
        Images, and exports, that are opened.

    Returns
    -------
    LayoutCheck

    Raises
    ------
    ConfigurationError
        The root is no folder.
    """
    listing = list_archive(root, layout)
    found = list_files(root, layout)
    patterns = tuple(try_patterns(layout, found, examples))
    images = [file for file in found.images if layout.parse_path(file.relative_path)]
    exports = [file for file in found.exports if layout.parse_path(file.relative_path)]
    strays = {file.relative_path for file in (*found.images, *found.exports)}
    check = LayoutCheck(
        root=str(root),
        layout=layout.name,
        images=len(images),
        exports=len(exports),
        patterns=patterns,
        groups=tuple(read_groups(layout, images)),
        dates=read_dates(layout, images) if layout.has_dates else None,
        sizes=look_at_headers(root, layout, spread(images, sample)),
        export_contents=look_at_exports(root, layout, vocabulary, spread(exports, sample), images),
        classes=tuple(_classes(layout, images, vocabulary)),
        empty=tuple(file.relative_path for file in (*images, *exports) if not file.size),
        others=dict(found.others.most_common()),
        problems=tuple(one for one in listing.problems if one[0] not in strays),
    )
    return replace(check, unmatched=tuple(unmatched(check)), notes=tuple(notes(check)))


def spread(items: Sequence[ListedFile], count: int) -> list[ListedFile]:
    """Return at most so many items, evenly spread over all, always the same ones."""
    if len(items) <= count:
        return list(items)
    return [items[position * len(items) // count] for position in range(count)]


def _classes(
    layout: Layout, images: Sequence[ListedFile], vocabulary: Vocabulary
) -> Iterable[tuple[str, int, tuple[str, ...]]]:
    if not layout.has_classes:
        return
    names = Counter(
        part.class_name
        for file in images
        if (part := layout.parse_path(file.relative_path)) and part.class_name
    )
    for name, files in sorted(names.items()):
        yield name, files, vocabulary.class_labels(name)

"""The listing of an archive: images, exports, and what cannot be read. It opens no file."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from anabatch.archive.layout import parse_date
from anabatch.archive.walk import ListedFile, Problem, is_image, walk
from anabatch.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from anabatch.archive.layout import Layout

__all__ = ["ListedFile", "Listing", "list_archive"]

# Where it is tomorrow already, a file may bear tomorrow's date.
_AHEAD = dt.timedelta(days=1)


@dataclass(frozen=True)
class Listing:
    """What an archive holds, all sorted by path.

    Attributes
    ----------
    images, exports : tuple of ListedFile
        Files at the layout's places.
    others : int
        Files that are neither.
    problems : tuple of (str, str)
        Relative path and reason of everything that should have been read and cannot. A folder's
        problem is that of all that lies in it.
    dates : mapping
        The date of every image and export by relative path; None where the layout has none.
    listed_ns : int
        When the listing began, in nanoseconds since 1970.
    """

    images: tuple[ListedFile, ...]
    exports: tuple[ListedFile, ...]
    others: int
    problems: tuple[tuple[str, str], ...]
    dates: Mapping[str, dt.date | None] = field(default_factory=dict)
    listed_ns: int = 0


def list_archive(
    root: Path, layout: Layout, *, now_ns: int | None = None, known: Mapping[str, str] | None = None
) -> Listing:
    """List an archive.

    Parameters
    ----------
    root : Path
        The archive's root. Nothing in it is opened or written.
    layout : Layout
    now_ns : int, optional
        The time, in nanoseconds since 1970: what is dated later than tomorrow is a problem.
    known : mapping, optional
        Relative paths that are in memory already, each by itself: those of the listing are the same
        objects.

    Returns
    -------
    Listing
        Images and exports that lie where the layout has none, folders whose names are no dates or
        dates to come, folders without permission and links out of the archive are problems.

    Raises
    ------
    ConfigurationError
        The root is no folder.
    """
    if not root.is_dir():
        what = f"there is no folder at {root}"
        raise ConfigurationError(what, "Is the drive mounted? Give the archive's root.")
    listed_ns = time.time_ns() if now_ns is None else now_ns
    latest = dt.datetime.fromtimestamp(listed_ns / 1e9, dt.UTC).date() + _AHEAD
    images: list[ListedFile] = []
    exports: list[ListedFile] = []
    problems: set[Problem] = set()
    dates: dict[str, dt.date | None] = {}
    places = _Places(layout, latest)
    others = 0
    for item in walk(root, layout.ignored, known):
        if isinstance(item, Problem):
            problems.add(item)
            continue
        name = item.name
        if not (image := is_image(name)) and not layout.is_export(name):
            others += 1
            continue
        found = places.date(item.relative_path, image=image)
        if isinstance(found, Problem):
            problems.add(found)
            continue
        dates[item.relative_path] = found
        (images if image else exports).append(item)
    return Listing(
        images=tuple(sorted(images)),
        exports=tuple(sorted(exports)),
        others=others,
        problems=tuple((problem.relative_path, problem.reason) for problem in sorted(problems)),
        dates=dates,
        listed_ns=listed_ns,
    )


class _Places:
    """What the places of an archive's files say, and what is wrong with them."""

    def __init__(self, layout: Layout, latest: dt.date) -> None:
        self._layout = layout
        self._latest = latest
        self._has_dates = layout.has_dates
        self._dated: dict[str, tuple[str, ...]] = {}

    def date(self, path: str, *, image: bool) -> dt.date | Problem | None:
        """Return the date of a file's place, or what is wrong with the place."""
        place = self._layout.parse_path(path)
        folder = path.rpartition("/")[0]
        if self._has_dates and len(dated := self._dated_folders(folder)) > 1:
            return Problem(dated[1], "a date folder in a date folder: which date is it?")
        if place is None:
            return self._unfit(path, image=image)
        if place.date is not None and place.date > self._latest:
            reason = f"{place.date} is a date in the future: is the microscope's clock right?"
            return Problem((*self._dated_folders(folder), folder)[0], reason)
        return place.date

    def _dated_folders(self, folder: str) -> tuple[str, ...]:
        """Return those of a folder and the folders above it that a date is the name of."""
        if folder not in self._dated:
            self._dated[folder] = tuple(
                above
                for above in _with_parents(folder)
                if parse_date(above.rpartition("/")[2], self._layout.date_format)
            )
        return self._dated[folder]

    def _unfit(self, path: str, *, image: bool) -> Problem:
        why = self._layout.why_unfit(path)
        for folder in _with_parents(path.rpartition("/")[0]):
            name = folder.rpartition("/")[2]
            if why.startswith(f"{name} is no date"):
                return Problem(folder, f"{why}: rename the folder, and its images are read")
        return Problem(path, f"{'an image' if image else 'an export'} at a wrong place: {why}")


def _with_parents(folder: str) -> list[str]:
    """Return a folder below the root and all above it, the highest first."""
    names = folder.split("/")
    return ["/".join(names[:depth]) for depth in range(1, len(names) + 1)]

"""A layout as a value: where an archive keeps its images, and what their paths and names say.

Its patterns are Python's regular expressions, and fit a whole path or name or not at all. They run on
every file of every night: a pattern whose time could double with every character is refused when it is
read (:mod:`anabatch.archive.patterns`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from anabatch.archive.dialect import Dialect, TableName
from anabatch.archive.patterns import check_date_format, check_groups, check_pattern, check_time
from anabatch.config import ImageSize, Positive, Section

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH_GROUPS = (
    *("date", "year", "month", "day", "run", "other_run", "instrument", "class_name", "group"),
    *("plate", "sample", "well"),
)
"""What a path can say: the named groups of `path`."""

NAME_GROUPS = ("well_index", "plate", "sample", "well")
"""What a name can say: the named groups of `image_name`."""

DATE_FORMAT = "%Y%m%d"

_DAY_PARTS = ("year", "month", "day")

# What of a layout determines a row of `acquisitions`, and what a row of `annotations`.
_OF_SCAN = frozenset({"name", "path", "date_format", "image_name", "pixels_per_reference_pixel"})
_OF_LABELS = frozenset({"path", "date_format", "image_name", "export"})

Pattern = Annotated[str, AfterValidator(check_pattern)]
DateFormat = Annotated[str, AfterValidator(check_date_format)]


@dataclass(frozen=True)
class PathParts:
    """What a file's place in the archive says; None where it says nothing.

    Attributes
    ----------
    date : datetime.date or None
    run : str or None
        The run of the day.
    instrument : str or None
        The instrument's serial number, with its letters (`SN08030`).
    class_name : str or None
        The class, verbatim.
    """

    date: dt.date | None = None
    run: str | None = None
    instrument: str | None = None
    class_name: str | None = None


@dataclass(frozen=True)
class NameParts:
    """What an image's name, or its folders, say of the well; None where they say nothing.

    Attributes
    ----------
    well_index, plate, sample, well : str or None
        As they stand there, with leading zeros.
    """

    well_index: str | None = None
    plate: str | None = None
    sample: str | None = None
    well: str | None = None


class Layout(Section):
    """Where an archive keeps its images, and what their paths and names say.

    Attributes
    ----------
    name : str
        The layout's name.
    path : str
        Regular expression of the whole path of images and exports below the root, with `/`. Its
        groups: `date` (or `year`, `month` and `day`), `run` (or `other_run`), `instrument`,
        `class_name`, `group`, and what an image's name may say too: `plate`, `sample`, `well`. A
        layout with `class_name` has labels by its folders.
    date_format : str
        How `date` is written, in the letters of `strftime`: `%Y`, `%y`, `%m`, `%d`, `%j`.
    image_name : str
        Regular expression of an image's whole name without its extension. Its groups:
        `well_index`, `plate`, `sample`, `well`. Empty: names say nothing.
    export_name : str
        Regular expression of the whole name of an export, whatever its case. Empty: no exports.
    export : Dialect
        How the exports are written.
    classes : str
        What class folders mean: a file beside the layout's own, or else in the vocabulary's folder.
    ignored : tuple of str
        Shell patterns of files and folders to pass over.
    pixels_per_reference_pixel : dict
        Image size as `WIDTHxHEIGHT` to the pixels that make one reference pixel.
    """

    name: Annotated[str, Field(min_length=1)]
    path: Pattern
    date_format: DateFormat = DATE_FORMAT
    image_name: Pattern = ""
    export_name: Pattern = ""
    export: Dialect = Dialect()
    classes: TableName = "hep_annot.csv"
    ignored: tuple[str, ...] = ()
    pixels_per_reference_pixel: dict[ImageSize, Positive] = Field(default_factory=dict)

    _folder: Path | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _groups_fit_together(self) -> Self:
        if not self.path:
            message = "path: an empty pattern finds no file"
            raise ValueError(message)
        in_path = check_groups("path", self.path, PATH_GROUPS)
        in_name = check_groups("image_name", self.image_name, NAME_GROUPS)
        check_groups("export_name", self.export_name, ())
        for key in ("kind_in_name", "stamp_in_name", "term"):
            check_time(getattr(self.export, key))
        for wrong, message in self._contradictions(in_path, in_name):
            if wrong:
                raise ValueError(message)
        return self

    def _contradictions(self, in_path: set[str], in_name: set[str]) -> tuple[tuple[bool, str], ...]:
        days = in_path & set(_DAY_PARTS)
        twice = ", ".join(sorted(in_path & in_name))
        groups = ", ".join(NAME_GROUPS)
        return (
            (
                0 < len(days) < len(_DAY_PARTS),
                "path: the groups year, month and day make a date together; one is missing",
            ),
            (
                "date" in in_path and bool(days),
                "path: a date is either the group date, or year, month and day",
            ),
            (
                self.date_format != DATE_FORMAT and "date" not in in_path,
                "date_format: path has no group date that is written so",
            ),
            (
                bool(self.image_name) and not in_name,
                f"image_name: it has no named group, and says nothing; it may have {groups}",
            ),
            (bool(twice), f"image_name: path has the same group ({twice}); leave it in one"),
            (
                "export" in self.model_fields_set and not self.export_name,
                "export: how exports are written is said, but export_name names none",
            ),
        )

    def beside(self, folder: Path) -> Self:
        """Return the layout with the folder of its own file, where its tables are looked for."""
        copy = self.model_copy()
        copy._folder = folder.resolve()  # noqa: SLF001 -- its own class
        return copy

    @property
    def code_table(self) -> str:
        """The table of the exports' codes.

        A path if it lies beside the layout's own file, else a name in the vocabulary's folder.
        """
        return self._table(self.export.codes)

    @property
    def class_table(self) -> str:
        """The table of the class folders' labels: a path, or a name as :attr:`code_table`."""
        return self._table(self.classes)

    def _table(self, name: str) -> str:
        own = self._folder / name if self._folder else None
        return str(own) if own and own.is_file() else name

    @property
    def scan_digest(self) -> str:
        """32 hex digits that change with whatever determines a row of `acquisitions`."""
        return self._digest_of(_OF_SCAN)

    @property
    def labels_digest(self) -> str:
        """32 hex digits that change with whatever determines how exports and names are read.

        The tables of codes and classes are not in it: their content is in the vocabulary's digest.
        """
        return self._digest_of(_OF_LABELS)

    def _digest_of(self, fields: frozenset[str]) -> str:
        content = self.model_dump(mode="json", include=set(fields), exclude={"export": {"codes"}})
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()

    @property
    def has_classes(self) -> bool:
        """Whether the folders of this layout name classes."""
        return "class_name" in re.compile(self.path).groupindex

    @property
    def has_dates(self) -> bool:
        """Whether the folders of this layout name dates."""
        return bool({"date", "year"} & re.compile(self.path).groupindex.keys())

    def parse_path(self, relative_path: str) -> PathParts | None:
        """Read a file's place in the archive.

        Parameters
        ----------
        relative_path : str
            Path below the archive's root, with `/`.

        Returns
        -------
        PathParts or None
            None when the layout has no images or exports at such a place.
        """
        match = re.fullmatch(self.path, relative_path)
        if match is None:
            return None
        found = match.groupdict()
        written = self._written_date(found)
        day = None if written is None else parse_date(*written)
        if written is not None and day is None:
            return None
        return PathParts(
            date=day,
            run=found.get("run") or found.get("other_run"),
            instrument=found.get("instrument"),
            class_name=found.get("class_name"),
        )

    def why_unfit(self, relative_path: str) -> str:
        """Say why the layout has no images or exports at a place; empty where it has."""
        match = re.fullmatch(self.path, relative_path)
        if match is None:
            return f"the layout {self.name} has no such place"
        written = self._written_date(match.groupdict())
        if written is None or parse_date(*written) is not None:
            return ""
        return f"{written[0]} is no date ({written[1]})"

    def _written_date(self, found: Mapping[str, str | None]) -> tuple[str, str] | None:
        """Return the date that the groups of a path give, and its format; None without one."""
        if found.get("date") is not None:
            return str(found["date"]), self.date_format
        year, month, day = (found.get(part) for part in _DAY_PARTS)
        if year is None or month is None or day is None:
            return None
        return f"{year}-{month.zfill(2)}-{day.zfill(2)}", "%Y-%m-%d"

    def parse_image_name(self, file_name: str) -> NameParts:
        """Read an image's file name; a name that does not fit says nothing.

        Parameters
        ----------
        file_name : str
            The name, or the path below the archive's root: then the path's own groups `plate`,
            `sample` and `well` are read as well.
        """
        found: dict[str, str | None] = {}
        for pattern, text in ((self.path, file_name), (self.image_name, Path(file_name).stem)):
            match = re.fullmatch(pattern, text) if pattern else None
            found |= match.groupdict() if match else {}
        # a group that took no character says nothing
        return NameParts(**{name: found.get(name) or None for name in NAME_GROUPS})

    def is_export(self, file_name: str) -> bool:
        """Tell by its name whether a file is an export of the laboratory information system."""
        return bool(self.export_name) and bool(
            re.fullmatch(self.export_name, file_name, flags=re.IGNORECASE)
        )

    def reference_pixels(
        self, width: int, height: int, own: Mapping[str, float] | None = None
    ) -> tuple[float, bool]:
        """Return how many source pixels make one reference pixel.

        Parameters
        ----------
        width, height : int
            The image's size, in pixels.
        own : mapping, optional
            The user's table, which goes before the layout's.

        Returns
        -------
        value : float
            1.0 for a size that no table has.
        known : bool
            Whether a table has the size. A caller warns when not.
        """
        size = f"{width}x{height}"
        for table in (own or {}, self.pixels_per_reference_pixel):
            if size in table:
                return float(table[size]), True
        return 1.0, False


@lru_cache(maxsize=8_192)
def parse_date(text: str, date_format: str = DATE_FORMAT) -> dt.date | None:
    """Return the date that a text names, or None when there is no such day.

    Parameters
    ----------
    text : str
    date_format : str
        In the letters of `strftime`. The text must be written just so, with its zeros.
    """
    try:
        day = dt.datetime.strptime(text, date_format).date()  # noqa: DTZ007 -- a day has no zone
    except ValueError:
        return None
    # strptime also takes 2021121 for the first of December
    return day if day.strftime(date_format) == text else None


def file_date(relative_path: str, layout: Layout) -> dt.date | None:
    """Return the date of a file's date folder; None in a layout without dates."""
    parts = layout.parse_path(relative_path)
    return None if parts is None else parts.date

"""An archive's layout as a value: where images lie, and what paths and names say. Read from TOML.

A new layout is a TOML file (`schemas/layouts/`), and no code.
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, ValidationError

from anabatch.archive.walk import ListedFile, is_image, walk
from anabatch.config import Positive, Section
from anabatch.errors import AmbiguousLayoutError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SHIPPED = ("dated", "by-class", "unlabelled")
"""Names of the layouts that are shipped."""

# Detection looks at this many images at most, and wants this share of them to fit.
_DETECTION_IMAGES = 2_000
_DETECTION_SHARE = 0.9


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        message = f"{pattern!r} is not a regular expression: {error}"
        raise ValueError(message) from error
    return pattern


Pattern = Annotated[str, AfterValidator(_compiles)]
SizeName = Annotated[str, Field(pattern=r"^[1-9][0-9]*x[1-9][0-9]*$")]


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
    """What an image's name says; None where it says nothing.

    Attributes
    ----------
    well_index, plate, sample, well : str or None
        As they stand in the name, with leading zeros.
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
        Regular expression of the path of images and exports below the root. Its groups: `date`
        (YYYYMMDD), `run` (or `other_run`), `instrument`, `class_name`, `group`. A layout with
        `class_name` has labels by its folders.
    image_name : str
        Regular expression of an image's name without its extension. Its groups: `well_index`,
        `plate`, `sample`, `well`. Empty: names say nothing.
    export_name : str
        Regular expression of the name of an export, whatever its case. Empty: no exports.
    ignored : tuple of str
        Shell patterns of files and folders to pass over.
    pixels_per_reference_pixel : dict
        Image size as `WIDTHxHEIGHT` to the pixels that make one reference pixel.
    """

    name: Annotated[str, Field(min_length=1)]
    path: Pattern
    image_name: Pattern = ""
    export_name: Pattern = ""
    ignored: tuple[str, ...] = ()
    pixels_per_reference_pixel: dict[SizeName, Positive] = Field(default_factory=dict)

    @property
    def has_classes(self) -> bool:
        """Whether the folders of this layout name classes."""
        return "class_name" in re.compile(self.path).groupindex

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
        match = re.match(self.path, relative_path)
        if match is None:
            return None
        found = match.groupdict()
        date = found.get("date")
        day = parse_date(date) if date is not None else None
        if date is not None and day is None:
            return None
        return PathParts(
            date=day,
            run=found.get("run") or found.get("other_run"),
            instrument=found.get("instrument"),
            class_name=found.get("class_name"),
        )

    def parse_image_name(self, file_name: str) -> NameParts:
        """Read an image's file name; a name that does not fit says nothing."""
        if not self.image_name:
            return NameParts()
        match = re.match(self.image_name, Path(file_name).stem)
        found = match.groupdict() if match else {}
        return NameParts(
            well_index=found.get("well_index"),
            plate=found.get("plate"),
            sample=found.get("sample"),
            well=found.get("well"),
        )

    def is_export(self, file_name: str) -> bool:
        """Tell by its name whether a file is an export of the laboratory information system."""
        return bool(self.export_name) and bool(
            re.match(self.export_name, file_name, flags=re.IGNORECASE)
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


def parse_date(text: str) -> dt.date | None:
    """Return the date that YYYYMMDD names, or None when there is no such day."""
    try:
        return dt.date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None


def file_date(relative_path: str, layout: Layout) -> dt.date | None:
    """Return the date of a file's date folder; None in a layout without dates."""
    parts = layout.parse_path(relative_path)
    return None if parts is None else parts.date


def load_layout(name_or_path: str) -> Layout:
    """Read a layout.

    Parameters
    ----------
    name_or_path : str
        One of :data:`SHIPPED`, or the path of a TOML file.

    Returns
    -------
    Layout

    Raises
    ------
    ConfigurationError
        There is no such layout, or its file cannot be used.
    """
    if name_or_path in SHIPPED:
        return _shipped(name_or_path)
    try:
        text = Path(name_or_path).read_text(encoding="utf-8")
    except OSError as error:
        what = f"there is no layout {name_or_path!r}"
        remedy = f"Give {', '.join(SHIPPED)}, or the path of a layout's TOML file."
        raise ConfigurationError(what, remedy) from error
    except UnicodeDecodeError as error:
        what = f"the layout {name_or_path} is not UTF-8"
        raise ConfigurationError(what) from error
    return _parse(text, name_or_path)


@cache
def _shipped(name: str) -> Layout:
    resource = files("anabatch.schemas") / "layouts" / f"{name}.toml"
    return _parse(resource.read_text(encoding="utf-8"), name)


def _parse(text: str, source: str) -> Layout:
    try:
        raw: dict[str, Any] = tomllib.loads(text)
        return Layout.model_validate(raw)
    except tomllib.TOMLDecodeError as error:
        what = f"the layout {source} is not valid TOML: {error}"
        raise ConfigurationError(what) from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(step) for step in item['loc'])}: {item['msg']}"
            for item in error.errors()
        )
        what = f"the layout {source} cannot be used: {problems}"
        raise ConfigurationError(what) from error


def detect_layout(root: Path) -> Layout:
    """Find the shipped layout that an archive has.

    A layout fits when at least nine tenths of the images that are looked at lie where it says.

    Parameters
    ----------
    root : Path
        The archive's root.

    Returns
    -------
    Layout

    Raises
    ------
    AmbiguousLayoutError
        None fits, or several do; the message says how many images fit which, and names a
        folder below the root that would fit.
    ConfigurationError
        The root is no folder.
    """
    if not root.is_dir():
        what = f"there is no folder at {root}"
        raise ConfigurationError(what, "Give the path of the archive's root.")
    total, fitting = _fits(root)
    good = [name for name in SHIPPED if total and fitting[name] >= _DETECTION_SHARE * total]
    if len(good) == 1:
        return load_layout(good[0])
    raise AmbiguousLayoutError(_describe(root, total, fitting), _advice(root, total))


def _fits(root: Path) -> tuple[int, Counter[str]]:
    """Count images, and those that fit each shipped layout."""
    layouts = [load_layout(name) for name in SHIPPED]
    images = list(islice(_images(root), _DETECTION_IMAGES))
    fitting = Counter(
        layout.name for image in images for layout in layouts if layout.parse_path(image)
    )
    return len(images), fitting


def _images(root: Path) -> Iterator[str]:
    ignored = sorted({pattern for name in SHIPPED for pattern in load_layout(name).ignored})
    for item in walk(root, ignored):
        if isinstance(item, ListedFile) and is_image(item.name):
            yield item.relative_path


def _describe(root: Path, total: int, fitting: Counter[str]) -> str:
    if not total:
        return f"{root} holds no images"
    counts = ", ".join(f"{name} {fitting[name]}" for name in SHIPPED)
    return f"the layout of {root} cannot be told: of {total} images fit {counts}"


def _advice(root: Path, total: int) -> str:
    if total:
        for folder in sorted(root.iterdir()):
            if folder.is_dir() and not folder.is_symlink():
                inner, fitting = _fits(folder)
                for name in SHIPPED:
                    if inner and fitting[name] == inner:
                        return f"Its folder {folder.name} is an archive of layout {name}: give {folder}."
    return f"Name the layout: {', '.join(SHIPPED)}, or a TOML file."

"""Layouts by name: shipped ones, those of a TOML file, and the one that an archive has.

A new laboratory is a TOML file like those in `schemas/layouts/`, and no code.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from anabatch.archive.dialect import Columns, Dialect
from anabatch.archive.places import Layout, NameParts, PathParts, file_date, parse_date
from anabatch.archive.walk import ListedFile, is_image, walk
from anabatch.config.problems import problems
from anabatch.errors import AmbiguousLayoutError, ConfigurationError

__all__ = [
    "SHIPPED",
    "Fits",
    "Layout",
    "NameParts",
    "PathParts",
    "choose_layout",
    "count_fits",
    "detect_layout",
    "file_date",
    "load_layout",
    "parse_date",
]

SHIPPED = ("dated", "by-class", "unlabelled")
"""Names of the layouts that are shipped."""

# Detection looks at this many images at most, and wants this share of them to fit.
_DETECTION_IMAGES = 2_000
_DETECTION_SHARE = 0.9


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
        There is no such layout, or its file cannot be used; the message names file and key.
    """
    if name_or_path in SHIPPED:
        return _shipped(name_or_path)
    path = Path(name_or_path)
    try:
        text = path.read_text(encoding="utf-8-sig")  # as an editor of Windows may write it
    except FileNotFoundError as error:
        what = f"there is no layout {name_or_path!r}"
        remedy = f"Give {', '.join(SHIPPED)}, or the path of a layout's TOML file."
        raise ConfigurationError(what, remedy) from error
    except OSError as error:
        what = f"the layout {name_or_path} cannot be read: {error.strerror}"
        raise ConfigurationError(what) from error
    except UnicodeDecodeError as error:
        what = f"the layout {name_or_path} is not UTF-8"
        raise ConfigurationError(what, "Save it as UTF-8.") from error
    return _parse(text, name_or_path, path.parent)


@cache
def _shipped(name: str) -> Layout:
    resource = files("anabatch.schemas") / "layouts" / f"{name}.toml"
    return _parse(resource.read_text(encoding="utf-8"), name)


def _parse(text: str, source: str, folder: Path | None = None) -> Layout:
    try:
        raw: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what = f"the layout {source} is not valid TOML: {error}"
        remedy = "Patterns stand in 'single quotes', where a \\ is a \\."
        raise ConfigurationError(what, remedy if "\\" in str(error) else "") from error
    try:
        layout = Layout.model_validate(raw)
    except ValidationError as error:
        what = f"the layout {source} cannot be used: {problems(error, raw, _of_layouts)}"
        examples = f"The layouts {', '.join(SHIPPED)} are examples, with comments on every key."
        remedy = f"Correct the values named. {examples}"
        raise ConfigurationError(what, remedy) from error
    return layout if folder is None else layout.beside(folder)


_KEYS = {
    "": tuple(Layout.model_fields),
    "export": tuple(Dialect.model_fields),
    "export.columns": tuple(Columns.model_fields),
}
_TABLES = ("export", "export.columns", "pixels_per_reference_pixel")


def _of_layouts(key: str) -> str:
    """Say of a wrong key what is so in layouts alone."""
    table, _, name = key.rpartition(".")
    if table in _TABLES and name in _KEYS[""]:
        return (
            f" is a key of the layout itself: it stands above the first [table], not in [{table}]"
        )
    if name and name not in _KEYS.get(table, (name,)):
        return f" is not known; the keys are {', '.join(_KEYS[table])}"
    return ""


@dataclass(frozen=True)
class Fits:
    """How many of an archive's files the shipped layouts would take.

    Attributes
    ----------
    images, exports : int
        Images that were looked at, and files that any layout knows for an export by their name.
    fitting_images, fitting_exports : mapping
        Those at a place that a layout has, by the layout's name.
    """

    images: int
    exports: int
    fitting_images: dict[str, int]
    fitting_exports: dict[str, int]

    @property
    def good(self) -> list[str]:
        """The layouts that fit: at least nine tenths of the images lie where they say."""
        enough = _DETECTION_SHARE * self.images
        return [name for name in SHIPPED if self.images and self.fitting_images[name] >= enough]


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
    return choose_layout(root, count_fits(root))


def choose_layout(root: Path, fits: Fits) -> Layout:
    """Return the one shipped layout that fits, as :func:`detect_layout` does."""
    if len(fits.good) == 1:
        return load_layout(fits.good[0])
    raise AmbiguousLayoutError(_describe(root, fits), _advice(root, fits))


def count_fits(root: Path) -> Fits:
    """Count images and exports, and those that fit each shipped layout.

    Parameters
    ----------
    root : Path
        The archive's root. The first 2,000 images are looked at, and the exports on the way.

    Returns
    -------
    Fits

    Raises
    ------
    ConfigurationError
        The root is no folder.
    """
    if not root.is_dir():
        what = f"there is no folder at {root}"
        raise ConfigurationError(what, "Is the drive mounted? Give the path of the archive's root.")
    layouts = [load_layout(name) for name in SHIPPED]
    images, exports = _first_files(root, layouts)
    return Fits(
        images=len(images),
        exports=len(exports),
        fitting_images=_fitting(images, layouts),
        fitting_exports=_fitting(exports, [layout for layout in layouts if layout.export_name]),
    )


def _fitting(paths: list[str], layouts: list[Layout]) -> dict[str, int]:
    return {
        layout.name: sum(layout.parse_path(path) is not None for path in paths)
        for layout in layouts
    }


def _first_files(root: Path, layouts: list[Layout]) -> tuple[list[str], list[str]]:
    ignored = sorted({pattern for layout in layouts for pattern in layout.ignored})
    images: list[str] = []
    exports: list[str] = []
    for item in walk(root, ignored):
        if not isinstance(item, ListedFile):
            continue
        if is_image(item.name):
            images.append(item.relative_path)
        elif any(layout.is_export(item.name) for layout in layouts):
            exports.append(item.relative_path)
        if len(images) == _DETECTION_IMAGES:
            break
    return images, exports


def _describe(root: Path, fits: Fits) -> str:
    if not fits.images:
        return f"{root} holds no images"
    counts = ", ".join(f"{name} {fits.fitting_images[name]}" for name in SHIPPED)
    return f"the layout of {root} cannot be told: of {fits.images} images fit {counts}"


def _advice(root: Path, fits: Fits) -> str:
    if fits.images:
        # any two folders deep look like groups and classes, those of a dated archive as well
        told = SHIPPED if not any(fits.fitting_images.values()) else ("dated", "unlabelled")
        for folder in sorted(root.iterdir()):
            if folder.is_dir() and not folder.is_symlink():
                inner = count_fits(folder)
                for name in told:
                    if inner.images and inner.fitting_images[name] == inner.images:
                        return f"Its folder {folder.name} is an archive of layout {name}: give {folder}."
    return f"Name the layout: {', '.join(SHIPPED)}, or a TOML file."

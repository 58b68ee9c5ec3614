"""What a layout makes of the contents of a sample: sizes in headers of images, exports and codes."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from PIL import Image

from anabatch.annotations import OTHER_NAME, UNKNOWN_NAME, annotate_exports
from anabatch.archive.dialect import plain
from anabatch.archive.exports import load_export
from anabatch.errors import ExportError
from anabatch.imaging import FORMATS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from anabatch.archive.exports import Export
    from anabatch.archive.layout import Layout
    from anabatch.archive.walk import ListedFile
    from anabatch.vocabulary import Vocabulary

ROLES = ("image", "pattern", "sample")
"""What columns of exports are for."""

# How many rows without an image are named.
_SHOWN = 20

_NAMES = (OTHER_NAME, UNKNOWN_NAME)


@dataclass(frozen=True)
class SizesReport:
    """Sizes of a sample of images, off their headers.

    Attributes
    ----------
    opened : int
        Images that were opened.
    sizes : tuple of (str, int, float or None)
        Size as `WIDTHxHEIGHT`, images, and the pixels that make one reference pixel; None for a
        size that the layout does not know.
    unreadable : tuple of (str, str)
        Path and reason.
    """

    opened: int
    sizes: tuple[tuple[str, int, float | None], ...]
    unreadable: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class CodeReport:
    """A code in the rows of a sample of exports.

    Attributes
    ----------
    code : int
    label : str or None
        None for a code that the table does not have.
    rows : int
    example : str
        The first of its terms.
    """

    code: int
    label: str | None
    rows: int
    example: str


@dataclass(frozen=True)
class ExportsReport:
    """What a sample of exports holds.

    Attributes
    ----------
    opened : int
        Exports that were opened.
    unreadable : tuple of (str, str)
        Path and reason.
    encodings, separators, kinds : mapping
        To the number of exports.
    columns : mapping
        Role (`image`, `pattern`, `sample`) to the columns that have it, with the number of exports.
    rows : int
    rows_with_image : int
        Rows whose image lies beside the export.
    rows_without_image : tuple of (str, int, str)
        Some of the others: export, line, file name.
    unnamed_images : int
        Images beside these exports that no row names.
    codes : tuple of CodeReport
    no_code : tuple of (str, int)
        Terms without a code that can be read, and their rows.
    no_term : int
        Rows in which nothing was entered.
    names : tuple of (str, int)
        What is wrong with names beside known codes, and their rows.
    """

    opened: int = 0
    unreadable: tuple[tuple[str, str], ...] = ()
    encodings: dict[str, int] = field(default_factory=dict)
    separators: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    columns: dict[str, dict[str, int]] = field(default_factory=dict)
    rows: int = 0
    rows_with_image: int = 0
    rows_without_image: tuple[tuple[str, int, str], ...] = ()
    unnamed_images: int = 0
    codes: tuple[CodeReport, ...] = ()
    no_code: tuple[tuple[str, int], ...] = ()
    no_term: int = 0
    names: tuple[tuple[str, int], ...] = ()


def look_at_headers(root: Path, layout: Layout, images: Sequence[ListedFile]) -> SizesReport:
    """Read the headers of some images, and no pixels.

    Parameters
    ----------
    root : Path
        The archive's root.
    layout : Layout
    images : sequence of ListedFile

    Returns
    -------
    SizesReport
    """
    sizes: Counter[tuple[int, int]] = Counter()
    unreadable: list[tuple[str, str]] = []
    for file in images:
        found = _size(file.path(root))
        if isinstance(found, str):
            unreadable.append((file.relative_path, found))
        else:
            sizes[found] += 1
    told = []
    for size, files in sizes.most_common():
        pixels, known = layout.reference_pixels(*size)
        told.append(("{}x{}".format(*size), files, pixels if known else None))
    return SizesReport(len(images), tuple(told), tuple(unreadable))


def _size(path: Path) -> tuple[int, int] | str:
    """Return an image's width and height off its header, or why it has none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, and of large images
            with Image.open(path, formats=FORMATS) as image:
                return image.size
    except Exception as error:  # noqa: BLE001 (Pillow raises whatever it stumbles over in a broken file)
        if path.is_file() and not path.stat().st_size:
            return "the file is empty"
        return (
            getattr(error, "strerror", None)
            or f"no image that can be read ({type(error).__name__})"
        )


def look_at_exports(
    root: Path,
    layout: Layout,
    vocabulary: Vocabulary,
    exports: Sequence[ListedFile],
    images: Sequence[ListedFile],
) -> ExportsReport:
    """Read some exports as a run reads them.

    Parameters
    ----------
    root : Path
        The archive's root.
    layout : Layout
    vocabulary : Vocabulary
        With the layout's code table.
    exports : sequence of ListedFile
        Those to read.
    images : sequence of ListedFile
        All images of the archive; those beside the exports are looked up.

    Returns
    -------
    ExportsReport
    """
    read: list[Export] = []
    unreadable: list[tuple[str, str]] = []
    for file in exports:
        try:
            read.append(load_export(file.path(root), file.relative_path, layout.export))
        except ExportError as error:
            unreadable.append((file.relative_path, str(error)))
    beside = _beside(read, images, layout)
    rows = annotate_exports(read, beside, vocabulary, archive="", date=None, layout=layout)
    said = [row for row in rows if row["source_row"] is not None]
    named = {row["acquisition_id"] for row in said} - {None}
    missing = _missing(read, said)
    total = sum(len(export.rows) for export in read)
    return ExportsReport(
        opened=len(exports),
        unreadable=tuple(unreadable),
        encodings=dict(Counter(export.encoding for export in read)),
        separators=dict(Counter(export.separator for export in read)),
        kinds=dict(Counter(export.kind for export in read)),
        columns=_columns(read, layout),
        rows=total,
        rows_with_image=total - len(missing),
        rows_without_image=tuple(missing[:_SHOWN]),
        unnamed_images=len(beside) - len(named),
        codes=_codes(said, vocabulary),
        no_code=tuple(Counter(row["raw"] for row in said if _is_without_code(row)).most_common()),
        no_term=sum(row["label"] is None and not row["raw"] for row in said),
        names=tuple(Counter(row["reason"] for row in said if row["flag"] in _NAMES).most_common()),
    )


def _beside(
    exports: Iterable[Export], images: Iterable[ListedFile], layout: Layout
) -> list[dict[str, Any]]:
    """Return the images in the folders of exports, as annotating them wants them."""
    folders = {export.relative_path.rpartition("/")[0] for export in exports}
    return [
        {
            "acquisition_id": file.relative_path,
            "image_id": None,
            "relative_path": file.relative_path,
            "file_name": file.name,
            "sample": layout.parse_image_name(file.relative_path).sample,
        }
        for file in images
        if file.relative_path.rpartition("/")[0] in folders
    ]


def _missing(
    exports: Iterable[Export], rows: Iterable[Mapping[str, Any]]
) -> list[tuple[str, int, str]]:
    """Return export, line and file name of the rows whose image is not there."""
    names = {
        (export.relative_path, row.line): row.file_name for export in exports for row in export.rows
    }
    alone = {(row["source_file"], row["source_row"]) for row in rows if not row["acquisition_id"]}
    return [(*source, names[source]) for source in sorted(alone)]


def _columns(exports: Iterable[Export], layout: Layout) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {role: Counter() for role in ROLES}
    for export in exports:
        for role in ROLES:
            wanted = getattr(layout.export.columns, role)
            name = next((name for name in wanted if plain(name) in export.columns), None)
            if name is not None:
                found[role][name] += 1
    return {role: dict(counts) for role, counts in found.items()}


def _codes(rows: Sequence[Mapping[str, Any]], vocabulary: Vocabulary) -> tuple[CodeReport, ...]:
    codes = Counter(row["code"] for row in rows if row["code"] is not None and row["raw"])
    examples = {row["code"]: row["raw"] for row in reversed(rows)}
    return tuple(
        CodeReport(code, vocabulary.resolve(code)[1], files, examples[code])
        for code, files in sorted(codes.items())
    )


def _is_without_code(row: Mapping[str, Any]) -> bool:
    return bool(row["label"] is None and row["code"] is None and row["raw"])

"""Annotations: what exports and class folders say of images, in one vocabulary.

Two sources that contradict each other are never merged: their rows are kept, and flagged.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anabatch.archive.layout import load_layout
from anabatch.vocabulary import (
    MAX_CODE,
    NEGATIVE,
    NEGATIVE_CODE,
    POSITIVE,
    POSITIVE_CODE,
    Vocabulary,
)

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from anabatch.archive.exports import Export, ExportRow
    from anabatch.archive.layout import Layout

__all__ = ["ANNOTATION_COLUMNS", "FLAGS", "Vocabulary", "annotate_classes", "annotate_exports"]

ANNOTATION_COLUMNS = (
    "acquisition_id",
    "image_id",
    "archive",
    "date",
    "sample",
    "label",
    "axis",
    "code",
    "raw",
    "source_file",
    "source_row",
    "flag",
)
"""Columns of `annotations`, in their order."""

_SOURCE = ("source_file", "source_row")

MISSING_IMAGE = "missing_image"
CONFLICT = "conflict"
SAMPLE_MISMATCH = "sample_mismatch"
UNKNOWN_CODE = "unknown_code"
NO_CODE = "no_code"
EMPTY_PATTERN = "empty_pattern"

FLAGS = (MISSING_IMAGE, CONFLICT, SAMPLE_MISMATCH, UNKNOWN_CODE, NO_CODE, EMPTY_PATTERN)
"""All flags; the first that applies is a row's."""

_TERM = re.compile(r"\[\s*([0-9]{1,5})\s*\][^\[\]]*", flags=re.ASCII)


@dataclass(frozen=True)
class _Term:
    """One label that an export's row gives, or the reason why it gives none."""

    raw: str | None
    label: str | None
    code: int | None
    flag: str | None = None


@dataclass(frozen=True)
class _Statement:
    """A term, said of one image by one row of an export."""

    export: Export
    row: ExportRow
    acquisition: Mapping[str, Any] | None
    term: _Term

    @property
    def image_name(self) -> str | None:
        """What else tells an image from another when there is no acquisition of it."""
        return self.row.file_name if self.acquisition is None else None


def annotate_exports(
    exports: Sequence[Export],
    acquisitions: Sequence[Mapping[str, Any]],
    vocabulary: Vocabulary,
    *,
    archive: str,
    date: dt.date | None,
    other_statuses: Mapping[str, frozenset[str]] | None = None,
    layout: Layout | None = None,
) -> list[dict[str, Any]]:
    """Return what the exports of one archive and date say.

    An export speaks of the images in its own folder. Its every row gives the status of its kind,
    and one label for every `+` term; a row without a usable term gives one row without label.

    Parameters
    ----------
    exports : sequence of Export
        All exports of this archive and date, in any order.
    acquisitions : sequence of mapping
        The acquisitions of this archive and date: acquisition_id, image_id, relative_path and
        sample are read.
    vocabulary : Vocabulary
    archive : str
        The archive's name.
    date : datetime.date or None
        The date of the date folder.
    other_statuses : mapping, optional
        Image id to the statuses that other dates give to the same picture.
    layout : Layout, optional
        Reads the sample off the name of an image that is not there; the layout `dated` without it.

    Returns
    -------
    list of dict
        Rows of `annotations`, by file, line and term. A row that repeats another in all but its
        source is left out; the first stays.
    """
    statements = list(_statements(exports, acquisitions, vocabulary))
    statuses = _statuses(statements, vocabulary, other_statuses or {})
    reader = layout or load_layout("dated")
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for statement in statements:
        row = _row(statement, vocabulary, reader, _flag(statement, statuses))
        row |= {"archive": archive, "date": date}
        said = (row[name] for name in ANNOTATION_COLUMNS if name not in _SOURCE)
        folder = _folder(statement.export.relative_path)
        rows.setdefault((folder, statement.image_name, *said), row)
    return [{name: row[name] for name in ANNOTATION_COLUMNS} for row in rows.values()]


def annotate_classes(
    acquisitions: Sequence[Mapping[str, Any]], vocabulary: Vocabulary
) -> list[dict[str, Any]]:
    """Return what class folders say of their images.

    Parameters
    ----------
    acquisitions : sequence of mapping
        Acquisitions of a layout with classes: acquisition_id, image_id, archive, date, sample
        and relative_path are read. The class is the name of the folder that holds the image.
    vocabulary : Vocabulary

    Returns
    -------
    list of dict
        Rows of `annotations`: for every image its class, verbatim, and the labels that the
        vocabulary gives to the class. A class that the vocabulary does not know has only the first.
    """
    rows = []
    for acquisition in acquisitions:
        folder = _folder(acquisition["relative_path"])
        name = folder.rpartition("/")[2]
        labels = [(name, "class")]
        labels += [(label, vocabulary.axis(label)) for label in vocabulary.class_labels(name)]
        for label, axis in labels:
            values = {
                "label": label,
                "axis": axis,
                "code": None,
                "raw": name,
                "source_file": folder,
                "source_row": None,
                "flag": None,
            }
            rows.append(
                {
                    column: values[column] if column in values else acquisition[column]
                    for column in ANNOTATION_COLUMNS
                }
            )
    return rows


def _statements(
    exports: Iterable[Export],
    acquisitions: Iterable[Mapping[str, Any]],
    vocabulary: Vocabulary,
) -> Iterator[_Statement]:
    images = _Images(acquisitions)
    for export in sorted(exports, key=lambda export: export.relative_path):
        folder = _folder(export.relative_path)
        for row in export.rows:
            acquisition = images.find(folder, row.file_name)
            for term in _terms(export, row, vocabulary):
                yield _Statement(export, row, acquisition, term)


class _Images:
    """Acquisitions by folder and file name; like Windows, it does not mind the name's case."""

    def __init__(self, acquisitions: Iterable[Mapping[str, Any]]) -> None:
        self._exact: dict[str, Mapping[str, Any]] = {}
        self._folded: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for acquisition in acquisitions:
            path = acquisition["relative_path"]
            self._exact[path] = acquisition
            self._folded[self._fold(path)].append(acquisition)

    def find(self, folder: str, file_name: str) -> Mapping[str, Any] | None:
        """Return the acquisition of that name, or the only one whose name differs by case."""
        path = f"{folder}/{file_name}"
        if path in self._exact:
            return self._exact[path]
        alike = self._folded.get(self._fold(path), [])
        return alike[0] if len(alike) == 1 else None

    @staticmethod
    def _fold(path: str) -> str:
        folder, _, name = path.rpartition("/")
        return f"{folder}/{unicodedata.normalize('NFC', name).casefold()}"


def _terms(export: Export, row: ExportRow, vocabulary: Vocabulary) -> Iterator[_Term]:
    if export.kind == "NEGATIV":
        yield _Term(None, NEGATIVE, NEGATIVE_CODE)
        return
    yield _Term(None, POSITIVE, POSITIVE_CODE)
    yield from _patterns(row.raw, vocabulary)


def _patterns(raw: str | None, vocabulary: Vocabulary) -> list[_Term]:
    text = None if raw is None else raw.strip()
    pieces = [piece for piece in (part.strip() for part in (text or "").split("+")) if piece]
    if not pieces:
        return [_Term(text, None, None, EMPTY_PATTERN)]
    codes = [_code(piece) for piece in pieces]
    if all(code is None for code in codes):
        return [_Term(text, None, None, NO_CODE)]
    return [_term(piece, code, vocabulary) for piece, code in zip(pieces, codes, strict=True)]


def _code(piece: str) -> int | None:
    """Return the code of `[code] name`; None for anything else, two codes in one term as well."""
    match = _TERM.fullmatch(piece)
    code = int(match[1]) if match else None
    return code if code is not None and code <= MAX_CODE else None


def _term(piece: str, code: int | None, vocabulary: Vocabulary) -> _Term:
    if code is None:
        return _Term(piece, None, None, NO_CODE)
    canonical, label = vocabulary.resolve(code)
    return _Term(piece, label, canonical, None if label else UNKNOWN_CODE)


def _row(
    statement: _Statement, vocabulary: Vocabulary, layout: Layout, flag: str | None
) -> dict[str, Any]:
    acquisition, term = statement.acquisition, statement.term
    return {
        "acquisition_id": acquisition["acquisition_id"] if acquisition else None,
        "image_id": acquisition["image_id"] if acquisition else None,
        "sample": _sample(statement, layout),
        "label": term.label,
        "axis": vocabulary.axis(term.label) if term.label else None,
        "code": term.code,
        "raw": term.raw,
        "source_file": statement.export.relative_path,
        "source_row": statement.row.line,
        "flag": flag,
    }


def _statuses(
    statements: Iterable[_Statement],
    vocabulary: Vocabulary,
    other_statuses: Mapping[str, frozenset[str]],
) -> dict[str, set[str]]:
    """Return all statuses of every picture, by image id (acquisition id if it has none)."""
    found: dict[str, set[str]] = defaultdict(set)
    for statement in statements:
        acquisition, label = statement.acquisition, statement.term.label
        if acquisition is not None:
            picture = _picture(acquisition)
            found[picture] |= other_statuses.get(picture, frozenset())
            if label is not None and vocabulary.axis(label) == "status":
                found[picture].add(label)
    return found


def _picture(acquisition: Mapping[str, Any]) -> str:
    return str(acquisition["image_id"] or acquisition["acquisition_id"])


def _flag(statement: _Statement, statuses: Mapping[str, set[str]]) -> str | None:
    acquisition = statement.acquisition
    if acquisition is None:
        return MISSING_IMAGE
    if statuses[_picture(acquisition)] >= {NEGATIVE, POSITIVE}:
        return CONFLICT
    named, told = acquisition["sample"], statement.row.sample
    if named is not None and told is not None and named != told:
        return SAMPLE_MISMATCH
    return statement.term.flag


def _sample(statement: _Statement, layout: Layout) -> str | None:
    """Return the sample's number: the file name's, else the export's."""
    if statement.acquisition is not None:
        named = statement.acquisition["sample"]
    else:
        named = layout.parse_image_name(statement.row.file_name).sample
    return named or statement.row.sample


def _folder(relative_path: str) -> str:
    return relative_path.rpartition("/")[0]

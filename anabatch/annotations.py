"""Annotations: what exports and class folders say of images, in one vocabulary.

Two sources that contradict each other are never merged: their rows are kept, and flagged. Where two exports
of one kind name the same image, the later one holds; the rows of the earlier are kept as history.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anabatch.archive.layout import load_layout
from anabatch.archive.mentions import History, ImageNames, is_bare
from anabatch.archive.terms import read_terms
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
    "reason",
    "repeats",
    "superseded_by",
)
"""Columns of `annotations`, in their order."""

MISSING_IMAGE = "missing_image"
CONFLICT = "conflict"
SAMPLE_MISMATCH = "sample_mismatch"
UNKNOWN_CODE = "unknown_code"
NO_CODE = "no_code"
OTHER_NAME = "other_name"
UNKNOWN_NAME = "unknown_name"
EMPTY_PATTERN = "empty_pattern"
NO_ROW = "no_row"

FLAGS = {
    MISSING_IMAGE: "the export names an image that is not there",
    CONFLICT: "the image is both negative and positive",
    SAMPLE_MISMATCH: "export and file name give different samples; the file name was taken",
    UNKNOWN_CODE: "the code is not in the code table",
    NO_CODE: "the term has no code",
    OTHER_NAME: "the name beside the code is another code's; the code was taken",
    UNKNOWN_NAME: "the name beside the code is not one of the code table's; the code was taken",
    EMPTY_PATTERN: "the well was read, and no pattern was entered",
    NO_ROW: "the image's folder has exports, and none of their rows names it",
}
"""All flags, with what they mean; the first that applies is a row's."""

# How much of a name or of a text a reason quotes, in characters.
_QUOTED = 80


@dataclass(frozen=True)
class _Term:
    """One label that an export's row gives, or the flag and the reason why it gives none."""

    raw: str | None
    label: str | None
    code: int | None
    flag: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class _Statement:
    """A term, said of one image by one row of an export, and the export that says it anew."""

    export: Export
    row: ExportRow
    acquisition: Mapping[str, Any] | None
    term: _Term
    superseded_by: str | None

    @property
    def image_name(self) -> str | None:
        """What else tells an image from another when there is no acquisition of it."""
        return self.row.file_name if self.acquisition is None else None

    @property
    def place(self) -> str:
        """The row, for a person."""
        return f"{self.export.relative_path}, line {self.row.line}"


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
        Rows of `annotations`, by file, line and term, then the images of which no row speaks. A row
        that repeats another of its export is counted there and left out.
    """
    images = ImageNames(acquisitions)
    statements = list(_statements(exports, images, vocabulary))
    statuses = _statuses(statements, vocabulary, other_statuses or {})
    reader = layout or load_layout("dated")
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for statement in statements:
        row = _row(statement, vocabulary, reader)
        row["flag"], row["reason"] = _flag(statement, statuses)
        said = (row[name] for name in ("acquisition_id", "sample", "label", "code", "raw", "flag"))
        key = (statement.export.relative_path, statement.image_name, *said)
        if key in rows:
            rows[key]["repeats"] += 1
        else:
            rows[key] = row
    found = [*rows.values(), *_without_row(exports, images, statements)]
    common = {"archive": archive, "date": date}
    return [{name: (row | common)[name] for name in ANNOTATION_COLUMNS} for row in found]


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
                "reason": None,
                "repeats": 0,
                "superseded_by": None,
            }
            rows.append(
                {
                    column: values[column] if column in values else acquisition[column]
                    for column in ANNOTATION_COLUMNS
                }
            )
    return rows


def _statements(
    exports: Sequence[Export], images: ImageNames, vocabulary: Vocabulary
) -> Iterator[_Statement]:
    history = History(exports, images)
    for export in sorted(exports, key=lambda export: export.relative_path):
        folder = _folder(export.relative_path)
        for row in export.rows:
            acquisition = images.find(folder, row.file_name)
            successor = history.successor(export, row)
            for term in _terms(export, row, vocabulary):
                yield _Statement(export, row, acquisition, term, successor)


def _terms(export: Export, row: ExportRow, vocabulary: Vocabulary) -> Iterator[_Term]:
    if export.kind == "NEGATIV":
        yield _Term(None, NEGATIVE, NEGATIVE_CODE)
        return
    if export.kind == "SCREEN":
        yield _Term(None, POSITIVE, POSITIVE_CODE)
    yield from _patterns(export, row, vocabulary)


def _patterns(export: Export, row: ExportRow, vocabulary: Vocabulary) -> list[_Term]:
    text = None if row.raw is None else row.raw.strip()
    terms = read_terms(text or "", export.dialect)
    if not terms:
        return [_Term(text, None, None, EMPTY_PATTERN, FLAGS[EMPTY_PATTERN])]
    found = [_term(term.raw, term.code, term.name, vocabulary) for term in terms]
    if all(term.flag == NO_CODE for term in found):
        return [_Term(text, None, None, NO_CODE, FLAGS[NO_CODE])]
    return found


def _term(raw: str, code: int | None, name: str, vocabulary: Vocabulary) -> _Term:
    if code is None or code > MAX_CODE:
        return _Term(raw, None, None, NO_CODE, f"{_quote(raw)} is no code with a name")
    canonical, label = vocabulary.resolve(code)
    if label is None:
        return _Term(raw, None, canonical, UNKNOWN_CODE, f"code {code} is not in the code table")
    flag = vocabulary.check_name(code, name)
    known = ", ".join(vocabulary.names_of(code)) or label
    reasons = {
        OTHER_NAME: f"{_quote(name)} is another code's name; the code table calls {code} {known}",
        UNKNOWN_NAME: f"the code table calls {code} {known}, and not {_quote(name)}",
    }
    return _Term(raw, label, canonical, flag, reasons[flag] if flag else None)


def _without_row(
    exports: Iterable[Export], images: ImageNames, statements: Iterable[_Statement]
) -> Iterator[dict[str, Any]]:
    """Yield a row without label for every image of which no row of its folder's exports speaks."""
    read = {_folder(export.relative_path) for export in exports}
    named = {s.acquisition["acquisition_id"] for s in statements if s.acquisition}
    for acquisition in images:
        folder = _folder(acquisition["relative_path"])
        if folder in read and acquisition["acquisition_id"] not in named:
            yield dict.fromkeys(ANNOTATION_COLUMNS) | {
                "acquisition_id": acquisition["acquisition_id"],
                "image_id": acquisition["image_id"],
                "sample": acquisition["sample"],
                "source_file": folder,
                "flag": NO_ROW,
                "reason": FLAGS[NO_ROW],
                "repeats": 0,
            }


def _row(statement: _Statement, vocabulary: Vocabulary, layout: Layout) -> dict[str, Any]:
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
        "repeats": 0,
        "superseded_by": statement.superseded_by,
    }


def _statuses(
    statements: Iterable[_Statement],
    vocabulary: Vocabulary,
    other_statuses: Mapping[str, frozenset[str]],
) -> dict[str, dict[str, str]]:
    """Return all statuses of every picture, and who says so, by image id.

    A picture without image id goes by its acquisition id. History says nothing.
    """
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for statement in statements:
        acquisition, label = statement.acquisition, statement.term.label
        if acquisition is None or statement.superseded_by is not None:
            continue
        picture = _picture(acquisition)
        if label is not None and vocabulary.axis(label) == "status":
            found[picture].setdefault(label, statement.place)
        for other in other_statuses.get(picture, frozenset()):
            found[picture].setdefault(other, "another date")
    return found


def _picture(acquisition: Mapping[str, Any]) -> str:
    return str(acquisition["image_id"] or acquisition["acquisition_id"])


def _flag(
    statement: _Statement, statuses: Mapping[str, Mapping[str, str]]
) -> tuple[str | None, str | None]:
    """Return the first flag that applies, and its reason in words."""
    acquisition, row = statement.acquisition, statement.row
    if acquisition is None:
        bare = is_bare(row.file_name)
        name = "the row names no image" if bare else f"{_quote(row.file_name)} is not in the folder"
        return MISSING_IMAGE, name
    said = statuses.get(_picture(acquisition), {})
    if statement.superseded_by is None and said.keys() >= {NEGATIVE, POSITIVE}:
        return CONFLICT, f"negative: {said[NEGATIVE]}; positive: {said[POSITIVE]}"
    named, told = acquisition["sample"], row.sample
    if named is not None and told is not None and named != told:
        reason = f"the file name says {_quote(named)}, the export {_quote(told)}"
        return SAMPLE_MISMATCH, reason
    return statement.term.flag, statement.term.reason


def _sample(statement: _Statement, layout: Layout) -> str | None:
    """Return the sample's number: the file name's, else the export's."""
    if statement.acquisition is not None:
        named = statement.acquisition["sample"]
    else:
        named = layout.parse_image_name(statement.row.file_name).sample
    return named or statement.row.sample


def _folder(relative_path: str) -> str:
    return relative_path.rpartition("/")[0]


def _quote(text: str) -> str:
    return repr(text if len(text) <= _QUOTED else f"{text[:_QUOTED]}…")

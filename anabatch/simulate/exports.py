"""Exports of a laboratory information system, in their dialect and with some of its dirt, and what they mean.

The meaning is derived from the rows as they were planned, never by reading the written files back: it can be
compared with what a reader makes of the files.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

NEGATIVE, POSITIVE = 2, 3
"""Codes of the two statuses."""

ANNOTATION_COLUMNS = (
    "relative_path",
    "file_name",
    "label",
    "axis",
    "code",
    "flag",
    "source_file",
    "source_row",
)
"""Columns of the expected annotations."""

Annotation = dict[str, str]


@dataclass(frozen=True)
class Term:
    """One term of a `Pattern` cell: ``[code] name``, or ``[] name`` without a code."""

    code: int | None
    name: str

    def __str__(self) -> str:
        code = "" if self.code is None else self.code
        return f"[{code}] {self.name}"


@dataclass(frozen=True)
class Row:
    """One row of an export.

    Attributes
    ----------
    well_index : int
        Index of the well on its plate.
    sample, dilution : str
        As printed.
    file_name : str
        Last part of the image's path; ``.jpg`` for a well without an image.
    image : str
        Path of the image that is meant, relative to the archive; empty if there is none.
    image_sample : str
        The sample in the image's own name.
    terms : tuple of Term
        The patterns; none for a negative well, or where nothing was entered.
    """

    well_index: int
    sample: str
    dilution: str
    file_name: str
    image: str
    image_sample: str
    terms: tuple[Term, ...] = ()


@dataclass(frozen=True)
class Dialect:
    """How a version of the exporting program writes.

    Attributes
    ----------
    encoding : str
        ``cp1252``, ``utf-8`` or ``utf-8-sig`` (with a byte order mark).
    newline : str
        End of a line.
    pattern_column : str
        ``Pattern``, or ``ScreenPattern`` in old files.
    """

    encoding: str
    newline: str
    pattern_column: str


@dataclass(frozen=True)
class Export:
    """One export file.

    Attributes
    ----------
    folder : str
        The run folder, relative to the archive: ``YYYYMMDD/NNN_SNddddd``.
    stamp : str
        Date and time of the export, as in its name: ``YYYYMMDD_HHMMSS``.
    instrument : str
        Serial number, as in its name: ``SN8030``.
    positive : bool
        A SCREEN file; else a NEGATIV file.
    dialect : Dialect
        How it is written.
    rows : tuple of Row
        From physical line 3 on.
    """

    folder: str
    stamp: str
    instrument: str
    positive: bool
    dialect: Dialect
    rows: tuple[Row, ...]

    @property
    def path(self) -> str:
        """Path of the file, relative to the archive."""
        kind = "SCREEN" if self.positive else "NEGATIV"
        return f"{self.folder}/exp_pl_LIS_{self.stamp}_{self.instrument}_{kind}.csv"

    def text(self) -> str:
        """Return the file's content: a preamble, the header, the rows."""
        last = self.dialect.pattern_column if self.positive else "Result"
        lines = [
            f"LIS export;{self.stamp};{self.instrument}",
            f"WellPos;SampleId;Dilution;ImName;{last}",
        ]
        for row in self.rows:
            # a well without an image keeps the folder of the program, and no name
            folder = "" if row.file_name == ".jpg" else self.folder.replace("/", "\\") + "\\"
            content = "+".join(map(str, row.terms)) if self.positive else "NEG"
            lines.append(
                f"{row.well_index};{row.sample};{row.dilution};D:\\Data\\{folder}{row.file_name};{content}"
            )
        return "".join(line + self.dialect.newline for line in lines)

    def write(self, root: Path) -> None:
        """Write the file below an archive's root, whose folders are there."""
        (root / self.path).write_bytes(self.text().encode(self.dialect.encoding))


def expected_annotations(exports: Sequence[Export]) -> list[Annotation]:
    """Return what the exports of an archive say, one mapping of :data:`ANNOTATION_COLUMNS` a label.

    Every row gives its status and one label a term, or one row without a label. Repeated rows count once. The
    flag is the first that applies: ``missing_image``, ``conflict`` (an image both negative and positive),
    ``sample_mismatch``, ``unknown_code``, ``no_code``, ``empty_pattern``.

    Parameters
    ----------
    exports : sequence of Export
        All exports of the archive.
    """
    statuses = defaultdict(set)
    for export in exports:
        for row in export.rows:
            statuses[row.image].add(export.positive)
    found: list[Annotation] = []
    for export in exports:
        seen = set()
        for line, row in enumerate(export.rows, 3):
            if row in seen:
                continue
            seen.add(row)
            row_flag = _row_flag(row, in_conflict=len(statuses[row.image]) > 1)
            for code, label, flag in _meaning(row, positive=export.positive):
                found.append(
                    {
                        "relative_path": row.image,
                        "file_name": row.file_name,
                        "label": label,
                        "axis": axes()[label] if label else "",
                        "code": "" if code is None else str(code),
                        "flag": row_flag or flag,
                        "source_file": export.path,
                        "source_row": str(line),
                    }
                )
    return found


def _row_flag(row: Row, *, in_conflict: bool) -> str:
    """Return the flag that holds for all labels of a row, or an empty string."""
    if not row.image:
        return "missing_image"
    if in_conflict:
        return "conflict"
    return "sample_mismatch" if row.sample != row.image_sample else ""


def _meaning(row: Row, *, positive: bool) -> Iterator[tuple[int | None, str, str]]:
    """Yield code after aliases, label and flag of a row's status and terms."""
    status = POSITIVE if positive else NEGATIVE
    yield status, lis_labels()[status][1], ""
    for term in row.terms:
        if term.code is None:
            yield None, "", "no_code"
        elif term.code not in lis_labels():
            yield term.code, "", "unknown_code"
        else:
            yield *lis_labels()[term.code], ""
    if positive and not row.terms:
        yield None, "", "empty_pattern"


def class_annotations(images: Iterable[str]) -> list[Annotation]:
    """Return what the class folders of images say, one mapping of :data:`ANNOTATION_COLUMNS` a label.

    Parameters
    ----------
    images : iterable of str
        Paths relative to the archive; the last folder is the class.
    """
    labels = {row["class"]: row["labels"].split(";") for row in _table("hep_annot")}
    found: list[Annotation] = []
    for image in images:
        folder, _, file_name = image.rpartition("/")
        name = folder.rpartition("/")[2]
        pairs = [(name, "class"), *((label, axes()[label]) for label in labels[name])]
        found += [
            {
                "relative_path": image,
                "file_name": file_name,
                "label": label,
                "axis": axis,
                "code": "",
                "flag": "",
                "source_file": folder,
                "source_row": "",
            }
            for label, axis in pairs
        ]
    return found


@cache
def lis_labels() -> dict[int, tuple[int, str]]:
    """Return, for every known code, the code after aliases and its canonical label."""
    rows = {int(row["code"]): row for row in _table("lis_codes")}
    real = {code: int(row["alias_of"] or code) for code, row in rows.items()}
    return {code: (target, rows[target]["label"]) for code, target in real.items()}


@cache
def axes() -> dict[str, str]:
    """Return the axis of every canonical label."""
    return {row["label"]: row["axis"] for row in _table("vocabulary")}


def _table(name: str) -> list[dict[str, str]]:
    """Read one of the tables of `schemas/labels/`."""
    text = (files("anabatch.schemas") / "labels" / f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))

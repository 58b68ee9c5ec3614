"""Exports of the laboratory information system: the CSV dialect of the microscope's software.

Fields are separated by `;`. The first line is a preamble and the header stands on the second; a file
without preamble is read too. One physical line is one row: a stray quote spoils its own line only.
"""

from __future__ import annotations

import csv
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Literal

from anabatch.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Kind = Literal["SCREEN", "NEGATIV"]

_KINDS: dict[str, Kind] = {"screen": "SCREEN", "negativ": "NEGATIV"}
_KIND = re.compile(r"_(screen|negativ)\.csv$", flags=re.IGNORECASE | re.ASCII)
_LINE_END = re.compile(r"\r\n|\n|\r")

# The header's wanted columns, in lower case without spaces and underscores; the first found is it.
_IMAGE_COLUMNS = ("imname",)
_PATTERN_COLUMNS = ("pattern", "screenpattern")
_SAMPLE_COLUMNS = ("sampleid", "sample")

# UTF-16 without a byte order mark: ASCII text has a NUL in one half of its bytes. These shares
# leave room for text that is not ASCII, and for stray NULs.
_MANY_NULS = 0.4
_FEW_NULS = 0.1


@dataclass(frozen=True)
class ExportRow:
    """One row of an export.

    Attributes
    ----------
    line : int
        Physical line in the file, from 1.
    file_name : str
        Last part of the image's Windows path; a bare `.jpg` where the well has no image.
    raw : str or None
        The patterns as they stand; None where the row ends before them, and in negatives.
    sample : str or None
        The sample's number; None where there is none.
    """

    line: int
    file_name: str
    raw: str | None
    sample: str | None


@dataclass(frozen=True)
class Export:
    """An export of one run.

    Attributes
    ----------
    relative_path : str
        Path below the archive's root, with `/`.
    kind : {'SCREEN', 'NEGATIV'}
        Positive wells with their patterns, or negative wells.
    encoding : str
        Python's name of the encoding that was assumed.
    rows : tuple of ExportRow
    """

    relative_path: str
    kind: Kind
    encoding: str
    rows: tuple[ExportRow, ...]


def read_export(data: bytes, relative_path: str) -> Export:
    """Read an export.

    Parameters
    ----------
    data : bytes
        The file's content.
    relative_path : str
        Path below the archive's root, with `/`; its end tells the kind.

    Returns
    -------
    Export

    Raises
    ------
    ExportError
        The bytes are no text, the name tells no kind, or no header has the columns that are needed.
    """
    kind = export_kind(relative_path)
    text, encoding = decode_text(data, relative_path)
    lines = _LINE_END.split(text)
    head, columns = _find_header(lines, kind, relative_path)
    numbered = ((n, _fields(line)) for n, line in enumerate(lines[head + 1 :], start=head + 2))
    rows = [_row(n, fields, columns) for n, fields in numbered if any(map(str.strip, fields))]
    return Export(relative_path=relative_path, kind=kind, encoding=encoding, rows=tuple(rows))


def export_kind(relative_path: str) -> Kind:
    """Return the kind of export that a file's name tells.

    Raises
    ------
    ExportError
        The name ends neither in `_SCREEN.csv` nor in `_NEGATIV.csv`.
    """
    match = _KIND.search(relative_path)
    if match is None:
        what = f"{relative_path} is named neither ..._SCREEN.csv nor ..._NEGATIV.csv"
        raise ExportError(what)
    return _KINDS[match[1].lower()]


def decode_text(data: bytes, relative_path: str) -> tuple[str, str]:
    """Decode an export's bytes: byte order mark, UTF-16 by its NULs, UTF-8, else Windows-1252.

    Parameters
    ----------
    data : bytes
    relative_path : str
        What to call the file in an error.

    Returns
    -------
    text : str
    encoding : str
        Python's name of the encoding that was assumed.

    Raises
    ------
    ExportError
        The bytes are no text.
    """
    if not data:
        what = f"{relative_path} is empty"
        raise ExportError(what, "The copy may not have finished.")
    encoding = _guess_encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        what = f"{relative_path} is no text: {error.reason} at byte {error.start} ({encoding})"
        raise ExportError(what) from error
    if "\0" in text:
        what = f"{relative_path} holds NUL bytes"
        raise ExportError(what, "The copy may be damaged: copy the file again.")
    return text, encoding


def _guess_encoding(data: bytes) -> str:
    if data.startswith(BOM_UTF8):
        return "utf-8-sig"
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return "utf-16"
    half = max(len(data) // 2, 1)
    even, odd = data[::2].count(0) / half, data[1::2].count(0) / half
    if odd > _MANY_NULS and even < _FEW_NULS:
        return "utf-16-le"
    if even > _MANY_NULS and odd < _FEW_NULS:
        return "utf-16-be"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _find_header(
    lines: Sequence[str], kind: Kind, relative_path: str
) -> tuple[int, dict[str, int]]:
    """Return the header's index, and where its columns stand: on line 2, else on line 1."""
    for index in (1, 0):
        if index >= len(lines):
            continue
        columns: dict[str, int] = {}
        for position, field in enumerate(_fields(lines[index])):
            columns.setdefault(_plain(field), position)
        if any(name in columns for name in _IMAGE_COLUMNS):
            if kind == "SCREEN" and not any(name in columns for name in _PATTERN_COLUMNS):
                what = f"{relative_path} has no column Pattern or ScreenPattern"
                raise ExportError(what)
            return index, columns
    what = f"{relative_path} has no header with the column ImName on its first two lines"
    raise ExportError(what)


def _row(number: int, fields: Sequence[str], columns: Mapping[str, int]) -> ExportRow:
    image = _value(fields, columns, _IMAGE_COLUMNS) or ""
    sample = _value(fields, columns, _SAMPLE_COLUMNS)
    return ExportRow(
        line=number,
        file_name=PureWindowsPath(image.strip()).name,
        raw=_value(fields, columns, _PATTERN_COLUMNS),
        sample=(sample or "").strip() or None,
    )


def _value(fields: Sequence[str], columns: Mapping[str, int], names: Sequence[str]) -> str | None:
    for name in names:
        if name in columns:
            position = columns[name]
            return fields[position] if position < len(fields) else None
    return None


def _fields(line: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=";"), [])
    except csv.Error:
        # A field beyond the csv module's limit: the plain separator is as good.
        return line.split(";")


def _plain(field: str) -> str:
    return field.strip().replace(" ", "").replace("_", "").casefold()

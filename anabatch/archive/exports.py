"""Exports of the laboratory information system, in the dialect that their layout describes.

In the dialect of the microscope's software fields are separated by `;`, the first line is a preamble and
the header stands on the second; a file without preamble is read too. Quoted fields may hold separators
and line ends, and a stray quote spoils its own line only (:mod:`anabatch.archive.records`).
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from dataclasses import dataclass, field
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING

from anabatch.archive.dialect import LIS, Dialect, Kind, plain
from anabatch.archive.records import RecordReader
from anabatch.archive.walk import IMAGE_SUFFIXES
from anabatch.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

MAX_BYTES = 64 * 2**20
"""Largest export, in bytes. A run has a few hundred wells; what is larger is something else."""

MAX_LINES = 250_000
"""Most physical lines of an export."""

# UTF-16 without a byte order mark: ASCII text has a NUL in one half of its bytes. These shares
# leave room for text that is not ASCII, and for stray NULs.
_MANY_NULS = 0.4
_FEW_NULS = 0.1

# Columns of a header that an error names.
_SHOWN_COLUMNS = 12


@dataclass(frozen=True)
class ExportRow:
    """One row of an export.

    Attributes
    ----------
    line : int
        Its first physical line in the file, from 1.
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
    kind : {'SCREEN', 'NEGATIV', 'ALL'}
        Positive wells with their patterns, negative wells, or wells of any status.
    encoding : str
        Python's name of the encoding that was assumed.
    rows : tuple of ExportRow
    dialect : Dialect
        How it was read, and how its terms are.
    separator : str
        What stands between its fields.
    columns : tuple of str
        All columns of its header, in lower case without spaces and underscores.
    """

    relative_path: str
    kind: Kind
    encoding: str
    rows: tuple[ExportRow, ...]
    dialect: Dialect = LIS
    separator: str = field(default="", compare=False)
    columns: tuple[str, ...] = field(default=(), compare=False)

    @property
    def made(self) -> tuple[str, str]:
        """When it was made, to sort by: the time in its name, then its name."""
        name = self.relative_path.rpartition("/")[2]
        return self.dialect.stamp_of(name), name


@dataclass(frozen=True)
class _Header:
    """The header: its line's index, the separator, all columns, and where the wanted ones stand."""

    index: int
    separator: str
    columns: tuple[str, ...]
    image: int
    pattern: int | None
    sample: int | None


def load_export(file: Path, relative_path: str, dialect: Dialect = LIS) -> Export:
    """Read an export from its file.

    Parameters
    ----------
    file : Path
    relative_path : str
        Path below the archive's root, with `/`.
    dialect : Dialect

    Returns
    -------
    Export

    Raises
    ------
    ExportError
        The file cannot be read, is larger than :data:`MAX_BYTES`, or is no export.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)  # never more, whatever the listing said of its size
    except OSError as error:
        what = f"{relative_path} cannot be read: {error.strerror or error}"
        raise ExportError(what) from error
    return read_export(data, relative_path, dialect)


def read_export(data: bytes, relative_path: str, dialect: Dialect = LIS) -> Export:
    """Read an export.

    Parameters
    ----------
    data : bytes
        The file's content.
    relative_path : str
        Path below the archive's root, with `/`; its end tells the kind.
    dialect : Dialect

    Returns
    -------
    Export
        Blank lines, and lines that repeat the header, are no rows.

    Raises
    ------
    ExportError
        The bytes are too many or no text, the name tells no kind, or no header has the columns that
        are needed.
    """
    kind = export_kind(relative_path, dialect)
    text, encoding = decode_text(data, relative_path, dialect.encoding)
    header = _find_header(text, kind, relative_path, dialect)
    rows = tuple(_rows(text, header))
    return Export(relative_path, kind, encoding, rows, dialect, header.separator, header.columns)


def export_kind(relative_path: str, dialect: Dialect = LIS) -> Kind:
    """Return the kind of export that a file's name tells.

    Raises
    ------
    ExportError
        The name tells none.
    """
    kind = dialect.kind_of(relative_path.rpartition("/")[2])
    if kind is None:
        names = " nor ".join(name.upper() for name in dialect.kinds)
        what = f"{relative_path} is named neither {names}: what its rows are is not known"
        raise ExportError(what)
    return kind


def decode_text(data: bytes, relative_path: str, encoding: str = "auto") -> tuple[str, str]:
    """Decode an export's bytes.

    Parameters
    ----------
    data : bytes
    relative_path : str
        What to call the file in an error.
    encoding : str
        A name that Python knows, or `auto`: byte order mark, UTF-16 by its NULs, UTF-8, else
        Windows-1252.

    Returns
    -------
    text : str
    encoding : str
        Python's name of the encoding that was assumed.

    Raises
    ------
    ExportError
        The bytes are too many, or no text.
    """
    if not data:
        what = f"{relative_path} is empty"
        raise ExportError(what, "The copy may not have finished.")
    check_size(len(data), relative_path)
    encoding = _guess_encoding(data) if encoding == "auto" else encoding
    try:
        text = data.decode(encoding)
        text.encode()  # some codecs give halves of characters, which nothing can write
    except UnicodeError as error:
        place = f" at byte {error.start}" if isinstance(error, UnicodeDecodeError) else ""
        reason = getattr(error, "reason", str(error))
        what = f"{relative_path} is no text: {reason}{place} ({encoding})"
        raise ExportError(what) from error
    if "\0" in text:
        what = f"{relative_path} holds NUL bytes"
        raise ExportError(what, "The copy may be damaged: copy the file again.")
    if text.count("\n") + text.count("\r") - text.count("\r\n") > MAX_LINES:
        what = f"{relative_path} has more than {MAX_LINES:,} lines, and no export has"
        raise ExportError(what, "Look what file that is.")
    return text.rstrip("\x1a"), encoding  # DOS ends a text so


def check_size(size: int, relative_path: str) -> None:
    """Refuse a file with more bytes than any export has.

    Raises
    ------
    ExportError
        It is larger than :data:`MAX_BYTES`.
    """
    if size > MAX_BYTES:
        what = f"{relative_path} is larger than {MAX_BYTES // 2**20} MiB, and no export is"
        raise ExportError(what, "Look what file that is.")


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


def _find_header(text: str, kind: Kind, relative_path: str, dialect: Dialect) -> _Header:
    """Return the last of the first lines that has the columns, else say what the best one lacks."""
    lines = re.split(r"\r\n|\n|\r", text, maxsplit=dialect.header_lines)[: dialect.header_lines]
    best: _Header | None = None
    for index in reversed(range(len(lines))):
        for separator in dialect.separators:
            header = _header(index, separator, lines[index], dialect)
            if header and (kind == "NEGATIV" or header.pattern is not None):
                return header
            best = best or header
    if best is not None:
        shown = ", ".join(best.columns[:_SHOWN_COLUMNS])
        wanted = " or ".join(dialect.columns.pattern)
        what = f"{relative_path} has no column {wanted}; its header has {shown}"
        raise ExportError(what, "Spaces, underscores and case do not matter.")
    wanted = " or ".join(dialect.columns.image)
    first = "line" if dialect.header_lines == 1 else f"{dialect.header_lines} lines"
    what = f"{relative_path} has no header with the column {wanted} on its first {first}"
    raise ExportError(what, "Spaces, underscores and case do not matter.")


def _header(index: int, separator: str, line: str, dialect: Dialect) -> _Header | None:
    columns = tuple(plain(field) for field in RecordReader(separator).split(line))
    places: dict[str, int] = {}
    for position, name in enumerate(columns):
        places.setdefault(name, position)
    image, pattern, sample = (
        _place(places, names)
        for names in (dialect.columns.image, dialect.columns.pattern, dialect.columns.sample)
    )
    if image is None:
        return None
    return _Header(index, separator, columns, image, pattern, sample)


def _place(places: Mapping[str, int], names: Sequence[str]) -> int | None:
    return next((places[plain(name)] for name in names if plain(name) in places), None)


def _rows(text: str, header: _Header) -> Iterator[ExportRow]:
    reader = RecordReader(header.separator)
    columns = list(header.columns)
    while columns and not columns[-1]:  # a header that ends in separators
        columns.pop()
    names = _image_names(header.separator)
    records = reader.read(
        text,
        skip=header.index + 1,
        width=len(columns),
        names=lambda line: names.search(line) is not None,
    )
    for record in records:
        if any(map(str.strip, record.fields)) and not _repeats(header, record.fields):
            yield _row(record.line, record.fields, header)


def _repeats(header: _Header, fields: Sequence[str]) -> bool:
    """Whether a record is the header again, as where two exports were pasted together."""
    same = len(fields) == len(header.columns) and plain(fields[0]) == header.columns[0]
    return same and tuple(map(plain, fields)) == header.columns


def _image_names(separator: str) -> re.Pattern[str]:
    """Return an expression that finds a field which ends like an image's name, whatever its quotes."""
    suffixes = "|".join(sorted(re.escape(suffix) for suffix in IMAGE_SUFFIXES))
    return re.compile(rf'(?:{suffixes})[" ]*(?:{re.escape(separator)}|$)', flags=re.IGNORECASE)


def _row(number: int, fields: Sequence[str], header: _Header) -> ExportRow:
    sample = _value(fields, header.sample)
    return ExportRow(
        line=number,
        file_name=PureWindowsPath((_value(fields, header.image) or "").strip()).name,
        raw=_value(fields, header.pattern),
        sample=(sample or "").strip() or None,
    )


def _value(fields: Sequence[str], position: int | None) -> str | None:
    return fields[position] if position is not None and position < len(fields) else None

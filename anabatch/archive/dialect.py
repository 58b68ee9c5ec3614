"""How a laboratory writes its exports, as a value: separators, columns, and what names and terms say.

A layout (`schemas/layouts/*.toml`) holds one; without any, it is the dialect of the microscope's software.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from anabatch.config import Count, Section, form

Kind = Literal["SCREEN", "NEGATIV", "ALL"]
"""What an export's rows are: positive wells with their patterns, negative wells, or wells of any
status, which then stands among the terms of the row and nowhere else."""


def _group(name: str) -> AfterValidator:
    """Return the check that an expression compiles, and has a group of this name."""

    def check(expression: str) -> str:
        try:
            groups = re.compile(expression).groupindex
        except re.error as error:
            message = f"{expression!r} is not a regular expression: {error}"
            raise ValueError(message) from error
        if name not in groups:
            message = f"{expression!r} has no group (?P<{name}>...)"
            raise ValueError(message)
        return expression

    return AfterValidator(check)


def _text_codec(name: str) -> str:
    try:
        if name == "auto" or isinstance("".encode(name), bytes):
            return name
    except (LookupError, ValueError):
        pass
    message = f"{name!r} is neither auto nor an encoding of text that Python knows"
    raise ValueError(message)


def plain(text: str) -> str:
    """Return a column's name in lower case, without spaces and underscores."""
    return text.strip().replace(" ", "").replace("_", "").casefold()


ColumnNames = tuple[Annotated[str, form(r"(?s).*\S.*", "a column's name")], ...]
Separator = Annotated[
    str,
    form(
        r'[^"\r\n\w]', "one character, but no letter, digit, underscore, quotation mark or line end"
    ),
]
TableName = Annotated[
    str,
    form(
        r"[A-Za-z0-9][A-Za-z0-9._-]*\.csv",
        "the name of a .csv file, without a folder, of letters, digits, '.', '_' and '-'",
    ),
]


class Columns(Section):
    """Names of the wanted columns, whatever their case, spaces and underscores.

    Attributes
    ----------
    image : tuple of str
        The image's file name, or its Windows path. The first that the header has is taken.
    pattern : tuple of str
        The terms.
    sample : tuple of str
        The sample's number; a header without it is none the worse.
    """

    image: Annotated[ColumnNames, Field(min_length=1)] = ("ImName",)
    pattern: Annotated[ColumnNames, Field(min_length=1)] = ("Pattern", "ScreenPattern")
    sample: ColumnNames = ("SampleId", "Sample")


class Dialect(Section):
    r"""How exports are written, and what their names say.

    Attributes
    ----------
    separators : tuple of str
        Characters between fields. The first with which the header has its columns is the file's.
    encoding : str
        A name that Python knows, or `auto`: byte order mark, UTF-16 by its NULs, UTF-8, else
        Windows-1252 (of which printable latin-1 is a part).
    header_lines : int
        The header is the last of so many first lines that has the columns; any above are preamble.
    columns : Columns
    kind_in_name : str
        Regular expression whose group `kind` tells the kind, searched in the file's name whatever
        its case.
    kinds : dict
        What the group `kind` finds, in lower case, to the kind.
    kind : {'SCREEN', 'NEGATIV', 'ALL'}, optional
        The kind of all exports, whatever their names: neither `kind_in_name` nor `kinds` is looked
        at.
    stamp_in_name : str
        Regular expression whose group `stamp` tells when an export was made, as text that sorts by
        time, searched in the file's name. Where two exports of one folder and kind name the same
        image, the later one wins; without a stamp, the one whose name sorts last.
    term_separator : str
        What stands between two terms of a row.
    term : str
        Regular expression of a whole term, with the groups `code` (digits) and, if terms have
        names, `name`.
    codes : str
        The code table's file in the folder of the vocabulary.
    """

    separators: Annotated[tuple[Separator, ...], Field(min_length=1)] = (";", ",", "\t")
    encoding: Annotated[str, AfterValidator(_text_codec)] = "auto"
    header_lines: Count = 2
    columns: Columns = Columns()
    kind_in_name: Annotated[str, _group("kind")] = r"_(?P<kind>SCREEN|NEGATIV)\.csv$"
    kinds: dict[str, Kind] = Field(default={"screen": "SCREEN", "negativ": "NEGATIV"})
    kind: Kind | None = None
    stamp_in_name: Annotated[str, _group("stamp")] = (
        r"(?<![0-9])(?P<stamp>[0-9]{8}_[0-9]{6})(?![0-9])"
    )
    term_separator: Annotated[str, Field(min_length=1)] = "+"
    term: Annotated[str, _group("code")] = r"\[\s*(?P<code>[0-9]{1,5})\s*\](?P<name>[^\[\]]*)"
    codes: TableName = "lis_codes.csv"

    def kind_of(self, file_name: str) -> Kind | None:
        """Return the kind that an export's name tells, or None when it tells none."""
        if self.kind is not None:
            return self.kind
        match = re.search(self.kind_in_name, file_name, flags=re.IGNORECASE | re.ASCII)
        return self.kinds.get(match["kind"].lower()) if match and match["kind"] else None

    def stamp_of(self, file_name: str) -> str:
        """Return when an export was made, as text that sorts by time; empty if its name has none."""
        match = re.search(self.stamp_in_name, file_name)
        return (match["stamp"] or "") if match else ""


LIS = Dialect()
"""The dialect of the microscope's software."""

"""Show and tables: what the store holds, for a person or for another program."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from rich.table import Table
from rich.text import Text

from anabatch.errors import ConfigurationError
from anabatch.named_places import writing
from anabatch.report.text import plural
from anabatch.store.live import CLUSTER_MODEL
from anabatch.store.root import open_store

from .screen import screen

if TYPE_CHECKING:
    from pathlib import Path

_ROWS_ON_SCREEN = 20

# What makes a spreadsheet take a cell for a formula, at the cell's start or behind what another country's
# spreadsheet takes for the cell's start; any quotes before it are counted, so that one can be taken off again.
_FORMULA = r"""(^|[;,\t\r\n"])('* *[=+\-@\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}])"""
_BLANK_START = r"^('*[\t\r\n])"


def list_tables(store: Path, at: int | None) -> None:
    """Print every kind of part with its live rows, parts and bytes."""
    opened = open_store(store, at)
    listing = Table("table", "rows", "parts", "bytes", title=f"store version {opened.version}")
    for column in listing.columns[1:]:
        column.justify = "right"
    for item in opened.summary():
        numbers = (f"{item[name]:,}" for name in ("rows", "parts", "bytes"))
        listing.add_row(item["table"], *numbers)
    screen().print(listing)


def show_table(
    store: Path,
    at: int | None,
    name: str,
    *,
    where: str | None,
    limit: int | None,
    out: Path | None,
    model: str = CLUSTER_MODEL,
) -> None:
    """Print a table, or write it to a file.

    Parameters
    ----------
    store : Path
    at : int or None
        Version of the store.
    name : str
    where : str or None
        A condition in SQL over the table's columns.
    limit : int or None
        At most this many rows; on a terminal 20 without it.
    out : Path or None
        A `.csv` or `.parquet` file. CSV is made safe for spreadsheets (:func:`harmless`), here and
        where the output is no terminal; Parquet is exact.
    model : str
        Whose clusters.

    Raises
    ------
    ConfigurationError
        There is no such table, the condition is not valid, or the file's ending is another.
    PlaceError
        The file cannot be written there.
    """
    if out is not None and out.suffix not in (".csv", ".parquet"):
        what = f"{out} ends neither in .csv nor in .parquet"
        raise ConfigurationError(what, "These are the formats that are written.")
    table = open_store(store, at).table(name, model)
    if out is None:
        shown = _ROWS_ON_SCREEN if limit is None and sys.stdout.isatty() else limit
        _print(table.query(where, shown))
        return
    found = table.query(where, limit)
    _write(found, out)
    screen().print(f"wrote {plural(found.num_rows, 'row')} to {out}", highlight=False)


def _write(found: pa.Table, out: Path) -> None:
    if out.suffix == ".csv":
        found = harmless(found)
    with writing(out), out.open("wb") as file:  # pyarrow's own errors do not name the file
        if out.suffix == ".csv":
            pa.csv.write_csv(found, file)
        else:
            pq.write_table(found, file)


def harmless(table: pa.Table) -> pa.Table:
    """Return a table whose texts no spreadsheet takes for formulas; lists are texts with spaces.

    What stands in exports and names is anybody's. A single quote goes before `=`, `+`, `-`, `@` (and
    their wide forms) where a cell starts, and before a tab or line end there; so it does behind
    separators and quotes within a text, which start a cell where another separator is usual. Taking
    that one quote off again gives the text. Numbers stay numbers.

    Parameters
    ----------
    table : pyarrow.Table

    Returns
    -------
    pyarrow.Table

    References
    ----------
    OWASP, "CSV Injection", https://owasp.org/www-community/attacks/CSV_Injection.
    """
    for place, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            texts = pc.binary_join(table.column(place).cast(pa.list_(pa.string())), " ")
            table = table.set_column(place, field.name, texts)
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            column = table.column(place)
            column = pc.replace_substring_regex(column, pattern=_FORMULA, replacement=r"\1'\2")
            column = pc.replace_substring_regex(column, pattern=_BLANK_START, replacement=r"'\1")
            table = table.set_column(place, field, column)
    return table


def _printable(value: object) -> str:
    """Return a value in one line that cannot steer the terminal."""
    text = "" if value is None else str(value)
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _print(found: pa.Table) -> None:
    if not sys.stdout.isatty():
        pa.csv.write_csv(harmless(found), sys.stdout.buffer)
        return
    listing = Table(*found.schema.names)
    for row in found.to_pylist():
        listing.add_row(*(Text(_printable(value)) for value in row.values()))  # no markup
    screen().print(listing)

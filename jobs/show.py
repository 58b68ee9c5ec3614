"""Show and tables: what the store holds, for a person or for another program."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pyarrow.csv as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from anabatch.errors import ConfigurationError
from anabatch.store.root import open_store

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

_ROWS_ON_SCREEN = 20


def list_tables(store: Path, at: int | None) -> None:
    """Print every kind of part with its live rows, parts and bytes."""
    opened = open_store(store, at)
    listing = Table("table", "rows", "parts", "bytes", title=f"store version {opened.version}")
    for column in listing.columns[1:]:
        column.justify = "right"
    for item in opened.summary():
        numbers = (f"{item[name]:,}" for name in ("rows", "parts", "bytes"))
        listing.add_row(item["table"], *numbers)
    Console(soft_wrap=True).print(listing)


def show_table(
    store: Path,
    at: int | None,
    name: str,
    *,
    where: str | None,
    limit: int | None,
    out: Path | None,
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
        A `.csv` or `.parquet` file.

    Raises
    ------
    ConfigurationError
        There is no such table, the condition is not valid, or the file's ending is another.
    """
    if out is not None and out.suffix not in (".csv", ".parquet"):
        what = f"{out} ends neither in .csv nor in .parquet"
        raise ConfigurationError(what, "These are the formats that are written.")
    table = open_store(store, at).table(name)
    if out is None:
        shown = _ROWS_ON_SCREEN if limit is None and sys.stdout.isatty() else limit
        _print(table.query(where, shown))
        return
    found = table.query(where, limit)
    if out.suffix == ".csv":
        pc.write_csv(found, out)
    else:
        pq.write_table(found, out)
    Console().print(f"wrote {found.num_rows} rows to {out}", highlight=False)


def _print(found: pa.Table) -> None:
    if not sys.stdout.isatty():
        pc.write_csv(found, sys.stdout.buffer)
        return
    listing = Table(*found.schema.names)
    for row in found.to_pylist():
        listing.add_row(*("" if value is None else str(value) for value in row.values()))
    Console(soft_wrap=True).print(listing)

"""The schemas of all tables, read from `schemas/tables/`, and the check that a table keeps one."""

from __future__ import annotations

import datetime as dt
import json
import numbers
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from anabatch.errors import SchemaError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TABLES = ("acquisitions", "annotations", "cells", "clusters", "ledger")
"""All tables. `ledger` is the store's own; the others are its content."""


# What Arrow would convert without a word: 1.5 to an integer 1, bytes to text, True to 1.0.
_PYTHON_TYPES: dict[str, type] = {
    "int16": numbers.Integral,
    "int32": numbers.Integral,
    "int64": numbers.Integral,
    "float": numbers.Real,
    "double": numbers.Real,
    "bool": bool,
    "string": str,
    "date32[day]": dt.date,
}


@cache
def _columns(name: str) -> tuple[dict[str, Any], ...]:
    resource = files("anabatch.schemas") / "tables" / f"{name}.json"
    try:
        document = json.loads(resource.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        what = f"there is no table {name!r}"
        raise SchemaError(what, f"The tables are {', '.join(TABLES)}.") from error
    return tuple(document["columns"])


def _type(alias: str) -> pa.DataType:
    """Return an Arrow type by its name; `list<TYPE>` too, which Arrow itself does not parse."""
    if alias.startswith("list<"):
        item = pa.type_for_alias(alias.removeprefix("list<").removesuffix(">"))
        # The name that Parquet gives it, so that a table reads back as it was written.
        return pa.list_(pa.field("element", item, nullable=False))
    return pa.type_for_alias(alias)


@cache
def table_schema(name: str, *, derived: bool = True) -> pa.Schema:
    """Return the Arrow schema of a table.

    Parameters
    ----------
    name : str
        One of :data:`TABLES`.
    derived : bool
        With the columns that are joined when the table is read; without them it is the schema
        of the stored parts.

    Returns
    -------
    pyarrow.Schema

    Raises
    ------
    SchemaError
        There is no such table.
    """
    return pa.schema(
        pa.field(column["name"], _type(column["type"]), column["nullable"])
        for column in _columns(name)
        if derived or not column.get("derived", False)
    )


def to_table(name: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Make the stored form of a table from rows of Python values, and check it.

    Parameters
    ----------
    name : str
        One of :data:`TABLES`.
    rows : iterable of mapping
        Column name to value, without the derived columns.

    Returns
    -------
    pyarrow.Table

    Raises
    ------
    SchemaError
        A column is missing or too many, or a value does not fit its type.
    """
    schema = table_schema(name, derived=False)
    rows = list(rows)
    expected = set(schema.names)
    for row in rows:
        if row.keys() != expected:
            odd = sorted(expected ^ row.keys())
            what = f"a row of {name} lacks or has too many of the columns {', '.join(odd)}"
            raise SchemaError(what)
    for field in schema:
        _check_types(name, field, rows)
    try:
        table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError) as error:
        what = f"a value does not fit the schema of {name}: {error}"
        raise SchemaError(what) from error
    return validate(name, table)


def _check_types(name: str, field: pa.Field, rows: list[Mapping[str, Any]]) -> None:
    kind = str(field.type)
    for row in rows:
        value = row[field.name]
        if value is not None and not _fits(value, field.type):
            what = f"column {field.name} of {name} is {kind}, and {value!r} is not"
            raise SchemaError(what)


def _fits(value: object, kind: pa.DataType) -> bool:
    if pa.types.is_list(kind):
        return isinstance(value, list) and all(_fits(item, kind.value_type) for item in value)
    python = _PYTHON_TYPES[str(kind)]
    return isinstance(value, python) and (python is bool or not isinstance(value, bool))


def completed(name: str, table: pa.Table, columns: Iterable[str] | None = None) -> pa.Table:
    """Return a stored table with the columns that its schema has gained since it was written.

    Parts are immutable and outlive their schema. A column that may be null is null in the rows of
    older parts: it was not recorded.

    Parameters
    ----------
    name : str
        One of :data:`TABLES`.
    table : pyarrow.Table
        Without the derived columns.
    columns : iterable of str, optional
        Those that are wanted; all by default.

    Returns
    -------
    pyarrow.Table
        The table itself if it lacks nothing.

    Raises
    ------
    SchemaError
        It lacks a column that may not be null.
    """
    schema = table_schema(name, derived=False)
    if columns is not None:
        schema = pa.schema([schema.field(column) for column in columns])
    lacking = [field for field in schema if field.name not in table.schema.names]
    if not lacking:
        return table
    needed = [field.name for field in lacking if not field.nullable]
    if needed:
        what = f"{name} was written without the columns {', '.join(needed)}"
        raise SchemaError(what, "Compute it anew: `anabatch run --accept-recompute`.")
    for field in lacking:
        table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    added = [column for column in table.schema.names if column not in schema.names]
    return table.select([*schema.names, *added])


def validate(name: str, table: pa.Table, *, derived: bool = False) -> pa.Table:
    """Check a table against its schema and return it.

    Parameters
    ----------
    name : str
        One of :data:`TABLES`.
    table : pyarrow.Table
    derived : bool
        Whether the table should have the derived columns.

    Returns
    -------
    pyarrow.Table
        The table itself.

    Raises
    ------
    SchemaError
        A column's name, order or type differs, or a column that allows none holds nulls.
    """
    schema = table_schema(name, derived=derived)
    if table.schema.names != schema.names:
        what = f"{name} has the columns {table.schema.names}, not {schema.names}"
        raise SchemaError(what)
    for field in schema:
        column = table.column(field.name)
        if column.type != field.type:
            what = f"column {field.name} of {name} is {column.type}, not {field.type}"
            raise SchemaError(what)
        if not field.nullable and column.null_count:
            what = f"column {field.name} of {name} holds {column.null_count} nulls"
            raise SchemaError(what)
    return table

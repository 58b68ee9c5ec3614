"""Conditions that compare what cannot be compared, as a list with a text: what is wrong, what to write."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable

_VALUE = re.compile(
    r"""(?:with value|string|out of range:|field format:) (['"])(?P<value>.*?)\1(?:,| can't| to |$)"""
)
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
_OF_A_COLUMN = re.compile(r"when casting from source column (\w+)")
_TYPES = re.compile(
    r"argument types '.*?\((?P<first>[^,)]+)|compare values of type (?P<left>\S+) and type (?P<right>\S+)"
)
_NO_DATE = ("date field value out of range", "invalid date field format")
_NUMBERS = re.compile(
    r"^Could not convert string .* to (?:U?INT\d+|U?HUGEINT|FLOAT|DOUBLE|DECIMAL)"
)
_TRUTH = re.compile(r"^Could not convert string .* to BOOL$")
_ONLY_DATES = "dates are compared with dates alone"
_WRITE_A_DATE = "Write one as year, month, day: DATE '2021-12-14'."


def quoted(text: str) -> str:
    """Return a text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"


def bare_words(where: str) -> set[str]:
    """Return the words of a condition that stand in no quotes, in small letters."""
    return {word.lower() for word in re.findall(r"\w+", _QUOTED.sub(" ", where))}


def explain_kinds(reason: str, where: str, columns: pa.Schema) -> tuple[str, str] | None:
    """Return what is wrong with what a condition compares, and what to do; None if it is something else.

    Parameters
    ----------
    reason : str
        What DuckDB says of it, in a line.
    where : str
    columns : pyarrow.Schema
        What the condition can name.
    """
    found = _VALUE.search(reason)
    value = quoted(found["value"]) if found else "'...'"
    source = _OF_A_COLUMN.search(reason)
    if source and source[1] in _named(where, columns, pa.types.is_string):
        return _of_a_text([source[1]])
    if "[]" in reason:
        return _of_a_list(_named(where, columns, pa.types.is_list), value, columns)
    if types := _TYPES.search(reason):
        return _of_types([name for name in types.groups() if name], where, columns)
    return _of_a_value(reason, value, _named(where, columns, _is_number))


def _of_a_value(reason: str, value: str, numbers: list[str]) -> tuple[str, str] | None:
    if "-> DATE)" in reason:
        return _ONLY_DATES, _WRITE_A_DATE
    if reason.startswith(_NO_DATE):
        return f"{value} is no date", _WRITE_A_DATE
    if _NUMBERS.match(reason):
        example = (numbers or ["area_px"])[0]
        return f"{value} is no number", f"Numbers stand in no quotes, as: {example} > 100."
    if _TRUTH.match(reason):
        return f"{value} is neither true nor false", "Compare with TRUE or FALSE."
    return None


def _of_types(types: list[str], where: str, columns: pa.Schema) -> tuple[str, str] | None:
    """Say it where DuckDB tells of types alone: of a function's argument, or of what is compared."""
    if types[0] == "VARCHAR":
        return _of_a_text(_named(where, columns, pa.types.is_string))
    if len(types) > 1:
        return (_ONLY_DATES, _WRITE_A_DATE) if "DATE" in types else None
    kinds = {"DATE": pa.types.is_date, "BOOLEAN": pa.types.is_boolean}
    names = _named(where, columns, kinds.get(types[0], _is_number))
    if not names:
        return None
    reason = f"{' or '.join(names)} is neither a text nor a list"
    return reason, f"For what it is as a text: CAST({names[0]} AS VARCHAR)."


def _of_a_list(names: list[str], value: str, columns: pa.Schema) -> tuple[str, str] | None:
    if not names:
        return None
    remedy = f"For those that hold a value: list_contains({names[0]}, {value})"
    if names[0] == "labels" and "label" in columns.names:
        remedy += f", or label = {value}"
    return f"{' or '.join(names)} is a list", f"{remedy}."


def _of_a_text(names: list[str]) -> tuple[str, str] | None:
    if not names:
        return None
    reason = f"{' or '.join(names)} is a text"
    number = f"For a number where it is one: TRY_CAST({names[0]} AS DOUBLE)."
    return reason, f"Text goes in single quotes, as: {names[0]} = '...'. {number}"


def _named(where: str, columns: pa.Schema, kind: Callable[[pa.DataType], bool]) -> list[str]:
    """Return the columns of a kind that a condition names."""
    named = bare_words(where) | {item.strip('"').lower() for item in _QUOTED.findall(where)}
    return [column.name for column in columns if column.name.lower() in named and kind(column.type)]


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))

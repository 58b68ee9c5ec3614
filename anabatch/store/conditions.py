"""Conditions in SQL that people write: what they may ask, and what is wrong with one, in a line.

DuckDB sees tables in memory and nothing else: no file, no network, no other name of this process.
"""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import duckdb

from anabatch.errors import ConfigurationError
from anabatch.store.wrong_kinds import bare_words, explain_kinds, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

_ALONE: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "python_enable_replacements": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "lock_configuration": True,
}
_NO_COLUMN = re.compile(
    r'(?:Referenced column|not have a column named) "(.+?)"(?: not found|$)', re.MULTILINE
)
# Of the clock too, though the list of functions does not say so: words, and what calls them.
_CLOCK_WORDS = frozenset(
    {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}
)
_CLOCK_MACROS = frozenset({"ago", "pg_conf_load_time", "pg_postmaster_start_time"})
_OF_MANY_ROWS = re.compile(r"cannot contain (?:aggregates|window functions)|UNNEST not supported")
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
_KINDS = {
    "a number": (*_INTEGERS, *(f"U{name}" for name in _INTEGERS))
    + ("FLOAT", "DOUBLE", "DECIMAL", "BIGNUM"),
    "a text": ("VARCHAR", "ENUM", "JSON", "UUID"),
    "a date": ("DATE",),
    "a time": ("TIME",),  # TIMESTAMP too
    "a length of time": ("INTERVAL",),
    "several values": ("STRUCT", "TUPLE", "MAP", "UNION"),
    "bytes": ("BLOB", "BIT"),
    "nothing": ('"NULL"',),
}
"""What values are to a reader, by how DuckDB's names of their types begin."""
_UNNAMED = frozenset({"STAR", "POSITIONAL_REFERENCE"})
_NAME_COLUMNS = "Name the column itself, and join what is asked of several by AND."
_AS_BEHIND_WHERE = "Give a condition as it stands behind WHERE."
_CURLY = "\u2018\u2019\u201a\u201c\u201d\u201e"  # as word processors make of straight quotes


def alone() -> duckdb.DuckDBPyConnection:
    """Return a connection to tables in memory alone."""
    return duckdb.connect(config=_ALONE)


def parsed(connection: duckdb.DuckDBPyConnection, where: str) -> dict[str, Any]:
    """Return the tree of a condition, as DuckDB's parser has it; empty where it has an error.

    An error is left to the evaluation, which says what is wrong.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
    where : str

    Raises
    ------
    ConfigurationError
        It asks a query of its own: rows pass by once, and nothing beside them is to be seen. Or it has
        columns by a pattern or a number, as `COLUMNS('^label$')`: what is asked of them is not to be seen.
    """
    text = f"SELECT 1 WHERE ({where}\n)"  # a line end ends a comment
    ((answer,),) = connection.execute("SELECT json_serialize_sql(?)", [text]).fetchall()
    tree = json.loads(answer)
    if any(node["class"] == "SUBQUERY" for node in nodes(tree)):
        what = f"{where!r} is no condition, but asks a query of its own"
        raise ConfigurationError(what, _AS_BEHIND_WHERE)
    if any(node["class"] in _UNNAMED for node in nodes(tree)):
        what = f"{where!r} does not name the columns that it asks for"
        raise ConfigurationError(what, _NAME_COLUMNS)
    condition: dict[str, Any] = (
        {} if tree["error"] else tree["statements"][0]["node"]["where_clause"]
    )
    return condition


def holding(relation: duckdb.DuckDBPyRelation, where: str) -> duckdb.DuckDBPyRelation:
    """Return those rows of a relation for which a condition holds; nothing is evaluated yet.

    Parameters
    ----------
    relation : duckdb.DuckDBPyRelation
    where : str

    Raises
    ------
    ConfigurationError
        It gives a number or a text, which DuckDB would take for true wherever it can.
    duckdb.Error
        It is no condition over these columns. :func:`explained` says what is wrong.
    """
    found = relation.filter(where)
    types = relation.project(f"({where}\n)").types  # a line end ends a comment
    if others := [str(kind) for kind in types if str(kind) != "BOOLEAN"]:
        what = f"{where!r} is no condition: it gives {_told(others[0])}"
        remedy = "Compare a column with something."
        if _names_a_column(where, relation.columns):
            remedy = f"Compare it with something, as in: {where.strip()} = ..."
        raise ConfigurationError(what, remedy)
    return found


def _told(kind: str) -> str:
    """Return what values of a type of DuckDB's are, in words."""
    if kind.endswith("]"):
        return "a list"
    told = (words for words, begins in _KINDS.items() if kind.startswith(begins))
    return next(told, "what is neither true nor false")


def _names_a_column(where: str, columns: Sequence[str]) -> bool:
    with alone() as connection:
        tree = parsed(connection, where)
    # a column's field has several names; `current_date` looks like a name, and is no column's
    named = {name.lower() for node in nodes(tree) for name in node.get("column_names", [])}
    return not named.isdisjoint(column.lower() for column in columns)


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield all expressions of a tree, every one before those inside of it."""
    if isinstance(tree, dict) and "class" in tree:
        yield tree
    inner = tree.values() if isinstance(tree, dict) else tree
    for item in inner:
        if isinstance(item, dict | list):
            yield from nodes(item)


def refuse_chance(
    connection: duckdb.DuckDBPyConnection, where: str, condition: dict[str, Any]
) -> None:
    """Refuse conditions that give something else every time, or another day.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
    where : str
    condition : dict
        The condition's tree.

    Raises
    ------
    ConfigurationError
        It calls what DuckDB knows to be volatile, as `random`, or to hold for one query alone, as `now`.
    """
    known = connection.execute("SELECT function_name, stability FROM duckdb_functions()").fetchall()
    called = {node["function_name"].lower() for node in nodes(condition) if "function_name" in node}
    if chance := sorted(called & {name for name, kind in known if kind == "VOLATILE"}):
        what = f"{chance[0]}() gives something else every time: {where!r} selects no certain cells"
        remedy = "For half of them, the same every time: cell_id < '8' (it is hexadecimal)."
        raise ConfigurationError(what, remedy)
    passing = {name for name, kind in known if kind == "CONSISTENT_WITHIN_QUERY"}
    if clock := _of_the_clock(condition, passing | _CLOCK_MACROS):
        what = f"{clock[0]} gives something else another day: {where!r} selects no certain cells"
        raise ConfigurationError(what, "Write the date, as DATE '2021-12-14'.")


def _of_the_clock(condition: dict[str, Any], functions: set[str]) -> list[str]:
    """Return what a condition names of these functions, and of words that mean one."""
    found = []
    for node in nodes(condition):
        name = node.get("function_name", "").lower()
        # the age of one date is that of today
        if name in functions or (name == "age" and len(node["arguments"]) < 2):
            found.append(f"{name}()")
        word = ".".join(node.get("column_names", [])).lower()
        if word in _CLOCK_WORDS:
            found.append(word)
    return found


def explained(error: duckdb.Error, where: str, over: str, columns: pa.Schema) -> ConfigurationError:
    """Return what is wrong with a condition: in a line, then what to do.

    Parameters
    ----------
    error : duckdb.Error
        What its evaluation raised.
    where : str
    over : str
        What it was evaluated over.
    columns : pyarrow.Schema
        What it could name; the names are told, and last, where it uses another.

    Returns
    -------
    ConfigurationError
    """
    first = str(error).partition("\n")[0].partition(" Error: ")
    reason = (first[2] or first[0]).rstrip(".")
    remedy = _AS_BEHIND_WHERE if isinstance(error, duckdb.ParserException) else ""
    if unknown := _NO_COLUMN.search(str(error)):
        reason, remedy = _of_no_column(unknown[1], where, columns.names)
    elif _OF_MANY_ROWS.search(reason):
        what = f"{where!r} asks for many rows at once, and a condition sees one alone"
        return ConfigurationError(what, _AS_BEHIND_WHERE)
    elif remedy and "unterminated" in reason:
        remedy = "Text goes in straight single quotes, and one inside of it is written twice: 'L''autre'."
    elif remedy and "syntax error" not in reason:  # DuckDB tells how it looks at a condition
        return ConfigurationError(
            f"{where!r} is no condition over {over}, or more than one", remedy
        )
    elif remedy and (words := _words_of_sql(where, columns.names)):
        remedy = f'{words[0]} is a word of SQL: for the column write "{words[0]}".'
    elif told := explain_kinds(reason, where, columns):
        reason, remedy = told
    return ConfigurationError(f"{reason}: {where!r} cannot be evaluated over {over}", remedy)


def _words_of_sql(where: str, columns: Sequence[str]) -> list[str]:
    """Return the columns that a condition names without quotes, and has to name in double ones."""
    query = "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category = 'reserved'"
    with alone() as connection:
        reserved = {word for (word,) in connection.execute(query).fetchall()}
    return [name for name in columns if name.lower() in reserved & bare_words(where)]


def _of_no_column(name: str, where: str, columns: Sequence[str]) -> tuple[str, str]:
    """Return what is wrong with a name that is no column's, and what to do."""
    every = f"The columns are {', '.join(columns)}."
    bare = name.strip(_CURLY)
    if bare != name:
        return f"{name} is not in straight quotes", f"Text goes in single ones: {quoted(bare)}."
    nearest = _nearest(name, columns)
    meant = f"The nearest {'are' if len(nearest) > 1 else 'is'} {', '.join(nearest)}. "
    meant = meant if nearest else ""
    if f'"{name}"' in where:
        reason = f"{name!r} in double quotes is a column, and there is none of this name"
        return reason, f"{meant}Text goes in single quotes: {quoted(name)}.\n{every}"
    text = "" if nearest else f"Text goes in single quotes: {quoted(name)}. "
    return f"there is no column {name!r}", f"{(meant + text).rstrip()}\n{every}"


def _nearest(name: str, columns: Sequence[str]) -> list[str]:
    small = {column.lower(): column for column in columns}
    close = get_close_matches(name.lower(), small, n=3)
    holding = [column for column in small if name.lower() in column]
    return [small[column] for column in dict.fromkeys([*close, *holding])][:4]

"""Conditions that compare `label` more than once: each comparison is of any of an image's labels.

A row of an image with one of its labels shows what holds for that label alone. With `label = 'x' AND
label = 'y'` no label is both, and an image can have both: so what AND joins is asked of all of an
image's rows, comparison by comparison.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from anabatch.store.conditions import parsed
from anabatch.store.denials import names_label, of_columns

if TYPE_CHECKING:
    import duckdb

_ANY = "bool_or(NULL AND TRUE)"  # AND makes a truth value of what stands for one
_ANYTHING = "SELECT 1 WHERE "


def joins_labels(condition: dict[str, Any]) -> bool:
    """Whether a condition joins two comparisons of `label` by AND.

    Parameters
    ----------
    condition : dict
        The condition's tree, as :func:`anabatch.store.conditions.parsed` gives it.
    """
    if condition.get("class") != "CONJUNCTION":
        return False
    children = condition["children"]
    if condition["type"] == "CONJUNCTION_AND":
        here = [child for child in children if names_label(of_columns(child))]
        if len(here) > 1:
            return True
    return any(joins_labels(child) for child in children)


def of_any_label(connection: duckdb.DuckDBPyConnection, condition: dict[str, Any]) -> str:
    """Return a condition over groups of rows, of which each has one of the labels of the same cell.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
    condition : dict
        The condition's tree. It denies no label, so that what it joins by AND and OR holds for a cell
        exactly if that holds for some of the cell's rows.
    """
    any_row = parsed(connection, _ANY)
    whole = _serialized(connection, f"{_ANYTHING}TRUE")
    whole["statements"][0]["node"]["where_clause"] = _term_by_term(condition, any_row)
    query = "SELECT json_deserialize_sql(?)"
    ((text,),) = connection.execute(query, [json.dumps(whole)]).fetchall()
    return str(text).removeprefix(_ANYTHING)


def _serialized(connection: duckdb.DuckDBPyConnection, text: str) -> Any:
    ((answer,),) = connection.execute("SELECT json_serialize_sql(?)", [text]).fetchall()
    return json.loads(answer)


def _term_by_term(condition: dict[str, Any], any_row: dict[str, Any]) -> dict[str, Any]:
    """Return a tree in which each of the terms that AND and OR join is asked of all rows."""
    if condition.get("class") == "CONJUNCTION":
        children = [_term_by_term(child, any_row) for child in condition["children"]]
        return condition | {"children": children}
    (argument,) = any_row["arguments"]
    _, true = argument["expression"]["children"]
    both = argument["expression"] | {"children": [condition, true]}
    return any_row | {"arguments": [argument | {"expression": both}]}

"""Choosing cells by a condition in SQL over all that the store knows of them."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa

from anabatch.errors import ConfigurationError
from anabatch.schema import completed, table_schema
from anabatch.store.conditions import alone, explained, nodes, parsed, refuse_chance
from anabatch.store.live import CELLS, LivePart
from anabatch.store.parts import Part

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anabatch.store.collections import Collections

_PLACE = ("part", "row")
_BLOCK_PARTS = 64
"""Parts whose cells a condition is evaluated over at once: what it selects of them is in memory."""
_ANY_LABEL = "unnest(if(len(labels) = 0, [NULL], labels)) AS label"
_LABEL = re.compile(r"\blabel\b", re.IGNORECASE)

_OF_NULL = frozenset({"OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL"})
# What may stand around `label` where a condition affirms one of the labels.
_AFFIRMING = _OF_NULL | frozenset(
    {
        "COMPARE_EQUAL",
        "COMPARE_NOT_DISTINCT_FROM",
        "COMPARE_LESSTHAN",
        "COMPARE_LESSTHANOREQUALTO",
        "COMPARE_GREATERTHAN",
        "COMPARE_GREATERTHANOREQUALTO",
        "COMPARE_BETWEEN",
        "COMPARE_IN",
        "COLUMN_REF",
    }
)
_OF_THE_TEXT = frozenset({"FUNCTION", "COLUMN_REF", "CAST", "COLLATE"})
# Functions that say of a text whether it is of a kind; of `label`, they may stand alone.
_KINDS = frozenset(
    {"~~", "~~*", "~~~", "^@", "like_escape", "ilike_escape", "regexp_matches", "regexp_full_match"}
    | {"starts_with", "prefix", "ends_with", "suffix", "contains"}
    | {"list_contains", "list_has", "array_contains", "array_has"}
)
# Functions that give a text, of which a comparison says as much as of `label` itself. What else is told
# of a text can deny, as instr(label, 'x') = 0 does; so can what removes some of it wherever it stands.
_TEXTS = frozenset(
    {"lower", "lcase", "upper", "ucase", "strip_accents", "nfc_normalize", "||", "concat"}
    | {"trim", "ltrim", "rtrim", "substring", "substr", "left", "right"}
)
_NOT_LIKE = frozenset({"!~~", "!~~*"})
_EQUALITY = frozenset(
    {"COMPARE_EQUAL", "COMPARE_NOTEQUAL", "COMPARE_IN", "COMPARE_NOT_IN"}
    | {"COMPARE_DISTINCT_FROM", "COMPARE_NOT_DISTINCT_FROM"}
)


def select_cells(collections: Collections, where: str) -> list[LivePart]:
    """Return the live cells that a condition selects.

    Parameters
    ----------
    collections : Collections
    where : str
        A condition in DuckDB's SQL over the columns that :func:`selection_columns` names: those of
        `cells`, those of the image's first acquisition, `labels` (a sorted list of all labels of the
        image), and `label`, which stands for any of them: `label = 'x'` holds for a cell if one of its
        image's labels is x. An image without labels has an empty list, and a `label` that is null.

    Returns
    -------
    list of LivePart
        Those cell parts that have some, with the ranges of their selected rows, in the store's order.

    Raises
    ------
    ConfigurationError
        It is no condition over these columns; asks for other tables; gives something else every time,
        as `random()` does, or another day, as `now()`; or denies a label, as `label <> 'x'`, which
        would hold for every image that has another one as well.
    PartCorruptError
        A part cannot be read.
    """
    parts = collections.cell_parts
    failures: list[Exception] = []
    with alone() as connection:
        try:
            condition = parsed(connection, where)
            refuse_chance(connection, where, condition)
            _refuse_denials(where, condition)
            connection.register("images", _images(collections))
            selected = []
            # a condition is checked even where there are no cells
            for start in range(0, max(len(parts), 1), _BLOCK_PARTS):
                block = parts[start : start + _BLOCK_PARTS]
                found = _places(
                    connection, where, _stream(collections.root, block, where, failures)
                )
                selected += _ranges(block, found)
        except duckdb.Error as error:
            if failures:  # DuckDB has wrapped what a part raised
                raise failures[0] from None
            raise explained(error, where, "the cells", selection_columns()) from error
    return selected


def _places(
    connection: duckdb.DuckDBPyConnection, where: str, stream: Iterator[pa.RecordBatch]
) -> pa.Table:
    """Return numbers of parts, and rows in them, of the cells of a stream that a condition selects."""
    reader = pa.RecordBatchReader.from_batches(_cell_schema(where), stream)
    connection.register("cell_rows", reader)
    joined = connection.sql("SELECT * FROM cell_rows JOIN images USING (image_id)")
    if _LABEL.search(where):
        joined = joined.project(f"*, {_ANY_LABEL}")
    return joined.filter(where).project('"part", "row"').distinct().to_arrow_table()


def selection_columns() -> list[str]:
    """Return the names that a condition may use."""
    cells = table_schema(CELLS, derived=False).names
    images = [field.name for field in _image_schema()]
    return [*cells, *(name for name in images if name != "image_id"), "label"]


def _refuse_denials(where: str, condition: dict[str, Any]) -> None:
    """Refuse conditions that deny a label, where `label` is any of an image's labels."""
    for term in _terms(_of_columns(condition)):
        if _names_label(term) and not _affirms(term):
            strange = [name for name in _functions(term) if name not in _KINDS | _TEXTS | _NOT_LIKE]
            denies = f"may deny a label with {strange[0]}()" if strange else "denies a label"
            what = (
                f"{where!r} {denies}: label is any of an image's labels, and this would take "
                "every image that has another one as well"
            )
            held = " For those with it, as: contains(label, '...')." if strange else ""
            raise ConfigurationError(what, f"For images without it{_without(term)}.{held}")


def _of_columns(tree: Any) -> Any:
    """Return a tree without those lambdas whose parameter is called `label`: theirs is no column."""
    if isinstance(tree, list):
        return [_of_columns(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if tree.get("class") == "LAMBDA" and _names_label(tree["lhs"]):
        return None
    return {key: _of_columns(item) for key, item in tree.items()}


def _terms(condition: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what AND and OR join."""
    if condition.get("class") != "CONJUNCTION":
        yield condition
        return
    for child in condition["children"]:
        yield from _terms(child)


def _names_label(tree: dict[str, Any]) -> bool:
    return any(
        node.get("column_names", [""])[-1].lower() == "label"
        or node.get("schema", "").lower() == "label"  # label.lower() is lower(label)
        for node in nodes(tree)
    )


def _functions(tree: dict[str, Any]) -> list[str]:
    """Return the names of the functions of `label`."""
    of_label = (node for node in nodes(tree) if node["class"] == "FUNCTION" and _names_label(node))
    return [node["function_name"].lower() for node in of_label]


def _affirms(term: dict[str, Any]) -> bool:
    """Whether a term that names `label` holds for those images alone that have a label of a kind."""
    first, *inner = nodes(term)
    if first["type"] == "OPERATOR_NOT":  # NOT label IS NULL is label IS NOT NULL
        return inner[0]["type"] in _OF_NULL and _affirms(inner[0])
    functions = _functions(term)
    if first["class"] == "FUNCTION":
        if functions.pop(0) not in _KINDS:
            return False
    elif first["type"] not in _AFFIRMING:
        return False
    if any(node["class"] not in _OF_THE_TEXT for node in inner if _names_label(node)):
        return False
    of_truth = any(node.get("literal", {}).get("kind") == "BOOLEAN" for node in inner)
    return not of_truth and _TEXTS.issuperset(functions)


def _without(term: dict[str, Any]) -> str:
    """Return the condition that was probably meant, or how one looks where no label is named in full."""
    quoted = ["'" + label.replace("'", "''") + "'" for label in _labels(term)]
    if not quoted:
        return ", as: NOT list_contains(labels, '...')"
    if len(quoted) == 1:
        return f": NOT list_contains(labels, {quoted[0]})"
    return f": NOT list_has_any(labels, [{', '.join(quoted)}])"


def _labels(term: dict[str, Any]) -> list[str]:
    """Return the labels that a term compares `label` with; none where it asks for more than equality."""
    compared = [node for node in nodes(term) if node["type"].startswith("COMPARE_")]
    compared = [node for node in compared if _names_label(node)]
    # of (label = 'x') = FALSE, the inner one
    compared = [
        node for node in compared if not any(item in compared for item in list(nodes(node))[1:])
    ]
    computed = any(node["class"] == "FUNCTION" for node in nodes(term))
    if computed or any(node["type"] not in _EQUALITY for node in compared):
        return []
    literals = [inner.get("literal", {}) for node in compared for inner in nodes(node)]
    texts = [str(item["text"]) for item in literals if item.get("kind") == "STRING"]
    return list(dict.fromkeys(texts))


def _cell_columns(where: str) -> list[str]:
    """Return the stored columns of cells that a condition could mean."""
    named = {word.lower() for word in re.findall(r"\w+", where)}
    return [name for name in table_schema(CELLS, derived=False).names if name.lower() in named]


def _cell_schema(where: str) -> pa.Schema:
    stored = table_schema(CELLS, derived=False)
    names = dict.fromkeys(["image_id", *_cell_columns(where)])
    places = [pa.field("part", pa.int32()), pa.field("row", pa.int64())]
    return pa.schema([*(stored.field(name) for name in names), *places])


def _stream(
    root: Path, parts: list[LivePart], where: str, failures: list[Exception]
) -> Iterator[pa.RecordBatch]:
    """Yield the live rows part by part; note what one raises, which the reader of a stream changes."""
    schema = _cell_schema(where)
    names = [name for name in schema.names if name not in _PLACE]
    try:
        for number, live in enumerate(parts):
            rows = live.indices()
            table = completed(CELLS, Part(root, live.path).rows(CELLS, names), names).select(names)
            table = table.take(pa.array(rows))
            table = table.append_column("part", pa.array(np.full(len(rows), number, np.int32)))
            table = table.append_column("row", pa.array(rows))
            yield from table.cast(schema).to_batches()
    except Exception as error:
        failures.append(error)
        raise


def _image_schema() -> pa.Schema:
    """Return what is known of an image: its first acquisition, and its labels.

    Where cells have a column of the same name, as `flags`, a condition means theirs.
    """
    cells = set(table_schema(CELLS, derived=False).names) - {"image_id"}
    fields = [field for field in table_schema("acquisitions") if field.name not in cells]
    return pa.schema([*fields, pa.field("labels", pa.list_(pa.string()))])


def _images(collections: Collections) -> pa.Table:
    acquisitions = collections.acquisitions
    order = ("date", "archive", "relative_path", "image_id")
    rows = acquisitions.select(order).to_pylist()
    earliest: dict[str, int] = {}
    for number in sorted(range(len(rows)), key=lambda i: _age(rows[i])):
        if rows[number]["image_id"]:
            earliest.setdefault(rows[number]["image_id"], number)
    found: dict[str, set[str]] = defaultdict(set)
    for table in collections.table("annotations").batches():
        for row in table.select(["image_id", "label"]).to_pylist():
            if row["image_id"] and row["label"]:
                found[row["image_id"]].add(row["label"])
    labels = [sorted(found[image]) for image in earliest]
    images = acquisitions.take(pa.array(list(earliest.values()), pa.int64()))
    images = images.append_column("labels", pa.array(labels, pa.list_(pa.string())))
    return images.select(_image_schema().names)


def _age(row: dict[str, Any]) -> tuple[bool, str, str, str]:
    """Return what :func:`~anabatch.store.live.first_acquisitions` sorts by."""
    date = row["date"]
    return date is None, str(date), row["archive"], row["relative_path"]


def _ranges(parts: list[LivePart], found: pa.Table) -> list[LivePart]:
    numbers = found.column("part").to_numpy()
    rows = found.column("row").to_numpy()
    order = np.lexsort((rows, numbers))
    numbers, rows = numbers[order], rows[order]
    selected = []
    for number in np.unique(numbers).tolist():
        here = rows[slice(*np.searchsorted(numbers, [number, number + 1]))]
        breaks = np.flatnonzero(np.diff(here) != 1)
        starts = here[np.append(0, breaks + 1)].tolist()
        stops = (here[np.append(breaks, -1)] + 1).tolist()
        ranges = tuple(zip(starts, stops, strict=True))
        selected.append(LivePart(parts[number].path, ranges, parts[number].images))
    return selected

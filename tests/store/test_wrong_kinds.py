"""Conditions that cannot be evaluated: what is said of them, and what to write."""

import duckdb
import pyarrow as pa
import pytest

from anabatch.store.conditions import alone, explained, holding

COLUMNS = pa.schema(
    {
        "area_px": pa.int32(),
        "scale": pa.float32(),
        "mitotic": pa.bool_(),
        "date": pa.date32(),
        "sample": pa.string(),
        "flags": pa.list_(pa.string()),
        "labels": pa.list_(pa.string()),
        "group": pa.string(),
        "label": pa.string(),
    }
)
ROW = {"area_px": 3, "sample": "a", "labels": ["golgi"], "flags": [], "label": "golgi"}
QUOTES = "Text goes in straight single quotes, and one inside of it is written twice: 'L''autre'."
DATE = "Write one as year, month, day: DATE '2021-12-14'."
GROUP = 'group is a word of SQL: for the column write "group".'


def of_a_text(name):
    number = f"For a number where it is one: TRY_CAST({name} AS DOUBLE)."
    return f"Text goes in single quotes, as: {name} = '...'. {number}"


def told(where):
    """Return what is wrong with a condition, without its own words, and the first line of what to do."""
    with alone() as connection:
        connection.register("rows", pa.Table.from_pylist([ROW], schema=COLUMNS))
        with pytest.raises(duckdb.Error) as raised:
            holding(connection.table("rows"), where).fetchall()
    error = explained(raised.value, where, "the rows", COLUMNS)
    reason, told, rest = error.what.partition(f": {where!r} cannot be evaluated over the rows")
    assert told
    assert not rest
    return reason, error.remedy.partition("\n")[0]


@pytest.mark.parametrize(
    ("where", "reason", "remedy"),
    [
        (
            "labels = 'golgi'",
            "labels is a list",
            "For those that hold a value: list_contains(labels, 'golgi'), or label = 'golgi'.",
        ),
        (
            "flags LIKE 'la%'",
            "flags is a list",
            "For those that hold a value: list_contains(flags, '...').",
        ),
        (
            "Flags IN ('it''s')",
            "flags is a list",
            "For those that hold a value: list_contains(flags, 'it''s').",
        ),
        (
            '"labels" > 3',
            "labels is a list",
            "For those that hold a value: list_contains(labels, '...'), or label = '...'.",
        ),
        ("date = '2021-12-44'", "'2021-12-44' is no date", DATE),
        ("date = '14.12.2021'", "'14.12.2021' is no date", DATE),
        ("date > 20211201", "dates are compared with dates alone", DATE),
        ("date = area_px", "dates are compared with dates alone", DATE),
        (
            "date LIKE '2021%' AND area_px > 2",
            "date is neither a text nor a list",
            "For what it is as a text: CAST(date AS VARCHAR).",
        ),
        ("area_px > 'abc'", "'abc' is no number", "Numbers stand in no quotes, as: area_px > 100."),
        ("scale < 'a, b'", "'a, b' is no number", "Numbers stand in no quotes, as: scale > 100."),
        ("mitotic = 'abc'", "'abc' is neither true nor false", "Compare with TRUE or FALSE."),
        (
            "sample = 12",
            "sample is a text",
            of_a_text("sample"),
        ),
        (
            "abs(label) > 3",
            "label is a text",
            of_a_text("label"),
        ),
        ("label = 'it's'", "unterminated string literal", QUOTES),
        ("label = \u2018L'autre\u2019", "unterminated string literal", QUOTES),
        ("group = '1'", 'syntax error at or near "="', GROUP),
        ("label = 'x' AND upper(GROUP) = 'A'", 'syntax error at or near "GROUP"', GROUP),
        (
            "sample = 'group' AND AND",
            'syntax error at or near "AND"',
            "Give a condition as it stands behind WHERE.",
        ),
        (
            'label = "L\'autre"',
            '"L\'autre" in double quotes is a column, and there is none of this name',
            "Text goes in single quotes: 'L''autre'.",
        ),
    ],
)
def test_what_is_wrong_is_told_and_what_to_write(where, reason, remedy):
    assert told(where) == (reason, remedy)


@pytest.mark.parametrize(
    "where",
    [
        "list_contains(flags, 'large') OR label = 'golgi'",
        "date = DATE '2021-12-14' OR CAST(date AS VARCHAR) LIKE '2021%' OR area_px > 2",
        "area_px > 100 OR TRY_CAST(sample AS DOUBLE) = 12 OR label = 'golgi'",
        "mitotic = TRUE OR \"group\" = '1' OR label IN ('L''autre', 'golgi')",
    ],
)
def test_what_is_advised_can_be_evaluated(where):
    with alone() as connection:
        connection.register("rows", pa.Table.from_pylist([ROW], schema=COLUMNS))
        assert len(holding(connection.table("rows"), where).fetchall()) == 1

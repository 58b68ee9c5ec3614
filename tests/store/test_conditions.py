"""Conditions that give something else than true or false: what is said of them."""

import pytest

from anabatch.errors import ConfigurationError
from anabatch.store.conditions import alone, holding

ROW = """
    SELECT 3 AS area_px, DATE '2021-12-14' AS date, TIMESTAMP '2021-12-14 10:00:00' AS modified,
        ['golgi'] AS labels, {'x': 1} AS centre, true AS live
"""


@pytest.fixture
def row():
    with alone() as connection:
        yield connection.sql(ROW)


def refused(row, where):
    """Return what a condition is said to give, and what to do."""
    with pytest.raises(ConfigurationError, match="is no condition: it gives ") as raised:
        holding(row, where)
    return raised.value.what.partition(" it gives ")[2], raised.value.remedy


@pytest.mark.parametrize(
    ("where", "kind"),
    [
        ("1", "a number"),
        ("1.5", "a number"),
        ("NULL", "nothing"),
        ("'x'", "a text"),
        ("'area_px'", "a text"),
        ("DATE '2020-01-01'", "a date"),
        ("TIME '10:00'", "a time"),
        ("interval 1 day", "a length of time"),
        ("[1, 2]", "a list"),
        ("[true]", "a list"),
        ("(1, true)", "several values"),
        ("current_date", "a date"),
    ],
)
def test_a_constant_is_not_to_be_compared(row, where, kind):
    assert refused(row, where) == (kind, "Compare a column with something.")


@pytest.mark.parametrize(
    ("where", "kind"),
    [
        ("area_px", "a number"),
        ('"AREA_PX" * 1.5', "a number"),
        ("area_px::UINTEGER", "a number"),
        ("date - modified", "a length of time"),
        ("modified", "a time"),
        ("labels", "a list"),
        ("centre", "several values"),
        ("centre.x", "a number"),
    ],
)
def test_what_names_a_column_is_to_be_compared(row, where, kind):
    assert refused(row, where) == (kind, f"Compare it with something, as in: {where} = ...")


def test_every_kind_is_told_in_words(row):
    with alone() as connection:
        query = "SELECT DISTINCT upper(logical_type) FROM duckdb_types()"
        known = connection.execute(query).fetchall()
    plain = {name for (name,) in known} - {
        *("BOOLEAN", "NULL", "ENUM", "LIST", "ARRAY", "STRUCT", "TUPLE", "MAP", "UNION")
    }
    assert {"UINTEGER", "DECIMAL", "TIMESTAMP WITH TIME ZONE", "UHUGEINT"} <= plain
    told = {name: refused(row, f"NULL::{name}")[0] for name in plain}
    assert {name for name, words in told.items() if not words.islower()} == set()
    assert {told[name] for name in plain if name.endswith("INT") or name == "DECIMAL"} == {
        "a number"
    }


def test_columns_by_a_pattern_are_refused_before_what_they_give(row):
    with pytest.raises(ConfigurationError, match="does not name the columns that it asks for"):
        holding(row, "COLUMNS('live|area_px')")


def test_a_condition_holds_or_not(row):
    assert holding(row, "area_px = 3 -- all").fetchall() == row.fetchall()
    assert holding(row, "NOT live").fetchall() == []

import datetime as dt
from dataclasses import replace

import pytest

from anabatch.errors import PartCorruptError
from anabatch.schema import to_table
from anabatch.store.actions import Action

ACTION = Action(
    "cells",
    "image0",
    "00ff",
    archive="hard-drive",
    date=dt.date(2021, 12, 13),
    outcome="ok",
    components={"b": [1, 2.5], "a": {"é": None}},
    first_row=3,
    rows=4,
    sequence=7,
    run="r",
)


def test_a_row_of_the_ledger_gives_the_action_back():
    row = to_table("ledger", [ACTION.to_row()]).to_pylist()[0]
    assert Action.from_row(row) == ACTION


def test_equal_components_are_equal_text():
    other = Action("cells", "image0", "00ff", components={"a": {"é": None}, "b": [1, 2.5]})
    assert other.to_row()["components"] == ACTION.to_row()["components"]


def test_it_is_one_stage_on_one_unit():
    assert ACTION.identity == ("cells", "image0")


def test_placing_says_where_the_result_is_and_changes_nothing_else():
    placed = ACTION.placed(part="parts/cells/x", digest="d")
    assert (placed.part, placed.part_digest) == ("parts/cells/x", "d")
    assert replace(placed, part=None, part_digest=None) == ACTION


@pytest.mark.parametrize(
    ("name", "value"), [("unit", "image1"), ("rows", 5), ("date", None), ("reason", "")]
)
def test_a_row_that_is_not_what_was_written_is_an_error(name, value):
    with pytest.raises(PartCorruptError, match="cells"):
        Action.from_row(ACTION.to_row() | {name: value})

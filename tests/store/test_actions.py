import datetime as dt
import json
import pickle
from dataclasses import FrozenInstanceError, replace

import pytest

from anabatch.store.actions import GONE, Action

DATE = {"date": dt.date(2021, 12, 13)}

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


def test_a_row_gives_the_action_back():
    assert Action.from_row(json.loads(json.dumps(ACTION.to_row(), default=str)) | DATE) == ACTION


def test_equal_components_are_equal_text():
    other = Action("cells", "image0", "00ff", components={"a": {"é": None}, "b": [1, 2.5]})
    assert other.to_row()["components"] == ACTION.to_row()["components"]


def test_it_is_one_stage_on_one_unit():
    assert ACTION.identity == ("cells", "image0")


def test_placing_says_where_the_result_is_and_changes_nothing_else():
    placed = ACTION.placed(part="parts/cells/x", digest="d")
    assert (placed.part, placed.part_digest) == ("parts/cells/x", "d")
    assert replace(placed, part=None, part_digest=None) == ACTION


def test_a_tombstone_says_what_is_gone_and_where_it_was():
    found = replace(ACTION, stage="scan", components={"relative_path": "a/b.jpg", "width": 3})
    grave = found.tombstone("later")
    assert (grave.identity, grave.outcome, grave.run) == (found.identity, GONE, "later")
    assert (grave.archive, grave.date) == (found.archive, found.date)
    assert grave.components == {"relative_path": "a/b.jpg"}
    assert (grave.part, grave.rows) == (None, 0)


def test_components_are_asked_for_together_or_one_by_one():
    assert ACTION.components == {"b": [1, 2.5], "a": {"é": None}}
    assert list(ACTION.components) == ["b", "a"]
    assert ACTION.fact("a") == {"é": None}
    assert ACTION.fact("c", 3) == 3
    with pytest.raises(KeyError, match="c"):
        ACTION.fact("c")


def test_the_class_itself_has_no_components():
    assert not isinstance(getattr(Action, "components"), dict)  # noqa: B009 (a slot to mypy)


def test_nobody_changes_an_action():
    ACTION.components["b"].append(3)
    ACTION.components["c"] = 1
    assert ACTION.components == {"b": [1, 2.5], "a": {"é": None}}
    with pytest.raises(FrozenInstanceError):
        setattr(ACTION, "components", {})  # noqa: B010 (mypy refuses it too)


def test_actions_are_equal_where_their_components_are():
    assert replace(ACTION, components=ACTION.components) == ACTION
    assert replace(ACTION, components=ACTION.components | {"c": 1}) != ACTION
    assert replace(ACTION, components={}) == replace(ACTION, components={})


def test_an_action_can_go_to_another_process():
    there = pickle.loads(pickle.dumps([ACTION, ACTION]))  # noqa: S301 (our own)
    assert there == [ACTION, ACTION]
    assert there[0].components == ACTION.components

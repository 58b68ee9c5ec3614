import copy
import datetime as dt
import inspect
import json
import pickle
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from anabatch.store import actions
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


@pytest.mark.parametrize("key", ["00ff" * 8, "0" * 32, "00FF" * 8, "k", "", "1_0", "é"])
def test_a_key_is_given_back_as_it_was(key):
    found = replace(ACTION, key=key)
    assert found.key == key
    assert found.to_row()["key"] == key
    assert (found == ACTION) is (key == ACTION.key)


def test_what_the_actions_of_a_task_have_in_common_is_kept_once(monkeypatch):
    monkeypatch.setattr(actions, "_MOST_SHARED", 2)
    found = [replace(ACTION, unit=f"{n}", sequence=n // 3) for n in range(12)]
    assert [(action.unit, action.sequence) for action in found] == [
        (f"{n}", n // 3) for n in range(12)
    ]
    assert len({id(action._shared) for action in found}) == 4
    assert len(actions._shared) <= 2


def test_an_action_has_no_attributes_beside_its_own():
    with pytest.raises(FrozenInstanceError):
        setattr(ACTION, "other", 1)  # noqa: B010 (mypy refuses it too)
    assert not hasattr(ACTION, "__dict__")
    assert [item.name for item in fields(ACTION)] == list(inspect.signature(Action).parameters)
    assert Action("cells", "image0", "00ff") == Action(
        "cells", "image0", "00ff", "", None, "ok", None, {}, None, 0, 0, None, 0, ""
    )


def test_an_action_can_go_to_another_process():
    there = pickle.loads(pickle.dumps([ACTION, ACTION]))  # noqa: S301 (our own)
    assert there == [ACTION, ACTION]
    assert there[0].components == ACTION.components
    assert copy.deepcopy(ACTION) == ACTION

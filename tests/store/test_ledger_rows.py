import datetime as dt

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabatch.store.actions import GONE, Action
from anabatch.store.ledger_rows import folded, read_rows, to_actions, write_actions

ROW = Action(
    "cells",
    "image0",
    "00ff",
    archive="hard-drive",
    date=dt.date(2021, 12, 13),
    components={"b": [1, 2.5], "a": {"é": None}},
    first_row=3,
    rows=4,
    sequence=7,
    run="r",
)


def test_rows_give_the_actions_back(tmp_path):
    assert write_actions(tmp_path / "a", [ROW], 1) == 1
    assert to_actions(read_rows([tmp_path / "a"], 1)) == [ROW]


@pytest.mark.parametrize(
    ("name", "value"),
    [("unit", "image1"), ("rows", 5), ("date", None), ("reason", ""), ("revision", 2)],
)
def test_a_row_that_is_not_what_was_written_is_an_error(tmp_path, name, value):
    write_actions(tmp_path / "a", [ROW], 1)
    table = pq.read_table(tmp_path / "a")
    rows = [row | {name: value} for row in table.to_pylist()]
    pq.write_table(table.from_pylist(rows, schema=table.schema), tmp_path / "a")
    with pytest.raises(ValueError, match="is not what was written"):
        read_rows([tmp_path / "a"], 1)


def test_another_number_of_rows_is_an_error(tmp_path):
    write_actions(tmp_path / "a", [ROW], 1)
    with pytest.raises(ValueError, match="1 rows, not 2"):
        read_rows([tmp_path / "a"], 2)


changes = st.lists(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.booleans(), st.integers(0, 3)),
        unique_by=lambda change: change[:2],
        max_size=4,
    ),
    max_size=6,
)


@given(changes)
def test_what_stands_is_what_a_dictionary_would_hold(tmp_path_factory, commits):
    folder = tmp_path_factory.mktemp("ledger")
    truth: dict[tuple[str, str], Action] = {}
    total = 0
    for revision, commit in enumerate(commits, start=1):
        rows = []
        for stage, unit, gone, sequence in commit:
            action = Action(stage, unit, f"{revision}", sequence=sequence)
            if gone:
                truth.pop((stage, unit), None)
                rows.append(action.tombstone("r"))
            else:
                truth[stage, unit] = action
                rows.append(action)
        total += write_actions(folder / f"{revision}", rows, revision)
    files = sorted(folder.iterdir(), reverse=True)  # the order of files does not matter
    found = to_actions(folded(read_rows(files, total)))
    assert {action.identity: action for action in found} == truth
    assert all(action.outcome != GONE for action in found)
    places = [(action.sequence, action.first_row, *action.identity) for action in found]
    assert places == sorted(places)

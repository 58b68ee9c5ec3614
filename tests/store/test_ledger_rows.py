import datetime as dt
import gc
import tracemalloc
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabatch.store import ledger_pieces, ledger_rows
from anabatch.store.actions import GONE, Action
from anabatch.store.ledger_rows import (
    folded,
    read_rows,
    standing_actions,
    to_actions,
    tombstones,
    write_actions,
    write_checked,
)

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


def tombs(paths, expected):
    return tombstones(paths, expected, "cells")


READERS = (read_rows, standing_actions, folded, tombs)


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
    for read in READERS:
        with pytest.raises(ValueError, match="is not what was written"):
            read([tmp_path / "a"], 1)


def test_another_number_of_rows_is_an_error(tmp_path):
    write_actions(tmp_path / "a", [ROW], 1)
    for read in READERS:
        with pytest.raises(ValueError, match="1 rows, not 2"):
            read([tmp_path / "a"], 2)


@contextmanager
def counted():
    """Give what asks for the most memory that Arrow has had, reading 64 rows at a time.

    What it has must be gone when this ends: the pool that it belongs to goes then.
    """
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    try:
        with patch.object(ledger_pieces, "_READ_AT_ONCE", 64):
            yield pool.max_memory
    finally:
        pa.set_memory_pool(before)


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
    """In whatever pieces it is read."""
    folder = tmp_path_factory.mktemp("ledger")
    truth: dict[tuple[str, str], Action] = {}
    graves: dict[tuple[str, str], Action] = {}
    total = 0
    for revision, commit in enumerate(commits, start=1):
        rows = []
        for stage, unit, gone, sequence in commit:
            action = Action(stage, unit, f"{revision}", sequence=sequence)
            graves.pop((stage, unit), None)
            if gone:
                truth.pop((stage, unit), None)
                graves[stage, unit] = action.tombstone("r")
                rows.append(graves[stage, unit])
            else:
                truth[stage, unit] = action
                rows.append(action)
        total += write_actions(folder / f"{revision}", rows, revision)
    files = sorted(folder.iterdir(), reverse=True)  # the order of files does not matter
    found = to_actions(folded(files, total))
    assert {action.identity: action for action in found} == truth
    assert all(action.outcome != GONE for action in found)
    places = [(action.sequence, action.first_row, *action.identity) for action in found]
    assert places == sorted(places)
    for at_once in (1, 3, 4_096):
        with patch.object(ledger_pieces, "_READ_AT_ONCE", at_once):
            assert standing_actions(files, total) == found
            assert to_actions(folded(files, total)) == found
            with patch.object(ledger_rows, "_LARGEST_PIECE", at_once):
                rows = folded(files, total)
            assert to_actions(rows) == found
            assert at_once > 1 or len(found) < 2 or rows["components"].num_chunks > 1
            gone_units = to_actions(tombstones(files, total, "a"))
        assert {action.identity: action for action in gone_units} == {
            identity: grave for identity, grave in graves.items() if identity[0] == "a"
        }
        revisions = [int(action.key) for action in gone_units]
        assert revisions == sorted(revisions)


def image(number):
    """The three actions of an image, as a run leaves them."""
    name, path = f"{number:032x}", f"20211213/001_SN09001/{number:03d}_0ae00987379_1_20_3_14_05.jpg"
    common = {
        "archive": "hard-drive",
        "date": dt.date(2021, 12, 13),
        "part_digest": f"{number // 40:032x}",
        "first_row": number % 40,
        "rows": 1,
        "sequence": number // 40,
        "run": "20261123T101257Z-c1bca8",
    }
    scanned = {
        "dtype": "uint8",
        "file_sha256": f"{number:064x}",
        "height": 1040,
        "image_id": name,
        "mtime_ns": 1_795_428_772_325_360_987 + number,
        "pixels_per_reference_pixel": 1.0,
        "plate": "0ae00987379",
        "recipe": "8020999aacf9711f7b213a45f64e5148",
        "relative_path": path,
        "sample": f"{2_000_000_000 + number}",
        "size": 70_000 + number,
        "why": "NEW",
        "width": 1388,
    }
    segmented = {
        "array": "labels_1040x1388",
        "cell_diameter": None,
        "cells": 41,
        "diameter_from": "default",
        "dropped": {},
        "mean_nucleus_diameter": 50.0 + number / 7,
        "nuclei": 43,
        "pixels": 1.0,
        "proposed": {"cells": 44, "nuclei": 45},
        "recipe": "0e9582f08a7f82977484191e4f5e657a",
        "why": "NEW",
    }
    cut = {"crop": 96, "recipe": "ba8795bb48f2c3e69019375bd751df89", "why": "NEW"}
    return [
        Action(stage, unit, f"{number:030x}{place:02x}", components=facts, part=part, **common)
        for place, (stage, unit, facts, part) in enumerate(
            (
                ("scan", f"{number:028x}file", scanned, f"parts/acquisitions/{number // 40}"),
                ("segment", name, segmented, f"parts/labels/{number // 40}"),
                ("cells", name, cut, f"parts/cells/{number // 40}"),
            )
        )
    ]


def write_images(path, count):
    actions = [action for number in range(count) for action in image(number)]
    return actions, write_actions(path, actions, 1)


def test_a_file_is_the_same_in_whatever_pieces_its_rows_are_made(tmp_path):
    write_images(tmp_path / "a", 100)
    with patch.object(ledger_rows, "_MADE_AT_ONCE", 7):
        write_images(tmp_path / "b", 100)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_equal_texts_are_one_object(tmp_path):
    _, count = write_images(tmp_path / "a", 90)
    with patch.object(ledger_pieces, "_READ_AT_ONCE", 100):
        found = standing_actions([tmp_path / "a"], count)
    by_unit = {action.identity: action for action in found}
    for action in found:
        if action.stage == "scan":
            (name,) = {action.fact("image_id")}
            assert by_unit["segment", name].unit is name
            assert by_unit["cells", name].unit is name
    assert len({id(action.run) for action in found}) == 1


def test_equal_numbers_are_one_object(tmp_path):
    rows = [replace(ROW, unit=unit, sequence=10**6) for unit in "abc"]
    found = standing_actions([tmp_path / "a"], write_actions(tmp_path / "a", rows, 1))
    assert [action.sequence for action in found] == [10**6] * 3
    assert len({id(action.sequence) for action in found}) == 1


def test_equal_numbers_of_different_kinds_stay_different(tmp_path):
    facts = {"a": 1, "b": 1.0, "c": True, "d": -0.0, "e": 0.0, "f": 2**63, "g": 1e300}
    rows = [replace(ROW, unit=name, components={"x": value}) for name, value in facts.items()]
    found = standing_actions([tmp_path / "a"], write_actions(tmp_path / "a", rows, 1))
    assert {action.unit: repr(action.fact("x")) for action in found} == {
        name: repr(value) for name, value in facts.items()
    }


def test_an_action_in_memory_is_small(tmp_path):
    """With components as dictionaries, and their equal texts apart, it was 1,140 bytes."""
    _, count = write_images(tmp_path / "a", 1_700)
    standing_actions([tmp_path / "a"], count)  # what is made but once
    gc.collect()
    tracemalloc.start()
    try:
        found = standing_actions([tmp_path / "a"], count)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == count == 5_100
    assert size / count < 480


def test_the_rows_that_actions_are_made_of_are_never_all_in_memory(tmp_path):
    actions, count = write_images(tmp_path / "a", 1_700)
    whole = read_rows([tmp_path / "a"], count).nbytes
    with counted() as memory:
        found = standing_actions([tmp_path / "a"], count)
        assert memory() < whole
    assert {a.identity: a for a in found} == {a.identity: a for a in actions}


def test_a_fold_has_its_rows_in_memory_once_and_a_search_what_it_finds(tmp_path):
    """They were there twice, and a search had them all."""
    _, count = write_images(tmp_path / "a", 1_700)
    whole = read_rows([tmp_path / "a"], count).nbytes
    with counted() as memory:
        assert folded([tmp_path / "a"], count).num_rows == count
        assert memory() < 1.7 * whole
    unit = f"{7:032x}"
    with counted() as memory:
        assert tombstones([tmp_path / "a"], count, "scan").num_rows == 0
        rows = read_rows([tmp_path / "a"], count, pa.compute.field("unit") == unit)["unit"]
        assert rows.to_pylist() == [unit, unit]
        assert memory() < whole
        del rows


def test_a_fold_is_the_same_file_in_whatever_pieces_it_is_read(tmp_path):
    _, count = write_images(tmp_path / "a", 1_700)
    for name, at_once in (("b", 64), ("c", 10_000)):
        with patch.object(ledger_pieces, "_READ_AT_ONCE", at_once):
            rows = folded([tmp_path / "a"], count)
        assert write_checked(tmp_path / name, rows) == count
    assert (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()
    assert read_rows([tmp_path / "b"], count).equals(read_rows([tmp_path / "c"], count))

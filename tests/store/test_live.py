import datetime as dt
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import MONDAY, TUESDAY, acquisition_row

from anabatch.errors import MissingRowsError, PartCorruptError
from anabatch.schema import table_schema
from anabatch.store import live as module
from anabatch.store.actions import Action
from anabatch.store.live import (
    CELLS,
    LivePart,
    array_sources,
    first_acquisitions,
    live_parts,
    read_acquisitions,
    read_cells,
    read_live_array,
    read_live_rows,
)
from anabatch.store.state import State


def cells(unit, part, first, rows, sequence):
    return Action(
        CELLS, unit, "k", part=part, first_row=first, rows=rows, sequence=sequence, archive="a"
    )


def test_parts_stand_by_sequence_and_rows_by_place():
    state = State(
        [
            cells("d", "late", 0, 2, 7),
            cells("b", "early", 3, 4, 2),
            cells("a", "early", 0, 3, 2),
            cells("e", "late", 5, 1, 7),
            Action(CELLS, "none", "k", outcome="no_cells", sequence=1),
        ]
    )
    early, late = live_parts(state, CELLS)
    assert early == LivePart("early", ((0, 3), (3, 7)), ("a", "b"))
    assert late == LivePart("late", ((0, 2), (5, 6)), ("d", "e"))
    assert early.rows == 7
    assert late.indices().tolist() == [0, 1, 5]
    assert live_parts(state, "features") == []


def test_a_dead_image_leaves_a_gap_and_new_data_stands_behind():
    state = State([cells("a", "p", 0, 3, 1), cells("b", "p", 3, 2, 1), cells("c", "p", 5, 1, 1)])
    state.delete([cells("b", "p", 3, 2, 1)])
    state.put([cells("b", "q", 0, 2, 2)])
    first, second = live_parts(state, CELLS)
    assert first.ranges == ((0, 3), (5, 6))
    assert second == LivePart("q", ((0, 2),), ("b",))


def test_no_live_rows_are_no_indices():
    assert LivePart("p", (), ()).indices().tolist() == []
    assert LivePart("p", (), ()).rows == 0


spans = st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=12)


@given(spans)
def test_merged_ranges_hold_the_same_rows(lengths):
    ranges, end = [], 0
    for is_live, length in lengths:
        if is_live and length:
            ranges.append((end, end + length))
        end += length
    merged = list(module._merged(tuple(ranges)))
    rows = [row for start, stop in ranges for row in range(start, stop)]
    assert [row for start, stop in merged for row in range(start, stop)] == rows
    assert all(stop < start for (_, stop), (start, _) in pairwise(merged))


def test_live_rows_of_tables_and_arrays_are_the_same_rows(filled):
    second, first = live_parts(filled.store.state, CELLS)
    assert first.ranges == ((0, 3), (5, 9))
    for live in (first, second):
        ids = read_live_rows(filled.root, live, "cells").column("cell_id").to_pylist()
        assert ids == [f"{image}-{i}" for image, n in _counts(live) for i in range(n)]
        crops = read_live_array(filled.root, live, "crops", live.path, _total(live))
        assert np.array_equal(crops[:, 0, 0] % 10, live.indices())


def _counts(live):
    return [
        (image, stop - start) for image, (start, stop) in zip(live.images, live.ranges, strict=True)
    ]


def _total(live):
    return max(stop for _, stop in live.ranges)


def test_an_array_of_another_length_is_refused_with_both_numbers(filled):
    _, live = live_parts(filled.store.state, CELLS)
    with pytest.raises(PartCorruptError, match=r"9 rows.* has 8"):
        read_live_array(filled.root, live, "crops", live.path, 8)


def test_a_table_shorter_than_the_ledger_says_is_refused(filled):
    _, live = live_parts(filled.store.state, CELLS)
    beyond = LivePart(live.path, (*live.ranges, (9, 10)), (*live.images, "x"))
    with pytest.raises(PartCorruptError, match="9 rows, and row 9"):
        read_live_rows(filled.root, beyond, "cells")


# Which part holds an array


def test_crops_and_masks_stand_in_the_cell_part(filled):
    parts = live_parts(filled.store.state, CELLS)
    for name in ("crops", "masks"):
        assert array_sources(filled.store.state, parts, name) == [live.path for live in parts]


def test_cells_without_features_are_counted(filled):
    third = filled.cells({"image9": 2}, sequence=6)
    filled.cells({"image8": 1}, sequence=8)
    state, parts = filled.store.state, live_parts(filled.store.state, CELLS)
    with pytest.raises(MissingRowsError, match=r"3 of 15 live cells have no features") as caught:
        array_sources(state, parts, "features")
    assert "anabatch featurize" in caught.value.remedy
    filled.features(third, sequence=7)
    with pytest.raises(MissingRowsError, match="1 of 15 live cells"):
        array_sources(state, parts, "features")


def test_a_failed_array_is_a_missing_one(filled):
    state, (live, _) = filled.store.state, live_parts(filled.store.state, CELLS)
    state.put([Action("featurize", live.path, "k", outcome="failed", reason="?", sequence=99)])
    with pytest.raises(MissingRowsError, match="5 of 12"):
        array_sources(state, live_parts(state, CELLS), "features")


@pytest.mark.parametrize(
    ("name", "facts"), [("embedding", {"model": "m2"}), ("features", {"extractor": "e2"})]
)
def test_rows_of_two_makes_are_never_mixed(filled, name, facts):
    """A part that an older model embedded lies in another space: it counts as missing."""
    state, parts = filled.store.state, live_parts(filled.store.state, CELLS)
    third = filled.cells({"image9": 2}, sequence=6)
    getattr(filled, name)(third, sequence=7, **facts)
    assert len(parts) == 2
    with pytest.raises(MissingRowsError, match="12 of 14"):
        array_sources(state, live_parts(state, CELLS), name)


# Acquisitions and what is joined


def test_acquisitions_are_in_the_order_of_the_store_with_groups(maker):
    maker.acquisitions([acquisition_row("image5")], sequence=8)
    maker.acquisitions(
        [
            acquisition_row("image1"),
            acquisition_row("image2", serum="10000001"),
            acquisition_row("image3", image_id=None, status="quarantined", reason="cut short"),
        ],
        sequence=2,
    )
    table = read_acquisitions(maker.root, maker.store.state)
    assert table.schema.equals(table_schema("acquisitions"))
    ids, group = table.column("acquisition_id").to_pylist(), table.column("group").to_pylist()
    assert ids == ["a-image1", "a-image2", "a-image3", "a-image5"]
    assert group[0] == group[1]
    assert len(set(group)) == 3


def test_no_acquisitions_are_an_empty_table(maker):
    table = read_acquisitions(maker.root, maker.store.state)
    assert table.schema.equals(table_schema("acquisitions"))
    assert table.num_rows == 0


def _acquired(*changes):
    rows = [acquisition_row("image1", acquisition_id=str(i), **c) for i, c in enumerate(changes)]
    schema = table_schema("acquisitions")
    table = schema.empty_table().from_pylist(
        [row | {"group": row["serum"]} for row in rows], schema
    )
    return first_acquisitions(table)


def test_an_image_belongs_to_its_earliest_date():
    first = _acquired({"date": TUESDAY, "sample": "late"}, {"date": MONDAY, "sample": "early"})
    assert (first["image1"].date, first["image1"].sample) == (MONDAY, "early")


def test_undated_is_later_than_any_date():
    first = _acquired({"date": None, "archive": "a"}, {"date": dt.date(2199, 1, 1), "archive": "z"})
    assert first["image1"].archive == "z"


def test_archive_and_path_decide_between_equal_dates():
    first = _acquired(
        {"archive": "b", "relative_path": "1"},
        {"archive": "a", "relative_path": "3", "sample": "last"},
        {"archive": "a", "relative_path": "2", "sample": "first"},
    )
    assert (first["image1"].archive, first["image1"].sample) == ("a", "first")


def test_files_without_an_image_are_nobodys_first():
    assert _acquired({"image_id": None}) == {}


def test_cells_come_with_what_is_joined(filled):
    _, live = live_parts(filled.store.state, CELLS)
    first = first_acquisitions(read_acquisitions(filled.root, filled.store.state))
    table = read_cells(filled.root, live, first)
    assert table.schema.equals(table_schema("cells"))
    row = table.slice(3, 1).to_pylist()[0]
    assert (row["cell_id"], row["row"], row["part"]) == ("image2-0", 5, live.path)
    assert (row["archive"], row["date"], row["sample"]) == ("hard-drive", MONDAY, "10000002")
    assert row["group"] == "10000002"


def test_cells_of_an_image_that_no_acquisition_shows_are_counted(filled):
    _, live = live_parts(filled.store.state, CELLS)
    with pytest.raises(MissingRowsError, match="7 live cells"):
        read_cells(filled.root, live, {})

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making import MONDAY, TUESDAY, Maker, acquisition_row

from anabatch.errors import PartCorruptError
from anabatch.store.compaction import compact, plan_compaction
from anabatch.store.live import SCAN, SEGMENT, live_parts
from anabatch.store.root import open_store
from anabatch.store.verification import verify


def by_id(store):
    rows = store.table("acquisitions").to_arrow().to_pylist()
    return {row["acquisition_id"]: row for row in rows}


def keys(store):
    """All that a plan goes by."""
    return {
        action.identity: (action.key, action.outcome, action.components, action.run)
        for action in store.state.actions()
    }


def shapes(parts):
    return [len(part.images) for part in parts]


def scan_one_by_one(maker, images, sequence=1, **changes):
    for number, image in enumerate(images):
        maker.acquisitions([acquisition_row(image, **changes)], sequence=sequence + number)


def test_small_parts_of_one_date_become_one(maker):
    scan_one_by_one(maker, [f"image{i}" for i in range(5)])
    before = maker.commit()
    done = compact(maker.store, run="r")
    after = open_store(maker.root)
    assert done.rewritten == {"acquisitions": (5, 1)}
    assert shapes(live_parts(after.state, SCAN)) == [5]
    assert by_id(after) == by_id(before)
    assert keys(after) == keys(before)
    assert verify(maker.root, share=1).problems == []
    assert plan_compaction(maker.root, after.state) == []


def test_dates_and_archives_are_not_mixed(maker):
    scan_one_by_one(maker, ["image0", "image1"])
    scan_one_by_one(maker, ["image2"], sequence=3, date=TUESDAY)
    moved = maker.store.state.get(SCAN, "a-image2")
    maker.store.state.put([dataclasses.replace(moved, date=TUESDAY)])
    maker.commit()
    (rewriting,) = plan_compaction(maker.root, maker.store.state)
    assert rewriting.date == MONDAY
    assert sorted(unit for part in rewriting.parts for unit in part.images) == [
        "a-image0",
        "a-image1",
    ]


def test_parts_of_a_batch_are_left_alone_until_they_are_mostly_dead(maker):
    images = [f"image{i}" for i in range(40)]
    maker.acquisitions([acquisition_row(image) for image in images])
    maker.store.commit("r")
    state = maker.store.state
    for number, image in enumerate(images[:21]):
        assert bool(plan_compaction(maker.root, state)) == (number > 20)
        state.delete([state.get(SCAN, f"a-{image}")])
    before = maker.commit()
    compact(maker.store, run="r")
    after = open_store(maker.root)
    (part,) = live_parts(after.state, SCAN)
    assert part.ranges == tuple((i, i + 1) for i in range(19))
    assert by_id(after) == by_id(before)
    assert plan_compaction(maker.root, after.state) == []


def test_label_images_of_mostly_dead_parts_move(maker):
    images = ["image0", "image1", "image2"]
    maker.acquisitions([acquisition_row(image) for image in images])
    maker.labels(images)
    maker.store.commit("r")
    state = maker.store.state
    state.delete([state.get(SEGMENT, "image0")])
    maker.store.commit("r")
    assert plan_compaction(maker.root, state) == []  # two of three are live
    state.delete([state.get(SEGMENT, "image1")])
    before = maker.commit()
    assert compact(maker.store, run="r").rewritten == {"labels": (1, 1)}
    after = open_store(maker.root)
    assert keys(after) == keys(before)
    old, new = (store.state.get(SEGMENT, "image2") for store in (before, after))
    assert old is not None
    assert new is not None
    assert (old.first_row, new.first_row) == (2, 0)
    assert old.part != new.part
    for one, other in zip(before.label_image("image2"), after.label_image("image2"), strict=True):
        np.testing.assert_array_equal(one, other)
    assert plan_compaction(maker.root, after.state) == []


def test_label_images_of_several_sizes_move_together(maker):
    images = [f"image{i}" for i in range(5)]
    maker.acquisitions([acquisition_row(image) for image in images])
    shapes = [(30, 40), (20, 20), (30, 40), (20, 20), (30, 40)]
    written = _labels_of_sizes(maker, dict(zip(images, shapes, strict=True)))
    state = maker.store.state
    state.delete([action for action in written.actions if action.unit in images[:3]])
    before = maker.commit()
    compact(maker.store, run="r")
    after = open_store(maker.root)
    for image, shape in zip(images[3:], shapes[3:], strict=True):
        for one, other in zip(before.label_image(image), after.label_image(image), strict=True):
            assert other.shape == shape
            np.testing.assert_array_equal(one, other)
    assert verify(maker.root, share=1).problems == []


def _labels_of_sizes(maker, shapes):
    """One label part with an array for every size; every pixel tells the image."""
    from anabatch.store.actions import Action

    names = {shape: f"labels_{shape[0]}x{shape[1]}" for shape in shapes.values()}
    with maker.part("labels") as part:
        actions = []
        for shape, name in names.items():
            units = [image for image, other in shapes.items() if other == shape]
            stack = [np.full((2, *shape), int(unit[-1]) + 1, np.int32) for unit in units]
            part.array(name, np.stack(stack), chunk=1, shard=2)
            actions += [
                Action(SEGMENT, unit, unit, first_row=row, rows=1, components={"array": name})
                for row, unit in enumerate(units)
            ]
        written = part.finish(actions)
    maker.store.state.put(written.actions)
    return written


def test_the_ledger_becomes_one_file_with_the_same_state(maker):
    for number in range(4):
        maker.acquisitions([acquisition_row(f"image{i}") for i in range(20)], number + 1)
        maker.store.commit("r")
    before = open_store(maker.root)
    done = compact(maker.store, run="r")
    assert done.rewritten == {}
    assert done.files == 4
    after = open_store(maker.root)
    assert after.version == before.version + 1
    assert after.state.actions() == before.state.actions()
    assert compact(maker.store, run="r").files == 0
    assert open_store(maker.root).version == after.version


def test_damage_stops_it_before_anything_is_committed(maker):
    scan_one_by_one(maker, ["image0", "image1"])
    before = maker.commit()
    part = maker.root / before.state.get(SCAN, "a-image1").part
    (part / "acquisitions.parquet").unlink()
    with pytest.raises(PartCorruptError, match="missing"):
        compact(maker.store, run="r")
    assert open_store(maker.root).version == before.version


def test_cells_and_what_hangs_on_them_stay_where_they_are(filled):
    before = open_store(filled.root)
    scan_one_by_one(filled, ["image4", "image5"], sequence=9)
    filled.store.commit("r")
    compact(filled.store, run="r")
    after = open_store(filled.root)
    for name in ("crops", "features", "embedding"):
        one, other = (store.array(name).compute(scheduler="sync") for store in (before, after))
        np.testing.assert_array_equal(one, other)
    assert after.table("cells").to_arrow().equals(before.table("cells").to_arrow())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(["scan", "delete", "compact"])), max_size=12
    )
)
def test_compaction_at_any_time_changes_nothing_that_is_read(tmp_path_factory, steps):
    plain, compacted = (Maker(tmp_path_factory.mktemp("one") / "store") for _ in range(2))
    for number, (image, step) in enumerate(steps):
        for maker in (plain, compacted):
            state = maker.store.state
            if step == "scan":
                row = acquisition_row(f"image{image}", size_bytes=number)
                maker.acquisitions([row], sequence=number + 1)
            elif step == "delete":
                state.delete([a for a in [state.get(SCAN, f"a-image{image}")] if a])
            maker.store.commit("r")
        if step == "compact":
            compact(compacted.store, run="r")
    one, other = (open_store(maker.root) for maker in (plain, compacted))
    assert by_id(one) == by_id(other)
    assert keys(one) == keys(other)

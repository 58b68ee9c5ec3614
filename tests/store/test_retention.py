import datetime as dt
import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making import Maker

from anabatch.config import KeepConfig
from anabatch.errors import PartCorruptError, StoreError, StoreNotFoundError
from anabatch.store import retention
from anabatch.store.leases import horizon, raise_horizon
from anabatch.store.ledger import Ledger, VersionInfo
from anabatch.store.live import CELLS
from anabatch.store.parts import MANIFEST
from anabatch.store.retention import Kind, collect, find, needed, oldest_kept
from anabatch.store.root import open_store

NOW = dt.datetime(2026, 5, 1, 3, tzinfo=dt.UTC)
LAST_ONLY = KeepConfig(versions=1, days=0, trash_days=7)
LATER = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(days=1)


def info(version, days_ago):
    return VersionInfo(version, NOW - dt.timedelta(days=days_ago), f"run-{version}", "commit")


VERSIONS = [info(0, 90), info(1, 60), info(2, 20), info(3, 10), info(4, 0)]


@pytest.mark.parametrize(
    ("versions", "days", "oldest"),
    [(1, 0, 4), (2, 0, 3), (9, 0, 0), (1, 15, 3), (1, 30, 2), (4, 15, 1), (1, 365, 0)],
)
def test_a_version_is_kept_while_either_rule_keeps_it(versions, days, oldest):
    keep = KeepConfig(versions=versions, days=float(days))
    assert oldest_kept(VERSIONS, keep, NOW) == oldest


def test_a_clock_that_went_back_keeps_more_and_never_less():
    keep = KeepConfig(versions=1, days=15.0)
    assert oldest_kept([info(0, 90), info(1, 5), info(2, 40), info(3, 0)], keep, NOW) == 1


def build(root):
    """A store of seven versions: cells that are superseded, deleted, folded and brought back."""
    maker = Maker(root)
    state = maker.store.state
    parts = {}
    for number, images in enumerate(({"image0": 2}, {"image0": 3, "image1": 1}, {"image2": 2})):
        parts[number] = maker.cells(images, sequence=number + 1).path
        maker.store.commit(f"run-{number + 1}")  # versions 1 to 3
    state.delete([state.get(CELLS, "image2")])
    maker.store.commit("run-4")
    maker.store._ledger.fold(run="run-5")
    maker.store._ledger.restore(3, run="run-6")
    maker.store._ledger.restore(5, run="run-7")
    return maker, parts


NEEDED = {0: {}, 1: {0}, 2: {1}, 3: {1, 2}, 4: {1}, 5: {1}, 6: {1, 2}, 7: {1}}


@pytest.fixture
def history(tmp_path):
    return build(tmp_path / "store")


@pytest.fixture(scope="session")
def shared_history(tmp_path_factory):
    return build(tmp_path_factory.mktemp("history") / "store")


@given(st.sets(st.integers(0, 7)))
def test_what_versions_need_is_what_their_states_name(shared_history, versions):
    maker, parts = shared_history
    found, files = needed(maker.root, versions)
    assert found == {parts[number] for version in versions for number in NEEDED[version]}
    ledger = maker.root / "ledger"
    assert files == {name for version in versions for name in Ledger(ledger, version).files()}


def test_a_ledger_that_lost_a_file_stops_the_collection(history):
    maker, _ = history
    (maker.root / "ledger" / Ledger(maker.root / "ledger", 3).files()[0]).unlink()
    with pytest.raises(PartCorruptError):
        needed(maker.root, [2, 3])


def paths(collection, kind):
    return [item.path for item in collection.items if item.kind is kind]


def test_only_what_no_kept_version_needs_goes(history):
    maker, parts = history
    found = find(maker.root, LAST_ONLY, LATER)
    assert found.oldest == 7
    assert found.kept == (7,)
    assert paths(found, Kind.PART) == sorted([parts[0], parts[2]])
    gone = {name for v in range(5) for name in Ledger(maker.root / "ledger", v).files()}
    assert paths(found, Kind.LEDGER) == sorted(f"ledger/{name}" for name in gone)
    assert horizon(maker.root) == 0  # to find is not to take
    assert (maker.root / parts[0]).exists()


def test_what_goes_lies_in_the_trash_under_its_path(history):
    maker, parts = history
    found = collect(maker.root, LAST_ONLY, LATER)
    (can,) = (maker.root / "trash").iterdir()
    for item in found.items:
        assert not (maker.root / item.path).exists()
        assert retention.size_of(can / item.path) == item.size > 0
    assert (can / parts[0] / MANIFEST).exists()
    assert horizon(maker.root) == 7
    assert [action.unit for action in open_store(maker.root).state.stage(CELLS)] == [
        "image0",
        "image1",
    ]
    with pytest.raises(StoreNotFoundError, match="no longer kept"):
        open_store(maker.root, at=3)
    assert collect(maker.root, LAST_ONLY, LATER).items == ()


def test_what_lay_in_the_trash_long_enough_is_deleted(history):
    maker, _ = history
    collect(maker.root, LAST_ONLY, LATER)
    (maker.root / "trash" / "of a user").mkdir()
    just = LATER + dt.timedelta(days=7)
    assert collect(maker.root, LAST_ONLY, just).items == ()
    after = find(maker.root, LAST_ONLY, just + dt.timedelta(seconds=1))
    assert [item.kind for item in after.items] == [Kind.TRASH]
    collect(maker.root, LAST_ONLY, just + dt.timedelta(seconds=1))
    assert [path.name for path in (maker.root / "trash").iterdir()] == ["of a user"]


def test_what_a_reader_reads_stays(history):
    maker, parts = history
    with open_store(maker.root, at=1) as store:
        crops = store.array("crops")
        found = collect(maker.root, LAST_ONLY, LATER)
        assert found.kept == (1, 7)
        assert paths(found, Kind.PART) == [parts[2]]
        assert crops.compute(scheduler="sync").shape == (2, 6, 6)
        again = collect(maker.root, LAST_ONLY, LATER + dt.timedelta(hours=1))
        assert again.items == ()
    found = collect(maker.root, LAST_ONLY, LATER + dt.timedelta(hours=2))
    assert paths(found, Kind.PART) == [parts[0]]


def test_a_reader_that_is_being_refused_keeps_nothing(history):
    maker, _ = history
    with open_store(maker.root, at=3):
        raise_horizon(maker.root, 4)
        (maker.root / "ledger" / Ledger(maker.root / "ledger", 3).files()[0]).unlink()
        assert find(maker.root, LAST_ONLY, LATER).kept == (7,)


def age(path, when):
    moment = when.timestamp()
    for item in (path, *path.rglob("*")):
        os.utime(item, (moment, moment))


def test_attempts_stay_while_they_may_still_be_of_use(history):
    maker, _ = history
    now = dt.datetime.now(dt.UTC)
    keep = KeepConfig(versions=30, days=30.0, trash_days=7.0)
    limits = {True: dt.timedelta(days=30), False: dt.timedelta(hours=1)}
    expected = []
    for finished, limit in limits.items():
        for margin in (dt.timedelta(minutes=1), -dt.timedelta(minutes=1)):
            with maker.part("cells") as part:
                part.text("a.txt", "x")
                if finished:
                    part.finish([])
            age(part.folder, now - limit - margin)
            if margin > dt.timedelta(0):
                expected.append((Kind.PART if finished else Kind.UNFINISHED, part.path))
    found = find(maker.root, keep, now)
    assert {(item.kind, item.path) for item in found.items} == set(expected)


def test_one_file_just_written_keeps_an_attempt(history):
    maker, _ = history
    with maker.part("cells") as part:
        part.array("crops", np.zeros((2, 2), np.uint8))
    now = dt.datetime.now(dt.UTC)
    age(part.folder, now - dt.timedelta(days=3))
    shard = next(path for path in part.folder.rglob("*") if path.is_file())
    os.utime(shard)
    assert paths(find(maker.root, LAST_ONLY, now), Kind.UNFINISHED) == []


def test_old_runs_go_but_those_of_kept_versions_and_the_newest(history):
    maker, _ = history
    now = dt.datetime.now(dt.UTC)
    keep = KeepConfig(versions=2, days=0.5, trash_days=7.0)
    old = now - dt.timedelta(days=1)
    for name in ("run-1", "run-6", "run-7", "run-8", "run-9", "runA"):
        folder = maker.root / "runs" / name
        folder.mkdir(parents=True)
        (folder / "report.html").write_text("x")
        age(folder, now if name == "run-9" else old)
    log = maker.root / "ledger" / "_delta_log"
    assert len(list(log.glob("*.json"))) == 8
    found = find(maker.root, keep, LATER)
    assert found.oldest == 6
    assert paths(found, Kind.RUN) == ["runs/run-1", "runs/run-8"]


def test_what_was_to_get_another_name_goes_when_nobody_is_at_it(history):
    maker, _ = history
    names = (
        ".lock.json.0123abcd",
        ".last-run.json.0123abcd",
        ".retained.json.0123abcd",
        "ledger/seals/.00000000000000000001.json.0123abcd",
        "ledger/torn-00000000000000000009-0123abcd.json",
        "ledger/_delta_log/_commit_0123abcd.json.tmp",
        "cache/.stat-lab.parquet.0123abcd",
    )
    others = (".of a user", ".profile.settings", "cache/stat-lab.parquet")
    now = dt.datetime.now(dt.UTC)
    for name in (*names, *others):
        path = maker.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
        age(path, now - dt.timedelta(minutes=61))
    assert set(paths(find(maker.root, LAST_ONLY, now), Kind.TEMPORARY)) == set(names)
    os.utime(maker.root / names[0])
    collect(maker.root, LAST_ONLY, now)
    left = [name for name in (*names, *others) if (maker.root / name).exists()]
    assert left == [names[0], *others]


def test_a_collection_that_is_cut_short_leaves_a_whole_store(shared_history, tmp_path, monkeypatch):
    root = shared_history[0].root
    moves = len(find(root, LAST_ONLY, LATER).items)
    assert moves > 3
    rename = Path.rename
    for number in range(moves):
        copy = tmp_path / str(number)
        shutil.copytree(root, copy)
        left = [number]

        def failing(path, target, left=left):
            if not left[0]:
                raise OSError(errno.EIO, "cut")
            left[0] -= 1
            return rename(path, target)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "rename", failing)
            with pytest.raises(OSError, match="cut"):
                collect(copy, LAST_ONLY, LATER)
        with open_store(copy) as store:
            assert len(store.array("crops").compute(scheduler="sync")) == 4
        with pytest.raises(StoreNotFoundError, match="no longer kept"):
            open_store(copy, at=3)
        rest = collect(copy, LAST_ONLY, LATER + dt.timedelta(hours=1))
        assert len(rest.items) == moves - number
        assert find(copy, LAST_ONLY, LATER).items == ()


def test_another_file_system_is_an_error_that_says_so(history, monkeypatch):
    maker, _ = history

    def across(path, target):
        raise OSError(errno.EXDEV, "cross-device")

    monkeypatch.setattr(Path, "rename", across)
    with pytest.raises(StoreError, match="one file system"):
        collect(maker.root, LAST_ONLY, LATER)


def test_the_horizon_is_on_the_disk_before_anything_moves(history, monkeypatch):
    maker, _ = history
    rename = Path.rename
    seen = []

    def watched(path, target):
        seen.append(horizon(maker.root))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", watched)
    collect(maker.root, LAST_ONLY, LATER)
    assert set(seen) == {7}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(
    changes=st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["cut", "delete", "fold", "restore"])),
        max_size=7,
    ),
    versions=st.integers(1, 4),
    read=st.integers(0, 7),
    data=st.data(),
)
def test_every_kept_and_every_read_version_stays_whole(
    tmp_path_factory, changes, versions, read, data
):
    maker = Maker(tmp_path_factory.mktemp("gc") / "store")
    store = maker.store
    for number, (image, change) in enumerate(changes):
        if change == "cut":
            maker.cells({image: 2}, sequence=number + 1)
        elif change == "delete":
            store.state.delete([a for a in [store.state.get(CELLS, image)] if a])
        elif change == "fold":
            store._ledger.fold(run="r")
        else:
            store._ledger.restore(data.draw(st.integers(0, store.version)), run="r")
            maker.store = store = type(store)(maker.root, Ledger(maker.root / "ledger"))
        store.commit("r")
    reader = open_store(maker.root, at=min(read, store.version))
    keep = KeepConfig(versions=versions, days=0.0, trash_days=0.0)
    collected = collect(maker.root, keep, LATER)
    collect(maker.root, keep, LATER + dt.timedelta(days=1))  # the trash too
    kept = range(max(0, store.version - versions + 1), store.version + 1)
    assert set(collected.kept) == {*kept, reader.version}
    states = [open_store(maker.root, at=version) for version in kept]
    for opened in (reader, *states):
        again = Ledger(maker.root / "ledger", opened.version).actions()
        assert sorted(again, key=lambda action: action.identity) == opened.state.actions()
        for part in opened.collections.cell_parts:
            assert all((maker.root / part.path / MANIFEST).exists() for _ in part.images)
        if opened.collections.cell_parts:
            assert len(opened.array("crops").compute(scheduler="sync"))

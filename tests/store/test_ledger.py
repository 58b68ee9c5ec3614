import errno
import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from anabatch.errors import (
    ConfigurationError,
    PartCorruptError,
    PlaceError,
    StoreError,
    StoreNotFoundError,
)
from anabatch.store.actions import Action
from anabatch.store.ledger import Ledger, mend
from anabatch.store.root import create_store, open_store


def action(unit, sequence=1, stage="scan", **values):
    return Action(stage, unit, f"k-{unit}", sequence=sequence, **values)


@pytest.fixture
def ledger(tmp_path):
    return Ledger.create(tmp_path / "ledger")


def units(ledger):
    return [item.unit for item in ledger.actions()]


def test_a_new_ledger_is_empty_at_version_0(ledger):
    assert ledger.version == 0
    assert ledger.actions() == []


def test_actions_come_back_in_the_order_of_the_store(ledger):
    put = [
        action("d", 2),
        action("c", 1, first_row=1),
        action("a", 1, stage="segment"),
        action("b", 1),
        action("a", 1),
    ]
    ledger = ledger.commit(put, [], run="r")
    found = [(item.sequence, item.first_row, item.stage, item.unit) for item in ledger.actions()]
    assert found == [
        (1, 0, "scan", "a"),
        (1, 0, "scan", "b"),
        (1, 0, "segment", "a"),
        (1, 1, "scan", "c"),
        (2, 0, "scan", "d"),
    ]


def test_one_commit_adds_replaces_and_deletes(ledger):
    ledger = ledger.commit([action("a"), action("b"), action("c")], [], run="1")
    newer = action("b", 5, outcome="failed", reason="cut short", components={"x": [1]})
    ledger = ledger.commit([newer, action("d")], [action("a")], run="2")
    assert ledger.version == 2
    assert {item.unit: item for item in ledger.actions()} == {
        "b": newer,
        "c": action("c"),
        "d": action("d"),
    }


def test_stages_of_one_unit_are_two_actions(ledger):
    ledger = ledger.commit([action("a"), action("a", stage="cells")], [], run="1")
    ledger = ledger.commit([], [action("a")], run="2")
    assert [item.stage for item in ledger.actions()] == ["cells"]


def test_deleting_what_is_not_there_changes_nothing(ledger):
    ledger = ledger.commit([action("a")], [], run="1")
    assert units(ledger.commit([], [action("z")], run="2")) == ["a"]


def test_text_is_kept_whatever_it_holds(ledger):
    odd = action("ü'\";--\n%41", reason="naïve 'quoted'", components={"path": "a\\b/ü"})
    assert ledger.commit([odd], [], run="r").actions() == [odd]


def test_every_version_stays_readable(ledger):
    folder = ledger.folder
    for number in range(50):
        ledger = ledger.commit([action(f"{number:02}")], [], run=f"run-{number}")
    assert ledger.version == 50
    assert len(units(ledger)) == 50
    for version in (0, 1, 9, 10, 11, 25, 49, 50):  # Delta writes a checkpoint every ten or hundred
        assert units(Ledger(folder, version)) == [f"{number:02}" for number in range(version)]


def test_a_reader_keeps_its_version(ledger):
    ledger = ledger.commit([action("a")], [], run="1")
    reader = Ledger(ledger.folder)
    ledger.commit([action("b")], [action("a")], run="2")
    assert reader.version == 1
    assert units(reader) == ["a"]
    assert units(Ledger(ledger.folder)) == ["b"]


def test_the_run_is_kept_in_the_commit(ledger):
    ledger.commit([action("a")], [], run="20211213T000000Z-abc")
    log = ledger.folder / "_delta_log" / f"{1:020d}.json"
    assert '"run":"20211213T000000Z-abc"' in log.read_text()


def test_time_travel_does_not_expire(ledger):
    log = (ledger.folder / "_delta_log" / f"{0:020d}.json").read_text()
    assert '"delta.enableExpiredLogCleanup":"false"' in log


def test_a_version_that_was_named_is_only_read(ledger):
    ledger.commit([action("a")], [], run="1")
    with pytest.raises(StoreError, match="opened at version 1"):
        Ledger(ledger.folder, 1).commit([action("b")], [], run="2")


def test_two_writers_on_one_version_do_not_lose_a_commit(ledger):
    """Runs hold the store's lock; the ledger itself refuses what the lock should have."""
    other = Ledger(ledger.folder)
    ledger.commit([action("a")], [], run="1")
    try:
        other.commit([action("b")], [], run="2")
    except Exception as error:  # noqa: BLE001 (a refusal is right; a loss is not)
        assert "commit" in str(error).lower()  # noqa: PT017
    assert "a" in units(Ledger(ledger.folder))


@pytest.mark.parametrize("at", [1, 7, -1, 2**70])
def test_a_version_that_is_not_there_is_named(ledger, at):
    with pytest.raises(StoreNotFoundError, match=f"no version {at}"):
        Ledger(ledger.folder, at)


def test_no_ledger_is_no_store(tmp_path):
    with pytest.raises(StoreNotFoundError, match="no store"):
        Ledger(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_commit_is_on_the_disk_before_it_is_reported(ledger, monkeypatch):
    order = []
    real = os.fsync

    def fsync(descriptor):
        order.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    before = set(ledger.folder.iterdir())
    ledger.commit([action("a")], [], run="1")
    added = set(ledger.folder.iterdir()) - before
    log = ledger.folder / "_delta_log"
    assert len(added) == 1
    assert order[:-2] == [*added, ledger.folder, log / f"{1:020d}.json", log]
    assert [path.parent for path in order[-2:]] == [ledger.folder / "seals", ledger.folder]


def test_a_new_ledger_is_on_the_disk_before_it_is_reported(tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr(os, "fsync", lambda d: order.append(Path(f"/proc/self/fd/{d}").readlink()))
    folder = Ledger.create(tmp_path / "ledger").folder
    log = folder / "_delta_log"
    assert order[:4] == [folder, log / f"{0:020d}.json", log, folder]
    assert [path.parent for path in order[4:]] == [folder / "seals", folder, tmp_path.parent]


def test_a_ledger_whose_file_is_lost_is_an_error(ledger):
    ledger = ledger.commit([action("a")], [], run="1")
    (data,) = ledger.folder.glob("*.parquet")
    data.write_bytes(data.read_bytes()[:-9])
    with pytest.raises(PartCorruptError, match="version 1"):
        Ledger(ledger.folder).actions()
    data.unlink()
    with pytest.raises(PartCorruptError, match="version 1"):
        Ledger(ledger.folder).actions()
    assert Ledger(ledger.folder, 0).actions() == []


def test_a_log_that_cannot_be_read_is_an_error(ledger):
    (ledger.folder / "_delta_log" / f"{0:020d}.json").write_text("{")
    with pytest.raises(PartCorruptError, match="cannot be read"):
        Ledger(ledger.folder)


@pytest.mark.parametrize("name", ["with space", "ha#sh", "ünï", "q?mark", "100%", "plus+", "a=b"])
def test_a_store_may_lie_in_any_folder(tmp_path, name):
    store = create_store(tmp_path / name)
    store.state.put([action("a")])
    store.commit("r")
    assert open_store(tmp_path / name).state.get("scan", "a") == action("a")


@pytest.mark.parametrize("name", ["per%20cent", "new\nline"])
def test_folders_that_the_library_confuses_are_refused(tmp_path, name):
    with pytest.raises(ConfigurationError, match="cannot be at"):
        create_store(tmp_path / name)


def test_a_ledger_can_be_moved(ledger, tmp_path):
    ledger.commit([action("a")], [], run="1")
    shutil.move(ledger.folder, tmp_path / "elsewhere")
    assert units(Ledger(tmp_path / "elsewhere")) == ["a"]


def test_a_flipped_bit_is_an_error_or_changes_nothing(ledger):
    """Delta's Parquet has no checksums of its own: of these flips a seventh gave other rows."""
    actions = [
        action(f"{i:03}", i // 10, first_row=i % 10, part="p" * 40, components={"width": i})
        for i in range(100)
    ]
    truth = ledger.commit(actions, [], run="r").actions()
    (file,) = ledger.folder.glob("*.parquet")
    data = file.read_bytes()
    rng = random.Random(0)  # noqa: S311 (a seed, not a secret)
    caught = 0
    for _ in range(150):
        flipped = bytearray(data)
        flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        file.write_bytes(flipped)
        try:
            assert Ledger(ledger.folder).actions() == truth
        except PartCorruptError:
            caught += 1
    assert caught > 50


def test_a_file_with_fewer_rows_than_delta_counted_is_an_error(ledger):
    ledger = ledger.commit([action("a"), action("b")], [], run="r")
    (file,) = ledger.folder.glob("*.parquet")
    pq.write_table(pq.read_table(file).slice(0, 1), file)
    with pytest.raises(PartCorruptError, match="1 rows, not 2"):
        Ledger(ledger.folder).actions()


def deltalake_fails(monkeypatch, method, text):
    def fail(*_, **__):
        raise DeltaError(text)

    monkeypatch.setattr(DeltaTable, method, fail)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
@pytest.mark.parametrize(
    ("method", "attempt"),
    [
        ("create_write_transaction", lambda ledger: ledger.commit([action("a")], [], run="r")),
        ("create", lambda ledger: Ledger.create(ledger.folder.with_name("other"))),
        ("__init__", lambda ledger: Ledger(ledger.folder)),
    ],
)
def test_an_error_of_the_disk_keeps_its_number(ledger, monkeypatch, number, method, attempt):
    words = f"Generic LocalFileSystem error: {os.strerror(number)} (os error {number})"
    deltalake_fails(monkeypatch, method, words)
    with pytest.raises(OSError, match="LocalFileSystem") as caught:
        attempt(ledger)
    assert caught.value.errno == number


def test_a_disk_that_fails_while_reading_is_no_damaged_ledger(ledger, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    ledger = ledger.commit([action("a")], [], run="r")
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", fail)
    with pytest.raises(OSError, match="Input/output") as caught:
        ledger.actions()
    assert not isinstance(caught.value, PartCorruptError)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    if os.geteuid() != 0 or not mount or not unmount:
        pytest.skip("only root can mount a file system")
    command = [mount, "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder]
    if subprocess.run(command, check=False, capture_output=True).returncode:  # noqa: S603
        pytest.skip("this machine does not let root mount a file system")
    yield folder
    subprocess.run([unmount, folder], check=True)  # noqa: S603


def test_a_full_disk_is_an_error_of_the_disk_and_loses_nothing(small_disk):
    ledger = Ledger.create(small_disk / "ledger").commit([action("a")], [], run="r")
    (small_disk / "filler").write_bytes(b"1" * shutil.disk_usage(small_disk).free)
    with pytest.raises(OSError, match="No space left") as caught:
        ledger.commit([action("b")], [], run="r")
    assert caught.value.errno == errno.ENOSPC
    assert units(Ledger(small_disk / "ledger")) == ["a"]


def test_another_error_of_the_library_stays_what_it_is(ledger, monkeypatch):
    deltalake_fails(
        monkeypatch, "create_write_transaction", "Generic error: permission denied (os error 13)"
    )
    with pytest.raises(DeltaError, match="os error 13"):
        ledger.commit([action("a")], [], run="r")


def test_a_commit_only_adds_and_a_fold_gathers(ledger):
    for number in range(5):
        ledger = ledger.commit([action("a", number), action(f"{number}")], [], run=f"{number}")
    ledger = ledger.commit([], [action("3")], run="last")
    assert len(ledger.files()) == 6
    before = ledger.actions()
    folded = ledger.fold(run="night")
    assert (folded.version, len(folded.files())) == (7, 1)
    assert folded.actions() == Ledger(ledger.folder).actions() == before
    assert len(Ledger(ledger.folder, 6).files()) == 6
    assert Ledger(ledger.folder, 6).actions() == before
    assert "0" not in units(folded.commit([], [action("0")], run="r"))


def test_an_older_state_comes_back_as_a_new_version(ledger):
    ledger = ledger.commit([action("a"), action("b")], [], run="1")
    ledger = ledger.commit([action("c")], [action("a")], run="2")
    ledger = ledger.restore(1, run="back")
    assert (ledger.version, units(ledger)) == (3, ["a", "b"])
    assert units(Ledger(ledger.folder, 2)) == ["b", "c"]
    ledger = ledger.commit([action("d")], [action("a")], run="on")
    assert units(Ledger(ledger.folder)) == ["b", "d"]
    with pytest.raises(StoreNotFoundError, match="no version 9"):
        ledger.restore(9, run="r")


def test_versions_say_when_by_whom_and_what(ledger):
    ledger = ledger.commit([action("a")], [], run="one").fold(run="two").restore(1, run="three")
    found = ledger.versions()
    assert [item.version for item in found] == [0, 1, 2, 3]
    assert [item.run for item in found] == ["", "one", "two", "three"]
    assert [item.operation for item in found] == ["create", "commit", "fold", "restore"]
    assert all(abs(item.time.timestamp() - time.time()) < 3600 for item in found)


def test_history_tells_all_of_one_unit(ledger):
    ledger = ledger.commit([action("a", 1), action("b")], [], run="1")
    ledger = ledger.commit([action("a", 5)], [], run="2").commit([], [action("a", 5)], run="3")
    found = ledger.history("scan", "a")
    assert [(revision, item.sequence, item.outcome) for revision, item in found] == [
        (1, 1, "ok"),
        (2, 5, "ok"),
        (3, 5, "gone"),
    ]


def test_a_file_is_on_the_disk_before_a_commit_names_it(ledger, monkeypatch):
    """A power cut may then tear the commit itself, and nothing else."""
    real = DeltaTable.create_write_transaction
    synced = []
    monkeypatch.setattr(
        os, "fsync", lambda d: synced.append(Path(f"/proc/self/fd/{d}").readlink().name)
    )

    def commit(self, actions, *args, **kwargs):
        assert actions[0].path in synced
        assert "ledger" in synced
        real(self, actions, *args, **kwargs)

    monkeypatch.setattr(DeltaTable, "create_write_transaction", commit)
    assert ledger.commit([action("a")], [], run="r").version == 1


@pytest.mark.parametrize("torn", ["", "{", '{"commitInfo":{}}\n{"add":{"path":"lost.parquet"'])
def test_a_commit_that_a_power_cut_tore_is_taken_away(ledger, torn):
    ledger = ledger.commit([action("a")], [], run="1")
    ledger.commit([action("b")], [], run="2")
    commit = ledger.folder / "_delta_log" / f"{2:020d}.json"
    commit.write_text(torn)
    try:
        assert units(Ledger(ledger.folder)) == ["a"]  # Delta passes over an empty one
    except PartCorruptError:
        assert torn
    assert mend(ledger.folder) == 2
    assert units(Ledger(ledger.folder)) == ["a"]
    ledger = Ledger(ledger.folder).commit([action("c")], [], run="3")
    assert (ledger.version, units(ledger)) == (2, ["a", "c"])
    assert mend(ledger.folder) is None


def test_nothing_is_mended_that_an_older_version_holds(ledger):
    ledger = ledger.commit([action("a")], [], run="1").commit([action("b")], [], run="2")
    commit = ledger.folder / "_delta_log" / f"{1:020d}.json"
    commit.write_text("")
    assert mend(ledger.folder) is None
    with pytest.raises(PartCorruptError, match=r"0{19}1\.json is empty"):
        Ledger(ledger.folder).actions()


def test_a_ledger_that_this_user_may_not_read_is_not_damaged(tmp_path, monkeypatch):
    folder = tmp_path / "ledger"
    ledger = Ledger.create(folder).commit([Action("scan", "a", "k")], [], run="r")

    def denied(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder / "x.parquet"))

    monkeypatch.setattr("anabatch.store.ledger.standing_actions", denied)
    with pytest.raises(PlaceError, match=r"ledger cannot be read: Permission denied\. Ask for"):
        ledger.actions()

    def denied_in_words(*_, **__):
        message = f"Generic error: unable to open {folder}: Permission denied (os error 13)"
        raise DeltaError(message)

    monkeypatch.setattr("anabatch.store.ledger.DeltaTable", denied_in_words)
    with pytest.raises(PlaceError, match="Permission denied"):
        Ledger(folder)

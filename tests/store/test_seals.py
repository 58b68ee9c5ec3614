import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabatch.store import seals
from anabatch.store.actions import Action
from anabatch.store.inspection import Fault
from anabatch.store.ledger import Ledger
from anabatch.store.seals import SEALS, inspect_ledger, seal


@pytest.fixture
def ledger(tmp_path):
    """A ledger of four versions."""
    made = Ledger.create(tmp_path / "ledger")
    for unit in "ab":
        made.commit([Action("scan", unit, "k")], [], run="r")
    return made.fold(run="r")


def findings(ledger):
    found = inspect_ledger(ledger.folder, ledger.version, set(ledger.files()))
    return [(item.file, item.fault) for item in found.findings]


def test_a_ledger_that_nobody_touched_is_whole(ledger):
    found = inspect_ledger(ledger.folder, ledger.version, set(ledger.files()))
    assert found.findings == []
    assert set(ledger.files()) < set(found.sizes)
    assert len(found.sizes) == 2 * 4 + 1  # commits, their seals, what stands
    assert found.read == sum(found.sizes.values())


def test_a_checkpoint_is_sealed_too(ledger):
    for number in range(8):
        ledger.commit([Action("scan", str(number), "k")], [], run="r")
    ledger._delta.create_checkpoint()
    ledger.commit([], [], run="r")  # it is older than this commit: of no seal
    assert findings(ledger) == []
    seal(ledger.folder, 11)
    names = json.loads((ledger.folder / SEALS / f"{11:020d}.json").read_text())["files"]
    assert {"_delta_log/_last_checkpoint", f"_delta_log/{11:020d}.checkpoint.parquet"} <= set(names)
    last = ledger.folder / "_delta_log" / "_last_checkpoint"
    last.write_text(last.read_text() + " ")
    eleven = Ledger(ledger.folder, 11)
    assert findings(eleven) == []  # a newer commit may have replaced it
    assert findings(ledger) == [("_delta_log/_last_checkpoint", Fault.LONGER)]


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    made = Ledger.create(tmp_path_factory.mktemp("sealed") / "ledger")
    for unit in "ab":
        made.commit([Action("scan", unit, "k")], [], run="r")
    return made


@given(data=st.data())
def test_every_flipped_bit_of_a_ledger_is_found(old, data):
    files = sorted(path for path in old.folder.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    whole = path.read_bytes()
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    flipped = bytearray(whole)
    flipped[bit // 8] ^= 1 << bit % 8
    path.write_bytes(flipped)
    try:
        name = path.relative_to(old.folder).as_posix()
        fault = Fault.MANIFEST if name.startswith(SEALS) else Fault.CHANGED
        assert (name, fault) in findings(old)
    finally:
        path.write_bytes(whole)


def test_missing_and_cut_files_are_found(ledger):
    log = ledger.folder / "_delta_log"
    (log / f"{1:020d}.json").unlink()
    second = log / f"{2:020d}.json"
    second.write_bytes(second.read_bytes()[:-1])
    (ledger.folder / SEALS / f"{0:020d}.json").unlink()
    (ledger.folder / ledger.files()[0]).unlink()
    assert set(findings(ledger)) == {
        (f"_delta_log/{1:020d}.json", Fault.MISSING),
        (f"_delta_log/{2:020d}.json", Fault.TRUNCATED),
        (f"{SEALS}/{0:020d}.json", Fault.MISSING),
        (ledger.files()[0], Fault.MISSING),
    }


def test_a_crash_before_the_seal_is_made_up_for(ledger, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(seals, "replace_text", _full)
        with pytest.raises(OSError, match="full"):
            ledger.commit([Action("scan", "c", "k")], [], run="r")
    newest = Ledger(ledger.folder)
    assert newest.version == 4
    assert findings(newest) == []
    newest.commit([Action("scan", "d", "k")], [], run="r")
    assert findings(newest) == []
    assert (ledger.folder / SEALS / f"{4:020d}.json").exists()


def _full(path, text):
    raise OSError(28, "full")


def test_what_a_restored_version_lacks_is_not_sealed(ledger):
    (ledger.folder / Ledger(ledger.folder, 1).files()[0]).unlink()
    seal(ledger.folder, 1)
    assert findings(ledger) == []

import copy
import errno
import fcntl
import gc
import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest

from anabatch.errors import PartCorruptError, StoreError, StoreNotFoundError
from anabatch.store.actions import Action
from anabatch.store.leases import (
    HORIZON,
    READERS,
    LeasedPath,
    horizon,
    lease,
    raise_horizon,
    readers,
)
from anabatch.store.root import create_store, hold_store, open_store


def read_versions(root):
    return [reader.version for reader in readers(root)]


def test_an_open_store_holds_its_version(filled):
    store = open_store(filled.root)
    (reader,) = readers(filled.root)
    assert (reader.version, reader.pid) == (store.version, os.getpid())
    assert store.leased
    store.close()
    assert bool(store.leased) is False
    assert readers(filled.root) == []
    assert list((filled.root / READERS).iterdir()) == []
    store.close()


def test_a_store_gives_up_its_version_at_the_end_of_the_block(filled):
    with open_store(filled.root, at=0) as old, open_store(filled.root) as new:
        assert sorted(read_versions(filled.root)) == [old.version, new.version]
    assert read_versions(filled.root) == []


def test_a_store_that_is_collected_holds_nothing(filled):
    store = open_store(filled.root)
    del store
    gc.collect()
    assert read_versions(filled.root) == []


@pytest.mark.parametrize(
    "take",
    [
        lambda store: store.array("crops"),
        lambda store: store.array("crops")[3:].astype("float32") / 2,
        lambda store: store.table("cells"),
        lambda store: store.table("cells").to_dask(),
        lambda store: store.collections,
        lambda store: store.root,
    ],
)
def test_what_outlives_the_store_holds_its_version(filled, take):
    taken = take(open_store(filled.root))
    gc.collect()
    assert read_versions(filled.root) == [1]
    del taken
    gc.collect()
    assert read_versions(filled.root) == []


def sent_away(value):
    return pickle.loads(pickle.dumps(value))  # noqa: S301 (our own bytes)


def test_what_is_sent_to_another_process_is_a_plain_path_and_still_reads(filled):
    store = open_store(filled.root)
    assert isinstance(store.root, LeasedPath)
    assert store.root.lease is not None
    assert store.root == filled.root
    assert hash(store.root) == hash(filled.root)
    for sent in (sent_away(store.root), copy.deepcopy(store.root)):
        assert type(sent) is type(Path())
        assert sent == store.root
    piece = sent_away(store.table("cells")._loaders[0])
    assert piece().equals(next(store.table("cells").batches()))
    here, there = store.array("crops"), open_store(filled.root).array("crops")
    assert here.name == there.name  # the same rows, under one name
    assert (here.compute(scheduler="sync") == there.compute(scheduler="sync")).all()


def test_whoever_writes_holds_the_store_and_no_version(filled):
    with hold_store(filled.root, run="r", create=False) as store:
        assert read_versions(filled.root) == []
        assert not store.leased
        store.close()
    assert not create_store(filled.root).leased


_READER = """
import sys, anabatch
store = anabatch.open_store(sys.argv[1])
print(store.version, flush=True)
sys.stdin.read()
"""


def test_a_killed_reader_holds_nothing_and_a_living_one_does(filled):
    command = [sys.executable, "-c", _READER, str(filled.root)]
    with subprocess.Popen(  # noqa: S603 (ourselves)
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        (reader,) = readers(filled.root)
        assert (reader.version, reader.pid) == (1, process.pid)
        process.kill()
        process.wait()
        assert len(list((filled.root / READERS).iterdir())) == 1
        assert readers(filled.root) == []
        assert list((filled.root / READERS).iterdir()) == []


def test_a_forked_child_takes_nothing_away(filled):
    store = open_store(filled.root)
    child = os.fork()
    if not child:
        store.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert read_versions(filled.root) == [1]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
@pytest.mark.parametrize("call", ["open", "write"])
def test_who_cannot_write_reads_without_a_lease(filled, monkeypatch, number, call):
    def fail(*arguments, **options):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        got = lease(filled.root, 1)
    assert got is None
    assert list((filled.root / READERS).iterdir()) == []


def test_other_errors_of_the_disk_are_told(filled, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", fail)
        with pytest.raises(OSError, match=r"Input/output"):
            lease(filled.root, 1)
    assert list((filled.root / READERS).iterdir()) == []


def test_a_store_without_the_right_to_write_is_read(filled):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    filled.root.chmod(0o555)
    try:
        store = open_store(filled.root)
    finally:
        filled.root.chmod(0o755)
    assert not store.leased
    assert store.table("cells").to_arrow().num_rows


def test_a_lease_that_was_cut_short_is_taken_away_in_time(filled):
    (filled.root / READERS).mkdir(exist_ok=True)
    fresh = filled.root / READERS / ".host-1-aa.json"
    stale = filled.root / READERS / ".host-2-bb.json"
    for path in (fresh, stale):
        path.write_text("")
    hours_ago = time.time() - 7200
    os.utime(stale, (hours_ago, hours_ago))
    assert readers(filled.root) == []
    assert fresh.exists()
    assert not stale.exists()


def test_a_living_lease_that_cannot_be_understood_is_no_guess(filled):
    store = open_store(filled.root)
    assert isinstance(store.root, LeasedPath)
    assert store.root.lease is not None
    store.root.lease.path.write_text("{")
    with pytest.raises(StoreError, match="running reader"):
        readers(filled.root)


def test_the_horizon_only_rises(tmp_path):
    assert horizon(tmp_path) == 0
    assert raise_horizon(tmp_path, 3) == 3
    assert raise_horizon(tmp_path, 2) == 3
    assert json.loads((tmp_path / HORIZON).read_text()) == {"oldest": 3}
    (tmp_path / HORIZON).write_text("[]")
    with pytest.raises(PartCorruptError, match="anabatch gc"):
        horizon(tmp_path)


def test_versions_below_the_horizon_are_not_opened(filled):
    raise_horizon(filled.root, 1)
    assert open_store(filled.root, at=1).version == 1
    with pytest.raises(StoreNotFoundError, match=r"version 0 .* no longer kept.* version 1"):
        open_store(filled.root, at=0)
    gc.collect()
    assert read_versions(filled.root) == []


def test_a_newest_version_that_grew_old_while_it_was_claimed_is_left_for_a_newer(
    filled, monkeypatch
):
    other = create_store(filled.root)
    late = iter([True])

    def after_another_commit_and_a_collection(root, version):
        if next(late, False):
            other.state.put([Action("scan", "x", "k")])
            other.commit("another")
            raise_horizon(root, 2)
        return lease(root, version)

    monkeypatch.setattr("anabatch.store.root.lease", after_another_commit_and_a_collection)
    store = open_store(filled.root)
    assert store.version == 2
    assert read_versions(filled.root) == [2]

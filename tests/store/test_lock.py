import errno
import json
import os
import signal
import subprocess
import sys

import pytest
from filelock import FileLock

from anabatch.errors import StoreError, StoreLockedError
from anabatch.store import lock
from anabatch.store.disk import disk_error
from anabatch.store.lock import hold

HOLDER = """
import sys
from pathlib import Path
from anabatch.store import lock
from anabatch.store.lock import hold

with hold(Path(sys.argv[1]), run="the-first"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the store."""
    with subprocess.Popen(  # noqa: S603 (our own code)
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_is_told_who_holds_the_store(tmp_path, holder):
    with pytest.raises(StoreLockedError) as caught, hold(tmp_path, run="the-second"):
        pytest.fail("two runs hold one store")
    assert "the-first" in caught.value.what
    assert str(holder.pid) in caught.value.what
    assert caught.value.remedy


def test_a_dead_holders_lock_is_no_lock(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with hold(tmp_path, run="the-second"):
        assert json.loads((tmp_path / "lock.json").read_text())["run"] == "the-second"


def test_a_holder_that_ends_gives_the_store_back(tmp_path, holder):
    holder.communicate("")
    assert holder.returncode == 0
    with hold(tmp_path, run="the-second"):
        pass


def test_it_holds_within_one_process_too(tmp_path):
    with hold(tmp_path, run="1"):
        with pytest.raises(StoreLockedError, match="run 1"), hold(tmp_path, run="2"):
            pytest.fail("two runs hold one store")
        with pytest.raises(StoreLockedError), hold(tmp_path, run="2"):
            pytest.fail("a refusal gave the lock away")


def test_an_error_gives_the_store_back(tmp_path):
    with pytest.raises(ValueError, match="broken"), hold(tmp_path, run="1"):
        int("broken")
    with hold(tmp_path, run="2"):
        pass


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", "7"])
def test_a_holder_that_left_no_name_is_another_run(tmp_path, text):
    with hold(tmp_path, run="1"):
        (tmp_path / "lock.json").write_text(text)
        with pytest.raises(StoreLockedError, match="another run"), hold(tmp_path, run="2"):
            pytest.fail("two runs hold one store")


def failing(number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_on_a_full_disk_it_is_held_by_nobody_known(tmp_path, monkeypatch, number):
    with hold(tmp_path, run="0"):
        pass
    monkeypatch.setattr(os, "fsync", failing(number))
    with hold(tmp_path, run="1"):
        with pytest.raises(StoreLockedError, match="another run"), hold(tmp_path, run="2"):
            pytest.fail("two runs hold one store")
        assert str(lock.holder(tmp_path)) == "another run"
    with hold(tmp_path, run="2"):
        pass


def test_a_failing_disk_gives_the_store_back(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(errno.EIO))
        with pytest.raises(OSError, match="Input/output"), hold(tmp_path, run="1"):
            pytest.fail("held without a name")
    with hold(tmp_path, run="2"):
        pass


def test_a_read_only_store_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(FileLock, "acquire", failing(errno.EROFS))
    with pytest.raises(StoreError, match="is read-only") as caught, hold(tmp_path, run="1"):
        pytest.fail("held")
    assert disk_error(caught.value)


def test_asking_who_holds_it_takes_nothing(tmp_path, holder):
    assert "the-first" in str(lock.holder(tmp_path))
    holder.communicate("")
    assert lock.holder(tmp_path) is None


def test_nobody_has_ever_held_it(tmp_path):
    assert lock.holder(tmp_path) is None
    assert not list(tmp_path.iterdir())

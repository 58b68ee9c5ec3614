"""A request to end, another run at the same time, and an archive that nobody may write to."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from breaking import Driver
from tiny import add_images, everything, tiny_config, write_toml

import anabatch
from anabatch.config import Config

INTERRUPTED, LOCKED = 130, 75


@pytest.fixture
def other_driver(shim, tmp_path_factory):
    """A second driver: one has one run at a time."""
    found = Driver(tmp_path_factory.mktemp("other"), shim)
    yield found
    found.close()


# Requests to end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("after", ["scanned", "commit"])
def test_a_request_to_end_is_followed_and_what_was_committed_stays(
    driver, few, undisturbed, tmp_path, number, after
):
    config = tiny_config(few, tmp_path / "store")
    running = driver.begin(config)
    running.wait_for(after)
    ended = running.kill(number)
    assert ended.code == INTERRUPTED, ended.output
    assert "the next run goes on from there" in ended.output
    assert anabatch.open_store(config.store).version >= max(ended.committed, default=0)
    assert driver.run(config).code == 0
    assert everything(anabatch.open_store(config.store)) == undisturbed


# Two runs at once


def test_the_second_of_two_runs_ends_with_75_and_says_who_holds_the_store(
    driver, other_driver, few, undisturbed, tmp_path
):
    config = tiny_config(few, tmp_path / "store")
    first = driver.begin(config)
    first.wait_for("listed")
    os.kill(first.pid, signal.SIGSTOP)  # it takes its time
    second = other_driver.run(config)
    assert second.code == LOCKED, second.output
    assert f"process {first.pid} on" in second.output
    assert first.events()[0]["run"] in second.output
    os.kill(first.pid, signal.SIGCONT)
    assert first.wait().code == 0
    assert everything(anabatch.open_store(config.store)) == undisturbed


def test_a_dead_holders_lock_is_no_lock(driver, other_driver, few, undisturbed, tmp_path):
    config = tiny_config(few, tmp_path / "store")
    first = driver.begin(config)
    first.wait_for("scanned")
    os.kill(first.pid, signal.SIGSTOP)
    assert other_driver.run(config).code == LOCKED
    first.kill(signal.SIGKILL)
    assert json.loads((config.store / "lock.json").read_text())["pid"] == first.pid
    assert other_driver.run(config).code == 0
    assert everything(anabatch.open_store(config.store)) == undisturbed


# An archive that is only ever read

_WATCHED = """
import os, sys
from contextlib import nullcontext
from unittest.mock import patch

root = os.path.realpath(sys.argv.pop(1))
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {
    "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate",
    "os.chmod", "os.chown", "os.utime", "os.setxattr", "os.removexattr", "shutil.rmtree",
    "shutil.move", "shutil.copyfile",
}

def is_below(path):
    if not isinstance(path, (str, bytes, os.PathLike)):
        return False
    return (os.path.realpath(os.fsdecode(path)) + "/").startswith(root + "/")

def hook(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        writes = flags & WRITING if isinstance(flags, int) else False
        if writes and is_below(path):
            sys.stderr.write(f"CHANGED {event} {arguments}\\n")
    elif event in CHANGES and any(is_below(argument) for argument in arguments[:2]):
        if event != "shutil.copyfile" or is_below(arguments[1]):
            sys.stderr.write(f"CHANGED {event} {arguments}\\n")

sys.addaudithook(hook)
from anabatch.jobs.cli import main
from cheap import cheap_networks
with cheap_networks():
    main()
"""


def watched_run(config: Config, folder: Path, root: Path) -> subprocess.CompletedProcess[str]:
    """Run everything, the report too, under a hook that tells of every change below a folder."""
    path = write_toml(config, folder / "anabatch.toml")
    return subprocess.run(  # noqa: S603 (our own code)
        [sys.executable, "-c", _WATCHED, str(root), "run", "-c", str(path)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )


def state_of(root: Path) -> dict[str, tuple[int, ...]]:
    """Return what a change would change: sizes, times and bits of all files and folders."""
    found: dict[str, tuple[int, ...]] = {}
    for path in [root, *root.rglob("*")]:
        facts = path.stat()
        found[str(path)] = (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_mode)
    return found


def test_nothing_below_the_archive_is_opened_for_writing(tmp_path):
    archive = tmp_path / "DATA"
    add_images(archive, range(2))
    before = state_of(archive)
    for _ in range(2):
        ended = watched_run(tiny_config(archive, tmp_path / "store"), tmp_path, archive)
        assert ended.returncode == 0, ended.stderr
        assert "CHANGED" not in ended.stderr
    assert state_of(archive) == before


def test_the_hook_sees_what_it_is_there_for(tmp_path):
    """Every write to the store, where it watches that."""
    archive, store = tmp_path / "DATA", tmp_path / "store"
    add_images(archive, range(2))
    ended = watched_run(tiny_config(archive, store), tmp_path, store)
    assert "CHANGED open" in ended.stderr
    assert "CHANGED os.rename" in ended.stderr
    assert "CHANGED os.mkdir" in ended.stderr


def test_a_run_on_an_archive_that_is_mounted_read_only(driver, few, undisturbed, read_only):
    config = tiny_config(read_only(few), few.parent / "store-of-read-only")
    assert driver.run(config).code == 0
    assert everything(anabatch.open_store(config.store)) == undisturbed

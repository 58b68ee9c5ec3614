"""Gc where it is needed most: on a disk that is full, and on one that cannot be written to."""

import io
import json
import os
import shutil
import subprocess

import pytest
from anabatch.jobs import cli
from anabatch.jobs import gc as gc_job
from anabatch.jobs.exit_codes import DISK, exit_code
from anabatch.jobs.reporter import Reporter
from making import Maker
from typer.testing import CliRunner

from anabatch.config import parse_config
from anabatch.store.live import CELLS
from anabatch.store.lock import hold
from anabatch.store.root import open_store

LAST_ONLY = {"versions": 1, "days": 0.0, "trash_days": 7.0}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 512 KB: (its folder, a function that makes it read-only)."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    if os.geteuid() != 0 or not mount or not unmount:
        pytest.skip("only root can mount a file system")
    command = [mount, "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:  # noqa: S603
        pytest.skip("this machine does not let root mount a file system")

    def make_read_only():
        subprocess.run([mount, "-o", "remount,ro", str(folder)], check=True)  # noqa: S603

    yield folder, make_read_only
    subprocess.run([unmount, str(folder)], check=True)  # noqa: S603


def fill(folder):
    with (folder / "filler").open("wb", buffering=0) as filler:
        while free := os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize:
            filler.write(b"1" * free)


def build(root):
    """A store of three versions, the first two of which nobody needs; returns what stands."""
    maker = Maker(root)
    for number in range(3):
        part = maker.cells({"image": 2 + number}, sequence=number + 1).path
        maker.store.commit(f"run-{number}")
    with hold(root, run="earlier"):
        pass
    return part


def collect(root, keep, **options):
    stream = io.StringIO()
    config = parse_config({"store": str(root), "keep": keep}, "test")
    found = gc_job.gc(config, Reporter("json", stream), **options)
    return found, stream.getvalue()


def call(*arguments):
    return CliRunner().invoke(cli.app, [str(item) for item in arguments])


def tree(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))


def test_on_a_full_disk_room_can_be_made(small_disk):
    disk, _ = small_disk
    part = build(disk / "store")
    collect(disk / "store", LAST_ONLY, dry_run=False)  # the trash now holds two parts
    assert (disk / "store" / "trash").exists()
    fill(disk)
    before = tree(disk)
    dry, _ = collect(disk / "store", LAST_ONLY, dry_run=True, empty_trash=True)
    assert [item.kind.value for item in dry.items] == ["trash"]
    assert tree(disk) == before
    told = call("gc", "--store", disk / "store", "--empty-trash", "--log-format", "json")
    assert told.exit_code == 0, told.exception
    events = {event["event"]: event for event in map(json.loads, told.stdout.splitlines())}
    assert events["freed"]["bytes"] == sum(item.size for item in dry.items) > 0
    assert os.statvfs(disk).f_bavail > 0
    assert list((disk / "store" / "trash").iterdir()) == []
    (left,) = open_store(disk / "store").state.stage(CELLS)
    assert left.part == part


def test_on_a_full_disk_less_can_be_kept_though_the_trash_is_empty(small_disk):
    disk, _ = small_disk
    part = build(disk / "store")
    fill(disk)
    assert collect(disk / "store", {}, dry_run=False)[0].items == ()
    found, _ = collect(disk / "store", LAST_ONLY, dry_run=False, empty_trash=True)
    assert {item.kind.value for item in found.items} == {"part"}
    assert not (disk / "store" / "trash").exists()
    assert [path.name for path in (disk / "store").glob("parts/*/*/*/*")] == [part.split("/")[-1]]
    assert call("verify", "--store", disk / "store", "--full").exit_code == 0


def test_a_read_only_store_is_looked_at_and_not_touched(small_disk):
    disk, make_read_only = small_disk
    build(disk / "store")
    make_read_only()
    found, _ = collect(disk / "store", LAST_ONLY, dry_run=True)
    assert found.items
    refused = call("gc", "--store", disk / "store")
    assert f"the store {disk / 'store'} is read-only" in str(refused.exception)
    assert exit_code(refused.exception) == DISK


def test_what_is_emptied_is_deleted_at_once_and_what_stands_is_whole(tmp_path):
    build(tmp_path / "store")
    with hold(tmp_path / "store", run="a run"):  # to look takes no lock
        dry, _ = collect(tmp_path / "store", LAST_ONLY, dry_run=True, empty_trash=True)
    done, _ = collect(tmp_path / "store", LAST_ONLY, dry_run=False, empty_trash=True)
    assert done == dry
    assert not (tmp_path / "store" / "trash").exists()
    assert call("verify", "--store", tmp_path / "store", "--full").exit_code == 0

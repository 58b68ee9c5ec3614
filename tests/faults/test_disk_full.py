"""A disk that is really full: a small file system in memory."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tiny import everything, tiny_config

import anabatch

DISK = 74


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, very small: (its folder, a function that gives it more room)."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if not mount or subprocess.run([mount, *options], capture_output=True, check=False).returncode:  # noqa: S603
        pytest.skip("may not mount a file system here")

    def grow(size: str) -> None:
        command = [mount, "-o", f"remount,size={size}", str(folder)]
        subprocess.run(command, check=True)  # noqa: S603

    try:
        yield folder, grow
    finally:
        subprocess.run([shutil.which("umount") or "umount", str(folder)], check=True)  # noqa: S603


def room_left(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def test_a_full_disk_ends_with_74_and_the_next_run_completes(driver, few, undisturbed, small_disk):
    folder, grow = small_disk
    config = tiny_config(few, folder / "store")
    codes = []
    for size in ("300k", "400k", "500k", "700k", "900k", "1200k"):
        grow(size)
        for _ in range(2):  # a second time on the same full disk
            ended = driver.run(config)
            assert ended.code in (0, DISK), ended.output
            if ended.code == DISK:
                assert "No space left" in ended.output
            codes.append(ended.code)
    grow("16m")
    assert DISK in codes
    assert driver.run(config).code == 0
    assert everything(anabatch.open_store(config.store)) == undisturbed
    assert room_left(folder) > 0


def test_a_store_on_a_full_disk_can_be_read(driver, few, undisturbed, small_disk):
    folder, grow = small_disk
    grow("16m")
    config = tiny_config(few, folder / "store")
    assert driver.run(config).code == 0
    with (folder / "ballast").open("wb") as ballast:
        while free := room_left(folder):
            ballast.write(b"\0" * free)
            ballast.flush()
    assert everything(anabatch.open_store(config.store)) == undisturbed
    ended = driver.run(tiny_config(few, config.store, cells={"crop": 64}), "--accept-recompute")
    assert ended.code == DISK
    assert everything(anabatch.open_store(config.store)) == undisturbed

"""A hostile archive, end to end: every oddity has its reason, and all good images are scanned."""

from __future__ import annotations

import contextlib
import ctypes
import datetime as dt
import json
import os
import socket
import stat

import numpy as np
import pytest
from anabatch.jobs import cli
from anabatch.jobs import context as context_module
from anabatch.jobs import scan as scan_job
from PIL import Image
from running import make_config, run_jobs
from typer.testing import CliRunner

import anabatch
from anabatch.archive.listing import list_archive
from anabatch.store.actions import DEFERRED, FAILED, OK
from anabatch.store.live import LIST, SCAN

RUN = "20211214/005_SN08030"
MINUTE = 60 * 10**9

GOOD = (
    f"{RUN}/033_0ae00987379_1_202524401_3_14_05.png",
    f"{RUN}/with spaces and  two .png",
    f"{RUN}/a new\nline.png",
    f"{RUN}/{'n' * 251}.png",
    f"{RUN}/{'é' * 125}a.png",
    f"{RUN}/\u202egnp.png",
    f"{RUN}/-rf *;$(reboot)'\".png",
    f"{RUN}/links/../inside.png",
    "20211215/any name at all/a.PNG",
)
"""Images that are whole, at places of the layout, whatever their names."""


def draw(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((24, 32), np.uint8)
    pixels[4:12, 4:12] = 200
    pixels[0, 0] = number
    Image.fromarray(pixels).save(path, "PNG")
    return path


def write_archive(root):
    """Write good images among all kinds of trouble; return what this file system refused."""
    for number, name in enumerate(GOOD):
        draw(root / name.replace("links/../", ""), number)
    run = root / RUN
    (run / "link inside.png").symlink_to(run / GOOD[0].rpartition("/")[2])
    # whole images, and no place for them
    draw(root / "no folder.png", 20)
    draw(root / "20211214/a/b/deep.png", 21)
    draw(root / "20261340/005_SN08030/a.png", 22)
    draw(root / "20261340/006_SN08030/b.png", 23)
    draw(root / "20211214/20211215/c.png", 24)
    draw(root / "20211214/20211216/005_SN08030/d.png", 25)
    draw(root / "20991231/005_SN08030/e.png", 26)
    # links
    outside = draw(root.parent / "outside" / "f.png", 27)
    (run / "outside.png").symlink_to(outside)
    (root / "20211216").symlink_to(outside.parent)
    (run / "circle.png").symlink_to("circle.png")
    (run / "there.png").symlink_to("back.png")
    (run / "back.png").symlink_to("there.png")
    (run / "round").symlink_to("../..")
    (run / "nowhere.png").symlink_to("nothing.png")
    # no files
    os.mkfifo(run / "pipe.png")
    with socket.socket(socket.AF_UNIX) as unix:
        here = os.open(run, os.O_RDONLY)
        unix.bind(f"/proc/self/fd/{here}/socket.png")
        os.close(here)
    # no images
    (run / "empty.png").write_bytes(b"")
    (run / "text.jpg").write_bytes(b"no image\n")
    whole = (root / GOOD[0]).read_bytes()
    (run / "cut.png").write_bytes(whole[: len(whole) // 2])
    refused = set()
    try:
        (run / os.fsdecode(b"caf\xe9.png")).write_bytes(whole)
    except OSError:
        refused.add(f"{RUN}/caf\\xe9.png")
    return refused


LISTED = {
    "no folder.png": "an image at a wrong place: the layout dated has no such place",
    "20211214/a/b/deep.png": "an image at a wrong place: the layout dated has no such place",
    "20261340": "20261340 is no date",
    "20211214/20211215": "a date folder in a date folder: which date is it?",
    "20211214/20211216": "a date folder in a date folder: which date is it?",
    "20991231": "2099-12-31 is a date in the future: is the microscope's clock right?",
    f"{RUN}/outside.png": "a link that leads out of the archive is not followed",
    "20211216": "a link that leads out of the archive is not followed",
    f"{RUN}/circle.png": "a link that leads in a circle",
    f"{RUN}/there.png": "a link that leads in a circle",
    f"{RUN}/back.png": "a link that leads in a circle",
    f"{RUN}/round": "a link to a folder is not followed",
    f"{RUN}/nowhere.png": "a link that leads nowhere",
    f"{RUN}/pipe.png": "not a regular file",
    f"{RUN}/socket.png": "not a regular file",
    f"{RUN}/caf\\xe9.png": "the name is not UTF-8; rename the file or mount with iocharset",
}
"""What cannot be read, and how its reason begins."""

BAD = {
    f"{RUN}/empty.png": "the file is empty. The copy did not finish",
    f"{RUN}/text.jpg": "not a JPEG, PNG, TIFF or BMP image",
    f"{RUN}/cut.png": "broken image: truncated",
}
"""Files that are no whole images, and how their reason begins."""


def config_of(folder, **sections):
    sizes = {"name": "sim", "path": str(folder / "DATA"), "layout": "dated"}
    archives = [sizes | {"pixels_per_reference_pixel": {"32x24": 1.0}}]
    return make_config(folder / "DATA", folder / "store", archives=archives, **sections)


def tree(root):
    """Return all there is to know about an archive, but when it was read."""
    return {
        path: (found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        for path in sorted([root, *root.rglob("*")])
        for found in (path.lstat(),)
    }


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A hostile archive after one scan: folder, events, what was refused, the tree before."""
    folder = tmp_path_factory.mktemp("hostile")
    refused = write_archive(folder / "DATA")
    before = tree(folder / "DATA")
    return folder, run_jobs(config_of(folder), scan_job), refused, before


def actions(folder, stage):
    state = anabatch.open_store(folder / "store").state
    return {action.components["relative_path"]: action for action in state.stage(stage)}


def test_all_good_images_are_scanned(hostile):
    scanned = actions(hostile[0], SCAN)
    good = {name.replace("links/../", "") for name in GOOD} | {f"{RUN}/link inside.png"}
    assert {path for path, action in scanned.items() if action.outcome == OK} == good
    rows = anabatch.open_store(hostile[0] / "store").table("acquisitions").to_pandas()
    assert set(rows[rows.status == "ok"].relative_path) == good
    assert rows.image_id.nunique() == len(GOOD)  # the link shows an image that is there already


def test_what_cannot_be_read_has_a_reason_and_nothing_else_does(hostile):
    folder, _, refused, _ = hostile
    found = actions(folder, LIST)
    assert set(found) == set(LISTED) - refused
    for path, action in found.items():
        assert action.outcome == FAILED
        assert str(action.reason).startswith(LISTED[path]), path


def test_files_that_are_no_images_have_a_reason(hostile):
    found = {p: a for p, a in actions(hostile[0], SCAN).items() if a.outcome == FAILED}
    assert set(found) == set(BAD)
    for path, action in found.items():
        assert str(action.reason).startswith(BAD[path]), path


def test_every_problem_is_told_on_one_line(hostile):
    _, events, refused, _ = hostile
    told = {event["path"]: event["message"] for event in events if event["event"] == "problem"}
    assert set(told) == set(LISTED) - refused
    assert not any("\n" in message for message in told.values())


def test_the_archive_is_as_it_was(hostile):
    folder, _, _, before = hostile
    assert tree(folder / "DATA") == before


def test_a_second_night_has_nothing_to_do(hostile):
    folder, _, _, _ = hostile
    version = anabatch.open_store(folder / "store").version
    run_jobs(config_of(folder), scan_job)
    assert anabatch.open_store(folder / "store").version == version


def test_the_command_ends_with_the_code_of_a_quarantine_and_counts_it(hostile, monkeypatch):
    folder, _, refused, _ = hostile
    monkeypatch.setattr(cli, "limit_threads_of_this_process", lambda _: None)
    archive, store = folder / "DATA", folder / "again"
    done = CliRunner().invoke(
        cli.app,
        ["scan", "--archive", str(archive), "--store", str(store), "--layout", "dated"]
        + ["--scheduler", "sync", "--log-format", "json"],
    )
    assert done.exit_code == 3
    events = [json.loads(line) for line in done.stdout.splitlines()]
    (quarantine,) = [event for event in events if event["event"] == "quarantine"]
    assert quarantine["items"] == len(LISTED) - len(refused) + len(BAD)


def test_what_was_put_right_leaves_the_quarantine(tmp_path):
    root = tmp_path / "DATA"
    draw(root / GOOD[0], 1)
    draw(root / "20261340/005_SN08030/a.png", 2)
    (root / RUN / "circle.png").symlink_to("circle.png")
    run_jobs(config_of(tmp_path), scan_job)
    assert len(actions(tmp_path, LIST)) == 2
    (root / "20261340").rename(root / "20211213")
    (root / RUN / "circle.png").unlink()
    run_jobs(config_of(tmp_path), scan_job)
    assert actions(tmp_path, LIST) == {}
    assert len(actions(tmp_path, SCAN)) == 2


# a file that does not hold still


@pytest.fixture
def pair(tmp_path):
    """An archive of two images, scanned, whose second then changes: folder and second image."""
    root = tmp_path / "DATA"
    draw(root / GOOD[0], 1)
    second = draw(root / RUN / "second.png", 2)
    run_jobs(config_of(tmp_path), scan_job)
    return tmp_path, second


def while_read(monkeypatch, path, change):
    """Change a file when it is open for reading."""
    fstat = os.fstat

    def then_change(descriptor):
        found = fstat(descriptor)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(found, path.stat()):
                change()
        return found

    monkeypatch.setattr("anabatch.archive.reading.os.fstat", then_change)


def deferred(events):
    return [event for event in events if event["event"] == "deferred"]


def test_a_file_that_changes_while_it_is_read_is_left_for_the_next_night(pair, monkeypatch):
    folder, second = pair
    relative = f"{RUN}/second.png"
    before = actions(folder, SCAN)[relative]
    third = draw(second.with_name("third.png"), 3)
    draw(second, 4)

    def write_on():
        with second.open("ab") as file:
            file.write(b"more to come")

    with monkeypatch.context() as patch:
        while_read(patch, second, write_on)
        (event,) = deferred(run_jobs(config_of(folder), scan_job))
    assert event["path"] == relative
    assert "changed while it was read. The next run looks at it again" in event["message"]
    (waiting,) = actions(folder, LIST).values()
    assert (waiting.outcome, waiting.unit) == (DEFERRED, f"sim/{relative}")
    assert waiting.date == dt.date(2021, 12, 14)
    assert anabatch.open_store(folder / "store").state.failures() == []
    # what it was before stays; all else goes on
    assert actions(folder, SCAN)[relative] == before
    assert actions(folder, SCAN)[f"{RUN}/{third.name}"].outcome == OK

    draw(second, 5)
    events = run_jobs(config_of(folder), scan_job)
    assert deferred(events) == []
    assert actions(folder, LIST) == {}
    after = actions(folder, SCAN)[relative]
    assert after.outcome == OK
    assert after.components["image_id"] != before.components["image_id"]


def test_a_file_that_never_holds_still_is_told_every_night_and_committed_once(pair, monkeypatch):
    folder, second = pair

    def write_on():
        with second.open("ab") as file:
            file.write(b"more")

    write_on()
    while_read(monkeypatch, second, write_on)
    assert len(deferred(run_jobs(config_of(folder), scan_job))) == 1
    version = anabatch.open_store(folder / "store").version
    events = run_jobs(config_of(folder), scan_job)
    assert len(deferred(events)) == 1
    (scanned,) = [event for event in events if event["event"] == "scanned"]
    assert scanned["deferred"] == 1
    assert scanned["message"].endswith("1 left for the next run")
    assert anabatch.open_store(folder / "store").version == version


def test_a_file_that_vanishes_before_it_is_read_is_left_and_then_gone(pair, monkeypatch):
    folder, second = pair
    new = draw(second.with_name("new.png"), 7)
    lists = context_module.list_archive

    def list_and_take_away(*arguments, **options):
        listing = lists(*arguments, **options)
        new.unlink()
        return listing

    with monkeypatch.context() as patch:
        patch.setattr(context_module, "list_archive", list_and_take_away)
        (event,) = deferred(run_jobs(config_of(folder), scan_job))
    assert "went away after it was listed" in event["message"]
    assert [a.outcome for a in actions(folder, LIST).values()] == [DEFERRED]
    run_jobs(config_of(folder), scan_job)
    assert actions(folder, LIST) == {}
    assert len(actions(folder, SCAN)) == 2


def at(monkeypatch, seconds):
    """Let the listing think that it is so many seconds later."""

    def later(root, layout, **options):
        listed_ns = list_archive(root, layout).listed_ns
        return list_archive(root, layout, now_ns=listed_ns + int(seconds * 1e9), **options)

    monkeypatch.setattr(context_module, "list_archive", later)


def test_a_file_younger_than_the_time_to_settle_is_left(pair, monkeypatch):
    folder, second = pair
    config = config_of(folder, scan={"settle_seconds": 600.0})
    new = draw(second.with_name("new.png"), 8)
    os.utime(new, (1_600_000_000, 1_600_000_000))  # as copied with its time: it is new all the same
    (event,) = deferred(run_jobs(config, scan_job))
    assert event["path"] == f"{RUN}/new.png"
    assert "changed less than 600 s before it was listed" in event["message"]
    assert len(actions(folder, SCAN)) == 2
    at(monkeypatch, 601)
    assert deferred(run_jobs(config, scan_job)) == []
    assert actions(folder, LIST) == {}
    assert len(actions(folder, SCAN)) == 3


def test_a_deferral_is_kept_by_a_run_of_another_date(pair):
    folder, second = pair
    draw(second.with_name("new.png"), 9)
    run_jobs(config_of(folder, scan={"settle_seconds": 600.0}), scan_job)
    assert len(actions(folder, LIST)) == 1
    run_jobs(config_of(folder), scan_job, only_date=dt.date(2021, 12, 15))
    assert len(actions(folder, LIST)) == 1
    run_jobs(config_of(folder), scan_job, only_date=dt.date(2021, 12, 14))
    assert actions(folder, LIST) == {}


# what the system does not let us read


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


@contextlib.contextmanager
def bound_by_permissions():
    """Let root be refused like everybody else: it gives up, for a while, to override permissions."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = _Header(0x20080522, 0), (_Sets * 2)()
    if libc.capget(ctypes.byref(header), ctypes.byref(sets)):
        pytest.skip("the capabilities of this process cannot be read")
    before = sets[0].effective
    sets[0].effective &= ~(1 << 1 | 1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    if libc.capset(ctypes.byref(header), ctypes.byref(sets)):
        pytest.skip("the capabilities of this process cannot be changed")
    try:
        yield
    finally:
        sets[0].effective = before
        assert not libc.capset(ctypes.byref(header), ctypes.byref(sets))


def test_files_and_folders_without_permission_are_quarantined_until_they_have_it(pair):
    folder, second = pair
    hidden = draw(folder / "DATA" / "20211215/001_SN08030/a.png", 10).parent
    denied = draw(second.with_name("denied.png"), 11)
    draw(second.with_name("fine.png"), 12)
    denied.chmod(0)
    hidden.chmod(0)
    second.chmod(0)  # one that was read before
    try:
        with bound_by_permissions():
            run_jobs(config_of(folder), scan_job)
        scanned, listed = actions(folder, SCAN), actions(folder, LIST)
        reason = "the file cannot be read: Permission denied"
        assert {p: a.reason for p, a in scanned.items() if a.outcome == FAILED} == {
            f"{RUN}/denied.png": reason,
        }
        assert scanned[f"{RUN}/second.png"].outcome == OK  # what is known of it stands
        assert scanned[f"{RUN}/fine.png"].outcome == OK
        assert {p: a.reason for p, a in listed.items()} == {
            "20211215/001_SN08030": "the folder cannot be read: Permission denied",
            f"{RUN}/second.png": reason,
        }
    finally:
        for path in (denied, hidden, second):
            path.chmod(0o755)
    run_jobs(config_of(folder), scan_job)
    assert anabatch.open_store(folder / "store").state.failures() == []
    assert len(actions(folder, SCAN)) == 5


def test_an_archive_that_nobody_may_write_to_is_enough(tmp_path):
    root = tmp_path / "DATA"
    for number, name in enumerate(GOOD[:3]):
        draw(root / name, number)
    every = sorted([root, *root.rglob("*")])
    for path in every:
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)
    before = tree(root)
    try:
        with bound_by_permissions():
            with pytest.raises(PermissionError):
                (root / "new").write_bytes(b"")
            run_jobs(config_of(tmp_path), scan_job)
            run_jobs(config_of(tmp_path), scan_job)
        assert tree(root) == before
    finally:
        for path in every:
            path.chmod(0o755)
    assert len(actions(tmp_path, SCAN)) == 3

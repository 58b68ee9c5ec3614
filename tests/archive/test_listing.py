"""The listing: what counts as what, and what is a problem. It never writes."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import socket
import stat
import sys
from types import SimpleNamespace

import pytest

from anabatch.archive.layout import Layout, load_layout
from anabatch.archive.listing import list_archive
from anabatch.errors import ConfigurationError

DATED = load_layout("dated")
NOON = 1_639_483_200 * 10**9
"""The 14th of December 2021, 12:00 UTC."""
RUN = "20211214/005_SN08030"


def make(root, *paths):
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"xy")
    return root


def names(files):
    return [file.relative_path for file in files]


def test_images_exports_and_others_are_told_apart(tmp_path):
    export = f"{RUN}/exp_pl_LIS_20211215_101758_SN8030_SCREEN.csv"
    images = [f"{RUN}/{name}" for name in ("a.jpg", "b.JPG", "c.png", "d.tif", "e.tiff", "f.BMP")]
    make(tmp_path, *images, export, f"{RUN}/notes.txt", "20211214/audit.log", f"{RUN}/table.csv")
    (tmp_path / "20211216").mkdir()
    listing = list_archive(tmp_path, DATED)
    assert names(listing.images) == images
    assert names(listing.exports) == [export]
    assert listing.others == 3
    assert listing.problems == ()


def test_a_listed_file_has_size_times_inode_and_place(tmp_path):
    make(tmp_path, f"{RUN}/a.jpg")
    os.utime(tmp_path / RUN / "a.jpg", ns=(7, 1_639_500_000_123_456_789))
    (file,) = list_archive(tmp_path, DATED).images
    assert (file.size, file.mtime_ns, file.name) == (2, 1_639_500_000_123_456_789, "a.jpg")
    assert file.path(tmp_path) == tmp_path / RUN / "a.jpg"
    status = file.path(tmp_path).stat()
    assert (file.ctime_ns, file.inode) == (status.st_ctime_ns, status.st_ino)


@pytest.mark.parametrize(("ctime", "one"), [(10**18 + 7, True), (10**18 + 8, False)])
def test_equal_times_of_a_file_are_one_number(tmp_path, monkeypatch, ctime, one):
    make(tmp_path, f"{RUN}/a.jpg")
    times = {"st_mtime_ns": 10**18 + 7, "st_ctime_ns": int(str(ctime))}  # another object
    status = SimpleNamespace(st_mode=stat.S_IFREG, st_size=1, st_ino=2, **times)
    monkeypatch.setattr("anabatch.archive.walk._status", lambda *_: status)
    (file,) = list_archive(tmp_path, DATED).images
    assert (file.mtime_ns, file.ctime_ns) == tuple(times.values())
    assert (file.ctime_ns is file.mtime_ns) == one


def test_a_link_is_listed_with_what_it_leads_to(tmp_path):
    make(tmp_path, f"{RUN}/a.jpg")
    (tmp_path / RUN / "b.jpg").symlink_to("a.jpg")
    a, b = list_archive(tmp_path, DATED).images
    assert a[1:] == b[1:]


def test_the_listing_knows_its_time_and_the_date_of_every_file(tmp_path):
    export = f"{RUN}/exp_pl_LIS_20211215_101758_SN8030_SCREEN.csv"
    make(tmp_path, f"{RUN}/a.jpg", export)
    listing = list_archive(tmp_path, DATED, now_ns=NOON)
    day = dt.date(2021, 12, 14)
    assert (listing.dates, listing.listed_ns) == ({f"{RUN}/a.jpg": day, export: day}, NOON)
    make(tmp_path / "patterns", "pat_7/1.jpg")
    undated = list_archive(tmp_path / "patterns", load_layout("unlabelled"))
    assert undated.dates == {"pat_7/1.jpg": None}


def test_files_are_sorted_by_path_whatever_the_order_of_creation(tmp_path):
    make(tmp_path, "20211215/001_SN08030/a.jpg", f"{RUN}/b.jpg", f"{RUN}/B.jpg", f"{RUN}/a.jpg")
    found = names(list_archive(tmp_path, DATED).images)
    assert found == sorted(found)
    assert len(found) == 4


def test_what_a_system_leaves_behind_is_passed_over(tmp_path):
    make(
        tmp_path,
        f"{RUN}/._a.jpg",
        f"{RUN}/.jpg",
        f"{RUN}/thumbs.DB",
        "System Volume Information/a.jpg",
        "$RECYCLE.BIN/b.jpg",
        ".Trash-1000/files/20211214/c.jpg",
    )
    listing = list_archive(tmp_path, DATED)
    assert (listing.images, listing.others, listing.problems) == ((), 0, ())


def test_an_empty_masks_folder_is_no_problem(tmp_path):
    make(tmp_path, "pat_7/1.jpg", "pat_7/masks/.keep", "pat_8/masks/1.png")
    listing = list_archive(tmp_path, load_layout("unlabelled"))
    assert names(listing.images) == ["pat_7/1.jpg"]
    assert listing.problems == ()


def test_images_and_exports_at_odd_places_are_problems_not_lost(tmp_path):
    make(
        tmp_path,
        "a.jpg",
        "20211214/a/b/c.jpg",
        "20211214/exp_pl_LIS_20211215_101758_SN8030_SCREEN.csv",
    )
    listing = list_archive(tmp_path, DATED)
    assert listing.images == ()
    assert listing.exports == ()
    assert dict(listing.problems) == {
        "a.jpg": "an image at a wrong place: the layout dated has no such place",
        "20211214/a/b/c.jpg": "an image at a wrong place: the layout dated has no such place",
        "20211214/exp_pl_LIS_20211215_101758_SN8030_SCREEN.csv": (
            "an export at a wrong place: the layout dated has no such place"
        ),
    }


@pytest.mark.parametrize("name", ["20261340", "20210229", "00000000", "20211200"])
def test_a_folder_whose_name_is_no_date_is_one_problem_however_much_is_in_it(tmp_path, name):
    make(tmp_path, f"{name}/005_SN08030/a.jpg", f"{name}/006_SN08030/b.jpg", f"{RUN}/c.jpg")
    listing = list_archive(tmp_path, DATED)
    assert names(listing.images) == [f"{RUN}/c.jpg"]
    ((place, reason),) = listing.problems
    assert place == name
    assert reason.startswith(f"{name} is no date")
    assert reason.endswith("rename the folder, and its images are read")


@pytest.mark.parametrize(
    "inner", ["20211215/a.jpg", "20211215/005_SN08030/a.jpg", "x/20211215/a.jpg"]
)
def test_a_date_folder_in_a_date_folder_is_a_problem(tmp_path, inner):
    make(tmp_path, f"20211214/{inner}", f"{RUN}/c.jpg")
    listing = list_archive(tmp_path, DATED)
    assert names(listing.images) == [f"{RUN}/c.jpg"]
    place = f"20211214/{inner}".partition("/20211215")[0] + "/20211215"
    assert listing.problems == ((place, "a date folder in a date folder: which date is it?"),)


def test_without_dates_in_the_layout_a_folder_may_have_any_number_for_a_name(tmp_path):
    make(tmp_path, "20211214/20211215/a.jpg")
    layout = Layout(name="own", path="(?P<group>[^/]+)/(?P<class_name>[^/]+)/[^/]+")
    assert names(list_archive(tmp_path, layout).images) == ["20211214/20211215/a.jpg"]


def test_dates_to_come_are_a_problem_from_the_day_after_tomorrow(tmp_path):
    days = ("20211214", "20211215", "20211216", "20991231")
    make(tmp_path, *(f"{day}/005_SN08030/{name}.jpg" for day in days for name in "ab"))
    listing = list_archive(tmp_path, DATED, now_ns=NOON)
    assert {path.partition("/")[0] for path in names(listing.images)} == set(days[:2])
    assert listing.problems == (
        ("20211216", "2021-12-16 is a date in the future: is the microscope's clock right?"),
        ("20991231", "2099-12-31 is a date in the future: is the microscope's clock right?"),
    )


def nest(root, name, depth):
    """Make folders in folders, also where their path is longer than the system takes."""
    here = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        here, above = os.open(name, os.O_RDONLY, dir_fd=here), here
        os.close(above)
    os.close(os.open("deep.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)


def unnest(root, name):
    """Delete them; pytest's own way is recursive."""
    while (root / name / name).is_dir():
        (root / name / name).rename(root / "other")
        (root / name).rmdir()
        (root / "other").rename(root / name)


def test_folders_may_nest_deeper_than_python_calls(tmp_path):
    depth = sys.getrecursionlimit() + 100
    make(tmp_path, f"{RUN}/a.jpg")
    nest(tmp_path, "a", depth)
    try:
        listing = list_archive(tmp_path, DATED)
    finally:
        (tmp_path / ("a/" * depth) / "deep.jpg").unlink()
        unnest(tmp_path, "a")
    assert names(listing.images) == [f"{RUN}/a.jpg"]
    assert [path for path, _ in listing.problems] == ["a/" * depth + "deep.jpg"]


def test_what_lies_deeper_than_a_path_can_say_is_a_problem(tmp_path):
    name = "n" * 250
    nest(tmp_path, name, 20)
    make(tmp_path, f"{RUN}/a.jpg")
    listing = list_archive(tmp_path, DATED)
    assert names(listing.images) == [f"{RUN}/a.jpg"]
    ((_, reason),) = listing.problems
    assert reason == "the folder cannot be read: File name too long"


def test_names_of_255_bytes_with_spaces_newlines_and_letters_of_all_kinds_are_listed(tmp_path):
    odd = [
        "x" * 251 + ".jpg",
        " a b .jpg",
        "a\nb.jpg",
        "é" * 125 + "x.jpg",
        "\u202egpj.jpg",
        "-rf.jpg",
    ]
    make(tmp_path, *(f"{RUN}/{name}" for name in odd))
    listing = list_archive(tmp_path, DATED)
    assert {file.name for file in listing.images} == set(odd)
    assert listing.problems == ()


def test_links_are_followed_only_to_files_inside(tmp_path):
    root = make(tmp_path / "archive", f"{RUN}/a.jpg")
    make(tmp_path / "elsewhere", "b.jpg")
    folder = root / RUN
    (folder / "inside.jpg").symlink_to("a.jpg")
    (folder / "outside.jpg").symlink_to(tmp_path / "elsewhere" / "b.jpg")
    (folder / "broken.jpg").symlink_to("missing.jpg")
    (folder / "circle.jpg").symlink_to("circle.jpg")
    (root / "20211215").symlink_to(root / "20211214")
    listing = list_archive(root, DATED)
    assert names(listing.images) == [f"{RUN}/a.jpg", f"{RUN}/inside.jpg"]
    problems = dict(listing.problems)
    assert sorted(problems) == [
        f"{RUN}/broken.jpg",
        f"{RUN}/circle.jpg",
        f"{RUN}/outside.jpg",
        "20211215",
    ]
    assert "leads out of the archive" in problems[f"{RUN}/outside.jpg"]
    assert "link to a folder" in problems["20211215"]


def test_the_root_itself_may_be_a_link(tmp_path):
    make(tmp_path / "disk", f"{RUN}/a.jpg")
    (tmp_path / "mounted").symlink_to(tmp_path / "disk")
    listing = list_archive(tmp_path / "mounted", DATED)
    assert names(listing.images) == [f"{RUN}/a.jpg"]
    assert listing.problems == ()


def test_what_is_no_regular_file_is_a_problem(tmp_path):
    folder = tmp_path / RUN
    folder.mkdir(parents=True)
    os.mkfifo(folder / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as unix:
        here = os.open(folder, os.O_RDONLY)
        unix.bind(f"/proc/self/fd/{here}/socket.jpg")
        os.close(here)
    problems = dict(list_archive(tmp_path, DATED).problems)
    assert problems == {
        f"{RUN}/pipe.jpg": "not a regular file",
        f"{RUN}/socket.jpg": "not a regular file",
    }


def test_a_name_that_is_not_utf8_is_a_problem(tmp_path):
    (tmp_path / RUN).mkdir(parents=True)
    try:
        (tmp_path / RUN / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system refuses such names")
    ((path, reason),) = list_archive(tmp_path, DATED).problems
    assert path == f"{RUN}/caf\\xe9.jpg"
    assert "not UTF-8" in reason


def test_a_folder_whose_name_is_not_utf8_hides_nothing(tmp_path):
    try:
        folder = tmp_path / "20211214" / os.fsdecode(b"caf\xe9")
        folder.mkdir(parents=True)
    except OSError:
        pytest.skip("this file system refuses such names")
    (folder / "a.jpg").write_bytes(b"x")
    make(tmp_path, f"{RUN}/b.jpg")
    listing = list_archive(tmp_path, DATED)
    assert names(listing.images) == [f"{RUN}/b.jpg"]
    ((path, reason),) = listing.problems
    assert path == r"20211214/caf\xe9/a.jpg"
    assert "not UTF-8" in reason


def test_a_folder_that_cannot_be_read_is_a_problem_and_the_rest_is_listed(tmp_path, monkeypatch):
    make(tmp_path, f"{RUN}/a.jpg", "20211215/001_SN08030/b.jpg")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("20211214"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    listing = list_archive(tmp_path, DATED)
    assert names(listing.images) == ["20211215/001_SN08030/b.jpg"]
    assert listing.problems == (("20211214", "the folder cannot be read: Permission denied"),)


def test_a_missing_root_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigurationError, match="mounted"):
        list_archive(tmp_path / "missing", DATED)


def test_listing_changes_nothing(tmp_path):
    make(tmp_path, f"{RUN}/a.jpg", "20211214/audit.log")
    before = sorted((p, p.lstat().st_mtime_ns) for p in tmp_path.rglob("*"))
    list_archive(tmp_path, DATED)
    assert sorted((p, p.lstat().st_mtime_ns) for p in tmp_path.rglob("*")) == before


def test_an_entry_whose_kind_cannot_be_told_is_a_problem(tmp_path):
    class Unknown:
        name = "a.jpg"
        path = str(tmp_path / "a.jpg")

        def is_dir(self, *, follow_symlinks):
            raise PermissionError(13, "Permission denied")

        is_symlink = stat = lambda self: self.is_dir(follow_symlinks=False)

    @contextlib.contextmanager
    def scandir(_):
        yield iter([Unknown()])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        listing = list_archive(tmp_path, DATED)
    assert listing.problems == (("a.jpg", "cannot be read: Permission denied"),)


def test_paths_that_are_in_memory_are_not_made_again(tmp_path):
    make(tmp_path, f"{RUN}/a.jpg", f"{RUN}/b.jpg")
    known = "/".join([RUN, "b.jpg"])
    listing = list_archive(tmp_path, DATED, known={known: known})
    assert listing == list_archive(tmp_path, DATED, now_ns=listing.listed_ns)
    assert listing.images[1].relative_path is known

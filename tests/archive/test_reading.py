"""Reading a file that somebody else may be writing to: whole and held still, or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from anabatch.archive.layout import load_layout
from anabatch.archive.listing import list_archive
from anabatch.archive.reading import largest_file, read_file
from anabatch.errors import UnreadableImageError, UnsettledFileError, UnsupportedImageError

PATH = "20211214/005_SN08030/a.jpg"
CONTENT = bytes(range(256)) * 40


@pytest.fixture
def listed(tmp_path):
    """A root, its one file as listed, and the file's path."""
    path = tmp_path / PATH
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    (file,) = list_archive(tmp_path, load_layout("dated")).images
    return tmp_path, file, path


def touched(path, seconds=1):
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + seconds * 10**9))


def grow(path):
    with path.open("ab") as stream:
        stream.write(b"more")


def cut(path):
    os.truncate(path, 100)


def exchange(path):
    """Put another file of the same size and time in the place of a file."""
    status = path.stat()
    other = path.with_name("other")
    other.write_bytes(CONTENT[::-1])
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


def unlink(path):
    path.unlink()


def take_the_folder_away(path):
    path.unlink()
    path.parent.rmdir()
    path.parent.write_bytes(b"no folder")


def put_a_pipe_there(path):
    path.unlink()
    os.mkfifo(path)


def link_out(path):
    outside = path.parents[3] / "outside.jpg"
    outside.write_bytes(CONTENT)
    status = path.stat()
    path.unlink()
    os.utime(outside, ns=(status.st_atime_ns, status.st_mtime_ns))
    path.symlink_to(outside)


CHANGES = [touched, grow, cut, exchange, unlink, take_the_folder_away, put_a_pipe_there, link_out]


def test_a_file_that_holds_still_is_read_whole(listed):
    root, file, _ = listed
    assert read_file(root, file, max_bytes=len(CONTENT)) == CONTENT


def test_an_empty_file_is_read_as_such(tmp_path, listed):
    root, _, path = listed
    path.write_bytes(b"")
    (file,) = list_archive(root, load_layout("dated")).images
    assert read_file(root, file, max_bytes=10) == b""


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_between_listing_and_opening_leaves_the_file_for_later(listed, change):
    root, file, path = listed
    change(path)
    with pytest.raises(UnsettledFileError, match=r"The next run looks at it again\.$"):
        read_file(root, file, max_bytes=10**6)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_while_the_file_is_read_leaves_it_for_later(listed, change, monkeypatch):
    """The change comes when the file is open and was found to be the one that was listed."""
    root, file, path = listed
    fstat = os.fstat
    calls: list[int] = []

    def then_change(descriptor):
        found = fstat(descriptor)
        if not calls:
            change(path)
        calls.append(descriptor)
        return found

    monkeypatch.setattr("anabatch.archive.reading.os.fstat", then_change)
    with pytest.raises(UnsettledFileError, match=r"The next run looks at it again\.$"):
        read_file(root, file, max_bytes=10**6)


def test_a_change_after_the_last_byte_was_read_leaves_it_for_later_too(listed, monkeypatch):
    root, file, path = listed
    fstat = os.fstat
    calls: list[int] = []

    def change_first(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            grow(path)
        return fstat(descriptor)

    monkeypatch.setattr("anabatch.archive.reading.os.fstat", change_first)
    with pytest.raises(UnsettledFileError, match="changed while it was read"):
        read_file(root, file, max_bytes=10**6)


def test_another_inode_alone_does_not_matter_where_it_is_not_known(listed):
    root, file, path = listed
    exchange(path)
    with pytest.raises(UnsettledFileError):
        read_file(root, file, max_bytes=10**6)
    assert read_file(root, file._replace(inode=0), max_bytes=10**6) == CONTENT[::-1]


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EACCES, "Permission denied"), (errno.EIO, "Input/output error")],
)
def test_a_file_that_cannot_be_opened_is_unreadable(listed, monkeypatch, number, words):
    root, file, path = listed

    def refuse(name, *_):
        assert name == path
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("anabatch.archive.reading.os.open", refuse)
    with pytest.raises(UnreadableImageError, match=f"^the file cannot be read: {words}$"):
        read_file(root, file, max_bytes=10**6)


def test_a_file_longer_than_any_image_is_refused_and_not_read(listed, monkeypatch):
    root, file, path = listed
    os.truncate(path, 2**40)  # sparse: to read it would take all memory
    (file,) = list_archive(root, load_layout("dated")).images
    with pytest.raises(UnsupportedImageError, match=r"has 1099511627776 bytes.*scan\.max_pixels"):
        read_file(root, file, max_bytes=largest_file(400_000_000))


def test_the_limit_itself_is_allowed(listed):
    root, file, _ = listed
    assert len(read_file(root, file, max_bytes=len(CONTENT))) == len(CONTENT)
    with pytest.raises(UnsupportedImageError):
        read_file(root, file, max_bytes=len(CONTENT) - 1)


def test_reading_leaves_nothing_open(listed):
    root, file, path = listed
    before = len(list(Path("/proc/self/fd").iterdir()))
    read_file(root, file, max_bytes=10**6)
    grow(path)
    with pytest.raises(UnsettledFileError):
        read_file(root, file, max_bytes=10**6)
    assert len(list(Path("/proc/self/fd").iterdir())) == before

"""What goes wrong at a place that was named, and what goes wrong elsewhere."""

import errno
import os
from pathlib import Path

import pytest

from anabatch.errors import ConfigurationError, PlaceError, StoreLockedError
from anabatch.named_places import error_number, reading, writing


def raised(number, *names):
    return OSError(
        number, os.strerror(number), *([names[0], None, names[1]] if names[1:] else names)
    )


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("gone/x", Path.touch, "No such file or directory. Make the folder"),
        ("file/x", Path.touch, "Not a directory. A part of its path is a file"),
        (
            "file/x/y",
            lambda p: p.mkdir(parents=True),
            "Not a directory. A part of its path is a file",
        ),
        ("file", Path.mkdir, "File exists. A file stands where a folder is needed"),
        ("file/x", lambda p: p.parent.mkdir(exist_ok=True), "File exists ("),
        ("folder", Path.read_bytes, "Is a directory. It is a folder"),
        ("n" * 300, Path.touch, "File name too long. Give a shorter name"),
        ("circle/x", Path.touch, "Too many levels of symbolic links. Links there lead in a circle"),
    ],
)
def test_what_the_system_says_of_a_named_place_is_a_sentence(
    tmp_path, monkeypatch, name, make, words
):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("folder").mkdir()
    Path("circle").symlink_to("circle")
    with pytest.raises(PlaceError) as told, writing(Path(name)):
        make(Path(name))
    assert str(told.value).startswith(f"{name} cannot be written to: {words}")
    assert isinstance(told.value, ConfigurationError)  # 78
    assert isinstance(told.value.__cause__, OSError)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
@pytest.mark.parametrize("name", ["/a/b", "/a", "/a/b/inner/file"])
def test_a_denial_at_above_and_below_a_place_is_of_the_place(number, name):
    with (
        pytest.raises(PlaceError, match=r"^/a/b cannot be read: .* Ask for the right to it"),
        reading(Path("/c"), Path("/a/b")),
    ):
        raise raised(number, name)


def test_a_denial_in_words_is_of_the_place_that_it_names():
    text = "Generic LocalFileSystem error: unable to open {}/ledger/1.json: Permission denied (os error 13)"
    with pytest.raises(PlaceError, match="Permission denied"), writing(Path("/a/b")):
        raise OSError(text.format("/a/b"))
    with pytest.raises(OSError, match="os error 13") as other, writing(Path("/a/b")):
        raise OSError(text.format("/c"))
    assert not isinstance(other.value, PlaceError)
    with pytest.raises(OSError, match="os error 13") as other, writing(Path("/a/b")):
        raise OSError(text.format("/a/b2"))
    assert not isinstance(other.value, PlaceError)


@pytest.mark.parametrize(
    "error",
    [
        raised(errno.ENOENT, "/a/b/part.json"),  # ours, and gone: a bug, or damage
        raised(errno.ENOENT, "/c"),
        raised(errno.EACCES, "/c"),
        raised(errno.EACCES, "/a/b2/file"),
        raised(errno.ENOENT, ""),
        raised(errno.ENOENT),
        raised(errno.ENOSPC, "/a/b"),  # the disk's
        raised(errno.EROFS, "/a/b"),
        ZeroDivisionError("a bug"),
        StoreLockedError("held"),
    ],
    ids=repr,
)
def test_all_else_stays_what_it_is(error):
    with pytest.raises(type(error)) as passed, writing(Path("/a/b")), reading(Path("/a/b")):
        raise error
    assert passed.value is error


def test_a_rename_onto_a_folder_is_of_the_place():
    with pytest.raises(PlaceError, match="Is a directory"), writing(Path("/a/b")):
        raise raised(errno.EISDIR, "/a/.draft", "/a/b")


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (raised(errno.EIO), errno.EIO),
        (RuntimeError("Os { code: 28, kind: StorageFull }"), 28),
        (PlaceError("a sentence"), None),
        (ValueError("28"), None),
    ],
)
def test_an_error_has_the_systems_number_or_none(error, number):
    assert error_number(error) == number

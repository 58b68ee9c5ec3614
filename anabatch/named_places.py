"""Places that the user named: an error of the system at one of them is a mistake in its name, or a right that is missing.

Only what the place itself explains is told so. All else, as a file of ours that is not there, stays the
error that it is.
"""

from __future__ import annotations

import errno
import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from anabatch.errors import AnabatchError, PlaceError

if TYPE_CHECKING:
    from collections.abc import Iterator

_DENIED = "Ask for the right to it, or name another place."
_REMEDIES = {
    errno.ENOENT: "Make the folder that it is to lie in, or name another place.",
    errno.ENOTDIR: "A part of its path is a file, and no folder: name another place.",
    errno.EEXIST: "A file stands where a folder is needed: name another place.",
    errno.EISDIR: "It is a folder: name a file in it.",
    errno.ENAMETOOLONG: "Give a shorter name.",
    errno.ELOOP: "Links there lead in a circle: name another place.",
}
_DENIALS = frozenset({errno.EACCES, errno.EPERM})

# How Rust's libraries (deltalake) put it: they raise errors without a number.
_IN_WORDS = re.compile(r"\(os error (\d+)\)|\bOs \{ code: (\d+)")


def error_number(error: BaseException) -> int | None:
    """Return the system's number of an error; None where it has none.

    Parameters
    ----------
    error : BaseException
        Errors of ours that are builtins too have their sentence in the number's place.
    """
    if isinstance(error, OSError) and isinstance(error.errno, int):
        return error.errno
    named = _IN_WORDS.search(str(error))
    return int(named[1] or named[2]) if named else None


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Tell of a place that the user named, and that cannot be written to, in a sentence.

    Parameters
    ----------
    place : Path
        A file, or a folder with all in it.

    Raises
    ------
    PlaceError
        The system refused the place itself, or a folder above it; or this user may not write below it.
        Other errors, as those of the disk, pass as they are.
    """
    with _named((place,), "written to"):
        yield


@contextmanager
def reading(*places: Path) -> Iterator[None]:
    """Tell of places that the user named, and that cannot be read, in a sentence.

    Parameters
    ----------
    *places : Path
        Files, or folders with all in them.

    Raises
    ------
    PlaceError
        The system refused a place itself, or a folder above it; or this user may not read below it.
        Other errors pass as they are.
    """
    with _named(places, "read"):
        yield


def denial(error: BaseException, place: Path) -> PlaceError | None:
    """Return what is told where the system denies this user a place; None where it is another error.

    Parameters
    ----------
    error : BaseException
    place : Path
        What was to be read when it came.
    """
    number = error_number(error)
    if number not in _DENIALS:
        return None
    return PlaceError(f"{place} cannot be read: {os.strerror(number)}", _DENIED)


@contextmanager
def _named(places: tuple[Path, ...], used: str) -> Iterator[None]:
    try:
        yield
    except AnabatchError:
        raise
    except Exception as error:
        number = error_number(error)
        place = next((place for place in places if _explains(place, error, number)), None)
        if number is None or place is None:
            raise
        # a draft that could not be made says nothing to anybody
        inside = [file for file in _files(error) if os.path.lexists(file)]
        where = f" ({inside[0]})" if inside and inside[0] != place.absolute() else ""
        what = f"{place} cannot be {used}: {os.strerror(number)}{where}"
        raise PlaceError(what, _REMEDIES.get(number, _DENIED)) from error


def _explains(place: Path, error: Exception, number: int | None) -> bool:
    """Whether a place that was named explains an error."""
    where = _files(error)
    place = place.absolute()
    if any(place.is_relative_to(file) for file in where):
        return number in _REMEDIES or number in _DENIALS
    if number not in _DENIALS:
        return False
    if where:
        return any(file.is_relative_to(place) for file in where)
    # in a sentence, and not as the beginning of another name
    return re.search(rf"{re.escape(str(place))}(?![^/\s:'\"])", str(error)) is not None


def _files(error: BaseException) -> list[Path]:
    names = (getattr(error, "filename", None), getattr(error, "filename2", None))
    return [
        Path(os.fsdecode(name)).absolute()
        for name in names
        if isinstance(name, str | bytes | os.PathLike) and name
    ]

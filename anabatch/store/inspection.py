"""What is wrong with one part: its manifest, and every file of it."""

from __future__ import annotations

import errno
import json
import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabatch.errors import StoreError
from anabatch.store.keys import action_key, file_digest
from anabatch.store.parts import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Fault(StrEnum):
    """What is wrong with a file."""

    MISSING = "missing"
    EXTRA = "extra"
    TRUNCATED = "truncated"
    LONGER = "longer"
    CHANGED = "changed bytes"
    MANIFEST = "manifest"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with a file of a part.

    Attributes
    ----------
    file : str
        Relative to the part.
    fault : Fault
    detail : str
        What was found, and what was written.
    """

    file: str
    fault: Fault
    detail: str


@dataclass
class Inspection:
    """What an inspection of one part found.

    Attributes
    ----------
    findings : list of Finding
    sizes : dict
        Bytes of every file that is there in full, by name, but of the manifest.
    manifest : int
        Bytes of the manifest, which is always read.
    read : int
        Bytes that were read and compared with their digests.
    """

    findings: list[Finding] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    manifest: int = 0
    read: int = 0

    def add(self, file: str, fault: Fault, detail: str) -> None:
        """Note a finding."""
        self.findings.append(Finding(file, fault, detail))


def inspect(
    root: Path, path: str, digests: frozenset[str], chosen: Callable[[str], bool]
) -> Inspection:
    """Inspect one part, reading of every file but the manifest only its size, or all of it.

    Parameters
    ----------
    root : Path
        The store's folder.
    path : str
        The part's path relative to it.
    digests : frozenset of str
        Digests of the part that the ledger names; empty if it was not asked.
    chosen : callable
        Whether to read a file, by its name.

    Raises
    ------
    StoreError
        This user may not read the part.
    """
    found = Inspection()
    folder = root / path
    with _permission(folder):
        if not folder.is_dir():
            found.add(MANIFEST, Fault.MISSING, "the folder of the part is missing")
            return found
        manifest = _manifest(folder, digests, found)
        if manifest is not None:
            _compare(folder, manifest, chosen, found)
    return found


@contextmanager
def _permission(folder: Path) -> Iterator[None]:
    """Turn a permission that is missing into an error: it is no damage."""
    try:
        yield
    except PermissionError as error:
        what = f"{error.filename or folder} may not be read by this user"
        raise StoreError(what, "Run it as the user who owns the store.") from error


def _manifest(folder: Path, digests: frozenset[str], found: Inspection) -> dict[str, Any] | None:
    try:
        data = (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        found.add(MANIFEST, Fault.MISSING, "the part has no part.json")
        return None
    except OSError as error:
        _refuse_permission(error)
        found.add(MANIFEST, Fault.UNREADABLE, _words(error))
        return None
    found.manifest = len(data)
    found.read += len(data)
    manifest = _parsed(data)
    if manifest is None:
        found.add(MANIFEST, Fault.MANIFEST, "it is not what was written")
    elif digests and digests != {manifest["digest"]}:
        named = " and ".join(sorted(digests))
        text = f"it is of the part {manifest['digest']}, and the ledger names {named}"
        found.add(MANIFEST, Fault.MANIFEST, text)
    return manifest


def _parsed(data: bytes) -> dict[str, Any] | None:
    """Return a manifest whose bytes are those that were written, or None."""
    try:
        manifest: dict[str, Any] = json.loads(data)
        # some flips change the text and not what it says, as that of an escape's case
        as_written = json.dumps(manifest, indent=1).encode() == data
        checksum = manifest.pop("checksum")
        return manifest if as_written and checksum == action_key(manifest=manifest) else None
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def _compare(
    folder: Path, manifest: dict[str, Any], chosen: Callable[[str], bool], found: Inspection
) -> None:
    there = dict(_files(folder))
    for name, (size, digest) in manifest["files"].items():
        status = there.pop(name, None)
        if status is None or not stat.S_ISREG(status.st_mode):
            detail = "it is not there" if status is None else "it is not a plain file"
            found.add(name, Fault.MISSING, detail)
        elif status.st_size != size:
            fault = Fault.TRUNCATED if status.st_size < size else Fault.LONGER
            found.add(name, fault, f"it has {status.st_size} bytes, not {size}")
        else:
            found.sizes[name] = size
            if chosen(name):
                _read(folder / name, name, digest, found)
    there.pop(MANIFEST, None)
    for name in sorted(there):
        found.add(name, Fault.EXTRA, "the part was written without it")


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield everything below a folder that is not a folder itself."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                for name, status in _files(Path(entry.path)):
                    yield f"{entry.name}/{name}", status
            else:
                yield entry.name, entry.stat(follow_symlinks=False)


def _read(path: Path, name: str, digest: str, found: Inspection) -> None:
    try:
        same = file_digest(path) == digest
    except OSError as error:
        _refuse_permission(error)
        found.add(name, Fault.UNREADABLE, _words(error))
        return
    found.read += found.sizes[name]
    if not same:
        found.add(name, Fault.CHANGED, "its bytes are not those that were written")


def _refuse_permission(error: OSError) -> None:
    if error.errno in (errno.EACCES, errno.EPERM):
        raise error


def _words(error: OSError) -> str:
    return f"it cannot be read: {error.strerror or error}"

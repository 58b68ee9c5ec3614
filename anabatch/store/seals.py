"""Seals: digests of the files that each commit of the ledger brought, as `part.json` has of a part's.

Delta keeps none: a flipped bit in a commit would be another commit. A seal is written when its commit
is on the disk; a crash between the two leaves the newest commit without, and the next one makes up
for it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from anabatch.store.durable import make_folder, replace_text
from anabatch.store.inspection import Fault, Inspection
from anabatch.store.keys import action_key, file_digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEALS = "seals"
_LOG = "_delta_log"
_LAST_CHECKPOINT = f"{_LOG}/_last_checkpoint"
_FORMAT = 1


def seal(ledger: Path, version: int) -> None:
    """Write down what a commit brought, durably; and what the one before it did, if nobody has.

    Parameters
    ----------
    ledger : Path
        The ledger's folder.
    version : int
        A version that is on the disk.
    """
    make_folder(ledger / SEALS, ledger)
    before = version - 1
    if before >= 0 and not _path(ledger, before).exists():
        _write(ledger, before)
    _write(ledger, version)


def _path(ledger: Path, version: int) -> Path:
    return ledger / SEALS / f"{version:020d}.json"


def _write(ledger: Path, version: int) -> None:
    files = {
        name: [(ledger / name).stat().st_size, file_digest(ledger / name)]
        for name in _brought(ledger, version)
    }
    facts: dict[str, Any] = {"format": _FORMAT, "version": version, "files": files}
    facts["checksum"] = action_key(seal=facts)
    replace_text(_path(ledger, version), json.dumps(facts))


def _brought(ledger: Path, version: int) -> Iterator[str]:
    commit = f"{_LOG}/{version:020d}.json"
    yield commit
    for line in (ledger / commit).read_text(encoding="utf-8").splitlines():
        if added := json.loads(line).get("add"):
            name = unquote(added["path"])
            if (ledger / name).exists():  # what a restored version brought may be gone again
                yield name
    checkpoints = sorted((ledger / _LOG).glob(f"{version:020d}.checkpoint*"))
    for path in checkpoints:
        yield f"{_LOG}/{path.name}"
    if checkpoints:
        yield _LAST_CHECKPOINT


def inspect_ledger(ledger: Path, version: int, data: set[str]) -> Inspection:
    """Compare all commits up to a version, and data files of theirs, with their seals.

    Parameters
    ----------
    ledger : Path
        The ledger's folder.
    version : int
        The newest version that is looked at.
    data : set of str
        Names of the data files that are needed; others may have been taken away.
    """
    found = Inspection()
    sealed: dict[str, tuple[int, str]] = {}
    for number in range(version + 1):
        sealed |= _sealed(ledger, number, found, newest=number == version)
    if _path(ledger, version + 1).exists():  # it may have been replaced meanwhile
        sealed.pop(_LAST_CHECKPOINT, None)
    for name, (size, digest) in sealed.items():
        if name in data or name.startswith(f"{_LOG}/"):
            _compare(ledger / name, name, size, digest, found)
    return found


def _sealed(
    ledger: Path, version: int, found: Inspection, *, newest: bool
) -> dict[str, tuple[int, str]]:
    """Return what a seal names; nothing, if it is the newest and was not written yet."""
    path = _path(ledger, version)
    name = f"{SEALS}/{path.name}"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        if not newest:
            found.add(name, Fault.MISSING, "the seal of the commit is not there")
        return {}
    found.read += len(data)
    found.sizes[name] = len(data)
    try:
        facts = json.loads(data)
        as_written = json.dumps(facts).encode() == data
        checksum = facts.pop("checksum")
        if as_written and checksum == action_key(seal=facts) and facts["version"] == version:
            return {file: (int(size), str(text)) for file, (size, text) in facts["files"].items()}
    except (ValueError, LookupError, TypeError, AttributeError):
        pass
    found.add(name, Fault.MANIFEST, "it is not what was written")
    return {}


def _compare(path: Path, name: str, size: int, digest: str, found: Inspection) -> None:
    try:
        there = path.stat().st_size
        same = file_digest(path) == digest
    except FileNotFoundError:
        found.add(name, Fault.MISSING, "it is not there")
        return
    except OSError as error:
        found.add(name, Fault.UNREADABLE, f"it cannot be read: {error.strerror or error}")
        return
    if there != size:
        fault = Fault.TRUNCATED if there < size else Fault.LONGER
        found.add(name, fault, f"it has {there} bytes, not {size}")
    elif not same:
        found.add(name, Fault.CHANGED, "its bytes are not those that were written")
    else:
        found.read += size
        found.sizes[name] = size

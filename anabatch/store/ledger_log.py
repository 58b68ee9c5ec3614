"""The ledger's commits, read one after the other: which data files each version has.

Opening a Delta table anew for every version takes time for each; the commits say the same in one pass.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import unquote

from anabatch.errors import PartCorruptError
from anabatch.store.ledger import LOG, Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def file_sets(ledger: Path, newest: int) -> Iterator[tuple[int, frozenset[str]]]:
    """Yield every version up to one, with the names of its data files.

    Parameters
    ----------
    ledger : Path
        The ledger's folder.
    newest : int
        The last version; below 0 there is none.

    Raises
    ------
    PartCorruptError
        A commit is missing or cannot be read, or together they are not what Delta reads.
    """
    files: frozenset[str] = frozenset()
    for version in range(newest + 1):
        files = _after(ledger / LOG / f"{version:020d}.json", files)
        if version == newest and files != set(Ledger(ledger, version).files()):
            what = f"the commits of {ledger} are not those of its version {version}"
            raise PartCorruptError(what, "Restore the ledger.")
        yield version, files


def _after(commit: Path, files: frozenset[str]) -> frozenset[str]:
    """Return the files of a version, given those of the one before it."""
    added: set[str] = set()
    removed: set[str] = set()
    try:
        for line in commit.read_bytes().splitlines():
            entry = json.loads(line)
            for kind, names in (("add", added), ("remove", removed)):
                if (fact := entry.get(kind)) is not None:
                    names.add(unquote(fact["path"]))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        what = f"the commit {commit} cannot be read: {error}"
        raise PartCorruptError(what, "Restore the ledger.") from error
    return (files - removed) | added

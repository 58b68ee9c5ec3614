"""Exports as labels are planned with them, and reading them only if they are still that."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from anabatch.archive.exports import MAX_BYTES, Export, check_size, read_export
from anabatch.archive.reading import read_file
from anabatch.errors import ExportError, UnreadableImageError, UnsettledFileError
from anabatch.store.actions import DEFERRED, FAILED, OK

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from anabatch.archive.dialect import Dialect
    from anabatch.archive.walk import ListedFile

_OTHER = "the file holds other bytes than when it was listed. The next run looks at it again."


@dataclass(frozen=True)
class PlannedExport:
    """What is known of an export when the labels of its date are planned.

    Attributes
    ----------
    file : ListedFile
        As it was listed. An inode of 0 is not compared.
    sha256 : str
        Digest of its bytes; empty if they are not known.
    why_not : str
        Why they are not known; empty if they are.
    outcome : {'ok', 'failed', 'deferred'}
        `failed`: it cannot be read now; `deferred`: it does not hold still. A file that is too large
        to be an export is `ok`: that is known of it, and does not pass.
    """

    file: ListedFile
    sha256: str = ""
    why_not: str = ""
    outcome: str = OK

    @property
    def path(self) -> str:
        """The export's path below the archive's root."""
        return self.file.relative_path

    @property
    def digest(self) -> str:
        """What enters the key of its date's labels."""
        return self.sha256 or self.why_not


@dataclass(frozen=True)
class ReadExports:
    """What became of exports.

    Attributes
    ----------
    good : list of Export
    bad : list of (str, ExportError)
        Relative path and error of those that cannot be understood, and of those without which the
        labels were planned.
    waiting : list of PlannedExport
        Those that are not what they were planned to be, as they are now: no labels can be made.
    """

    good: list[Export] = field(default_factory=list)
    bad: list[tuple[str, ExportError]] = field(default_factory=list)
    waiting: list[PlannedExport] = field(default_factory=list)


def look_at(root: Path, file: ListedFile) -> tuple[bytes, PlannedExport]:
    """Read a listed export, and say what is known of it now; no bytes where they are not known."""
    try:
        check_size(file.size, file.relative_path)
        data = read_file(root, file, max_bytes=MAX_BYTES)
    except ExportError as error:
        return b"", PlannedExport(file, why_not=str(error))
    except UnsettledFileError as error:
        return b"", PlannedExport(file, why_not=str(error), outcome=DEFERRED)
    except UnreadableImageError as error:
        return b"", PlannedExport(file, why_not=str(error), outcome=FAILED)
    return data, PlannedExport(file, hashlib.sha256(data).hexdigest())


def read_exports(root: Path, planned: Iterable[PlannedExport], dialect: Dialect) -> ReadExports:
    """Read exports, if they hold what labels were planned with.

    Parameters
    ----------
    root : Path
        The archive's root.
    planned : iterable of PlannedExport
        What is known of each.
    dialect : Dialect

    Returns
    -------
    ReadExports
    """
    found = ReadExports()
    for export in planned:
        if not export.sha256:
            found.bad.append((export.path, ExportError(export.why_not)))
            continue
        data, now = look_at(root, export.file)
        if now.outcome != OK:
            found.waiting.append(now)
        elif now.sha256 != export.sha256:
            found.waiting.append(PlannedExport(now.file, why_not=_OTHER, outcome=DEFERRED))
        else:
            try:
                found.good.append(read_export(data, export.path, dialect))
            except ExportError as error:
                found.bad.append((export.path, error))
    return found

"""Scan: what a file of the archive is. Image files → `acquisitions`."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from anabatch.archive.acquisition import acquire, unreadable
from anabatch.archive.reading import largest_file, read_file
from anabatch.errors import InputError, UnreadableImageError, UnsettledFileError
from anabatch.schema import to_table
from anabatch.store.actions import FAILED, OK, Action
from anabatch.store.keys import action_key
from anabatch.store.live import SCAN
from anabatch.store.parts import PartWriter, WrittenPart
from anabatch.store.recipes import Recipe

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from anabatch.archive.layout import Layout
    from anabatch.archive.listing import ListedFile

VERSION = 2

# What later plans need to know of an image, kept in the ledger so that planning opens no part.
_FACTS = (
    "relative_path",
    "image_id",
    "file_sha256",
    "width",
    "height",
    "dtype",
    "pixels_per_reference_pixel",
    "plate",
    "sample",
)


@dataclass(frozen=True)
class ScanBatch:
    """Image files of one archive and date.

    Attributes
    ----------
    store, root : Path
        The store's folder, and the archive's.
    archive : str
    layout : Layout
    date : datetime.date or None
    files : tuple of ListedFile
    max_pixels : int
        Larger images are refused from their header.
    pixels_per_reference_pixel : mapping
        The user's own table, by `WIDTHxHEIGHT`.
    recipe : str
        Digest of everything but the file that determines a row.
    known : mapping
        SHA-256 to image id, for bytes that the store has seen: they are not identified again, so
        that a new decoder does not give ten years of images new ids.
    expected : mapping
        By relative path, what is known of a file under this recipe: SHA-256 of bytes, or the reason
        why it could not be read. If it turns out so, its row is there already.
    why : mapping
        By relative path, why the file is read.
    whole : frozenset of str
        Relative paths of files that have the row of a whole image: it stays while they cannot be
        read.
    sequence : int
    run : str
    """

    store: Path
    root: Path
    archive: str
    layout: Layout
    date: dt.date | None
    files: tuple[ListedFile, ...]
    max_pixels: int
    pixels_per_reference_pixel: Mapping[str, float]
    recipe: str
    known: Mapping[str, str] = field(default_factory=dict)
    expected: Mapping[str, frozenset[str]] = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)
    whole: frozenset[str] = frozenset()
    sequence: int = 0
    run: str = ""


class Seen(NamedTuple):
    """A file whose bytes were read.

    Attributes
    ----------
    file : ListedFile
    sha256 : str
    hashed_ns : int
        When reading began, in nanoseconds since 1970.
    """

    file: ListedFile
    sha256: str
    hashed_ns: int


@dataclass(frozen=True)
class ScanResult:
    """What became of a batch's files.

    Attributes
    ----------
    part : WrittenPart
        Rows of the files that are not what was expected of them; no part if all are.
    seen : tuple of Seen
        The files that were read.
    deferred : tuple of (str, str)
        Relative path and reason of files that did not hold still.
    unread : tuple of (str, str)
        Those of files that cannot be read now, and whose rows stay.
    """

    part: WrittenPart
    seen: tuple[Seen, ...]
    deferred: tuple[tuple[str, str], ...]
    unread: tuple[tuple[str, str], ...] = ()

    @property
    def path(self) -> str | None:
        """The part's path."""
        return self.part.path

    @property
    def actions(self) -> tuple[Action, ...]:
        """The part's actions."""
        return self.part.actions


def scan_recipe(
    layout: Layout, max_pixels: int, pixels_per_reference_pixel: Mapping[str, float]
) -> Recipe:
    """Return everything but the file that determines a row of `acquisitions`."""
    parameters = {
        "layout": layout.name,
        "max_pixels": max_pixels,
        "pixels_per_reference_pixel": dict(pixels_per_reference_pixel),
    }
    return Recipe(SCAN, VERSION, parameters, {"layout": layout.scan_digest})


def scan(batch: ScanBatch) -> ScanResult:
    """Read every file of a batch once and write its row. A bad file gets a row with the reason."""
    readings = _Readings(batch)
    rows = [_row(batch, *reading) for reading in readings]
    return readings.result(_write(batch, rows))


def look(batch: ScanBatch) -> tuple[ScanResult, tuple[ListedFile, ...]]:
    """Read files of which nothing new is expected, and write nothing.

    Returns
    -------
    result : ScanResult
        Without a part.
    other : tuple of ListedFile
        The files that are not what was expected of them.
    """
    readings = _Readings(batch)
    other = tuple(file for file, _, _ in readings)
    return readings.result(WrittenPart(None, None, ())), other


def give_up(batch: ScanBatch, reason: str) -> ScanResult:
    """Put files that no worker survives into quarantine, and decode none of them."""
    readings = _Readings(batch)
    rows = []
    for file, data, why_not in readings:
        row = unreadable(batch.archive, batch.layout, file, why_not or reason)
        if data is not None:  # then it is not tried again before its bytes change
            row["file_sha256"] = hashlib.sha256(data).hexdigest()
        rows.append((file, row))
    return readings.result(_write(batch, rows))


class _Readings:
    """Reads a batch's files one after the other, and gives those that are not as expected.

    Attributes
    ----------
    seen : list of Seen
        The files that were read, as expected or not.
    deferred : list of (str, str)
        Those that did not hold still.
    unread : list of (str, str)
        Those that cannot be read now, and whose rows stay.
    """

    def __init__(self, batch: ScanBatch) -> None:
        self._batch = batch
        self.seen: list[Seen] = []
        self.deferred: list[tuple[str, str]] = []
        self.unread: list[tuple[str, str]] = []

    def result(self, part: WrittenPart) -> ScanResult:
        """Return what became of the files, with the part of their rows."""
        return ScanResult(part, tuple(self.seen), tuple(self.deferred), tuple(self.unread))

    def __iter__(self) -> Iterator[tuple[ListedFile, bytes | None, str]]:
        """Yield file and content, or file, None, and why it cannot be read."""
        batch = self._batch
        limit = largest_file(batch.max_pixels)
        for file in batch.files:
            expected = batch.expected.get(file.relative_path, frozenset())
            began = time.time_ns()
            try:
                data = read_file(batch.root, file, max_bytes=limit)
            except UnsettledFileError as error:
                self.deferred.append((file.relative_path, str(error)))
            except InputError as error:
                if isinstance(error, UnreadableImageError) and file.relative_path in batch.whole:
                    self.unread.append((file.relative_path, str(error)))
                elif str(error) not in expected:
                    yield file, None, str(error)
            else:
                sha256 = hashlib.sha256(data).hexdigest()
                self.seen.append(Seen(file, sha256, began))
                if sha256 not in expected:
                    yield file, data, ""


def _row(
    batch: ScanBatch, file: ListedFile, data: bytes | None, why_not: str
) -> tuple[ListedFile, dict[str, Any]]:
    if data is None:
        return file, unreadable(batch.archive, batch.layout, file, why_not)
    row = acquire(
        data,
        batch.archive,
        batch.layout,
        file,
        max_pixels=batch.max_pixels,
        pixels_per_reference_pixel=batch.pixels_per_reference_pixel,
    )
    if row["status"] == "ok":
        row["image_id"] = batch.known.get(row["file_sha256"], row["image_id"])
    return file, row


def _write(batch: ScanBatch, rows: list[tuple[ListedFile, dict[str, Any]]]) -> WrittenPart:
    if not rows:
        return WrittenPart(None, None, ())
    actions = [_action(batch, file, row, position) for position, (file, row) in enumerate(rows)]
    with PartWriter(
        batch.store,
        "acquisitions",
        archive=batch.archive,
        date=batch.date,
        keys=[action.key for action in actions],
    ) as part:
        part.rows("acquisitions", to_table("acquisitions", [row for _, row in rows]))
        return part.finish(actions)


def _action(batch: ScanBatch, file: ListedFile, row: dict[str, Any], position: int) -> Action:
    facts = {name: row[name] for name in _FACTS}
    return Action(
        stage=SCAN,
        unit=row["acquisition_id"],
        key=action_key(recipe=batch.recipe, path=file.relative_path, sha256=row["file_sha256"]),
        archive=batch.archive,
        date=batch.date,
        outcome=OK if row["status"] == "ok" else FAILED,
        reason=row["reason"],
        components=facts
        | {
            "size": file.size,
            "mtime_ns": file.mtime_ns,
            "recipe": batch.recipe,
            "why": batch.why.get(file.relative_path, ""),
        },
        first_row=position,
        rows=1,
        sequence=batch.sequence,
        run=batch.run,
    )

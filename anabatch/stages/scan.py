"""Scan: what a file of the archive is. Image files → `acquisitions`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anabatch.archive.acquisition import acquire, unreadable
from anabatch.errors import InputError, UnreadableImageError, UnsupportedImageError
from anabatch.schema import to_table
from anabatch.store.actions import FAILED, OK, Action
from anabatch.store.keys import action_key
from anabatch.store.live import SCAN
from anabatch.store.parts import PartWriter, WrittenPart

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping
    from pathlib import Path

    from anabatch.archive.layout import Layout
    from anabatch.archive.listing import ListedFile

VERSION = 1

# No image file is larger than 16 bits in four channels, uncompressed, and a megabyte of metadata.
_BYTES_PER_PIXEL = 8
_METADATA_BYTES = 2**20

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
    settings : str
        Digest of everything but the file that determines a row.
    known : mapping
        SHA-256 to image id, for bytes that the store has seen: they are not identified again, so
        that a new decoder does not give ten years of images new ids.
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
    settings: str
    known: Mapping[str, str] = field(default_factory=dict)
    sequence: int = 0
    run: str = ""


def settings_digest(
    layout: Layout, max_pixels: int, pixels_per_reference_pixel: Mapping[str, float]
) -> str:
    """Return the digest of everything but the file that determines a row of `acquisitions`."""
    return action_key(
        version=VERSION,
        layout=layout.digest(),
        max_pixels=max_pixels,
        pixels=dict(pixels_per_reference_pixel),
    )


def scan(batch: ScanBatch) -> WrittenPart:
    """Read every file of a batch once and write its row. A bad file gets a row with the reason."""
    rows = [_row(batch, file) for file in batch.files]
    actions = [
        _action(batch, file, row, position)
        for position, (file, row) in enumerate(zip(batch.files, rows, strict=True))
    ]
    with PartWriter(
        batch.store,
        "acquisitions",
        archive=batch.archive,
        date=batch.date,
        keys=[action.key for action in actions],
    ) as part:
        part.rows("acquisitions", to_table("acquisitions", rows))
        return part.finish(actions)


def _row(batch: ScanBatch, file: ListedFile) -> dict[str, Any]:
    try:
        data = _read(batch.root, file, batch.max_pixels)
    except InputError as error:
        return unreadable(batch.archive, batch.layout, file, str(error))
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
    return row


def _read(root: Path, file: ListedFile, max_pixels: int) -> bytes:
    limit = max_pixels * _BYTES_PER_PIXEL + _METADATA_BYTES
    try:
        with file.path(root).open("rb") as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        what = f"the file cannot be read: {error.strerror or error}"
        raise UnreadableImageError(what) from error
    if len(data) > limit:
        what = f"the file has {file.size} bytes, more than an image of {max_pixels} pixels can have"
        raise UnsupportedImageError(what, "Raise scan.max_pixels if the image is real.")
    return data


def _action(batch: ScanBatch, file: ListedFile, row: dict[str, Any], position: int) -> Action:
    facts = {name: row[name] for name in _FACTS}
    return Action(
        stage=SCAN,
        unit=row["acquisition_id"],
        key=action_key(settings=batch.settings, path=file.relative_path, sha256=row["file_sha256"]),
        archive=batch.archive,
        date=batch.date,
        outcome=OK if row["status"] == "ok" else FAILED,
        reason=row["reason"],
        components=facts
        | {"size": file.size, "mtime_ns": file.mtime_ns, "settings": batch.settings},
        first_row=position,
        rows=1,
        sequence=batch.sequence,
        run=batch.run,
    )

"""What one image file of an archive is: its row of `acquisitions`, its serum, its group."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from anabatch import imaging
from anabatch.archive.layout import NameParts, PathParts
from anabatch.errors import InputError, UnreadableImageError, UnsupportedImageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from anabatch.archive.layout import Layout
    from anabatch.archive.listing import ListedFile

OK = "ok"
QUARANTINED = "quarantined"

# A sample with at least this many digits is unique; older ones restart at 1 on every plate.
_UNIQUE_SAMPLE_DIGITS = 8

# No image file is larger than 16 bits in four channels, uncompressed, and a megabyte of metadata.
_BYTES_PER_PIXEL = 8
_METADATA_BYTES = 2**20


def acquisition_id(archive: str, relative_path: str) -> str:
    """Return the identity of one file at one place of an archive.

    Parameters
    ----------
    archive : str
        The archive's name.
    relative_path : str
        Path below the archive's root, with `/`.

    Returns
    -------
    str
        32 hex digits: BLAKE2b-128 over both.
    """
    text = f"{archive}\0{relative_path}".encode()
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def acquire(
    root: Path,
    archive: str,
    layout: Layout,
    file: ListedFile,
    *,
    max_pixels: int,
    pixels_per_reference_pixel: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Read one image file, once, and describe it. A bad file is described too, and never raises.

    Parameters
    ----------
    root : Path
        The archive's root.
    archive : str
        The archive's name.
    layout : Layout
    file : ListedFile
    max_pixels : int
        Larger images are refused from their header, and files that could only hold a larger
        image from their size.
    pixels_per_reference_pixel : mapping, optional
        The user's own table, by `WIDTHxHEIGHT`. An unknown size is 1.0; whether it is known says
        :meth:`Layout.reference_pixels`.

    Returns
    -------
    dict
        The row of `acquisitions` without `group`. A file that could not be decoded has status
        `quarantined`, a reason, and null for everything that only its content could tell.
    """
    place = layout.parse_path(file.relative_path) or PathParts()
    name = layout.parse_image_name(file.name)
    row: dict[str, Any] = {
        "acquisition_id": acquisition_id(archive, file.relative_path),
        "image_id": None,
        "archive": archive,
        "layout": layout.name,
        "date": place.date,
        "run": place.run,
        "instrument": place.instrument,
        "file_name": file.name,
        "relative_path": file.relative_path,
        "size_bytes": file.size,
        "file_sha256": None,
        "width": None,
        "height": None,
        "dtype": None,
        "pixels_per_reference_pixel": None,
        "plate": name.plate,
        "well": name.well,
        "sample": name.sample,
        "serum": None,
        "status": OK,
        "reason": None,
    }
    try:
        data = _read(root, file, max_pixels)
        row["size_bytes"] = len(data)
        row["file_sha256"] = hashlib.sha256(data).hexdigest()
        pixels = imaging.decode(data, max_pixels=max_pixels)
    except InputError as error:
        row |= {"status": QUARANTINED, "reason": str(error)}
    else:
        height, width = pixels.shape[:2]
        scale, _ = layout.reference_pixels(width, height, pixels_per_reference_pixel)
        row |= {
            "image_id": imaging.image_id(pixels),
            "width": width,
            "height": height,
            "dtype": str(pixels.dtype),
            "pixels_per_reference_pixel": scale,
        }
    row["serum"] = _serum_of(name, row)
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


def read_signal(
    root: Path, relative_path: str, *, expected_sha256: str, max_pixels: int
) -> NDArray[Any]:
    """Read the channel that carries the fluorescence of a known file.

    Parameters
    ----------
    root : Path
        The archive's root.
    relative_path : str
        Path below the root, with `/`.
    expected_sha256 : str
        Digest of the file's bytes when it was scanned.
    max_pixels : int
        Larger images are refused.

    Returns
    -------
    ndarray, shape (H, W), uint8 or uint16

    Raises
    ------
    UnreadableImageError
        The file cannot be read or decoded, or its bytes are not those that were scanned.
    UnsupportedImageError
        The image is larger than `max_pixels`.
    """
    try:
        data = (root / relative_path).read_bytes()
    except OSError as error:
        what = f"{relative_path} cannot be read: {error.strerror or error}"
        raise UnreadableImageError(what) from error
    if hashlib.sha256(data).hexdigest() != expected_sha256:
        what = f"{relative_path} has changed since it was scanned"
        raise UnreadableImageError(what, "The next run scans it again.")
    return imaging.signal(imaging.decode(data, max_pixels=max_pixels))


def serum(sample: str | None, plate: str | None, image_id: str) -> str:
    """Return the identity of a patient's serum.

    Parameters
    ----------
    sample : str or None
        The serum's number as it stands in the file name.
    plate : str or None
        The plate's barcode.
    image_id : str
        The image's identity, for an image without a number.

    Returns
    -------
    str
        The sample alone when it has at least eight digits; else `plate/sample`, because old
        numbers restart at 1; `image:<image id>` without a number, and for a short number
        without a plate, which says nothing.
    """
    if sample and sum(character.isdigit() for character in sample) >= _UNIQUE_SAMPLE_DIGITS:
        return sample
    if sample and plate:
        return f"{plate}/{sample}"
    return f"image:{image_id}"


def _serum_of(name: NameParts, row: Mapping[str, Any]) -> str:
    # A quarantined file has no image; without a number it is a serum of its own.
    return serum(name.sample, name.plate, row["image_id"] or row["acquisition_id"])


def groups(table: pa.Table) -> list[str]:
    """Return what no split may divide, for every acquisition.

    A group is a connected component over shared serum and shared image. A quarantined file has no
    image, and belongs to its serum's group.

    Parameters
    ----------
    table : pyarrow.Table
        Acquisitions of all archives, with the columns `serum` and `image_id`.

    Returns
    -------
    list of str
        One a row: the smallest serum of the row's component, in the order of code points.
    """
    if table.num_rows == 0:
        return []
    sera, serum_codes = np.unique(
        np.array(table.column("serum").to_pylist(), dtype=object), return_inverse=True
    )
    images = table.column("image_id").to_pylist()
    codes = {image: code for code, image in enumerate(dict.fromkeys(images)) if image is not None}
    edges = [
        (serum_code, len(sera) + codes[image])
        for serum_code, image in zip(serum_codes.tolist(), images, strict=True)
        if image is not None
    ]
    nodes = len(sera) + len(dict.fromkeys(images))
    source, target = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(edges), dtype=np.int8), (source, target)), shape=(nodes, nodes))
    _, component = connected_components(graph, directed=False)
    # `sera` is sorted: the first of a component is its smallest.
    _, first = np.unique(component[: len(sera)], return_index=True)
    smallest = dict(zip(component[: len(sera)][first].tolist(), sera[first].tolist(), strict=True))
    return [smallest[component[code]] for code in serum_codes.tolist()]

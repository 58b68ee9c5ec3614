"""What one image file of an archive is: its row of `acquisitions`, its serum, its group."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from anabatch import imaging
from anabatch.archive.layout import PathParts
from anabatch.errors import InputError, UnreadableImageError, UnsettledFileError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from anabatch.archive.layout import Layout
    from anabatch.archive.listing import ListedFile

OK = "ok"
QUARANTINED = "quarantined"

EXTENSION_DIFFERS = "extension_differs"
"""Flag: the content is an image of another format than the file's name says."""

# What a file's name says that it is; all suffixes of `walk.IMAGE_SUFFIXES`.
_FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}

# A sample with at least this many digits is unique; older ones restart at 1 on every plate.
_UNIQUE_SAMPLE_DIGITS = 8


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
    data: bytes,
    archive: str,
    layout: Layout,
    file: ListedFile,
    *,
    max_pixels: int,
    pixels_per_reference_pixel: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Describe one image file. A bad file is described too, and never raises.

    Parameters
    ----------
    data : bytes
        The file's content.
    archive : str
        The archive's name.
    layout : Layout
    file : ListedFile
    max_pixels : int
        Larger images are refused from their header.
    pixels_per_reference_pixel : mapping, optional
        The user's own table, by `WIDTHxHEIGHT`. An unknown size is 1.0; whether it is known says
        :meth:`Layout.reference_pixels`.

    Returns
    -------
    dict
        The row of `acquisitions` without `group`. A file that could not be decoded has status
        `quarantined`, a reason, and null for everything that only its pixels could tell. `flags`
        are the names of :data:`anabatch.imaging.FLAGS` and :data:`EXTENSION_DIFFERS` that fit a
        file that is used although it is odd.
    """
    row = _place(archive, layout, file)
    row |= {"size_bytes": len(data), "file_sha256": hashlib.sha256(data).hexdigest()}
    try:
        image = imaging.decode(data, max_pixels=max_pixels)
    except InputError as error:
        row |= {"status": QUARANTINED, "reason": str(error)}
    else:
        height, width = image.pixels.shape[:2]
        scale, _ = layout.reference_pixels(width, height, pixels_per_reference_pixel)
        row |= {
            "image_id": imaging.image_id(image.pixels),
            "width": width,
            "height": height,
            "dtype": str(image.pixels.dtype),
            "pixels_per_reference_pixel": scale,
            "flags": sorted([*image.flags, *_name_flags(file.name, image.format)]),
        }
    return _with_serum(row)


def unreadable(archive: str, layout: Layout, file: ListedFile, reason: str) -> dict[str, Any]:
    """Describe an image file whose bytes could not be read.

    Parameters
    ----------
    archive : str
        The archive's name.
    layout : Layout
    file : ListedFile
    reason : str
        Why, for a technician.

    Returns
    -------
    dict
        The row of `acquisitions` without `group`: status `quarantined`, the size as it was
        listed, and null for everything that only the content could tell.
    """
    row = _place(archive, layout, file)
    return _with_serum(row | {"status": QUARANTINED, "reason": reason})


def _place(archive: str, layout: Layout, file: ListedFile) -> dict[str, Any]:
    """Return the row of a file with what its path, its name and the listing tell."""
    place = layout.parse_path(file.relative_path) or PathParts()
    name = layout.parse_image_name(file.relative_path)
    return {
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
        "flags": [],
    }


def _name_flags(name: str, form: str) -> list[str]:
    suffix = PurePosixPath(name).suffix.lower()
    return [] if _FORMATS.get(suffix, form) == form else [EXTENSION_DIFFERS]


def _with_serum(row: dict[str, Any]) -> dict[str, Any]:
    # A quarantined file has no image; without a number it is a serum of its own.
    image = row["image_id"] or row["acquisition_id"]
    return row | {"serum": serum(row["sample"], row["plate"], image)}


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
    UnsettledFileError
        The file is not there any more, or its bytes are not those that were scanned.
    UnreadableImageError
        The file cannot be read or decoded.
    UnsupportedImageError
        The image is larger than `max_pixels`.
    """
    try:
        data = (root / relative_path).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        what = f"{relative_path} is not there any more"
        raise UnsettledFileError(what, "The next run looks again.") from error
    except OSError as error:
        what = f"{relative_path} cannot be read: {error.strerror or error}"
        raise UnreadableImageError(what) from error
    if hashlib.sha256(data).hexdigest() != expected_sha256:
        what = f"{relative_path} has changed since it was scanned"
        raise UnsettledFileError(what, "The next run scans it again.")
    return imaging.signal(imaging.decode(data, max_pixels=max_pixels).pixels)


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

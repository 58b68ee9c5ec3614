"""The fluorescence images of the 2018 Data Science Bowl (stage 1, with fixes; CC0).

A folder with `images/<id>.png` (8-bit grey) and `labels/<id>.tif` (label images).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tifffile

from anabatch.errors import UnreadableImageError
from anabatch.imaging import decode, signal
from anabatch.weights import file_digest

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SOURCE = "2018 Data Science Bowl, stage 1 with annotation fixes, fluorescence images, CC0"

TYPICAL_NUCLEUS = 70.0
"""Images are scaled so that their median nucleus has this diameter, in reference pixels."""

_MAX_PIXELS = 10_000_000
# One in so many images is held out, chosen by its id's digest.
_HELD_OUT = 5


@dataclass(frozen=True)
class NucleusImage:
    """One image with its truth.

    Attributes
    ----------
    name : str
        The image's id.
    signal : ndarray of uint8, shape (H, W)
    labels : ndarray of int32, shape (H, W)
    pixels_per_reference_pixel : float
        Chosen by the true median nucleus: its equivalent diameter over :data:`TYPICAL_NUCLEUS`.
    """

    name: str
    signal: NDArray[np.uint8]
    labels: NDArray[np.int32]
    pixels_per_reference_pixel: float


def held_out(name: str) -> bool:
    """Tell whether an image is held out: a fifth of all, by the digest of its id."""
    return hashlib.blake2b(name.encode(), digest_size=8).digest()[0] % _HELD_OUT == 0


def names(folder: Path, *, test: bool) -> list[str]:
    """Return the ids of the held-out images or of the others, sorted.

    Raises
    ------
    UnreadableImageError
        The folder has no images.
    """
    found = sorted(path.stem for path in (folder / "images").glob("*.png"))
    if not found:
        what = f"no images in {folder / 'images'}"
        raise UnreadableImageError(what, "Name the folder that holds images/ and labels/.")
    return [name for name in found if held_out(name) == test]


def read(folder: Path, name: str) -> NucleusImage:
    """Read one image and its labels.

    Raises
    ------
    UnreadableImageError
        A file is missing or broken.
    """
    try:
        image = decode((folder / "images" / f"{name}.png").read_bytes(), max_pixels=_MAX_PIXELS)
        labels = tifffile.imread(folder / "labels" / f"{name}.tif").astype(np.int32)
    except FileNotFoundError as error:
        what = f"{error.filename} is missing"
        raise UnreadableImageError(what) from error
    areas = np.unique(labels[labels > 0], return_counts=True)[1]
    diameter = 2 * float(np.sqrt(np.median(areas) / np.pi))
    return NucleusImage(name, signal(image.pixels), labels, diameter / TYPICAL_NUCLEUS)


def folder_digest(folder: Path) -> str:
    """Return 32 hex digits over the names and contents of all images and labels."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted([*folder.glob("images/*.png"), *folder.glob("labels/*.tif")]):
        line = f"{path.relative_to(folder).as_posix()} {file_digest(path)}\n"
        digest.update(line.encode())
    return digest.hexdigest()

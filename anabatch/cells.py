"""From label images to cells: crops, masks, and one row of measurements a cell.

A cell is cut along its bounding box out of the untreated signal, everything outside its own mask
set to 0, squared by centred zero padding and resized, as the study did. All cells are kept;
quality control only flags. Crops lose the physical size, so it is kept as `scale`. What is measured
stands in `anabatch.morphology`, what is said of it in `anabatch.cell_flags`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from anabatch.cell_flags import judged
from anabatch.morphology import Box, CellPixels, measure
from anabatch.segmentation.scratch import bands, largest, let_go
from anabatch.segmentation.statistics import measure_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

OUTSIDE, CYTOPLASM, NUCLEUS = 0, 1, 2
"""The values of the masks."""

# Of label images that may be maps of files: pixels a side, and cells, that are looked at together.
_SIDE, _TOGETHER = 2048, 256


@dataclass(frozen=True)
class CutCells:
    """The cells of one image, in the order of their labels.

    Attributes
    ----------
    crops : ndarray, shape (n, crop, crop), the signal's dtype
        The cells on black, resized to one side.
    masks : ndarray, shape (n, crop, crop), uint8
        0 outside the cell, 1 cytoplasm, 2 nucleus.
    rows : list of dict
        One a cell, with the measurements of :func:`cut_cells`.
    """

    crops: NDArray[Any]
    masks: NDArray[np.uint8]
    rows: list[dict[str, Any]]


def cell_id(image_id: str, box: Box, mask: NDArray[np.bool_]) -> str:
    """Return the content identity of a cell.

    Parameters
    ----------
    image_id : str
        The image's own identity, 32 hex digits.
    box : tuple of int
        (y0, x0, y1, x1) in source pixels, the ends exclusive.
    mask : ndarray of bool, shape (y1 - y0, x1 - x0)
        True on the cell.

    Returns
    -------
    str
        32 hex digits: BLAKE2b-128 over image id, box and packed mask bits (row by row, first pixel
        in the highest bit). It knows nothing of labels or row numbers.
    """
    header = f"{image_id}|{','.join(str(int(edge)) for edge in box)}|".encode()
    digest = hashlib.blake2b(header, digest_size=16)
    digest.update(np.packbits(mask).tobytes())
    return digest.hexdigest()


def cut_cells(
    signal: NDArray[Any],
    nuclei: NDArray[np.int32],
    cells: NDArray[np.int32],
    *,
    image_id: str,
    crop: int = 96,
) -> CutCells:
    """Cut all cells of one image out of its untreated signal.

    Parameters
    ----------
    signal : ndarray, shape (H, W), uint8 or uint16
        The untreated signal.
    nuclei, cells : ndarray, shape (H, W), integer
        Label images, which may be maps of files; 0 is background. A label need not be connected.
    image_id : str
        The image's own identity.
    crop : int
        Side of the crops, in crop pixels.

    Returns
    -------
    CutCells
        Sorted by label. The columns of a row, in source pixels and the signal's own units:

        cell_id, image_id, label_id, source_dtype
            Identities, the value in `cells`, and the signal's type as text.
        y0, x0, y1, x1, touches_border
            Bounding box, its ends exclusive, and whether it reaches the edge of the image.
        centroid_y, centroid_x, area_px, mean_intensity, saturated_fraction
            Over the cell's mask; pixel centres have whole coordinates; saturated are pixels at the
            highest value of the signal's type.
        major_px, minor_px
            Axes of the ellipse with the cell's second moments.
        nucleus_area_px, nucleus_count
            Pixels of the cell that lie in any nucleus; and the nuclei of which more than half of
            all pixels lie in this cell, so that no nucleus counts for two cells.
        nucleus_major_px, nucleus_minor_px, nucleus_solidity, nucleus_touches_border
            Of the largest of those nuclei: axes as above, its pixels over those of its convex
            hull, and whether it reaches the edge of the image. None without a nucleus, as the
            next three.
        nucleus_mean_intensity, cytoplasm_mean_intensity, nucleus_cytoplasm_ratio
            Over the cell's pixels in nuclei, over the others (None if there are none), and one
            over the other (None over 0). The background's light is in all of them.
        scale
            Crop pixels per source pixel: `crop` / longer side of the box.
        black_fraction
            Pixels of the box that are 0 after masking / all pixels of the box, before padding.
        flags, mitotic
            See :func:`anabatch.cell_flags.judged`.

    Raises
    ------
    ValueError
        Shapes differ, the signal is neither uint8 nor uint16, or labels are negative, or larger
        than the number of pixels.
    """
    _check(signal, nuclei, cells)
    size = (signal.shape[0], signal.shape[1])
    nucleus_sizes = _sizes(nuclei)
    boxes = measure_labels(cells, _SIDE).slices
    found = [(label, box) for label, box in enumerate(boxes, start=1) if box is not None]
    crops = np.zeros((len(found), crop, crop), dtype=signal.dtype)
    masks = np.zeros((len(found), crop, crop), dtype=np.uint8)
    rows = []
    for index, (label, box) in enumerate(found):
        if index % _TOGETHER == 0:
            let_go(nuclei)
            let_go(cells)
        inside = cells[box] == label
        cut = np.where(inside, signal[box], 0).astype(signal.dtype)
        own_nuclei = np.where(inside, nuclei[box], 0)
        mask = np.where(own_nuclei > 0, NUCLEUS, inside).astype(np.uint8)
        crops[index] = resize_cubic(pad_square(cut), crop)
        masks[index] = resize_nearest(pad_square(mask), crop)
        edges = (box[0].start, box[1].start, box[0].stop, box[1].stop)
        rows.append(
            {
                "cell_id": cell_id(image_id, edges, inside),
                "image_id": image_id,
                "label_id": label,
                **dict(zip(("y0", "x0", "y1", "x1"), edges, strict=True)),
                **measure(CellPixels(edges, cut, inside, own_nuclei, size), nucleus_sizes),
                "scale": crop / max(inside.shape),
                "source_dtype": signal.dtype.name,
            }
        )
    return CutCells(crops=crops, masks=masks, rows=judged(rows))


def pad_square(image: NDArray[Any]) -> NDArray[Any]:
    """Pad an image to a square with zeros: centred, an odd pixel at the end.

    Parameters
    ----------
    image : ndarray, shape (H, W)

    Returns
    -------
    ndarray, shape (max(H, W), max(H, W)), the input's dtype
    """
    side = max(image.shape)
    before = [(side - length) // 2 for length in image.shape]
    square = np.zeros((side, side), dtype=image.dtype)
    square[
        before[0] : before[0] + image.shape[0],
        before[1] : before[1] + image.shape[1],
    ] = image
    return square


def resize_cubic(image: NDArray[Any], side: int) -> NDArray[Any]:
    """Resize an image by cubic convolution, rounded and clipped to its type.

    The kernel is Keys's (a = -0.5). Where the image shrinks, it is stretched by the factor (Pillow's
    `BICUBIC`): the study's plain cubic would take 4 x 4 source pixels whatever the factor, and a
    field at twice the resolution, whose cells shrink two- to threefold, would alias its noise and
    fine speckles into the crop where the older fields do not.

    Parameters
    ----------
    image : ndarray, shape (H, W), uint8 or uint16
    side : int
        Side of the result, in pixels.

    Returns
    -------
    ndarray, shape (side, side), the input's dtype

    References
    ----------
    R. G. Keys, "Cubic convolution interpolation for digital image processing", IEEE Transactions
    on Acoustics, Speech, and Signal Processing 29 (1981).
    """
    # In 32-bit float, which holds both types exactly: Pillow's own 16-bit modes resize differently.
    source = Image.fromarray(image.astype(np.float32))
    resized = np.asarray(source.resize((side, side), Image.Resampling.BICUBIC))
    clipped = np.clip(np.rint(resized), 0, np.iinfo(image.dtype).max)
    return np.asarray(clipped, dtype=image.dtype)


def resize_nearest(image: NDArray[Any], side: int) -> NDArray[Any]:
    """Resize an image by its nearest pixels.

    Pixel centres are matched, as in :func:`resize_cubic`: OpenCV's `INTER_NEAREST` matches corners
    and would shift masks against crops by up to half a pixel.

    Parameters
    ----------
    image : ndarray, shape (H, W)
    side : int
        Side of the result, in pixels.

    Returns
    -------
    ndarray, shape (side, side), the input's dtype
    """
    at = [(2 * np.arange(side) + 1) * length // (2 * side) for length in image.shape]
    return np.asarray(image[np.ix_(at[0], at[1])])


def _check(signal: NDArray[Any], nuclei: NDArray[Any], cells: NDArray[Any]) -> None:
    if not signal.shape == nuclei.shape == cells.shape or signal.ndim != 2:
        message = (
            f"signal {signal.shape}, nuclei {nuclei.shape} and cells {cells.shape} "
            "must be images of one shape"
        )
        raise ValueError(message)
    if signal.dtype not in (np.uint8, np.uint16):
        message = f"signal must be uint8 or uint16, not {signal.dtype}"
        raise ValueError(message)
    for name, labels in (("nuclei", nuclei), ("cells", cells)):
        ends = [(int(band.min()), int(band.max())) for band in bands(labels) if band.size]
        least, most = min((low for low, _ in ends), default=0), largest(labels)
        # The largest label sets the size of the tables of boxes and areas.
        if least < 0 or most > labels.size:
            message = f"{name} has labels from {least} to {most}"
            raise ValueError(message)


def _sizes(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Return the pixels of every label from 0 on."""
    sizes = np.zeros(largest(labels) + 1, np.int64)
    for band in bands(labels):
        counts = np.bincount(band.ravel())
        sizes[: counts.size] += counts
    return sizes

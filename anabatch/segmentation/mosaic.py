"""The study's recipe on images too large to be held as arrays: mosaics of many fields.

What the recipe takes from the whole image is taken from the whole mosaic: whether anything is to be
seen, the contrast of the field's grid, percentiles, and the mean diameter of all nuclei. Everything
of the image's size but the signal itself lies on disk (:mod:`~anabatch.segmentation.scratch`) or is
computed window by window (:mod:`~anabatch.segmentation.views`); memory holds one block, one row of
the network's tiles, and a few hundred bytes a mask.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from anabatch.segmentation import diameter, recipe, results, visibility
from anabatch.segmentation.channels import scaled
from anabatch.segmentation.depth import filled, unused_bits
from anabatch.segmentation.equalisation import contrast_grid, equalized
from anabatch.segmentation.finishing import make_consistent, to_source
from anabatch.segmentation.models import uses_nuclei
from anabatch.segmentation.passes import Found, SizedNetwork, Terms, find, nothing
from anabatch.segmentation.scale_bar import find_scale_bar, without_scale_bar
from anabatch.segmentation.tiling import run_tiled
from anabatch.segmentation.views import (
    Patched,
    Pointwise,
    level_counts,
    percentile_of,
    resized,
    windows,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from anabatch.config import SegmentConfig
    from anabatch.segmentation.results import Segmentation
    from anabatch.segmentation.scale_bar import Box
    from anabatch.segmentation.scratch import Window
    from anabatch.segmentation.views import Image

BLOCK = 2048
"""Side of a block, in reference pixels. It decides how much is held in memory, and no mask."""

LARGEST_FIELD = 16.0
"""Reference megapixels above which an image is taken for a mosaic. Below, arrays are faster."""

# Pixels of the upper left corner in which a scale bar is looked for.
_CORNER = 6144
# Rows of the chunks for filters of the whole image, in reference pixels, and how many chunks side by
# side are held together.
_CHUNK, _TOGETHER = 512, 2
# In nucleus diameters. Averages reach four.
_NARROWEST = 5
# Reference pixels of the middle that tell the nuclei's size: the largest field's.
_MIDDLE = 4000


class Networks(Protocol):
    """Where both networks come from; `TwoPassSegmenter` is one."""

    @property
    def config(self) -> SegmentConfig:
        """The recipe's parameters."""
        ...

    @property
    def nucleus_network(self) -> SizedNetwork:
        """Asked for in the two-pass recipe alone."""
        ...

    @property
    def cell_network(self) -> SizedNetwork:
        """The network of the second pass."""
        ...


def is_mosaic(shape: tuple[int, ...], pixels_per_reference_pixel: float) -> bool:
    """Tell whether an image of shape (H, W) is too large for arrays of its size."""
    return shape[0] * shape[1] > LARGEST_FIELD * 1e6 * pixels_per_reference_pixel**2


def segment_mosaic(
    signal: NDArray[Any],
    pixels_per_reference_pixel: float,
    networks: Networks,
    *,
    block: int = BLOCK,
    folder: Path | None = None,
) -> Segmentation:
    """Segment one image of any size by a recipe with networks.

    Parameters
    ----------
    signal : ndarray of uint8 or uint16, shape (H, W)
        It may be a map of a file: windows of it are read.
    pixels_per_reference_pixel : float
        Source pixels that make one reference pixel.
    networks : Networks
        Configuration and networks.
    block : int
        Side of the blocks, in reference pixels.
    folder : Path, optional
        Where nameless files are kept: 8 bytes a source pixel for as long as the result, and while
        it is made about as much again. By default where the system keeps temporary files.

    Returns
    -------
    Segmentation
        Its label images lie on disk: they are read where they are touched, and cannot be written
        to. Cells, and nuclei, are numbered by their first pixels, row by row.

    Raises
    ------
    OSError
        There is no room on the disk.
    """
    config, terms = networks.config, Terms(networks.config, block, folder)
    shape = signal.shape[0], signal.shape[1]
    image = _filled(signal)
    bar = find_scale_bar(image[:_CORNER, :_CORNER])
    reference = _to_reference(_without_bar(image, bar), pixels_per_reference_pixel, terms)
    if not visible(reference, config.nucleus_diameter, _CHUNK):
        return _nothing_seen(shape, bar, terms)
    size = _size_from_image(reference, networks, terms)
    nuclei = _find_nuclei(reference, size, networks, terms)
    stand_in = _as_nuclei(nuclei)
    cell_size = recipe.cell_diameter(stand_in, config)
    told = uses_nuclei(config) and nuclei.statistics.count >= recipe.FEWEST_NUCLEI
    cells = _find_cells(reference, nuclei, cell_size, networks, terms)
    own, lost_nuclei = to_source(nuclei, shape, bar, terms)
    whole, lost_cells = to_source(cells, shape, bar, terms)
    make_consistent(own, whole, block)
    dropped = {f"nuclei_{reason}": lost for reason, lost in lost_nuclei.items()}
    dropped |= {f"cells_{reason}": lost for reason, lost in lost_cells.items()}
    return results.Segmentation(
        nuclei=own.as_array(),
        cells=whole.as_array(),
        mean_nucleus_diameter=nuclei.statistics.mean_side,
        dropped=dropped,
        proposed={
            "nuclei": nuclei.statistics.count + sum(nuclei.dropped.values()),
            "cells": cells.statistics.count + sum(cells.dropped.values()),
        },
        nucleus_diameter=size or (config.nucleus_diameter if uses_nuclei(config) else float("nan")),
        cell_diameter=cell_size,
        nucleus_diameter_from=results.FROM_IMAGE if size else results.FROM_DEFAULT,
        diameter_from=results.FROM_NUCLEI if told else results.FROM_DEFAULT,
        scale_bar=bar,
    )


def _nothing_seen(shape: tuple[int, int], bar: Box | None, terms: Terms) -> Segmentation:
    empty = terms.image(shape, np.int32).as_array()
    return replace(results.nothing_seen((0, 0), bar), nuclei=empty, cells=empty)


def _filled(signal: NDArray[Any]) -> Image:
    unused = unused_bits(signal)
    if not unused:
        return signal
    return Pointwise(lambda pixels, _: filled(pixels, unused), (signal,), signal.dtype)


def _without_bar(image: Image, bar: Box | None) -> Image:
    if bar is None:
        return image
    corner = without_scale_bar(image[:_CORNER, :_CORNER], bar)
    top, left, bottom, right = bar
    return Patched(image, corner[top:bottom, left:right].copy(), (top, left))


def _to_reference(signal: Image, pixels: float, terms: Terms) -> Image:
    """Return an image at reference resolution, computed once and for all."""
    if pixels == 1:
        return signal
    view = resized(signal, scaled(signal.shape, 1 / pixels))
    image = terms.image(view.shape, view.dtype)
    for window in windows(view.shape, terms.block):
        image[window] = view[window]
    return image


def visible(reference: Image, nucleus_diameter: float, side: int) -> bool:
    """Tell whether an image shows anything but noise, as `visibility.visible` does of a field.

    Parameters
    ----------
    reference : Image of uint8 or uint16, shape (h, w)
    nucleus_diameter : float
        In pixels.
    side : int
        Rows of the chunks, in pixels.
    """
    from dask_image import ndfilters

    if min(reference.shape) < _NARROWEST * nucleus_diameter:  # the averages cannot be cut
        whole = slice(0, reference.shape[0]), slice(0, reference.shape[1])
        return visibility.visible(reference[whole], nucleus_diameter)
    small = resized(
        Pointwise(_as_float, (reference,), np.dtype(np.float32)),
        scaled(reference.shape, 1 / visibility.COARSE),
    )
    coarse = _as_dask(small, side // 2)
    fine, around = (
        ndfilters.gaussian_filter(
            coarse, max(0.5, share * nucleus_diameter / visibility.COARSE), mode="mirror"
        )
        for share in (visibility.INNER, visibility.OUTER)
    )
    largest = max(float(row) for row in _computed(abs(fine - around), lambda part: part.max()))
    averaged = 2 * float(np.sqrt(np.pi)) * visibility.INNER * nucleus_diameter
    noise = _noise(reference, side) / averaged
    return visibility.exceeds(largest, noise, _step(reference, BLOCK))


def _as_dask(view: Image, side: int) -> Any:
    """Return a view as a Dask array of wide chunks: for many it takes longer than for large ones.

    (Of a NumPy array Dask would make a copy.)
    """
    import dask.array as da

    chunks = max(1, side), max(1, 4 * side)
    return da.from_array(view, chunks=chunks, name=False, meta=np.empty((0, 0), view.dtype))


def _computed(image: Any, change: Callable[[Any], Any]) -> Iterator[NDArray[Any]]:
    """Compute a Dask array some chunks at a time, so that no more than these are held.

    In this process and thread: it is a worker's, and its cluster knows nothing of images.
    """
    for row in range(image.numblocks[0]):
        for first in range(0, image.numblocks[1], _TOGETHER):
            chunks = image.blocks[row, first : first + _TOGETHER]
            yield change(chunks).compute(scheduler="synchronous")


def _as_float(image: NDArray[Any], _: Window) -> NDArray[np.float32]:
    return image.astype(np.float32)


def _as_wider(image: NDArray[Any], _: Window) -> NDArray[np.int32]:
    return image.astype(np.int32)


# Second differences, of norm 6.
_ROUGH = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.int32)


def _noise(reference: Image, side: int) -> float:
    """Return the standard deviation of white noise, robust against what is drawn in it."""
    from dask_image import ndfilters

    wide = Pointwise(_as_wider, (reference,), np.dtype(np.int32))
    rough = abs(ndfilters.correlate(_as_dask(wide, side), _ROUGH, mode="mirror"))
    # The sum of the kernel's positive weights bounds what it makes of any image.
    levels = 8 * int(np.iinfo(reference.dtype).max) + 1
    total = np.zeros(levels, np.int64)
    for row in _computed(rough, lambda part: part):
        total += np.bincount(row.ravel(), minlength=levels)
    return 1.4826 * percentile_of(total, 50.0) / 6


def _step(reference: Image, side: int) -> int:
    """Return the least difference of two grey levels that an image could show, and does."""
    if reference.dtype == np.uint8:
        return 1
    return visibility.step_between(np.flatnonzero(level_counts(reference, side)))


def _size_from_image(reference: Image, networks: Networks, terms: Terms) -> float | None:
    """Return what nuclei measure, in reference pixels, where the image is to tell it."""
    config = terms.config
    if not uses_nuclei(config) or config.diameter != "auto":
        return None
    middle = tuple(
        slice(max(0, (length - _MIDDLE) // 2), min(length, (length + _MIDDLE) // 2))
        for length in reference.shape
    )
    network = networks.nucleus_network
    shown = diameter.views(_with_contrast(reference, terms)[middle], config, network.diameter)
    return diameter.estimate(run_tiled(network, shown, config), config, network.diameter)


def _with_contrast(image: Image, terms: Terms) -> Image:
    grid = contrast_grid(image.shape, terms.config)
    return equalized(image, grid, terms.config.clahe_clip)


def _find_nuclei(reference: Image, size: float | None, networks: Networks, terms: Terms) -> Found:
    if not uses_nuclei(terms.config):
        return nothing(reference.shape, terms)
    channel = _with_contrast(reference, terms)
    return find([channel], networks.nucleus_network, size or terms.config.nucleus_diameter, terms)


def _as_nuclei(found: Found) -> recipe.Nuclei:
    """Return nuclei as the recipe knows them, for what it makes of their number and size."""
    labels = np.arange(found.statistics.count + 1, dtype=np.int32)[np.newaxis]
    return recipe.Nuclei(labels, found.statistics.mean_side, dict(found.dropped))


def _find_cells(
    reference: Image, nuclei: Found, size: float, networks: Networks, terms: Terms
) -> Found:
    if not uses_nuclei(terms.config):
        return find([reference], networks.cell_network, size, terms)
    channels = [
        _with_contrast(Pointwise(part, (reference, nuclei.labels), reference.dtype), terms)
        for part in (_outside, _inside)
    ]
    return find(channels, networks.cell_network, size, terms)


def _outside(signal: NDArray[Any], nuclei: NDArray[np.int32], _: Window) -> NDArray[Any]:
    return np.where(nuclei > 0, 0, signal).astype(signal.dtype)


def _inside(signal: NDArray[Any], nuclei: NDArray[np.int32], _: Window) -> NDArray[Any]:
    return np.where(nuclei > 0, signal, 0).astype(signal.dtype)

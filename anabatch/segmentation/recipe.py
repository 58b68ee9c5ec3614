"""The study's recipe: nuclei first, then cells, from the signal split in two along the nuclei.

Five steps, each a function of values alone, on a batch of images: :func:`prepare`, the nucleus
network (:func:`anabatch.segmentation.tiling.run_tiled`), :func:`find_nuclei`, the cell network,
:func:`find_cells`. The second and the fourth are the ones that a GPU does; the others never see it.

Three resolutions occur: the source's; the reference resolution, at which contrast is equalised and
all diameters of the configuration are given; and the network's, at which objects have the size that
the network was trained for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from scipy import ndimage

from anabatch.imaging import equalize
from anabatch.segmentation.cellpose import LOSSES, find_masks
from anabatch.segmentation.labels import count, fill_and_filter, refine, resize_nearest
from anabatch.segmentation.models import uses_nuclei

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from anabatch.config import SegmentConfig
    from anabatch.segmentation.tiling import NetworkOutput

FEWEST_NUCLEI = 3
"""With fewer nuclei than these their mean diameter says nothing of the cells'."""

LEAST_CONTRAST = 1e-3
"""Least distance of the percentiles of a channel with contrast; Cellpose's own."""


@dataclass(frozen=True)
class Segmentation:
    """The masks of one image.

    Attributes
    ----------
    nuclei, cells : ndarray of int32, shape (H, W)
        Label images at the source's resolution; 0 is no mask. Their labels are independent.
    mean_nucleus_diameter : float
        Mean of the longer sides of the nuclei's bounding boxes, in reference pixels; NaN without
        nuclei.
    dropped : dict
        Masks that Cellpose's checks gave up: `nuclei_too_large`, `cells_flow_error` and so on.
    """

    nuclei: NDArray[np.int32]
    cells: NDArray[np.int32]
    mean_nucleus_diameter: float
    dropped: dict[str, int]


@dataclass(frozen=True)
class Field:
    """One image at reference resolution.

    Attributes
    ----------
    signal : ndarray of uint8 or uint16, shape (h, w)
    source_shape : tuple of int
        (H, W) of the image as it came.
    """

    signal: NDArray[Any]
    source_shape: tuple[int, int]


@dataclass(frozen=True)
class Nuclei:
    """The nuclei of one image.

    Attributes
    ----------
    labels : ndarray of int32, shape (h, w)
        At reference resolution.
    mean_diameter : float
        As in :class:`Segmentation`.
    dropped : dict
        Masks that were given up, by reason.
    """

    labels: NDArray[np.int32]
    mean_diameter: float
    dropped: dict[str, int]


def prepare(
    signals: Sequence[NDArray[Any]],
    pixels_per_reference_pixel: Sequence[float],
    config: SegmentConfig,
    network_diameter: float,
) -> tuple[list[Field], list[NDArray[np.float32]]]:
    """Step one: bring images to reference resolution, and make the nucleus network's input.

    Parameters
    ----------
    signals : sequence of ndarray of uint8 or uint16, shape (H, W)
    pixels_per_reference_pixel : sequence of float
        Source pixels that make one reference pixel.
    config : SegmentConfig
    network_diameter : float
        Object diameter that the nucleus network works at, in network pixels.

    Returns
    -------
    fields : list of Field
    inputs : list of ndarray of float32, shape (2, h, w)
        Empty if the recipe has no nucleus pass.
    """
    fields = [
        Field(to_reference(signal, scale), (signal.shape[0], signal.shape[1]))
        for signal, scale in zip(signals, pixels_per_reference_pixel, strict=True)
    ]
    if not uses_nuclei(config):
        return fields, []
    scale = network_diameter / config.nucleus_diameter
    return fields, [
        network_input(*nucleus_channels(field.signal, config), scale) for field in fields
    ]


def to_reference(signal: NDArray[Any], pixels_per_reference_pixel: float) -> NDArray[Any]:
    """Return the signal at reference resolution, shape (h, w), in its own integer type."""
    if pixels_per_reference_pixel == 1:
        return signal
    return _resize(signal, scaled(signal.shape, 1 / pixels_per_reference_pixel))


def nucleus_channels(
    signal: NDArray[Any], config: SegmentConfig
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return what the nucleus pass looks at: the equalised signal, and nothing."""
    equalized = equalize(signal, clip=config.clahe_clip, grid=config.clahe_grid)
    return equalized, np.zeros_like(signal)


def cell_channels(
    signal: NDArray[Any], nuclei: NDArray[Any], config: SegmentConfig
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return what the cell pass looks at: the cytoplasm and the nuclei, equalised apart.

    Parameters
    ----------
    signal : ndarray of uint8 or uint16, shape (h, w)
    nuclei : ndarray of integers, shape (h, w)
        Label image.
    config : SegmentConfig

    Returns
    -------
    cytoplasm, nuclei : ndarray, shape (h, w), the signal's type
        In the one-pass recipe the untreated signal, and nothing.
    """
    nothing = np.zeros_like(signal)
    if not uses_nuclei(config):
        return signal, nothing
    within = nuclei > 0
    cytoplasm = equalize(
        np.where(within, nothing, signal), clip=config.clahe_clip, grid=config.clahe_grid
    )
    if not within.any():
        return cytoplasm, nothing
    inner = equalize(
        np.where(within, signal, nothing), clip=config.clahe_clip, grid=config.clahe_grid
    )
    return cytoplasm, inner


def network_input(first: NDArray[Any], second: NDArray[Any], scale: float) -> NDArray[np.float32]:
    """Normalise two channels as Cellpose does, and scale them to network pixels.

    Parameters
    ----------
    first, second : ndarray, shape (h, w)
    scale : float
        Network pixels per reference pixel.

    Returns
    -------
    ndarray of float32, shape (2, h', w')
        The 1st percentile of each channel is 0 and the 99th is 1; a channel without contrast is 0.
        Shrinking averages areas, where Cellpose picks points: fine patterns would alias.
    """
    shape = scaled(first.shape, scale)
    return np.stack([_resize(_normalize(channel), shape) for channel in (first, second)])


def _normalize(channel: NDArray[Any]) -> NDArray[np.float32]:
    low, high = np.percentile(channel, (1.0, 99.0))
    if high - low <= LEAST_CONTRAST:
        return np.zeros(channel.shape, np.float32)
    normal = (channel.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    return np.asarray(normal, dtype=np.float32)


def scaled(shape: tuple[int, ...], scale: float) -> tuple[int, int]:
    """Return the size of an image so many times as fine; no side is less than a pixel."""
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _resize(image: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    if image.shape == shape:
        return image
    method = cv2.INTER_AREA if shape[0] < image.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (shape[1], shape[0]), interpolation=method))


def find_nuclei(
    fields: Sequence[Field], outputs: Sequence[NetworkOutput], config: SegmentConfig
) -> list[Nuclei]:
    """Step three, first half: flows to nuclei at reference resolution.

    In the one-pass recipe there are none.
    """
    if not uses_nuclei(config):
        return [
            Nuclei(np.zeros(field.signal.shape, np.int32), float("nan"), dict.fromkeys(LOSSES, 0))
            for field in fields
        ]
    found = []
    for field, output in zip(fields, outputs, strict=True):
        labels, dropped = _masks(output, field, config)
        found.append(Nuclei(labels, mean_diameter(labels), dropped))
    return found


def mean_diameter(labels: NDArray[np.int32]) -> float:
    """Return the mean of the longer sides of the bounding boxes, in pixels; NaN without masks."""
    boxes = (box for box in ndimage.find_objects(labels) if box is not None)
    sides = [max(axis.stop - axis.start for axis in box) for box in boxes]
    return float(np.mean(sides)) if sides else float("nan")


def cell_diameter(nuclei: Nuclei, config: SegmentConfig) -> float:
    """Return the diameter that cells are looked for at, in reference pixels.

    It is the configured one, scaled down in proportion where the mean nucleus is below the
    reference nucleus. With too few nuclei it is the configured one.
    """
    return cell_diameter_for(count(nuclei.labels), nuclei.mean_diameter, config)


def cell_diameter_for(nuclei: int, mean_diameter: float, config: SegmentConfig) -> float:
    """Return the same for a number of nuclei and their mean diameter, in reference pixels."""
    if not uses_nuclei(config):
        return config.one_pass_diameter
    if nuclei < FEWEST_NUCLEI:
        return config.cell_diameter
    share = mean_diameter / config.reference_nucleus_diameter
    return config.cell_diameter * min(1.0, share)


def recombine(
    fields: Sequence[Field],
    nuclei: Sequence[Nuclei],
    config: SegmentConfig,
    network_diameter: float,
) -> list[NDArray[np.float32]]:
    """Step three, second half: split the signal along the nuclei, and make the cell network's input.

    Parameters
    ----------
    fields, nuclei : sequences, one item an image
    config : SegmentConfig
    network_diameter : float
        Object diameter that the cell network works at, in network pixels.

    Returns
    -------
    list of ndarray of float32, shape (2, h, w)
        Cytoplasm, nuclei.
    """
    return [
        network_input(
            *cell_channels(field.signal, own.labels, config),
            network_diameter / cell_diameter(own, config),
        )
        for field, own in zip(fields, nuclei, strict=True)
    ]


def find_cells(
    fields: Sequence[Field],
    nuclei: Sequence[Nuclei],
    outputs: Sequence[NetworkOutput],
    config: SegmentConfig,
) -> list[Segmentation]:
    """Step five: flows to cells, and all label images back to the source's resolution."""
    done = []
    for field, own, output in zip(fields, nuclei, outputs, strict=True):
        cells, lost = _masks(output, field, config)
        dropped = {f"nuclei_{reason}": number for reason, number in own.dropped.items()}
        dropped |= {f"cells_{reason}": number for reason, number in lost.items()}
        done.append(
            Segmentation(
                nuclei=resize_nearest(own.labels, field.source_shape),
                cells=resize_nearest(cells, field.source_shape),
                mean_nucleus_diameter=own.mean_diameter,
                dropped=dropped,
            )
        )
    return done


def _masks(
    output: NetworkOutput, field: Field, config: SegmentConfig
) -> tuple[NDArray[np.int32], dict[str, int]]:
    """Return masks at reference resolution, and the number given up by reason."""
    masks = find_masks(output.flows, output.probability, config)
    shape = (field.signal.shape[0], field.signal.shape[1])
    fine = refine(masks.labels, output.flows, output.probability, shape, config.cellprob_threshold)
    return fill_and_filter(fine, min_size=1), masks.dropped

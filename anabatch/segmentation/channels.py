"""What the networks look at: channels of an image at reference resolution, equalised and scaled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from anabatch.imaging import equalize
from anabatch.segmentation.equalisation import contrast_grid
from anabatch.segmentation.models import uses_nuclei

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anabatch.config import SegmentConfig


LEAST_CONTRAST = 1e-3
"""Grey levels from the 1st to the 99th percentile below which a channel shows nothing."""


def to_reference(signal: NDArray[Any], pixels_per_reference_pixel: float) -> NDArray[Any]:
    """Return the signal at reference resolution, shape (h, w), in its own integer type."""
    if pixels_per_reference_pixel == 1:
        return signal
    return _resize(signal, scaled(signal.shape, 1 / pixels_per_reference_pixel))


def nucleus_channels(
    signal: NDArray[Any], config: SegmentConfig
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return what the nucleus pass looks at: the equalised signal, and nothing."""
    return _equalized(signal, config), np.zeros_like(signal)


def _equalized(signal: NDArray[Any], config: SegmentConfig) -> NDArray[Any]:
    return equalize(signal, clip=config.clahe_clip, grid=contrast_grid(signal.shape, config))


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
    cytoplasm = _equalized(np.where(within, nothing, signal), config)
    if not within.any():
        return cytoplasm, nothing
    return cytoplasm, _equalized(np.where(within, signal, nothing), config)


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
    """Return the shape (h, w) of an image of another scale; a side has one pixel at least."""
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _resize(image: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    if image.shape == shape:
        return image
    method = cv2.INTER_AREA if shape[0] < image.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (shape[1], shape[0]), interpolation=method))

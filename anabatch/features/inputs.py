"""What extractors are given: crops, grey levels, and the three channels that a network takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.imaging import BYTE_STEP

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 96
"""Side of the crops, in crop pixels."""

OUTSIDE, NUCLEUS = 0, 2
"""The masks' values, as `anabatch.cells` writes them; networks know nothing of how cells are found."""

# Blue, green, red: the means of the training images, in grey levels of 0 to 255, as
# keras.applications.vgg16.preprocess_input takes them off after turning RGB into BGR.
_IMAGENET_MEANS = np.array([103.939, 116.779, 123.68], dtype=np.float32)


def check_crops(crops: NDArray[Any]) -> None:
    """Refuse what is no crops.

    Parameters
    ----------
    crops : ndarray, shape (n, 96, 96), uint8 or uint16

    Raises
    ------
    ValueError
        The crops have another shape or type.
    """
    if crops.ndim != 3 or crops.shape[1:] != (SIDE, SIDE):
        message = f"crops must be (n, {SIDE}, {SIDE}), not {crops.shape}"
        raise ValueError(message)
    if crops.dtype not in (np.uint8, np.uint16):
        message = f"crops must be uint8 or uint16, not {crops.dtype}"
        raise ValueError(message)


def check_masks(masks: NDArray[Any], crops: NDArray[Any]) -> None:
    """Refuse what is no masks of these crops.

    Parameters
    ----------
    masks : ndarray, shape (n, 96, 96), uint8
    crops : ndarray, shape (n, 96, 96)

    Raises
    ------
    ValueError
        The masks have another shape or type.
    """
    if masks.shape != crops.shape:
        message = f"masks must be {crops.shape} as the crops, not {masks.shape}"
        raise ValueError(message)
    if masks.dtype != np.uint8:
        message = f"masks must be uint8, not {masks.dtype}"
        raise ValueError(message)


def grey_levels(crops: NDArray[Any]) -> NDArray[np.float32]:
    """Return grey levels of 0 to 255, whatever the type.

    Parameters
    ----------
    crops : ndarray, shape (n, 96, 96), uint8 or uint16

    Returns
    -------
    ndarray, shape (n, 96, 96), float32
        16 bits divided by 257, never stretched to the crop's own range.

    Raises
    ------
    ValueError
        As :func:`check_crops`.
    """
    check_crops(crops)
    levels = crops.astype(np.float32)
    if crops.dtype == np.uint16:
        # 257 * 255 = 65,535: exact in 32-bit float for every 16-bit copy of an 8-bit level.
        levels /= np.float32(BYTE_STEP)
    return levels


def preprocess(
    crops: NDArray[Any], method: str, masks: NDArray[Any] | None = None
) -> NDArray[np.float32]:
    """Turn grey crops into the network's input of three channels.

    Parameters
    ----------
    crops : ndarray, shape (n, 96, 96), uint8 or uint16
    method : {'unit', 'keras'}
        `unit`: grey levels in [0, 1]. `keras`: 0 to 255 less the ImageNet channel means, as
        `keras.applications.vgg16.preprocess_input`.
    masks : ndarray, shape (n, 96, 96), uint8, optional
        0 outside the cell, 1 cytoplasm, 2 nucleus. Without them all three channels are the crop;
        with them the light of the nucleus, all other light, and the cell's mask, white on black.

    Returns
    -------
    ndarray, shape (n, 96, 96, 3), float32

    Raises
    ------
    ValueError
        The crops or the masks have another shape or type.
    """
    levels = grey_levels(crops)
    if masks is not None:
        check_masks(masks, crops)
    channels = (levels,) * 3 if masks is None else _parted(levels, masks)
    inputs = np.empty((*levels.shape, 3), dtype=np.float32)
    # Channel by channel: numpy takes three times as long over a last axis of three.
    for number, channel in enumerate(channels):
        if method == "unit":
            np.divide(channel, np.float32(255), out=inputs[..., number])
        else:
            np.subtract(channel, _IMAGENET_MEANS[number], out=inputs[..., number])
    return inputs


def _parted(levels: NDArray[np.float32], masks: NDArray[Any]) -> tuple[NDArray[np.float32], ...]:
    nucleus = masks == NUCLEUS
    # All that is not the nucleus counts as cytoplasm: resizing spreads light beyond the mask.
    none, white = np.float32(0), np.float32(255)
    return (
        np.where(nucleus, levels, none),
        np.where(nucleus, none, levels),
        np.where(masks == OUTSIDE, none, white),
    )

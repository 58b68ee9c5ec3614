"""Images as the recipe works on them: at reference resolution, their scale bars filled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.segmentation.channels import to_reference
from anabatch.segmentation.depth import filled, unused_bits
from anabatch.segmentation.scale_bar import find_scale_bar, without_scale_bar
from anabatch.segmentation.visibility import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from anabatch.config import SegmentConfig
    from anabatch.segmentation.scale_bar import Box


@dataclass(frozen=True)
class Field:
    """One image at reference resolution.

    Attributes
    ----------
    signal : ndarray of uint8 or uint16, shape (h, w)
        Its scale bar is filled, and so are the bits that its camera left empty.
    source_shape : tuple of int
        (H, W) of the image as it came.
    scale_bar : tuple of int or None
        Box of the scale bar, in source pixels.
    visible : bool
        Whether anything but noise is to be seen. If not, networks are shown nothing.
    nucleus_diameter : float or None
        What nuclei are looked for at, in reference pixels, where the image itself told it.
    """

    signal: NDArray[Any]
    source_shape: tuple[int, int]
    scale_bar: Box | None = None
    visible: bool = True
    nucleus_diameter: float | None = None


def read_fields(
    signals: Sequence[NDArray[Any]],
    pixels_per_reference_pixel: Sequence[float],
    config: SegmentConfig,
) -> list[Field]:
    """Step one, first half: fill scale bars, and bring images to reference resolution."""
    return [
        _read_field(signal, scale, config)
        for signal, scale in zip(signals, pixels_per_reference_pixel, strict=True)
    ]


def _read_field(signal: NDArray[Any], scale: float, config: SegmentConfig) -> Field:
    signal = filled(signal, unused_bits(signal))
    bar = find_scale_bar(signal)
    reference = to_reference(without_scale_bar(signal, bar), scale)
    shape = (signal.shape[0], signal.shape[1])
    return Field(reference, shape, bar, visible(reference, config.nucleus_diameter))


def shown(field: Field, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what a network is shown: its input, or zeros where nothing but noise is to be seen."""
    return image if field.visible else np.zeros_like(image)

"""The nuclei's size, estimated from an image itself by a first look with the nucleus network.

The network looks at the image at several scales, a factor of two apart. Where nuclei come near the
size that it was trained on, its flows are of unit length and few of the masks that they lead to are
given up; where they are much too small or too large, flows cancel and masks fall apart or fail the
check. The scale with the clearest answer tells the nuclei's size, which is right even where they
are not quite of the trained size. Nothing of this depends on one set of weights, nor on any other
image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.segmentation.cellpose import find_masks
from anabatch.segmentation.channels import network_input

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from anabatch.config import SegmentConfig
    from anabatch.segmentation.tiling import NetworkOutput

SHARES = (0.5, 1.0, 2.0, 4.0)
"""Nucleus diameters that are tried, over the configured one: nuclei of 25 to 300 reference pixels are
found by one of them at least."""

LOOKED_FOR = 0.85
"""What nuclei are looked for at, over their own diameter: the study's 60 for nuclei of about 70. The
finer pixels make better outlines than their own diameter would."""

FEWEST = 2
"""Fewer nuclei than these tell no size. Two that are clear tell more than twenty fragments."""


@dataclass(frozen=True)
class Impression:
    """What the network made of an image at one scale.

    Attributes
    ----------
    diameter : float
        Median diameter of the nuclei, that of the circle of equal area, in reference pixels.
    nuclei : int
    clarity : float
        Share of the masks that Cellpose's checks leave, times the mean length of the flows within
        the foreground; 0 to about 1.
    """

    diameter: float
    nuclei: int
    clarity: float


def views(
    equalized: NDArray[Any], config: SegmentConfig, network_diameter: float
) -> list[NDArray[np.float32]]:
    """Return what the nucleus network is shown for the first look, one input for each of :data:`SHARES`.

    Parameters
    ----------
    equalized : ndarray, shape (h, w)
        The equalised signal at reference resolution.
    config : SegmentConfig
    network_diameter : float
        Object diameter that the network works at, in network pixels.

    Returns
    -------
    list of ndarray of float32, shapes (2, h', w')
        Where the image is enlarged, its middle alone: no look takes more than the configured pass.
    """
    scale = network_diameter / config.nucleus_diameter
    shown = []
    for share in SHARES:
        part = _middle(equalized, min(1.0, share))
        shown.append(network_input(part, np.zeros_like(part), scale / share))
    return shown


def _middle(image: NDArray[Any], share: float) -> NDArray[Any]:
    """Return the middle of an image, `share` of its height and width."""
    height, width = (max(1, round(side * share)) for side in image.shape)
    y, x = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return np.ascontiguousarray(image[y : y + height, x : x + width])


def estimate(
    outputs: Sequence[NetworkOutput], config: SegmentConfig, network_diameter: float
) -> float | None:
    """Return the diameter that nuclei should be looked for at.

    Parameters
    ----------
    outputs : sequence of NetworkOutput
        The network's answers to :func:`views`.
    config : SegmentConfig
    network_diameter : float

    Returns
    -------
    float or None
        In reference pixels: :data:`LOOKED_FOR` of the nuclei's own. None if no look shows :data:`FEWEST` nuclei.
    """
    impressions = [
        _impression(output, config, share * config.nucleus_diameter / network_diameter)
        for output, share in zip(outputs, SHARES, strict=True)
    ]
    telling = [one for one in impressions if one.nuclei >= FEWEST]
    if not telling:
        return None
    clearest = max(telling, key=lambda one: one.clarity)  # of equals the finest
    return LOOKED_FOR * clearest.diameter


def _impression(output: NetworkOutput, config: SegmentConfig, pixel: float) -> Impression:
    """Sum up one look, with network pixels of so many reference pixels."""
    masks = find_masks(output.flows, output.probability, config)
    areas = np.bincount(masks.labels.ravel())[1:]
    if not areas.size:
        return Impression(float("nan"), 0, 0.0)
    inside = output.probability > config.cellprob_threshold
    length = float(np.hypot(*output.flows)[inside].mean()) / 5  # the flows come five times unit
    kept = areas.size / (areas.size + sum(masks.dropped.values()))
    diameter = float(np.median(np.sqrt(areas * 4 / np.pi))) * pixel
    return Impression(diameter, int(areas.size), kept * length)

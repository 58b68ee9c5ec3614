"""What a segmentation of an image is, and the last step to it: back to the image's own pixels.

All masks that are lost are counted: for either kind, `proposed` is what is stored and what was
dropped, by reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from anabatch.segmentation.consistency import consistent
from anabatch.segmentation.labels import consecutive, count, resize_nearest
from anabatch.segmentation.scale_bar import clear_scale_bar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from anabatch.segmentation.scale_bar import Box

NO_CONTRAST = "no contrast"
"""The reason of a segmentation that looked for nothing, since nothing but noise is to be seen."""

FROM_NUCLEI, FROM_IMAGE, FROM_DEFAULT = "nuclei", "image", "default"
"""Where a diameter comes from: the nuclei found, a first look at the image, the configuration."""

VANISHED, ON_SCALE_BAR = "vanished", "scale_bar"
"""Why masks are lost between the network's pixels and the image's: another mask grew around them or
no pixel is left, and they lie on the scale bar."""


@dataclass(frozen=True)
class Segmentation:
    """The masks of one image.

    Attributes
    ----------
    nuclei, cells : ndarray of int32, shape (H, W)
        Label images at the source's resolution, masks 1 to n; 0 is no mask. A nucleus lies in one
        cell, or in none: :func:`anabatch.segmentation.consistency.cells_of_nuclei`.
    mean_nucleus_diameter : float
        Mean of the longer sides of the nuclei's bounding boxes, in reference pixels; NaN without
        nuclei.
    dropped : dict
        Masks that were given up: `nuclei_too_large`, `cells_flow_error` and so on.
    proposed : dict
        Masks that the networks proposed, `nuclei` and `cells`: those stored and those dropped.
    nucleus_diameter, cell_diameter : float
        What was looked for, in reference pixels; NaN where a recipe has no such number.
    nucleus_diameter_from : {'image', 'default'}
        Whether that was estimated from the image, or is the configured one.
    diameter_from : {'nuclei', 'default'}
        Whether the mean nucleus made it, or it is the configured one.
    scale_bar : tuple of int or None
        Box (y0, x0, y1, x1) of the scale bar, in the source's pixels. No mask is in it.
    reason : str or None
        Why nothing was looked for, if so: :data:`NO_CONTRAST`.
    """

    nuclei: NDArray[np.int32]
    cells: NDArray[np.int32]
    mean_nucleus_diameter: float
    dropped: dict[str, int]
    proposed: dict[str, int] = field(default_factory=dict)
    nucleus_diameter: float = float("nan")
    cell_diameter: float = float("nan")
    nucleus_diameter_from: str = FROM_DEFAULT
    diameter_from: str = FROM_DEFAULT
    scale_bar: Box | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Proposal:
    """Masks of one kind, with what was lost of them.

    Attributes
    ----------
    labels : ndarray of int32, shape (h, w)
        Label image, at any resolution.
    proposed : int
        Masks that there were at first.
    dropped : mapping
        Masks that were given up since, by reason.
    """

    labels: NDArray[np.int32]
    proposed: int
    dropped: Mapping[str, int]


def to_source(
    nuclei: Proposal, cells: Proposal, shape: tuple[int, int], scale_bar: Box | None
) -> tuple[NDArray[np.int32], NDArray[np.int32], dict[str, int], dict[str, int]]:
    """Bring masks to the source's resolution, off the scale bar, and in agreement.

    Parameters
    ----------
    nuclei, cells : Proposal
    shape : tuple of int
        (H, W) of the source.
    scale_bar : tuple of int or None
        In the source's pixels.

    Returns
    -------
    nuclei, cells : ndarray of int32, shape (H, W)
    proposed, dropped : dict
        As in :class:`Segmentation`.
    """
    own, lost_nuclei = _finished(nuclei, shape, scale_bar)
    whole, lost_cells = _finished(cells, shape, scale_bar)
    own, whole = consistent(own, whole)
    dropped = {f"nuclei_{reason}": number for reason, number in lost_nuclei.items()}
    dropped |= {f"cells_{reason}": number for reason, number in lost_cells.items()}
    return own, whole, {"nuclei": nuclei.proposed, "cells": cells.proposed}, dropped


def _finished(
    found: Proposal, shape: tuple[int, int], scale_bar: Box | None
) -> tuple[NDArray[np.int32], dict[str, int]]:
    scaled = consecutive(resize_nearest(found.labels, shape))
    vanished = count(found.labels) - int(scaled.max(initial=0))
    cleared, on_bar = clear_scale_bar(scaled, scale_bar)
    lost = dict(found.dropped)
    lost[VANISHED] = lost.get(VANISHED, 0) + vanished
    lost[ON_SCALE_BAR] = lost.get(ON_SCALE_BAR, 0) + on_bar
    return cleared, lost


def nothing_seen(shape: tuple[int, int], scale_bar: Box | None) -> Segmentation:
    """Return the segmentation of an image of shape (H, W) in which nothing is to be seen."""
    empty = np.zeros(shape, np.int32)
    return Segmentation(
        nuclei=empty,
        cells=empty.copy(),
        mean_nucleus_diameter=float("nan"),
        dropped={},
        proposed={"nuclei": 0, "cells": 0},
        scale_bar=scale_bar,
        reason=NO_CONTRAST,
    )

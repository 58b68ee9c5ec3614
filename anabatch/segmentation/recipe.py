"""The study's recipe: nuclei first, then cells, from the signal split in two along the nuclei.

Five steps, each a function of values alone, on a batch of images: :func:`prepare`, the nucleus
network (:func:`anabatch.segmentation.tiling.run_tiled`), :func:`find_nuclei` and :func:`recombine`,
the cell network, :func:`find_cells`. The second and the fourth are the ones that a GPU does; the
others never see it. Where the nuclei's size is to come from the image, a first look goes before
them: :func:`look`, the nucleus network, :func:`with_diameters`.

Three resolutions occur: the source's; the reference resolution, at which contrast is equalised and
all diameters of the configuration are given; and the network's, at which objects have the size that
the network was trained for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from anabatch.segmentation import diameter
from anabatch.segmentation.cellpose import LOSSES, find_masks
from anabatch.segmentation.channels import (
    cell_channels,
    network_input,
    nucleus_channels,
    to_reference,
)
from anabatch.segmentation.fields import Field, read_fields, shown
from anabatch.segmentation.labels import count, fill_and_filter, refine
from anabatch.segmentation.models import uses_nuclei
from anabatch.segmentation.results import (
    FROM_DEFAULT,
    FROM_IMAGE,
    FROM_NUCLEI,
    VANISHED,
    Proposal,
    Segmentation,
    nothing_seen,
    to_source,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from anabatch.config import SegmentConfig
    from anabatch.segmentation.tiling import NetworkOutput

__all__ = [
    "FEWEST_NUCLEI",
    "Field",
    "Nuclei",
    "Segmentation",
    "cell_channels",
    "cell_diameter",
    "find_cells",
    "find_nuclei",
    "look",
    "mean_diameter",
    "network_input",
    "nucleus_channels",
    "nucleus_inputs",
    "prepare",
    "read_fields",
    "recombine",
    "to_reference",
    "with_diameters",
]

FEWEST_NUCLEI = 3
"""With fewer nuclei than these their mean diameter says nothing of the cells'."""


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
    proposed : int
        Masks that there were at first.
    """

    labels: NDArray[np.int32]
    mean_diameter: float
    dropped: dict[str, int]
    proposed: int = 0


def prepare(
    signals: Sequence[NDArray[Any]],
    pixels_per_reference_pixel: Sequence[float],
    config: SegmentConfig,
    network_diameter: float,
) -> tuple[list[Field], list[NDArray[np.float32]]]:
    """Step one: bring images to reference resolution, and make the nucleus network's input.

    Nuclei are looked for at the configured diameter.

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
    fields = read_fields(signals, pixels_per_reference_pixel, config)
    return fields, nucleus_inputs(fields, config, network_diameter)


def nucleus_inputs(
    fields: Sequence[Field], config: SegmentConfig, network_diameter: float
) -> list[NDArray[np.float32]]:
    """Step one, second half: the nucleus network's input, as in :func:`prepare`."""
    if not uses_nuclei(config):
        return []
    return [
        shown(
            field,
            network_input(
                *nucleus_channels(field.signal, config),
                network_diameter / (field.nucleus_diameter or config.nucleus_diameter),
            ),
        )
        for field in fields
    ]


def look(
    fields: Sequence[Field], config: SegmentConfig, network_diameter: float
) -> list[NDArray[np.float32]]:
    """Before step one's second half: what the nucleus network is shown to tell the nuclei's size.

    Returns
    -------
    list of ndarray of float32, shapes (2, h, w)
        So many of every image as there are :data:`anabatch.segmentation.diameter.SHARES`.
    """
    return [
        shown(field, view)
        for field in fields
        for view in diameter.views(
            nucleus_channels(field.signal, config)[0], config, network_diameter
        )
    ]


def with_diameters(
    fields: Sequence[Field],
    outputs: Sequence[NetworkOutput],
    config: SegmentConfig,
    network_diameter: float,
) -> list[Field]:
    """Return the fields with the nucleus diameters that the network's answers to :func:`look` tell."""
    looks = len(diameter.SHARES)
    return [
        replace(
            field,
            nucleus_diameter=diameter.estimate(
                outputs[looks * number : looks * (number + 1)], config, network_diameter
            ),
        )
        for number, field in enumerate(fields)
    ]


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
        masks = _masks(output, field, config)
        diameter_ = mean_diameter(masks.labels)
        found.append(Nuclei(masks.labels, diameter_, dict(masks.dropped), masks.proposed))
    return found


def mean_diameter(labels: NDArray[np.int32]) -> float:
    """Return the mean of the longer sides of the bounding boxes, in pixels; NaN without masks."""
    boxes = (box for box in ndimage.find_objects(labels) if box is not None)
    sides = [max(axis.stop - axis.start for axis in box) for box in boxes]
    return float(np.mean(sides)) if sides else float("nan")


def cell_diameter(nuclei: Nuclei, config: SegmentConfig) -> float:
    """Return the diameter that cells are looked for at, in reference pixels.

    It is the configured one, scaled down in proportion where the mean nucleus is below the
    reference nucleus; where the nuclei's size comes from the image, scaled up as well where it is
    above. With too few nuclei it is the configured one.
    """
    if not uses_nuclei(config):
        return config.one_pass_diameter
    if not _enough(nuclei):
        return config.cell_diameter
    share = nuclei.mean_diameter / config.reference_nucleus_diameter
    return config.cell_diameter * (share if config.diameter == "auto" else min(1.0, share))


def _enough(nuclei: Nuclei) -> bool:
    """Whether there are nuclei enough for their mean diameter to drive the second pass."""
    return count(nuclei.labels) >= FEWEST_NUCLEI


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
        shown(
            field,
            network_input(
                *cell_channels(field.signal, own.labels, config),
                network_diameter / cell_diameter(own, config),
            ),
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
    return [
        _segmentation(field, own, _masks(output, field, config), config)
        if field.visible
        else nothing_seen(field.source_shape, field.scale_bar)
        for field, own, output in zip(fields, nuclei, outputs, strict=True)
    ]


def _segmentation(
    field: Field, nuclei: Nuclei, cells: Proposal, config: SegmentConfig
) -> Segmentation:
    own = Proposal(nuclei.labels, nuclei.proposed, nuclei.dropped)
    nuclei_, cells_, proposed, dropped = to_source(own, cells, field.source_shape, field.scale_bar)
    configured = config.nucleus_diameter if uses_nuclei(config) else float("nan")
    return Segmentation(
        nuclei=nuclei_,
        cells=cells_,
        mean_nucleus_diameter=nuclei.mean_diameter,
        dropped=dropped,
        proposed=proposed,
        nucleus_diameter=field.nucleus_diameter or configured,
        cell_diameter=cell_diameter(nuclei, config),
        nucleus_diameter_from=FROM_IMAGE if field.nucleus_diameter else FROM_DEFAULT,
        diameter_from=FROM_NUCLEI if _enough(nuclei) else FROM_DEFAULT,
        scale_bar=field.scale_bar,
    )


def _masks(output: NetworkOutput, field: Field, config: SegmentConfig) -> Proposal:
    """Return masks at reference resolution, with those given up by reason."""
    masks = find_masks(output.flows, output.probability, config)
    coarse = count(masks.labels)
    shape = (field.signal.shape[0], field.signal.shape[1])
    fine = refine(masks.labels, output.flows, output.probability, shape, config.cellprob_threshold)
    labels = fill_and_filter(fine, min_size=1)
    dropped = dict(masks.dropped) | {VANISHED: coarse - count(labels)}
    return Proposal(labels, coarse + sum(masks.dropped.values()), dropped)

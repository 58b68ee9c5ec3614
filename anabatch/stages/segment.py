"""Segment: nuclei and cells of every image of a batch → label images."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.errors import InputError, UnsettledFileError
from anabatch.segmentation.consistency import without_partner
from anabatch.segmentation.models import segmentation_parameters, segmentation_weights
from anabatch.segmentation.scratch import largest
from anabatch.segmentation.two_pass import Segmentation, segmenter_for
from anabatch.stages.planned import as_planned
from anabatch.store.actions import DEFERRED, FAILED, NO_CELLS, OK
from anabatch.store.keys import action_key
from anabatch.store.live import SEGMENT
from anabatch.store.parts import PartWriter, WrittenPart
from anabatch.store.recipes import Recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anabatch.config import SegmentConfig
    from anabatch.stages.images import ImageBatch, ImageItem
    from anabatch.store.actions import Action

VERSION = 2

# Label images of one shard are held in memory together while it is written.
_IMAGES_PER_SHARD = 4


def segment_recipe(config: SegmentConfig) -> Recipe:
    """Return what determines a segmentation beside the image; weights are read for it."""
    parameters, weights = segmentation_parameters(config), segmentation_weights(config)
    return Recipe(SEGMENT, VERSION, parameters, weights)


def segment_key(image_id: str, pixels_per_reference_pixel: float, recipe: str) -> str:
    """Return the key of segmenting an image.

    Parameters
    ----------
    image_id : str
    pixels_per_reference_pixel : float
    recipe : str
        Digest of the recipe.
    """
    return action_key(
        stage=SEGMENT, image=image_id, pixels=pixels_per_reference_pixel, recipe=recipe
    )


def segment(batch: ImageBatch) -> WrittenPart:
    """Find nuclei and cells in every image of a batch and write their label images."""
    readable, failures = _read_all(batch)
    config = batch.segment
    names = f"{config.nuclei_model} or {config.cell_model}"
    segmenter = as_planned(segmenter_for, config, batch.threads, digest=batch.model, names=names)
    found = segmenter.segment(
        [signal for _, signal in readable],
        [item.pixels_per_reference_pixel for item, _ in readable],
    )
    by_shape: dict[tuple[int, ...], list[tuple[ImageItem, Segmentation]]] = defaultdict(list)
    for (item, signal), segmentation in zip(readable, found, strict=True):
        by_shape[signal.shape].append((item, segmentation))
    if not by_shape:
        return WrittenPart(None, None, tuple(failures))
    actions = list(failures)
    keys = [item.segment_key for item in batch.items]
    with PartWriter(
        batch.store, "labels", archive=batch.archive, date=batch.date, keys=keys
    ) as part:
        for (height, width), pairs in sorted(by_shape.items()):
            name = f"labels_{height}x{width}"
            images = [(found.nuclei, found.cells) for _, found in pairs]
            part.label_images(name, images, shard=_IMAGES_PER_SHARD)
            actions += [
                _segmented(batch, item, result, name, row)
                for row, (item, result) in enumerate(pairs)
            ]
        return part.finish(actions)


def _read_all(batch: ImageBatch) -> tuple[list[tuple[ImageItem, NDArray[Any]]], list[Action]]:
    """Read a batch's images; those that cannot be read now become failures, or wait."""
    readable, failures = [], []
    for item in batch.items:
        try:
            readable.append((item, batch.read(item)))
        except UnsettledFileError as error:
            failures.append(batch.action(SEGMENT, item, outcome=DEFERRED, reason=str(error)))
        except InputError as error:  # the scan could read it, so it may be over tomorrow
            facts = {"transient": True}
            action = batch.action(
                SEGMENT, item, outcome=FAILED, reason=str(error), components=facts
            )
            failures.append(action)
    return readable, failures


def _segmented(
    batch: ImageBatch, item: ImageItem, result: Segmentation, array: str, row: int
) -> Action:
    """Return the action of one image; one without cells says so, and has label images all the same."""
    nuclei_alone, cells_alone = without_partner(result.nuclei, result.cells)
    facts = {
        "pixels": item.pixels_per_reference_pixel,
        "array": array,
        "nuclei": largest(result.nuclei),
        "cells": largest(result.cells),
        "nuclei_without_cell": nuclei_alone,
        "cells_without_nucleus": cells_alone,
        "mean_nucleus_diameter": _known(result.mean_nucleus_diameter),
        "nucleus_diameter": _known(result.nucleus_diameter),
        "nucleus_diameter_from": result.nucleus_diameter_from,
        "cell_diameter": _known(result.cell_diameter),
        "diameter_from": result.diameter_from,
        "scale_bar": list(result.scale_bar) if result.scale_bar else None,
        "proposed": dict(result.proposed),
        "dropped": dict(result.dropped),
    }
    outcome = OK if facts["cells"] else NO_CELLS
    return batch.action(
        SEGMENT,
        item,
        outcome=outcome,
        reason=result.reason,
        components=facts,
        first_row=row,
        rows=1,
    )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)

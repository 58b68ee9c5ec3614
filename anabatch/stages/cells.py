"""Cells: label images of a batch → crops, masks and measurements of every cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.cells import cut_cells
from anabatch.errors import InputError
from anabatch.schema import to_table
from anabatch.store.actions import FAILED, NO_CELLS, OK
from anabatch.store.keys import action_key
from anabatch.store.live import CELLS
from anabatch.store.parts import Part, PartWriter, WrittenPart

if TYPE_CHECKING:
    from anabatch.cells import CutCells
    from anabatch.stages.images import ImageBatch, ImageItem
    from anabatch.store.actions import Action

VERSION = 1


def cells_key(segmented: str, config: str) -> str:
    """Return the key of cutting the cells of a segmented image, by its key and the parameters' digest."""
    return action_key(stage=CELLS, version=VERSION, segmented=segmented, config=config)


def cut(batch: ImageBatch, segmented: WrittenPart) -> WrittenPart:
    """Cut the cells of a batch's label images and write crops, masks and measurements.

    Parameters
    ----------
    batch : ImageBatch
    segmented : WrittenPart
        What :func:`segment` returned for these images, or the same read from the ledger.

    Returns
    -------
    WrittenPart
        Without a path if no image of the batch has a cell.
    """
    rows: list[dict[str, Any]] = []
    crops, masks, actions = [], [], []
    labels = {action.unit: action for action in segmented.actions if action.outcome == OK}
    for item in batch.items:
        if item.image_id not in labels:
            continue
        try:
            cells = _cut_image(batch, item, labels[item.image_id])
        except InputError as error:
            actions.append(batch.action(CELLS, item, outcome=FAILED, reason=str(error)))
            continue
        outcome = OK if cells.rows else NO_CELLS
        place = {"first_row": len(rows), "rows": len(cells.rows)}
        facts = {"crop": batch.cells.crop}
        actions.append(batch.action(CELLS, item, outcome=outcome, components=facts, **place))
        rows += cells.rows
        crops.append(cells.crops)
        masks.append(cells.masks)
    if not rows:
        return WrittenPart(None, None, tuple(actions))
    keys = [item.cells_key for item in batch.items]
    with PartWriter(
        batch.store, "cells", archive=batch.archive, date=batch.date, keys=keys
    ) as part:
        part.rows("cells", to_table("cells", rows))
        part.array("crops", np.concatenate(crops))
        part.array("masks", np.concatenate(masks))
        return part.finish(actions)


def _cut_image(batch: ImageBatch, item: ImageItem, labelled: Action) -> CutCells:
    part = Part(batch.store, str(labelled.part))
    row = labelled.first_row
    nuclei, cells = part.array(str(labelled.components["array"]), row, row + 1)[0]
    return cut_cells(batch.read(item), nuclei, cells, image_id=item.image_id, crop=batch.cells.crop)

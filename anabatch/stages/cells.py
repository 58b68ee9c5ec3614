"""Cells: label images of a batch → crops, masks and measurements of every cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.cells import cut_cells
from anabatch.errors import InputError, UnsettledFileError
from anabatch.schema import to_table
from anabatch.store.actions import DEFERRED, FAILED, NO_CELLS, OK
from anabatch.store.keys import action_key
from anabatch.store.live import CELLS
from anabatch.store.parts import Part, PartWriter, WrittenPart
from anabatch.store.recipes import Recipe

if TYPE_CHECKING:
    from anabatch.cells import CutCells
    from anabatch.config import CellsConfig
    from anabatch.stages.images import ImageBatch, ImageItem
    from anabatch.store.actions import Action

VERSION = 2


def cells_recipe(config: CellsConfig) -> Recipe:
    """Return what determines cells beside their label images."""
    return Recipe(CELLS, VERSION, config.model_dump(mode="json"))


def cells_key(segmented: str, recipe: str) -> str:
    """Return the key of cutting the cells of a segmented image, by its key and the recipe's digest."""
    return action_key(stage=CELLS, segmented=segmented, recipe=recipe)


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
    labels = {action.unit: action for action in segmented.actions if action.part is not None}
    for item in batch.items:
        if item.image_id not in labels:
            continue
        try:
            cells = _cut_image(batch, item, labels[item.image_id])
        except UnsettledFileError as error:
            actions.append(batch.action(CELLS, item, outcome=DEFERRED, reason=str(error)))
            continue
        except InputError as error:  # the scan could read it, so it may be over tomorrow
            again = {"transient": True}
            action = batch.action(CELLS, item, outcome=FAILED, reason=str(error), components=again)
            actions.append(action)
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
    nuclei, cells = part.label_images(str(labelled.components["array"]), labelled.first_row)
    return cut_cells(batch.read(item), nuclei, cells, image_id=item.image_id, crop=batch.cells.crop)

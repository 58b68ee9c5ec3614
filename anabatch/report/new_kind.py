"""Section: cells of a kind that the clusters may not know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.report.gallery import crops
from anabatch.report.members import Cell
from anabatch.report.section import Section
from anabatch.stages.population import fitted_rows
from anabatch.store.parts import Part

if TYPE_CHECKING:
    from anabatch.report.source import Source
    from anabatch.store.actions import Action

_TITLE = "Cells of a new kind"
_CELLS = 36


def section(source: Source) -> Section:
    """Show what is proposed for the current generation, if anything is."""
    model, proposal = source.generation("kmeans"), source.generation("novelty")
    if model is None or proposal is None or proposal.components["model"] != model.part:
        return Section(
            "new",
            _TITLE,
            "new_kind.html",
            absent="No cells since the last fit lie together and far from all clusters.",
        )
    cells = _cells(source, proposal)
    uris = crops(source, cells)
    facts = proposal.components
    return Section(
        "new",
        _TITLE,
        "new_kind.html",
        {
            "together": facts["together"],
            "beyond": facts["beyond"],
            "new": facts["new"],
            "images": facts.get("images"),
            "cells": [
                {
                    "uri": uris[cell.cell_id],
                    "alt": f"cell of a new kind; {source.label_text(cell.image_id)}",
                    "title": f"{source.label_text(cell.image_id)} · "
                    f"{source.file_name(cell.image_id)} · cell {cell.cell_id}",
                }
                for cell in cells
            ],
        },
    )


def _cells(source: Source, proposal: Action) -> list[Cell]:
    """Find the cells nearest to the centre of what is proposed; those that are gone are left out."""
    names: list[Any] = source.model(proposal)["cell_ids"][:_CELLS].tolist()
    root = source.store.root
    found: dict[str, Cell] = {}
    for path in fitted_rows(root, str(proposal.part)):
        table = Part(root, path).rows("cells", ["cell_id", "image_id"])
        ids = np.asarray(table.column("cell_id").to_pylist(), dtype=np.str_)
        images = table.column("image_id").to_pylist()
        for row in np.flatnonzero(np.isin(ids, names)).tolist():
            if images[row] in source.images:
                found[str(ids[row])] = Cell(str(ids[row]), images[row], -1, 0.0, path, row)
    return [found[name] for name in names if name in found]

"""Section: cells of every cluster, as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.report.pictures import crop_uri
from anabatch.report.population import by_part
from anabatch.report.section import Section
from anabatch.store.parts import Part

if TYPE_CHECKING:
    from anabatch.report.members import Cell, Members
    from anabatch.report.population import Population
    from anabatch.report.source import Source

_KINDS = ("closest to the centre", "farthest from the centre", "drawn at random")


def section(source: Source, population: Population | None) -> Section:
    """Read the crops of the chosen cells, and no others."""
    if population is None or not population.size:
        return Section(
            "gallery",
            "Cells of every cluster",
            "gallery.html",
            absent="No cell is in a cluster yet.",
            command="anabatch cluster",
        )
    chosen = {
        number: members.picks(source.config.cells_per_cluster)
        for number, members in sorted(population.clusters.items())
        if members.size
    }
    every = [cell for kinds in chosen.values() for cells in kinds for cell in cells]
    uris = crops(source, every)
    return Section(
        "gallery",
        "Cells of every cluster",
        "gallery.html",
        {
            "clusters": [
                _cluster(source, number, population.clusters[number], kinds, uris)
                for number, kinds in chosen.items()
            ],
            "cells": population.size,
            "generation": population.generation,
        },
    )


def crops(source: Source, cells: list[Cell]) -> dict[str, str]:
    """Read the crops of cells; return them as data URIs, by cell id."""
    uris: dict[str, str] = {}
    for path, members in by_part(cells):
        rows = np.array([cell.row for cell in members], dtype=np.int64)
        pixels = Part(source.store.root, path).take("crops", rows)
        uris |= {cell.cell_id: crop_uri(one) for cell, one in zip(members, pixels, strict=True)}
    return uris


def _cluster(
    source: Source,
    number: int,
    members: Members,
    kinds: tuple[list[Cell], ...],
    uris: dict[str, str],
) -> dict[str, Any]:
    return {
        "number": number,
        "size": members.size,
        "images": len(members.images),
        "kinds": [
            {"name": name, "cells": [_cell(source, cell, uris) for cell in cells]}
            for name, cells in zip(_KINDS, kinds, strict=True)
            if cells
        ],
    }


def _cell(source: Source, cell: Cell, uris: dict[str, str]) -> dict[str, str]:
    labels = source.label_text(cell.image_id)
    return {
        "uri": uris[cell.cell_id],
        "alt": f"cell of cluster {cell.cluster}; {labels}",
        "title": f"{labels} · {source.file_name(cell.image_id)} · cell {cell.cell_id} · "
        f"distance {cell.distance:.3g}",
    }

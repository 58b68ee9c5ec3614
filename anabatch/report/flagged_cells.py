"""Section: flags of cells, and what their nuclei are like, label by label.

All cells are stored and take part in everything; flags only say what is odd about them. One pass over
the cell parts keeps sums per image, so memory grows with the number of images.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.cell_flags import FLAGS
from anabatch.report.measures import MITOTIC, cell_measures, coded, scales
from anabatch.report.section import Section
from anabatch.report.source import AXES
from anabatch.store.live import CELLS, live_parts, read_live_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pyarrow as pa

    from anabatch.report.source import Source

_NONE = ("", "no label")
_DIVIDING = 10


@dataclass
class Sums:
    """What is added up over cells.

    Attributes
    ----------
    cells, flagged, unrecorded : int
        All; those with a flag; those whose flags were not recorded.
    flags : Counter
        Cells by flag.
    measured : Counter
        Cells that have a measure, by measure.
    totals : dict
        Sums of the measures, by name.
    """

    cells: int = 0
    flagged: int = 0
    unrecorded: int = 0
    flags: Counter[str] = field(default_factory=Counter)
    measured: Counter[str] = field(default_factory=Counter)
    totals: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, other: Sums) -> None:
        """Add the cells of another."""
        self.cells += other.cells
        self.flagged += other.flagged
        self.unrecorded += other.unrecorded
        self.flags.update(other.flags)
        self.measured.update(other.measured)
        for measure, total in other.totals.items():
            self.totals[measure] += total

    def mean(self, measure: str) -> float | None:
        """Return a measure's mean; None if no cell has it."""
        number = self.measured[measure]
        return self.totals[measure] / number if number else None

    @property
    def judged(self) -> int:
        """Cells that were judged by their nucleus."""
        return self.measured[MITOTIC]

    @property
    def mitotic(self) -> int:
        """Those found to divide."""
        return round(self.totals[MITOTIC])


def section(source: Source) -> Section:
    """Gather flags and means."""
    base = ("cells", "Flags and nuclei of cells", "flagged_cells.html")
    images = sums_by_image(source)
    if not images:
        return Section(*base, absent="No cell is in the store yet.", command="anabatch segment")
    total = _sum(images.values())
    order = [*FLAGS, *sorted(total.flags.keys() - FLAGS.keys())]
    return Section(
        *base,
        {
            "total": total,
            "images": len(images),
            "flags": [_flag(flag, total, images) for flag in order],
            "axes": _axes(source, images),
            "dividing": _dividing(source, images),
        },
    )


def sums_by_image(source: Source) -> dict[str, Sums]:
    """Add up all live cells, image by image."""
    found: dict[str, Sums] = defaultdict(Sums)
    state = source.store.state
    scale = scales(source)
    for live in live_parts(state, CELLS):
        _add_part(found, read_live_rows(source.store.root, live, CELLS), scale)
    return dict(found)


def _add_part(found: dict[str, Sums], table: pa.Table, scale: Mapping[str, float | None]) -> None:
    images, places = coded(table, "image_id")
    for image, cells in zip(images, np.bincount(places, minlength=len(images)), strict=True):
        found[image].cells += int(cells)
    for measure, values in cell_measures(table, scale).items():
        known = np.isfinite(values)
        counts = np.bincount(places[known], minlength=len(images)).tolist()
        totals = np.bincount(places[known], values[known], len(images)).tolist()
        for image, count, total in zip(images, counts, totals, strict=True):
            found[image].measured[measure] += count
            found[image].totals[measure] += total
    _add_flags(found, table)


def _add_flags(found: dict[str, Sums], table: pa.Table) -> None:
    images, flags = table.column("image_id"), table.column("flags")
    for image, row in zip(images.to_pylist(), flags.to_pylist(), strict=True):
        if row is None:
            found[image].unrecorded += 1
        elif row:
            found[image].flagged += 1
            found[image].flags.update(row)


def _sum(parts: Iterable[Sums]) -> Sums:
    total = Sums()
    for part in parts:
        total.add(part)
    return total


def _flag(flag: str, total: Sums, images: Mapping[str, Sums]) -> dict[str, Any]:
    asked = total.cells - total.unrecorded
    return {
        "flag": flag,
        "meaning": FLAGS.get(flag, ""),
        "cells": total.flags[flag],
        "share": total.flags[flag] / asked if asked else None,
        "images": sum(flag in image.flags for image in images.values()),
    }


def _axes(source: Source, images: Mapping[str, Sums]) -> list[dict[str, Any]]:
    """Return, axis by axis, the sums of every label; those without a label last."""
    labels: dict[tuple[str, str], list[Sums]] = defaultdict(list)
    for image, sums in images.items():
        for pair in source.labels.get(image) or (_NONE,):
            labels[pair].append(sums)
    tables = []
    for axis in (*AXES, ""):
        rows: list[dict[str, Any]] = [
            {"label": label, "images": len(parts), "sums": _sum(parts)}
            for (of, label), parts in labels.items()
            if of == axis
        ]
        if rows:
            rows.sort(key=lambda row: (-row["sums"].cells, row["label"]))
            tables.append({"axis": axis or "none", "rows": rows})
    return tables


def _dividing(source: Source, images: Mapping[str, Sums]) -> list[dict[str, Any]]:
    """Return the images with the most dividing cells."""
    order = sorted(images, key=lambda image: (-images[image].mitotic, image))
    return [
        {
            "file": source.file_name(image),
            "labels": source.label_text(image),
            "mitotic": images[image].mitotic,
            "judged": images[image].judged,
        }
        for image in order[:_DIVIDING]
        if images[image].mitotic
    ]

"""Section: a map of the cells to move about in, on the first two components of the embedding, or on a part's own axes.

The page's only script draws it. It stands in the page, reads nothing but the data beside it, and the
page's policy lets run what has its digest and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections import Counter, defaultdict
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from anabatch.report.colours import cluster_looks
from anabatch.report.components import axis_names
from anabatch.report.figures import CATEGORIES, GREY, data_uri
from anabatch.report.members import LEAST
from anabatch.report.pictures import crop_thumbnail
from anabatch.report.population import by_part
from anabatch.report.section import Section
from anabatch.report.text import plural, printable
from anabatch.store.parts import Part

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anabatch.report.members import Cell
    from anabatch.report.population import Located
    from anabatch.report.source import Source

THUMBNAILS = 2_000
"""Cells of the map whose pictures are in the page, at most."""
OF_CLUSTER = 12
"""Pictures that every cluster has, or else as many as it has cells on the map."""
SIDE = 32
"""Pixels of a picture's side."""

_STEPS = 65_535  # of the map's coordinates
_COLOURS = CATEGORIES[:-1]  # the last is grey, for all others
_QUALITY = 70  # of JPEG, by eye
_TITLE = "Map of the cells"


@cache
def script() -> str:
    """Return the text of the script."""
    return files("anabatch.report").joinpath("templates/cell_map.js").read_text(encoding="utf-8")


def script_digest() -> str:
    """Return the script's digest as a content security policy names it."""
    digest = hashlib.sha256(script().encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def section(source: Source, located: Located | None) -> Section:
    """Gather the map's data: a sample of all clustered cells, the same for the same store."""
    model = source.generation("kpca")
    if located is None or model is None:
        return Section(
            "map",
            _TITLE,
            "cell_map.html",
            absent="No cell is in a cluster and has a place on two components yet.",
            command="anabatch cluster",
        )
    population, cells = located.population, located.cells
    names = axis_names(located, source.model(model)["explained_variance_ratio_"])
    pictured = _pictured(cells)
    return Section(
        "map",
        _TITLE,
        "cell_map.html",
        {
            "cells": len(cells),
            "of": population.size,
            "pictured": len(pictured),
            "least": LEAST,
            "enlarged": population.enlarged,
            "axes": names,
            "own": located.is_part,
            "sheet": _sheet(source, cells, pictured),
            "data": _safe(_data(source, located, pictured) | {"axes": names}),
            "script": Markup(script()),  # noqa: S704 -- our own file
        },
    )


def _pictured(cells: list[Cell]) -> dict[str, int]:
    """Return the place on the sheet of every cell that has a picture.

    Those are the ones with the smallest ids, first of every cluster and then of all.
    """
    ordered = sorted(cells, key=lambda cell: cell.cell_id)
    clusters: defaultdict[int, list[str]] = defaultdict(list)
    for cell in ordered:
        clusters[cell.cluster].append(cell.cell_id)
    share = min(OF_CLUSTER, THUMBNAILS // len(clusters))
    names = dict.fromkeys(name for members in clusters.values() for name in members[:share])
    names |= dict.fromkeys(cell.cell_id for cell in ordered)
    return {name: place for place, name in enumerate(sorted([*names][:THUMBNAILS]))}


def _sheet(source: Source, cells: list[Cell], pictured: dict[str, int]) -> dict[str, Any]:
    """Draw all pictures side by side into one."""
    columns = int(np.ceil(np.sqrt(len(pictured))))
    rows = -(-len(pictured) // columns)
    sheet = np.zeros((rows * SIDE, columns * SIDE), np.uint8)
    for path, members in by_part([cell for cell in cells if cell.cell_id in pictured]):
        chosen = np.array([cell.row for cell in members], dtype=np.int64)
        for cell, crop in zip(
            members, Part(source.store.root, path).take("crops", chosen), strict=True
        ):
            y, x = divmod(pictured[cell.cell_id], columns)
            sheet[y * SIDE : (y + 1) * SIDE, x * SIDE : (x + 1) * SIDE] = crop_thumbnail(crop, SIDE)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return {"uri": data_uri(buffer.getvalue(), "jpeg"), "columns": columns}


def _data(source: Source, located: Located, pictured: dict[str, int]) -> dict[str, Any]:
    """Return what the script draws: every cell as whole numbers, and their names once."""
    cells, places = located.cells, located.places
    images = list(dict.fromkeys(cell.image_id for cell in cells))
    image_places = {image: place for place, image in enumerate(images)}
    low, high = places.min(axis=0), places.max(axis=0)
    span = np.maximum(high - low, 1e-12)
    steps = np.rint((places - low) / span * _STEPS).astype(int)
    return {
        "side": SIDE,
        "columns": max(1, int(np.ceil(np.sqrt(len(pictured))))),
        "aspect": float(span[0] / span[1]) if span.min() > 1e-12 else 1.0,
        "x": steps[:, 0].tolist(),
        "y": steps[:, 1].tolist(),
        "image": [image_places[cell.image_id] for cell in cells],
        "picture": [pictured.get(cell.cell_id, -1) for cell in cells],
        "id": [cell.cell_id[:12] for cell in cells],
        "images": [
            {"file": printable(source.file_name(i)), "labels": printable(source.label_text(i))}
            for i in images
        ],
        "colourings": _colourings(source, cells, located.population.clusters),
    }


def _colourings(source: Source, cells: list[Cell], numbers: Iterable[int]) -> list[dict[str, Any]]:
    """Return by what cells can be coloured: names, colours, and each cell's name by its place."""
    labels = [_label(source, cell.image_id) for cell in cells]
    dates = [_date(source, cell.image_id) for cell in cells]
    clusters = sorted({cell.cluster for cell in cells})
    looks = cluster_looks(numbers)
    numbered = [{"name": str(cluster), "colour": looks[cluster].colour} for cluster in clusters]
    return [
        {
            "name": "cluster",
            "keys": numbered,
            "of": [clusters.index(cell.cluster) for cell in cells],
        },
        {"name": "label", **_most_frequent(labels)},
        {"name": "date", **_in_order(dates)},
    ]


def _label(source: Source, image: str) -> str:
    """Return the label that colours an image's cells: its first pattern, or else class or antigen."""
    names = [label for axis, label in source.labels.get(image, ()) if axis != "status"]
    every = names or [label for _, label in source.labels.get(image, ())]
    return printable(every[0]) if every else "no label"


def _date(source: Source, image: str) -> str:
    known = source.images.get(image)
    return known.date.isoformat() if known is not None and known.date else "undated"


def _most_frequent(values: list[str]) -> dict[str, Any]:
    """Give the most frequent values a colour each, and all others grey, which are named if they are one."""
    counts = Counter(values)
    names = sorted(counts, key=lambda name: (-counts[name], name))
    shown = names[: len(_COLOURS)]
    keys = [{"name": name, "colour": colour} for name, colour in zip(shown, _COLOURS, strict=False)]
    if rest := names[len(shown) :]:
        name = rest[0] if len(rest) == 1 else plural(len(rest), "other")
        keys.append({"name": name, "colour": GREY})
    places = {name: place for place, name in enumerate(shown)}
    return {"keys": keys, "of": [places.get(value, len(shown)) for value in values]}


_EARLY, _LATE = (86, 180, 233), (120, 20, 60)
_MOST_DATES = 12


def _in_order(values: list[str]) -> dict[str, Any]:
    """Give dates colours from early to late, several to a colour where there are many."""
    names = sorted(set(values))
    groups = np.array_split(np.arange(len(names)), min(len(names), _MOST_DATES))
    keys: list[dict[str, str]] = []
    places: dict[str, int] = {}
    for place, members in enumerate(groups):
        first, last = names[int(members[0])], names[int(members[-1])]
        share = place / max(len(groups) - 1, 1)
        colour = [round(a + share * (b - a)) for a, b in zip(_EARLY, _LATE, strict=True)]
        name = first if first == last else f"{first} to {last}"
        keys.append({"name": name, "colour": "#{:02x}{:02x}{:02x}".format(*colour)})
        places |= {names[int(member)]: place for member in members}
    return {"keys": keys, "of": [places[value] for value in values]}


def _safe(data: dict[str, Any]) -> Markup:
    """Return data as JSON that can stand in a page: nothing in it ends or begins an element."""
    text = json.dumps(data, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 -- without characters that HTML takes for its own

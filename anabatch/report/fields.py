"""Section: a sample of segmented images, with the outlines that were found."""

from __future__ import annotations

from collections import defaultdict
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from anabatch.archive.acquisition import read_signal
from anabatch.errors import InputError
from anabatch.report.outlines import CELL_COLOUR, NUCLEUS_COLOUR, outlined_field
from anabatch.report.pictures import field_uri
from anabatch.report.section import Section
from anabatch.store.live import SEGMENT

if TYPE_CHECKING:
    from anabatch.report.source import ImageFile, Source
    from anabatch.store.actions import Action


def section(source: Source) -> Section:
    """Draw the sample."""
    segmented = [a for a in source.store.state.stage(SEGMENT) if a.part is not None]
    if not segmented:
        return Section(
            "fields",
            "Segmented images",
            "fields.html",
            absent="No image is segmented yet.",
            command="anabatch segment",
        )
    chosen = choose(source, segmented)[: source.config.fields]
    return Section(
        "fields",
        "Segmented images",
        "fields.html",
        {
            "fields": [_field(source, action) for action in chosen],
            "total": len(segmented),
            "nucleus_colour": NUCLEUS_COLOUR,
            "cell_colour": CELL_COLOUR,
        },
    )


def choose(source: Source, segmented: list[Action]) -> list[Action]:
    """Order segmented images so that the first few show as much as possible.

    One image of every combination of labels comes before a second of any. Combinations, and images
    within them, stand with those of this run first and then by image id, which is a digest: the choice
    is arbitrary, and the same every time.
    """
    groups: dict[tuple[tuple[str, str], ...], list[Action]] = defaultdict(list)
    for action in sorted(segmented, key=lambda a: (a.run != source.run, a.unit)):
        groups[source.labels.get(action.unit, ())].append(action)
    rounds = zip_longest(*groups.values())
    return [action for turn in rounds for action in turn if action is not None]


def _field(source: Source, action: Action) -> dict[str, Any]:
    image = source.images.get(action.unit)
    facts = action.components
    shown = {
        "name": image.name if image else action.unit,
        "place": f"{image.archive}, {image.date or 'undated'}" if image else "in no archive now",
        "labels": source.label_text(action.unit),
        "cells": facts["cells"],
        "nuclei": facts["nuclei"],
        "diameter": facts["mean_nucleus_diameter"],
    }
    try:
        return shown | {"uri": _picture(source, image, action), "missing": ""}
    except InputError as error:
        return shown | {"uri": "", "missing": str(error)}


def _picture(source: Source, image: ImageFile | None, action: Action) -> str:
    if image is None:
        what = "no archive has a file of this image any more"
        raise InputError(what)
    root = source.archive_roots.get(image.archive)
    if root is None:
        what = f"the folder of the archive {image.archive} was not given"
        raise InputError(what, "Name it in the configuration.")
    if not root.is_dir():
        what = f"the archive {image.archive} is not at {root}"
        raise InputError(what, "Is the disk mounted?")
    signal = read_signal(
        root, image.relative_path, expected_sha256=image.sha256, max_pixels=image.pixels
    )
    nuclei, cells = source.store.label_image(action.unit)
    return field_uri(outlined_field(signal, nuclei, cells).picture)

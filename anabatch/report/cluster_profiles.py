"""Section: what is in every cluster: size and brightness of its cells, and the labels that stand out."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.clustering.enrichment import Enrichment, enriched_labels
from anabatch.report.measures import (
    BRIGHTNESS,
    CELL,
    MITOTIC,
    NUCLEUS,
    NUCLEUS_BRIGHTNESS,
)
from anabatch.report.section import Section
from anabatch.report.source import AXES

if TYPE_CHECKING:
    from anabatch.report.members import Members
    from anabatch.report.population import Population
    from anabatch.report.source import Source

_SIGNIFICANT = 0.05
_LABELS = 4  # of a cluster's composition
_ROWS = 40
_FEW_GROUPS = 8


def section(source: Source, population: Population | None) -> Section:
    """Gather what is told of every cluster."""
    if population is None or not population.size:
        return Section(
            "profiles",
            "What is in the clusters",
            "cluster_profiles.html",
            absent="No cell is in a cluster yet.",
            command="anabatch cluster",
        )
    tested, groups = _test(source, population)
    common = _common(source, population)
    significant = [one for one in tested if one.q < _SIGNIFICANT]
    rows = [
        _profile(source, number, members, significant, common)
        for number, members in sorted(population.clusters.items())
    ]
    return Section(
        "profiles",
        "What is in the clusters",
        "cluster_profiles.html",
        {
            "rows": rows,
            "labelled": any(row["labels"] or row["enriched"] for row in rows),
            "common": sorted(common),
            "groups": groups,
            "few": groups < _FEW_GROUPS,
            "tested": len(tested),
            "enriched": [_row(one) for one in significant[:_ROWS]],
            "more": max(0, len(significant) - _ROWS),
        },
    )


def _names(source: Source, image: str) -> set[str]:
    """Return an image's patterns, antigens and classes."""
    return {label for axis, label in source.labels.get(image, ()) if axis != "status"}


def _common(source: Source, population: Population) -> set[str]:
    """Return the labels that all images have: they tell no cluster from another."""
    images = {image for members in population.clusters.values() for image in members.images}
    return set.intersection(*(_names(source, image) for image in images))


def _profile(
    source: Source,
    number: int,
    members: Members,
    significant: list[Enrichment],
    common: set[str],
) -> dict[str, Any]:
    mitotic = members.measures[MITOTIC]
    return {
        "number": number,
        "cells": members.size,
        "images": len(members.images),
        "groups": len({source.groups.get(image, image) for image in members.images}),
        "nucleus": members.measures[NUCLEUS].mean,
        "cell": members.measures[CELL].mean,
        "brightness": members.measures[BRIGHTNESS].mean,
        "nucleus_brightness": members.measures[NUCLEUS_BRIGHTNESS].mean,
        "mitotic": mitotic.mean,
        "judged": mitotic.cells,
        "labels": _composition(source, members, common),
        "enriched": _enriched(number, significant),
    }


def _enriched(number: int, significant: list[Enrichment]) -> dict[str, list[str]]:
    """Return a cluster's enriched labels by axis, without the status, which is not among labels either."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for one in significant:
        if one.cluster == number:
            found[one.label[0]].append(one.label[1])
    return {axis: found[axis] for axis in AXES if axis in found and axis != "status"}


def _composition(source: Source, members: Members, common: set[str]) -> list[dict[str, Any]]:
    """Return the labels of most of a cluster's cells, without those that all cells have."""
    found: Counter[str] = Counter()
    for image, cells in members.images.items():
        names = _names(source, image)
        for name in (names - common) if names else {"no pattern, antigen or class"}:
            found[name] += cells
    most = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:_LABELS]
    return [{"label": name, "share": cells / members.size} for name, cells in most]


def _test(source: Source, population: Population) -> tuple[list[Enrichment], int]:
    """Test all labels in all clusters, and count the groups that were tested."""
    numbers = sorted(population.clusters)
    names: dict[str, int] = {}
    places: list[set[tuple[str, str]]] = []
    cells: list[Counter[int]] = []
    for number in numbers:
        for image, count in population.clusters[number].images.items():
            group = source.groups.get(image, image)
            if group not in names:
                names[group] = len(names)
                places.append(set())
                cells.append(Counter())
            places[names[group]] |= set(source.labels.get(image, ()))
            cells[names[group]][number] += count
    counts = np.array([[row[number] for number in numbers] for row in cells], dtype=np.int64)
    labels = [frozenset(found) for found in places]
    return enriched_labels(counts.reshape(-1, len(numbers)), labels, numbers), len(names)


def _row(one: Enrichment) -> dict[str, Any]:
    axis, label = one.label
    return {
        "axis": axis,
        "label": label,
        "cluster": one.cluster,
        "groups": one.groups,
        "leaning": one.leaning,
        "others": one.others,
        "others_leaning": one.others_leaning,
        "share": one.share,
        "others_share": one.others_share,
        "p": one.p,
        "q": one.q,
    }

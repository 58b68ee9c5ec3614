"""Section: what clusters of a part of the archive are of, how they were made, and where they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabatch.report.footing import making
from anabatch.report.overview import provenance
from anabatch.report.section import Section
from anabatch.store.live import CELLS

if TYPE_CHECKING:
    from anabatch.report.population import Population
    from anabatch.report.source import Source
    from anabatch.store.actions import Action


def section(source: Source, population: Population, model: Action) -> Section:
    """Gather what the part is, and how its clusters came to be."""
    images = {image for members in population.clusters.values() for image in members.images}
    every = sum(action.rows for action in source.store.state.stage(CELLS))
    facts = {
        "where": model.components.get("where", ""),
        "cells": population.size,
        "of": every,
        "images": len(images),
        "part": {"name": model.unit.split("/")[1], **making(source, model)},
        "provenance": provenance(source),
    }
    return Section("overview", "How these clusters were made", "part_overview.html", facts)

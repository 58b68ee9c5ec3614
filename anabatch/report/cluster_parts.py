"""Section: clusters of parts of the archive, which have reports of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabatch.report.footing import footing, method_of
from anabatch.report.section import Section
from anabatch.store.generations import cells_of, parts

if TYPE_CHECKING:
    from anabatch.report.source import Source
    from anabatch.store.actions import Action


def section(source: Source) -> Section:
    """List the models over a part of the archive."""
    names = parts(source.store.state, "kmeans")
    found = [(name, source.generation("kmeans", name)) for name in names]
    rows = [_row(source, name, model) for name, model in found if model is not None]
    if not rows:
        return Section(
            "parts",
            "Clusters of parts of the archive",
            "cluster_parts.html",
            absent="No part of the archive, as one class, has clusters of its own.",
            command="anabatch cluster --name mine --where \"label = 'homogeneous'\"",
        )
    facts = {"rows": rows}
    return Section("parts", "Clusters of parts of the archive", "cluster_parts.html", facts)


def _row(source: Source, name: str, model: Action) -> dict[str, object]:
    return {
        "name": name,
        "where": model.components.get("where", ""),
        "cells": cells_of(source.store.state, name),
        "k": int(model.components["k"]),
        "method": method_of(model),
        "generation": int(model.components["generation"]),
        "run": model.run,
        "old": not footing(source, model).stands,
    }

"""Section: clusters of parts of the archive, which have reports of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabatch.report.footing import footing, method_of
from anabatch.report.section import Section
from anabatch.store.live import CLUSTER, CLUSTER_MODEL, MODEL

if TYPE_CHECKING:
    from anabatch.report.source import Source
    from anabatch.store.actions import Action


def section(source: Source) -> Section:
    """List the models over a part of the archive."""
    prefix = "kmeans/"
    models = [a for a in source.store.state.stage(MODEL) if a.unit.startswith(prefix)]
    names = sorted({a.unit.split("/")[1] for a in models} - {CLUSTER_MODEL})
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
    prefix = f"{name}:"
    assigned = [a for a in source.store.state.stage(CLUSTER) if a.unit.startswith(prefix)]
    return {
        "name": name,
        "where": model.components.get("where", ""),
        "cells": sum(int(a.components.get("selected", 0)) for a in assigned),
        "k": int(model.components["k"]),
        "method": method_of(model),
        "generation": int(model.components["generation"]),
        "run": model.run,
        "old": not footing(source, model).stands,
    }

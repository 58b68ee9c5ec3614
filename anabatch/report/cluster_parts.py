"""Section: clusters of parts of the archive, which have reports of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    embedding = source.generation("kpca")
    rows = []
    for name in names:
        model = source.generation("kmeans", name)
        if model is not None:
            rows.append(_row(source, name, model, embedding))
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


def _row(source: Source, name: str, model: Action, embedding: Action | None) -> dict[str, object]:
    recipe = source.store.state.get("recipe", str(model.components["settings"]))
    fitted = recipe.components["models"].get("embedding") if recipe else None
    prefix = f"{name}:"
    assigned = [a for a in source.store.state.stage(CLUSTER) if a.unit.startswith(prefix)]
    return {
        "name": name,
        "where": model.components.get("where", ""),
        "cells": sum(int(a.components.get("selected", 0)) for a in assigned),
        "k": int(model.components["k"]),
        "method": model.components.get("method", "kmeans"),
        "generation": int(model.components["generation"]),
        "run": model.run,
        "old": embedding is None or fitted != embedding.part_digest,
    }

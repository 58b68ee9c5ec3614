"""New kinds: whether cells that came after the fit make a cluster that it does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabatch.compute import gather, task
from anabatch.stages import new_kinds as stage
from anabatch.stages.cluster import KIND as CLUSTERS
from anabatch.stages.population import Generation, fitted_rows
from anabatch.store.live import CLUSTER, MODEL, cluster_unit

from .generations import current

if TYPE_CHECKING:
    from anabatch.config import ClusterConfig
    from anabatch.stages.population import Source
    from anabatch.store.actions import Action
    from anabatch.store.state import State

    from .context import Context


def standing_proposal(state: State, name: str) -> Action | None:
    """Return the new kind that is proposed for a model's current generation, or None."""
    model, proposal = current(state, CLUSTERS, name), current(state, stage.KIND, name)
    if model is None or proposal is None or proposal.components["model"] != model.part:
        return None
    return proposal


def far_from_all(
    context: Context, found: tuple[Source, ...], model: Action
) -> tuple[list[tuple[Source, Action]], int, int]:
    """Return the parts with cells far from all clusters, of those that the fit did not see.

    Nothing is read but what the fit was on: how many cells are far stands in the ledger.

    Parameters
    ----------
    context : Context
    found : tuple of Source
        The embedding of all cells.
    model : Action
        The generation of the clusters.

    Returns
    -------
    parts : list of (Source, Action)
        With what put them into clusters.
    beyond, new : int
        Their far cells; and all cells that the fit did not see.
    """
    fitted = fitted_rows(context.store.root, str(model.part))
    parts, beyond, new = [], 0, 0
    for source in found:
        if source.live.path in fitted:
            continue
        new += source.live.rows
        action = context.store.state.get(CLUSTER, cluster_unit(source.live.path, _name(model)))
        if action is not None and action.components.get("beyond"):
            parts.append((source, action))
            beyond += int(action.components["beyond"])
    return parts, beyond, new


def look(context: Context, found: tuple[Source, ...], model: Action, config: ClusterConfig) -> bool:
    """Look for a new kind if cells were put into clusters just now; propose it, and say so.

    Returns
    -------
    bool
        Whether one is proposed anew.
    """
    state, root = context.store.state, context.store.root
    quantile = model.components.get("quantile")
    fresh = state.pending(lambda action: action.stage == CLUSTER)
    if quantile is None or not fresh.put:
        return False
    parts, beyond, new = far_from_all(context, found, model)
    if beyond < config.least_new:
        return False
    generation = _next(context, parts, model)
    components, threads = int(model.components["components"]), context.config.compute.threads
    rows = [
        task(stage.far_rows, root, source, str(action.part), quantile, components, threads=threads)
        for source, action in parts
    ]
    facts = (str(model.part), quantile, new, config.least_new)
    graph: Any = task(stage.propose, generation, gather(rows), *facts, threads=threads)
    written = context.cluster.backend.compute(graph)
    if written is None:
        return False
    older = [a for a in state.stage(MODEL) if a.unit.startswith(f"{stage.KIND}/{_name(model)}/")]
    state.delete(older)
    state.put(written.actions)
    (proposal,) = written.actions
    together = proposal.components["together"]
    text = (
        f"cluster: {together} of {new} new cells lie together, and farther from all clusters than 999 "
        "of 1,000 that these were fitted on. A NEW KIND? The report shows them; "
        "`anabatch cluster --add-new` gives them a cluster of their own"
    )
    context.reporter.warn("new_kind", text, job="cluster", cells=together, of=new)
    return True


def _name(model: Action) -> str:
    return model.unit.split("/")[1]


def _next(context: Context, parts: list[tuple[Source, Action]], model: Action) -> Generation:
    before = current(context.store.state, stage.KIND, _name(model))
    return Generation(
        store=context.store.root,
        kind=stage.KIND,
        name=_name(model),
        number=int(before.components["generation"]) + 1 if before else 1,
        settings=str(model.components["settings"]),
        rows={source.live.path: source.live.rows for source, _ in parts},
        sequence=context.next_sequence(),
        run=context.run,
        basis=str(model.part_digest),
    )

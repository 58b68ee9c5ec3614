"""New kinds: whether cells that came after the fit make a cluster that it does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabatch.compute import task, tree
from anabatch.errors import PartCorruptError
from anabatch.stages import new_kinds as stage
from anabatch.stages.cluster import KIND as CLUSTERS
from anabatch.stages.embed import KIND as KPCA
from anabatch.stages.embed import embed_key
from anabatch.stages.new_kinds import Far, Question, Reach
from anabatch.stages.population import Generation
from anabatch.store.generations import current, generations
from anabatch.store.keys import action_key
from anabatch.store.live import CLUSTER, CLUSTER_MODEL, EMBED, FEATURIZE, cluster_unit

if TYPE_CHECKING:
    from anabatch.config import ClusterConfig
    from anabatch.stages.population import Source
    from anabatch.store.actions import Action
    from anabatch.store.parts import WrittenPart
    from anabatch.store.state import State

    from .context import Context

_LEAST_IMAGES = 3
"""Images that cells of a new kind must come from, to become a cluster without being asked for."""


def standing_proposal(state: State, name: str) -> Action | None:
    """Return the new kind that is proposed for a model's current generation, or None."""
    model, proposal = current(state, CLUSTERS, name), current(state, stage.KIND, name)
    if model is None or proposal is None or proposal.components["model"] != model.part:
        return None
    return proposal


def described(context: Context, embedding: Action) -> dict[str, str]:
    """Return the parts of the features that the embedding was made of, by cell parts.

    Features may be newer than their embedding: those are in none of its generations.
    """
    state, digest = context.store.state, str(embedding.part_digest)
    found = {}
    for action in state.stage(EMBED):
        features = state.get(FEATURIZE, action.unit)
        if features is None or features.part is None:
            continue
        if action.key == embed_key(str(features.part_digest), digest):
            found[action.unit] = features.part
    return found


def far_of_parts(context: Context, model: Action) -> dict[str, Far]:
    """Return what is far from all that a model was fitted on, by cell parts that the fit did not see.

    Empty for generations that did not measure it.
    """
    quantile, reach = model.components.get("quantile"), model.components.get("reach")
    embedding = current(context.store.state, KPCA, CLUSTER_MODEL)
    if quantile is None or embedding is None:
        return {}
    fitted = context.fitted_rows(model)
    kpca = str(embedding.part)
    return {
        path: Far(quantile, Reach(kpca, features, reach) if reach is not None else None)
        for path, features in described(context, embedding).items()
        if path not in fitted
    }


def far_from_all(
    context: Context, found: tuple[Source, ...], far: dict[str, Far]
) -> tuple[list[tuple[Source, Action]], int, int]:
    """Return the parts with cells that are far, of those that the fit did not see.

    Nothing is read: how many cells are far stands in the ledger.

    Parameters
    ----------
    context : Context
    found : tuple of Source
        The embedding of all cells.
    far : dict
        As :func:`far_of_parts` gives it.

    Returns
    -------
    parts : list of (Source, Action)
        With what put them into clusters.
    beyond, new : int
        Their far cells; and all cells that the fit did not see.
    """
    parts, beyond, new = [], 0, 0
    for source in found:
        if source.live.path not in far:
            continue
        new += source.live.rows
        action = context.store.state.get(CLUSTER, cluster_unit(source.live.path))
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
    state = context.store.state
    fresh = state.pending(lambda action: action.stage == CLUSTER)
    far = far_of_parts(context, model) if fresh.put else {}
    parts, beyond, new = far_from_all(context, found, far)
    question = Question(
        model=str(model.part),
        quantile=model.components.get("quantile", 0.0),
        criteria=1 if model.components.get("reach") is None else 2,
        new=new,
        least=config.least_new,
        cells=_digest(parts),
    )
    if not question.may_be(beyond):  # nor any of them that lie together: nothing is read
        return False
    written = _propose(context, parts, far, model, question)
    if written is None:
        return False
    state.delete(generations(state, stage.KIND, _name(model)))
    state.put(written.actions)
    (proposal,) = written.actions
    together, images = (proposal.components[name] for name in ("together", "images"))
    text = (
        f"cluster: {together} of {new} new cells, of {images} images, lie together, and farther from "
        "what the clusters were fitted on than 999 of 1,000 cells. A NEW KIND? The report shows "
        "them; `anabatch cluster --add-new` gives them a cluster of their own"
    )
    context.reporter.warn("new_kind", text, job="cluster", cells=together, of=new)
    return True


def _propose(
    context: Context,
    parts: list[tuple[Source, Action]],
    far: dict[str, Far],
    model: Action,
    question: Question,
) -> WrittenPart | None:
    """Write a proposal if far cells make a cluster of their own; they are read if not read for the last."""
    generation = _next(context, parts, model)
    if (before := _made_of(context, question.cells, model)) is not None:
        try:
            return stage.propose_again(generation, before, question)
        except PartCorruptError:  # `verify` tells of it; the cells are read for another
            pass
    components, threads = int(model.components["components"]), context.config.compute.threads
    rows = [
        task(
            stage.far_rows,
            context.store.root,
            source,
            str(action.part),
            far[source.live.path],
            components,
            threads=threads,
        )
        for source, action in parts
    ]
    drawn = tree(rows, stage.merge, threads=threads)
    graph: Any = task(stage.propose, generation, drawn, question, threads=threads)
    written: WrittenPart | None = context.cluster.backend.compute(graph)
    return written


def _made_of(context: Context, cells: str, model: Action) -> Action | None:
    """Return the proposal that stands, if it was made of these rows of the cell parts, and of no others."""
    proposal = standing_proposal(context.store.state, _name(model))
    if proposal is None or context.damage(proposal.part) or "images" not in proposal.components:
        return None
    return proposal if proposal.fact("cells", "") == cells else None


def _digest(parts: list[tuple[Source, Action]]) -> str:
    """Return a digest of which rows of which cell parts are looked at."""
    rows = {source.live.path: source.live.joined() for source, _ in parts}
    return action_key(cells=rows)


def may_add_itself(state: State, name: str) -> bool:
    """Return whether the proposed kind may become a cluster unasked: one bad image is no kind."""
    proposal = standing_proposal(state, name)
    return proposal is not None and int(proposal.components.get("images", 0)) >= _LEAST_IMAGES


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

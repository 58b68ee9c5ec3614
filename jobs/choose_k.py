"""Choose k: try several numbers of clusters, and tell what speaks for each."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

from anabatch.clustering.choice import STABLE
from anabatch.clustering.resampling import FEW_GROUPS
from anabatch.compute import flat, gather, task, tree
from anabatch.errors import PopulationError
from anabatch.report.text import plural
from anabatch.stages import choose_k as stage
from anabatch.stages.cluster import cluster_recipe
from anabatch.stages.pilots import Draw
from anabatch.stages.population import Source, read_model
from anabatch.store.live import CLUSTER_MODEL

from .cluster_part import embedding_of
from .generations import Kind, next_generation, pilot_with_images, rows_of, sources

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anabatch.stages.population import Generation
    from anabatch.store.actions import Action

    from .cluster_fit import Subject
    from .context import Context

_MOST = 50


def parse_range(text: str) -> tuple[int, ...]:
    """Return the numbers that a text such as `2..12` names.

    Raises
    ------
    typer.BadParameter
        It names none.
    """
    match = re.fullmatch(r"(\d+)\.\.(\d+)", text)
    first, last = (int(number) for number in match.groups()) if match else (0, 0)
    if not 2 <= first < last <= _MOST:
        message = f"{text!r} is no range of numbers of clusters: give one as 2..12, up to {_MOST}"
        raise typer.BadParameter(message)
    return tuple(range(first, last + 1))


def graph_of(
    context: Context, subject: Subject, generation: Generation, ks: tuple[int, ...]
) -> Any:
    """Return the graph of the study; nothing is computed."""
    config, threads = subject.config, context.config.compute.threads
    root = context.store.root
    parts = {source.live.path: source for source in sources(context.store.state, "features")}
    described = tuple(
        Source(s.live, parts[s.live.path].part, parts[s.live.path].array) for s in subject.found
    )

    def studies(study: Any, pilot: Any) -> Any:
        return flat(gather([task(study, pilot, config, k, threads=threads) for k in ks]))

    cells = rows_of(subject.found)
    draw = Draw(config.pilot, cells, config.seed, config.components)
    pilot = pilot_with_images(context, subject.found, draw)
    on_embedding = studies(stage.study, pilot)
    scores = [
        task(partial(stage.score, root, source), on_embedding, config, threads=threads)
        for source in subject.found
    ]
    total = tree(scores, stage.merge, threads=threads)
    few = Draw(min(config.pilot, stage.FEATURE_ROWS), cells, config.seed)
    plain = pilot_with_images(context, described, few)
    on_features = studies(stage.study_features, plain)
    scored = task(stage.score_pilot, plain, on_features, threads=threads)
    return task(
        stage.finish,
        generation,
        gather([on_embedding, total]),
        gather([on_features, scored]),
        threads=threads,
    )


def run(context: Context, subject: Subject, ks: tuple[int, ...]) -> int:
    """Study numbers of clusters, keep what was found, tell it, and return the one it suggests.

    Parameters
    ----------
    context : Context
    subject : Subject
        What is to be clustered.
    ks : tuple of int

    Raises
    ------
    PopulationError
        There are too few cells for the largest number, or too few different ones for any.
    """
    cells = rows_of(subject.found)
    if cells <= ks[-1]:
        what = f"{ks[-1]} clusters of {cells} cells cannot be tried"
        raise PopulationError(what, "Give a smaller range.")
    embedding = embedding_of(context)
    recipe = cluster_recipe(subject.config, str(embedding.part_digest), subject.where)
    kind = Kind(stage.KIND, subject.name, recipe, 0.0, least=ks[-1])
    generation = next_generation(context, kind, subject.found, subject.basis)
    text = f"cluster: trying {ks[0]} to {ks[-1]} clusters of {cells} cells of {subject.name}"
    context.reporter.say("choose_k", text, model=subject.name, cells=cells)
    with context.reporter.timed("cluster"):
        written = context.cluster.backend.compute(graph_of(context, subject, generation, ks))
    context.store.state.put(written.actions)
    (action,) = written.actions
    _tell(context, subject, action)
    return int(action.components["suggested"])


def _tell(context: Context, subject: Subject, choice: Action) -> None:
    found = read_model(context.store.root, str(choice.part))
    facts = choice.components
    say = context.reporter
    _tell_images(context, subject, int(facts["images"]))
    by = "images" if facts["images"] > 1 else "cells"
    left_out, redrawn = dict(facts["left_out"]), dict(facts["redrawn"])
    for number, k in enumerate(found["k"].tolist()):
        if k in left_out:
            text = f"cluster: k = {k} is left out: {left_out[k]}"
            say.warn("left_out", text, model=subject.name, k=k, reason=left_out[k])
            continue
        values = {name: round(float(found[name][number]), 4) for name in _MEASURES}
        if np.isfinite(found["small_share"][number]):
            values |= {name: round(float(found[name][number]), 4) for name in _OF_SMALL}
        text = _measures(k, values, by)
        if k in redrawn:
            text += f"; drawn again: {plural(redrawn[k], 'resample')} of too few cells that differ"
            values["redrawn"] = redrawn[k]
        say.say("k", text, model=subject.name, k=k, **values)
    if facts["rises"]:
        text = "cluster: WSS rises with k somewhere: the fits got stuck; raise cluster.restarts"
        say.warn("stuck", text, model=subject.name)
    if facts["small"]:
        _tell_small(context, subject, found, facts)
    which = "of the stable numbers" if facts["stable"] else _NONE_STABLE
    text = (
        f"cluster: {which} {facts['suggested']} has the largest mean silhouette, which a kind of few cells "
        f"hardly changes; WSS bends at {facts['knee']}, which is a hint and no more. "
        + (_CURVES if subject.name == CLUSTER_MODEL else "The report has the curves")
    )
    say.say("suggested", text, model=subject.name, k=facts["suggested"], knee=facts["knee"])


_CURVES = "`anabatch report` writes a report with the curves"  # of a part, one follows by itself
_NONE_STABLE = f"no number is stable (agreement {STABLE} or more); of all,"
_MEASURES = (
    "squares",
    "simplified",
    "silhouette",
    "silhouette_error",
    "agreement",
    "agreement_error",
)
_OF_SMALL = ("small_share", "small_stability", "small_silhouette")


def _tell_images(context: Context, subject: Subject, images: int) -> None:
    """Say of how many images the cells are that were tried: errors and agreement are of images."""
    say, facts = context.reporter, {"model": subject.name, "images": images}
    if images == 1:
        text = (
            "cluster: all cells that were tried are of ONE image: its cells were resampled in the place of "
            "images, and agreement and errors are surer than they should be"
        )
        say.warn("one_image", text, **facts)
        return
    text = f"cluster: agreement and errors are of {images} images, resampled as a whole"
    if images < FEW_GROUPS:
        text += "; from so few, errors come out too small all the same"
    say.say("images", text, **facts)


def _measures(k: int, values: dict[str, float], by: str) -> str:
    """Return what speaks for one number in one line."""
    text = (
        f"cluster: k = {k}: WSS {values['squares']:.4g}, silhouette {values['silhouette']:.3f} "
        f"(+- {values['silhouette_error']:.1g} by {by}), simplified {values['simplified']:.3f}, "
        f"agreement {values['agreement']:.2f} (+- {values['agreement_error']:.2f})"
    )
    if "small_share" not in values:
        return text
    share, stability, silhouette = (values[name] for name in _OF_SMALL)
    return (
        f"{text}; a cluster of {100 * share:.2g} % has stability {stability:.2f}, "
        f"simplified silhouette {silhouette:.3f}"
    )


def _tell_small(
    context: Context, subject: Subject, found: Mapping[str, Any], facts: Mapping[str, Any]
) -> None:
    """Say where a small cluster is stable: it is a finding, whatever the means over all cells say."""
    numbers, ks = facts["small"], found["k"].tolist()
    first = numbers[0]
    share = float(found["small_share"][ks.index(first)])
    tried = [k for k in ks if k >= first and k not in dict(facts["left_out"])]
    where = f"at k = {', '.join(map(str, numbers))}"
    if len(numbers) == 1:
        where += " alone"  # it may be the tail of a wider kind
    elif numbers == tried:
        where = f"from k = {first} on"
    text = f"cluster: {where}, a stable cluster of {100 * share:.2g} % of the cells appears"
    if facts["suggested"] not in numbers:
        text += f"; with {facts['suggested']} it is not there, or not stable"
    context.reporter.say("small", text, model=subject.name, k=first, share=round(share, 4))

"""Segment: acquisitions → label images and cells, and on the way of a whole run their features.

A batch is a chain: segment, cut, featurize. Its results stand or fall together, so that what is
committed is whole.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from anabatch.compute import gather, task
from anabatch.gpus import CPU, GPU, describer, visible_gpus
from anabatch.report.text import plural
from anabatch.segmentation.models import NETWORKS, segmentation_digest
from anabatch.stages.cells import cells_key, cells_recipe, cut
from anabatch.stages.featurize import featurize
from anabatch.stages.images import ImageBatch, ImageItem
from anabatch.stages.segment import segment, segment_key, segment_recipe
from anabatch.store.actions import DEFERRED, FAILED, NO_CELLS, OK
from anabatch.store.attempts import Place
from anabatch.store.live import CELLS, FEATURIZE, SCAN, SEGMENT
from anabatch.store.parts import WrittenPart
from anabatch.store.recipes import RECIPE, Cause, Reason, Recipe

from . import standing
from .batches import Apart, Blame
from .featurize import Extractor, featurize_batch
from .guards import refuse_recompute
from .images import drop_orphans, drop_unshown, shown_images
from .job import Job

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from anabatch.store.actions import Action
    from anabatch.store.state import State

    from .context import Context

JOB = Job(
    "segment",
    reads=("archive", "acquisitions"),
    writes=("labels", "cells"),
    parameters=("segment", "cells"),
)

_MEGA = 1e6

Day: TypeAlias = "tuple[str, dt.date | None]"
"""An archive and a date of it."""


Reasons: TypeAlias = dict[tuple[str, str], Reason]
"""Why actions have to be done, by stage and unit."""


@dataclass(frozen=True)
class ImagePlan:
    """What the segmentation has to do.

    Attributes
    ----------
    fresh : tuple of ImageBatch
        Images to be segmented.
    recut : tuple of ImageBatch
        Images whose label images stand, and whose cells are to be cut anew.
    unreachable : int
        Images to be segmented whose archive is not part of this run.
    reasons : dict
        Why, for both stages of every image of the batches.
    """

    fresh: tuple[ImageBatch, ...]
    recut: tuple[ImageBatch, ...]
    unreachable: int
    reasons: Reasons

    @property
    def batches(self) -> int:
        """Number of batches."""
        return len(self.fresh) + len(self.recut)

    def is_fresh(self, batch: ImageBatch) -> bool:
        """Whether a batch, or what was split off one, is to be segmented, and not only cut."""
        return (SEGMENT, batch.items[0].image_id) in self.reasons


@dataclass(frozen=True)
class Recipes:
    """What determines both stages beside the image."""

    segment: Recipe
    cells: Recipe

    @classmethod
    def of(cls, context: Context) -> Recipes:
        """Return those of a configuration, which the ledger then keeps."""
        both = cls(segment_recipe(context.config.segment), cells_recipe(context.config.cells))
        context.use(both.segment)
        context.use(both.cells)
        return both


def plan(context: Context) -> ImagePlan:
    """Compare the live images with the ledger, by action keys, and adopt what is finished."""
    recipes = Recipes.of(context)
    digests = recipes.segment.digest, recipes.cells.digest
    roots = {archive.name: archive.path for archive in context.config.archives}
    fresh: list[tuple[Action, ImageItem]] = []
    recut: list[tuple[Action, ImageItem]] = []
    reasons: Reasons = {}
    unreachable = 0
    for image_id, acquisitions in shown_images(context.store.state).items():
        reachable = [action for action in acquisitions if action.archive in roots]
        source = (reachable or acquisitions)[0]
        if not context.wanted(source.date):
            continue
        root = roots.get(source.archive, context.store.root)
        item = _item(image_id, source, root, digests)
        found = _reasons(context, item, recipes, Place(source.archive, source.date))
        if found and not reachable:
            unreachable += 1
        elif found:
            reasons |= found
            (fresh if (SEGMENT, image_id) in found else recut).append((source, item))
    return ImagePlan(
        tuple(_batches(context, fresh, recipes)),
        tuple(_batches(context, recut, recipes)),
        unreachable,
        reasons,
    )


def graphs(
    context: Context, plan: ImagePlan, extractor: Extractor | None
) -> Iterator[tuple[ImageBatch, Any]]:
    """Yield one graph a batch; nothing is computed.

    Parameters
    ----------
    context : Context
    plan : ImagePlan
    extractor : Extractor or None
        Of the features; None if they do not belong to the chain.
    """
    for batch in (*plan.fresh, *plan.recut):
        yield batch, _chain(context, batch, extractor, plan)


def run(context: Context, found: ImagePlan | None = None, *, with_features: bool = False) -> None:
    """Bring label images and cells up to date, and commit date by date.

    Parameters
    ----------
    context : Context
    found : ImagePlan, optional
        What has to be done, where that is known.
    with_features : bool
        Whether the features belong to a batch's chain.
    """
    found = found or plan(context)
    _tell(context, found)
    refuse_recompute(context, found.reasons)
    if found.fresh:
        _tell_device(context)
    state = context.store.state
    drop_unshown(state)
    extractor = Extractor.of(context) if with_features and found.batches else None
    left = Counter((b.archive, b.date) for b in (*found.fresh, *found.recut))
    finished: set[Day] = set()

    def commit(days: set[Day]) -> None:
        drop_orphans(state)
        context.commit(lambda action: _goes_with(state, action, days))

    def done(batch: ImageBatch, parts: list[WrittenPart]) -> None:
        _take(state, parts, found.reasons)
        day = (batch.archive, batch.date)
        left[day] -= 1
        if not left[day]:
            finished.add(day)
        if finished and context.commit_is_due:
            commit(finished)
            finished.clear()
        elif context.long_date_is_due:
            commit({day})

    def split(batch: ImageBatch) -> list[tuple[ImageBatch, Any]]:
        left[batch.archive, batch.date] += len(batch.items) - 1
        singles = [
            replace(batch, items=(item,), sequence=context.next_sequence()) for item in batch.items
        ]
        return [(single, _chain(context, single, extractor, found)) for single in singles]

    def give_up(single: ImageBatch, blame: Blame) -> None:
        stage = SEGMENT if found.is_fresh(single) else CELLS
        (item,), facts = single.items, blame.components
        failure = single.action(stage, item, outcome=FAILED, reason=blame.reason, components=facts)
        done(single, [WrittenPart(None, None, (failure,))])

    every = graphs(context, found, extractor)
    context.execute("segment", every, found.batches, done, Apart(split, give_up))
    drop_orphans(state)
    context.commit()


def _goes_with(state: State, action: Action, days: set[Day]) -> bool:
    """Tell whether a change belongs to the commit of some finished dates.

    A file that was moved stays where it was until its new place is committed too: its picture has
    cells, and they must not be without an acquisition.
    """
    if action.stage == RECIPE:
        return True
    if (action.archive, action.date) not in days:
        return False
    goes = action.stage == SCAN and state.get(SCAN, action.unit) is None
    return not goes or state.get(SEGMENT, str(action.fact("image_id"))) is None


def _item(image_id: str, source: Action, root: Path, recipes: tuple[str, str]) -> ImageItem:
    pixels = float(source.fact("pixels_per_reference_pixel"))
    segmented = segment_key(image_id, pixels, recipes[0])
    return ImageItem(
        image_id=image_id,
        root=root,
        relative_path=str(source.fact("relative_path")),
        sha256=str(source.fact("file_sha256")),
        pixels_per_reference_pixel=pixels,
        segment_key=segmented,
        cells_key=cells_key(segmented, recipes[1]),
    )


def _reasons(context: Context, item: ImageItem, recipes: Recipes, place: Place) -> Reasons:
    """Return why an image's actions have to be done; nothing where they stand or are adopted."""
    image, state = item.image_id, context.store.state
    before = state.get(SEGMENT, image)
    pixels = before.fact("pixels", None) if before else None
    other_scale = Reason(
        Cause.INPUT, f"pixels per reference pixel {pixels} -> {item.pixels_per_reference_pixel}"
    )
    anew = standing.reason(
        context, SEGMENT, image, item.segment_key, recipes.segment, otherwise=other_scale
    )
    if anew and not standing.adopt(context, SEGMENT, image, item.segment_key, place):
        cause = Cause.UPSTREAM if state.get(CELLS, image) else Cause.NEW
        return {(SEGMENT, image): anew, (CELLS, image): Reason(cause)}
    segmented = state.get(SEGMENT, image)
    if segmented is None or segmented.outcome == FAILED:
        return {}  # it is in quarantine, and there is nothing to cut
    upstream = Reason(Cause.UPSTREAM)
    anew = standing.reason(context, CELLS, image, item.cells_key, recipes.cells, otherwise=upstream)
    if anew and not standing.adopt(context, CELLS, image, item.cells_key, place):
        return {(CELLS, image): anew}
    return {}


def _batches(
    context: Context, items: list[tuple[Action, ImageItem]], recipes: Recipes
) -> Iterator[ImageBatch]:
    """Cut images into batches of one archive, date and sample type, by reference megapixels."""
    by_kind: dict[tuple[str, dt.date | None, str], list[tuple[float, ImageItem]]] = defaultdict(
        list
    )
    for source, item in items:
        facts = source.components
        scale = item.pixels_per_reference_pixel
        megapixels = facts["width"] * facts["height"] / scale**2 / _MEGA
        by_kind[source.archive, source.date, facts["dtype"]].append((megapixels, item))
    limit = context.config.compute.batch_megapixels
    model = segmentation_digest(context.config.segment)
    digests = {SEGMENT: recipes.segment.digest, CELLS: recipes.cells.digest}
    for (archive, date, _), sized in by_kind.items():
        for chunk in _chunks(sized, limit):
            yield ImageBatch(
                store=context.store.root,
                archive=archive,
                date=date,
                items=tuple(chunk),
                segment=context.config.segment,
                model=model,
                cells=context.config.cells,
                recipes=digests,
                max_pixels=context.config.scan.max_pixels,
                threads=context.config.compute.threads,
                sequence=context.next_sequence(),
                run=context.run,
            )


def _chunks(sized: Iterable[tuple[float, ImageItem]], limit: float) -> Iterator[list[ImageItem]]:
    chunk: list[ImageItem] = []
    total = 0.0
    for size, item in sized:
        if chunk and total + size > limit:
            yield chunk
            chunk, total = [], 0.0
        chunk.append(item)
        total += size
    if chunk:
        yield chunk


def _standing(state: State, batch: ImageBatch) -> WrittenPart:
    """Return what the ledger knows of a batch's label images, as if just written."""
    found = [state.get(SEGMENT, item.image_id) for item in batch.items]
    return WrittenPart(None, None, tuple(action for action in found if action))


def _chain(
    context: Context, batch: ImageBatch, extractor: Extractor | None, plan: ImagePlan
) -> Any:
    """Return a batch's way; without an extractor it ends with the cells.

    With GPUs the segmentation is one task on a GPU's worker, and not five on two kinds of workers: what
    lies between its steps, some 170 MB for 30 fields, would go from process to process, which takes a
    quarter of the time that the shipped networks take on an H100. The steps overlap within the worker
    instead (:mod:`anabatch.segmentation.pipeline`). The rest of the way is for the workers beside it,
    but for the features' network, if it is configured to run on a GPU.
    """
    threads = context.config.compute.threads
    on_gpu, beside = (GPU, CPU) if context.config.compute.gpus else (None, None)
    if plan.is_fresh(batch):
        segmented = task(segment, batch, threads=threads, on=on_gpu)
    else:
        segmented = _standing(context.store.state, batch)
    cells = task(cut, batch, segmented, threads=threads, on=beside)
    if extractor is None:
        return gather([segmented, cells], on=beside)
    described = featurize_batch(context, batch.archive, batch.date, batch.sequence, extractor)
    features = task(featurize, described, cells, threads=threads, on=describer(context.config))
    return gather([segmented, cells, features], on=beside)


def _take(state: State, parts: list[WrittenPart], reasons: Reasons) -> None:
    """Take a batch's results over. An image that failed loses its older cells; one that waits does not."""
    every = [action for part in parts for action in part.actions]
    for part in parts:
        for action in standing.with_reasons(part.actions, reasons | _of_features(every, reasons)):
            older = state.get(action.stage, action.unit)
            if action.outcome == DEFERRED and older and older.outcome in (OK, NO_CELLS):
                continue
            state.put([action])
            if action.stage == SEGMENT and action.outcome == FAILED:
                cells = state.get(CELLS, action.unit)
                state.delete([cells] if cells else [])


def _of_features(actions: list[Action], reasons: Reasons) -> Reasons:
    """Return why the cell parts among a batch's results were described: as their cells were cut."""
    causes = {reasons[CELLS, a.unit].cause for a in actions if (CELLS, a.unit) in reasons}
    cause = Cause.NEW if causes <= {Cause.NEW} else Cause.UPSTREAM
    return {(FEATURIZE, a.unit): Reason(cause) for a in actions if a.stage == FEATURIZE}


def _tell_device(context: Context) -> None:
    """Say loudly that networks run on the CPU, and whether that need be."""
    config, compute = context.config.segment, context.config.compute
    if config.device != "cpu" or not NETWORKS[config.recipe]:
        return
    here = compute.scheduler in ("local", "sync")
    gpus = len(visible_gpus()) if here else 0
    text = "segment: THE NETWORKS RUN ON THE CPU"
    if gpus:
        text += f", and this machine has {gpus} {'GPU' if gpus == 1 else 'GPUs'}: --gpus all"
    elif here:
        text += ": this machine has no NVIDIA GPU that can be used"
    context.reporter.warn("cpu", text, gpus=gpus)


def _tell(context: Context, found: ImagePlan) -> None:
    fresh = sum(len(batch.items) for batch in found.fresh)
    recut = sum(len(batch.items) for batch in found.recut)
    context.reporter.say(
        "planned",
        f"segment: {plural(fresh, 'image')} to segment, {recut} to cut anew",
        job="segment",
        segment=fresh,
        recut=recut,
    )
    if found.unreachable:
        many = plural(found.unreachable, "image waits", "images wait")
        text = f"segment: {many} for an archive that is not in this run"
        context.reporter.warn("unreachable", text, images=found.unreachable)

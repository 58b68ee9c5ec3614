"""Segment: acquisitions → label images and cells, and on the way of a whole run their features.

A batch is a chain: segment, cut, featurize. Its results stand or fall together, so that what is
committed is whole.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from anabatch.compute import gather, task
from anabatch.segmentation.models import segmentation_digest
from anabatch.stages.cells import cells_key, cut
from anabatch.stages.featurize import featurize
from anabatch.stages.images import ImageBatch, ImageItem
from anabatch.stages.segment import segment, segment_key
from anabatch.store.actions import FAILED
from anabatch.store.live import CELLS, SEGMENT
from anabatch.store.parts import WrittenPart

from .featurize import extractor_digest, featurize_batch
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
    """

    fresh: tuple[ImageBatch, ...]
    recut: tuple[ImageBatch, ...]
    unreachable: int

    @property
    def batches(self) -> int:
        """Number of batches."""
        return len(self.fresh) + len(self.recut)


def plan(context: Context) -> ImagePlan:
    """Compare the live images with the ledger, by action keys."""
    state = context.store.state
    roots = {archive.name: archive.path for archive in context.config.archives}
    cells = context.config.cells.digest()
    model = segmentation_digest(context.config.segment)
    fresh: list[tuple[Action, ImageItem]] = []
    recut: list[tuple[Action, ImageItem]] = []
    unreachable = 0
    for image_id, acquisitions in shown_images(state).items():
        reachable = [action for action in acquisitions if action.archive in roots]
        source = (reachable or acquisitions)[0]
        root = roots.get(source.archive, context.store.root)
        item = _item(image_id, source, root, model, cells)
        target = _target(state, item, fresh, recut)
        if target is None or not context.wanted(source.date):
            continue
        if not reachable:
            unreachable += 1
            continue
        target.append((source, item))
    return ImagePlan(
        tuple(_batches(context, fresh, model)), tuple(_batches(context, recut, model)), unreachable
    )


def graphs(
    context: Context, plan: ImagePlan, *, with_features: bool
) -> Iterator[tuple[ImageBatch, Any]]:
    """Yield one graph a batch; nothing is computed.

    Parameters
    ----------
    context : Context
    plan : ImagePlan
    with_features : bool
        Whether the features belong to the chain.
    """
    threads = context.config.compute.threads
    extractor = extractor_digest(context) if with_features and plan.batches else None
    for batch in plan.fresh:
        segmented = task(segment, batch, threads=threads)
        yield batch, _chain(context, batch, segmented, extractor)
    for batch in plan.recut:
        standing = _standing(context.store.state, batch)
        yield batch, _chain(context, batch, standing, extractor)


def run(context: Context, *, with_features: bool = False) -> None:
    """Bring label images and cells up to date, and commit date by date."""
    found = plan(context)
    _tell(context, found)
    state = context.store.state
    drop_unshown(state)
    left = Counter((b.archive, b.date) for b in (*found.fresh, *found.recut))
    finished: set[Day] = set()

    def commit(days: set[Day]) -> None:
        drop_orphans(state)
        # what goes away goes with the first commit, so that no cell outlives its image
        context.commit(
            lambda action: (
                (action.archive, action.date) in days
                or state.get(action.stage, action.unit) is None
            )
        )

    def done(batch: ImageBatch, parts: list[WrittenPart]) -> None:
        _take(state, parts)
        day = (batch.archive, batch.date)
        left[day] -= 1
        if not left[day]:
            finished.add(day)
        if finished and context.commit_is_due:
            commit(finished)
            finished.clear()
        elif context.long_date_is_due:
            commit({day})

    every = graphs(context, found, with_features=with_features)
    context.execute("segment", every, found.batches, done)
    drop_orphans(state)
    context.commit()


def _item(image_id: str, source: Action, root: Path, model: str, cells: str) -> ImageItem:
    pixels = float(source.components["pixels_per_reference_pixel"])
    segmented = segment_key(image_id, pixels, model)
    return ImageItem(
        image_id=image_id,
        root=root,
        relative_path=str(source.components["relative_path"]),
        sha256=str(source.components["file_sha256"]),
        pixels_per_reference_pixel=pixels,
        segment_key=segmented,
        cells_key=cells_key(segmented, cells),
    )


def _target(
    state: State,
    item: ImageItem,
    fresh: list[tuple[Action, ImageItem]],
    recut: list[tuple[Action, ImageItem]],
) -> list[tuple[Action, ImageItem]] | None:
    """Return the list that an image belongs to, or None if its results stand.

    What failed is tried again: it failed in reading a file that the scan had read.
    """
    segmented = state.get(SEGMENT, item.image_id)
    if segmented is None or segmented.key != item.segment_key or segmented.outcome == FAILED:
        return fresh
    cells = state.get(CELLS, item.image_id)
    stands = cells is not None and cells.key == item.cells_key and cells.outcome != FAILED
    return None if stands else recut


def _batches(
    context: Context, items: list[tuple[Action, ImageItem]], model: str
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


def _chain(context: Context, batch: ImageBatch, segmented: Any, extractor: str | None) -> Any:
    """Return the rest of a batch's way; without an extractor it ends with the cells."""
    threads = context.config.compute.threads
    cells = task(cut, batch, segmented, threads=threads)
    if extractor is None:
        return gather([segmented, cells])
    described = featurize_batch(context, batch.archive, batch.date, batch.sequence, extractor)
    return gather([segmented, cells, task(featurize, described, cells, threads=threads)])


def _take(state: State, parts: list[WrittenPart]) -> None:
    """Take a batch's results over; an image that failed loses its older cells."""
    for part in parts:
        state.put(part.actions)
        for action in part.actions:
            if action.stage == SEGMENT and action.outcome == FAILED:
                older = state.get(CELLS, action.unit)
                state.delete([older] if older else [])


def _tell(context: Context, found: ImagePlan) -> None:
    fresh = sum(len(batch.items) for batch in found.fresh)
    recut = sum(len(batch.items) for batch in found.recut)
    context.reporter.say(
        "planned",
        f"segment: {fresh} images to segment, {recut} to cut anew",
        job="segment",
        segment=fresh,
        recut=recut,
    )
    if found.unreachable:
        text = f"segment: {found.unreachable} images wait for an archive that is not in this run"
        context.reporter.warn("unreachable", text, images=found.unreachable)

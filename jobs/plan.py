"""Plan: what the next run would do, and why, without doing any of it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anabatch.errors import MissingRowsError
from anabatch.stages.embed import KIND as KPCA
from anabatch.store.generations import current
from anabatch.store.live import (
    ANNOTATE,
    CELLS,
    CLUSTER,
    CLUSTER_MODEL,
    EMBED,
    FEATURIZE,
    MODEL,
    SCAN,
    SEGMENT,
)
from anabatch.store.recipes import Cause, Reason

from . import annotate, featurize, guards, new_kinds, scan, segment
from .forecast import first_models, forecast, outlook, parts_left
from .foreseen import foresee, labels_of_new_files
from .model_plan import ModelPlan, parts_anew, plan_models

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Mapping

    from anabatch.store.actions import Action

    from .context import Context
    from .model_plan import Entry


UNITS = {
    SCAN: ("file", "files"),
    ANNOTATE: ("date", "dates"),
    SEGMENT: ("image", "images"),
    CELLS: ("image", "images"),
    FEATURIZE: ("image", "images"),
    MODEL: ("model", "models"),
    EMBED: ("part of cells", "parts of cells"),
    CLUSTER: ("part of cells", "parts of cells"),
}
"""What a plan counts, by stage: one, and several."""


@dataclass(frozen=True)
class Planned:
    """One action that the next run would do.

    Attributes
    ----------
    stage, unit : str
        As in the ledger; the unit of a file to be scanned is its path, and that of features which
        follow from a segmentation is the image.
    archive : str
    date : datetime.date or None
    reason : Reason
    number : int
        What it counts for in the unit of its stage: features that are described part by part count
        for the images of the part, as those do that follow from a segmentation.
    """

    stage: str
    unit: str
    archive: str
    date: dt.date | None
    reason: Reason
    number: int = 1


@dataclass(frozen=True)
class Survey:
    """What the next run would do, as far as it is known before it starts.

    Attributes
    ----------
    items : tuple of Planned
    gone : int
        Images that are no longer there.
    adopted : int
        Finished parts that a run which was killed left, and that would be taken over.
    notes : tuple of str
        What cannot be known before, and what a guard would refuse.
    """

    items: tuple[Planned, ...]
    gone: int
    adopted: int
    notes: tuple[str, ...]

    def counts(self) -> list[tuple[str, Reason, int]]:
        """Return stage, reason and number of actions in the stage's unit, in the order of the data's way.

        What a reason says of one unit alone, as its size or its part, is left to the items.
        """
        found: Counter[tuple[str, Reason]] = Counter()
        for item in self.items:
            found[item.stage, _without_unit(item.reason)] += item.number
        return [(stage, reason, number) for (stage, reason), number in found.items()]


_OF_ONE_UNIT = frozenset({Cause.MISSING, Cause.CORRUPT, Cause.RETRY})
"""Causes whose detail is a part, or what went wrong with one unit."""
_SIZE = re.compile(r"^size \d+ -> \d+$")


def _without_unit(reason: Reason) -> Reason:
    if reason.cause in _OF_ONE_UNIT:
        return Reason(reason.cause)
    return Reason(reason.cause, "another size") if _SIZE.match(reason.detail) else reason


def survey(context: Context) -> Survey:
    """Return what a run would do now. Nothing is computed, read from images, or written.

    Parameters
    ----------
    context : Context
        As :func:`~.looking.looking` gives it.

    Raises
    ------
    GuardError
        The archives have lost more images than a run would accept.
    """
    notes: list[str] = []
    scanned = scan.plan(context)
    files = [Planned(SCAN, *_file(entry)) for entry in scanned.reasons]
    if files:
        many = "1 file is" if len(files) == 1 else f"{len(files)} files are"
        notes.append(f"{many} read first, which decides what follows")
    read = {(SCAN, f"{a}/{path}"): why for a, _, path, why in scanned.reasons}
    notes += _refused(context, (SCAN,), read)
    foreseen = foresee(context, scanned)  # what comes after a scan is planned on what it leaves
    notes += foreseen.notes()
    labels = annotate.plan(context)
    images = segment.plan(context)
    features = featurize.plan(context)
    of_new = (Planned(ANNOTATE, *of) for of in labels_of_new_files(context, foreseen, labels))
    items = [*files, *_of_labels(labels), *of_new, *_of_images(images)]
    items += _of_features(context, features)
    reasons = labels.reasons | images.reasons | features.reasons
    notes += _refused(context, (ANNOTATE, SEGMENT, CELLS, FEATURIZE), reasons)
    models: tuple[ModelPlan, ...] = ()
    try:
        models = plan_models(context, moving=bool(images.batches or foreseen.new or foreseen.gone))
    except MissingRowsError as error:
        notes.append(f"embed and cluster come after the features: {error.what}")
    else:
        stages = {item.stage for item in items}
        if not any(model.is_due for model in models) and stages & {SEGMENT, CELLS, FEATURIZE}:
            notes += first_models(context)
    items += [Planned(*entry) for model in models for entry in model.entries]
    due = {item.unit.partition("/")[0] for item in items if item.stage == MODEL}
    cells = outlook(context, foreseen, images)
    ahead = forecast(context, cells, due)
    # what waits on the cells that are there need not on those that come
    notes += [model.waits for model in models if model.waits and not ahead.refits]
    notes += ahead.notes
    items = _with_parts(items, parts_anew(context, cells.standing, ahead.refits))
    if (proposal := new_kinds.standing_proposal(context.store.state, CLUSTER_MODEL)) is not None:
        many = proposal.components["together"]
        notes.append(f"cluster: a new kind of {many} cells is proposed: cluster --add-new adds it")
    if current(context.store.state, KPCA, CLUSTER_MODEL):
        notes += parts_left(context, _embedding_after(context, models))
    return Survey(tuple(items), foreseen.gone, context.adopted, tuple(notes))


def _with_parts(items: list[Planned], anew: Mapping[str, tuple[Entry, ...]]) -> list[Planned]:
    """Return items in which all parts of some stages are made anew, whatever was planned of them."""
    others = [item for item in items if item.stage not in anew]
    return [*others, *(Planned(*entry) for entries in anew.values() for entry in entries)]


def _refused(
    context: Context, stages: tuple[str, ...], reasons: dict[tuple[str, str], Reason]
) -> list[str]:
    """Return at which stages a guard would stop a run."""
    share = context.config.guards.recompute_share
    return [
        f"{stage}: a run would stop here, and needs --accept-recompute"
        for stage in stages
        if guards.too_many(context, stage, reasons, share)
    ]


def _file(
    entry: tuple[str, dt.date | None, str, Reason],
) -> tuple[str, str, dt.date | None, Reason]:
    archive, date, path, reason = entry
    return path, archive, date, reason


def _of_labels(plan: annotate.AnnotatePlan) -> Iterator[Planned]:
    for batch in plan.batches:
        reason = plan.reasons[ANNOTATE, batch.unit]
        yield Planned(ANNOTATE, batch.unit, batch.archive, batch.date, reason)


def _of_images(plan: segment.ImagePlan) -> Iterator[Planned]:
    batches = (*plan.fresh, *plan.recut)
    places = {item.image_id: batch for batch in batches for item in batch.items}
    for stage in (SEGMENT, CELLS, FEATURIZE):
        for image, batch in places.items():
            # features follow from cells, image by image
            reason = plan.reasons.get((CELLS if stage == FEATURIZE else stage, image))
            if reason is None:
                continue
            if stage == FEATURIZE and reason.cause != Cause.NEW:
                reason = Reason(Cause.UPSTREAM)
            yield Planned(stage, image, batch.archive, batch.date, reason)


def _of_features(context: Context, plan: featurize.FeaturizePlan) -> Iterator[Planned]:
    images = Counter(action.part for action in context.store.state.stage(CELLS))
    for batch, cells in plan.batches:
        path = str(cells.path)
        reason = plan.reasons[FEATURIZE, path]
        yield Planned(FEATURIZE, path, batch.archive, batch.date, reason, images[path])


def _embedding_after(context: Context, models: tuple[ModelPlan, ...]) -> Action | None:
    """Return the embedding that a run goes on with; None if it makes another."""
    if models and models[0].fits:
        return None
    known = models[0].model if models else None
    return known or current(context.store.state, KPCA, CLUSTER_MODEL)

"""Annotate: exports and class folders → annotations, one part for every archive and date."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anabatch.annotations import annotate_exports
from anabatch.archive.layout import file_date
from anabatch.archive.walk import is_below
from anabatch.compute import task
from anabatch.stages.annotate import (
    AnnotateBatch,
    annotate,
    annotate_recipe,
    export_unit,
    load_vocabulary,
    read_exports,
)
from anabatch.store.keys import action_key
from anabatch.store.live import ANNOTATE, SCAN
from anabatch.store.recipes import Cause, Reason

from . import standing
from .export_digests import ExportDigests
from .job import Job

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from anabatch.config import ArchiveConfig
    from anabatch.store.actions import Action
    from anabatch.store.parts import WrittenPart

    from .context import Context

JOB = Job(
    "annotate",
    reads=("exports", "acquisitions"),
    writes=("annotations",),
    parameters=("annotate",),
)


class ArchiveLabels:
    """What an archive's labels are made of, date by date.

    Parameters
    ----------
    context : Context
    archive : ArchiveConfig
    """

    def __init__(self, context: Context, archive: ArchiveConfig) -> None:
        self.archive = archive
        self.layout = context.layout(archive)
        self.vocabulary = load_vocabulary(context.config.annotate.vocabulary, self.layout)
        self.exports: dict[dt.date | None, list[str]] = defaultdict(list)
        self.acquisitions: dict[dt.date | None, list[dict[str, Any]]] = defaultdict(list)
        self.digests = ExportDigests(context, archive)
        listing = context.listing(archive)
        self.recipe = annotate_recipe(self.vocabulary.digest, self.layout.labels_digest)
        context.use(self.recipe)
        self._blind = tuple(path for path, _ in listing.problems)
        for file in listing.exports:
            self.exports[file_date(file.relative_path, self.layout)].append(file.relative_path)
        for action in context.store.state.stage(SCAN):
            if action.archive == archive.name:
                self.acquisitions[action.date].append(_acquisition(action))
        for rows in self.acquisitions.values():
            rows.sort(key=lambda row: str(row["relative_path"]))
        self._statuses_of: dict[dt.date | None, dict[str, set[str]]] = {}
        self._dates_of_image: dict[str, set[dt.date | None]] = defaultdict(set)
        for date, rows in self.acquisitions.items():
            for row in rows:
                self._dates_of_image[row["image_id"]].add(date)

    @property
    def dates(self) -> list[dt.date | None]:
        """All dates with images or exports, undated last."""
        found = self.exports.keys() | self.acquisitions.keys()
        return sorted(found, key=lambda date: (date is None, str(date)))

    def is_whole(self, date: dt.date | None) -> bool:
        """Whether the listing saw all of a date: what cannot be looked at has not lost its labels."""
        return not any(
            is_below(str(row["relative_path"]), self._blind) for row in self.acquisitions[date]
        )

    def other_statuses(self, date: dt.date | None) -> dict[str, frozenset[str]]:
        """Return the statuses that other dates give to pictures of this date."""
        found: dict[str, set[str]] = defaultdict(set)
        for image in {row["image_id"] for row in self.acquisitions[date] if row["image_id"]}:
            for other in self._dates_of_image[image] - {date}:
                found[image] |= self._statuses(other).get(image, set())
        return {image: frozenset(found[image]) for image in sorted(found) if found[image]}

    def _statuses(self, date: dt.date | None) -> dict[str, set[str]]:
        """Return the statuses that a date's own exports give to its pictures; read once a plan."""
        if date not in self._statuses_of:
            paths = tuple(self.exports[date])
            exports, _ = read_exports(self.archive.path, paths, self.layout.export)
            rows = annotate_exports(
                exports,
                self.acquisitions[date],
                self.vocabulary,
                archive=self.archive.name,
                date=date,
                layout=self.layout,
            )
            statuses: dict[str, set[str]] = defaultdict(set)
            for row in rows:
                if row["axis"] == "status" and row["image_id"] and not row["superseded_by"]:
                    statuses[row["image_id"]].add(row["label"])
            self._statuses_of[date] = dict(statuses)
        return self._statuses_of[date]

    def key(self, date: dt.date | None, others: dict[str, frozenset[str]]) -> str:
        """Return the action key of a date's labels."""
        return action_key(
            stage=ANNOTATE,
            recipe=self.recipe.digest,
            exports={path: self.digests.of(path) for path in self.exports[date]},
            acquisitions=[
                [row["acquisition_id"], row["image_id"], row["sample"]]
                for row in self.acquisitions[date]
            ],
            others={image: sorted(statuses) for image, statuses in others.items()},
        )


def _acquisition(action: Action) -> dict[str, Any]:
    path = str(action.components["relative_path"])
    return {
        "acquisition_id": action.unit,
        "image_id": action.components["image_id"],
        "archive": action.archive,
        "date": action.date,
        "relative_path": path,
        "file_name": path.rpartition("/")[2],
        "sample": action.components["sample"],
    }


@dataclass(frozen=True)
class AnnotatePlan:
    """What has to be labelled.

    Attributes
    ----------
    batches : list of AnnotateBatch
        Dates whose labels are to be made.
    gone : list of Action
        Labels of what is no longer there.
    reasons : dict
        Why, by stage and unit.
    digests : list of ExportDigests
        What was read of each archive's exports, to be saved.
    """

    batches: list[AnnotateBatch]
    gone: list[Action]
    reasons: dict[tuple[str, str], Reason]
    digests: list[ExportDigests]


def plan(context: Context) -> AnnotatePlan:
    """Compare every date's exports and images with the ledger, and adopt what is finished."""
    found = AnnotatePlan([], [], {}, [])
    for archive in context.config.archives:
        _plan_archive(context, archive, found)
    return found


def _plan_archive(context: Context, archive: ArchiveConfig, found: AnnotatePlan) -> None:
    labels = ArchiveLabels(context, archive)
    found.digests.append(labels.digests)
    known = {a.unit: a for a in context.store.state.stage(ANNOTATE) if a.archive == archive.name}
    needed: set[str] = set()
    for date in labels.dates:
        unit = f"{archive.name}/{date or 'undated'}"
        if not labels.is_whole(date):
            needed |= {one for one in known if one == unit or one.startswith(f"{unit}/")}
            continue
        needed |= {unit, *(export_unit(unit, path) for path in labels.exports[date])}
        if not context.wanted(date):
            continue
        others = labels.other_statuses(date)
        key = labels.key(date, others)
        changed = Reason(Cause.INPUT, "exports, images, or labels of other dates")
        anew = standing.reason(context, ANNOTATE, unit, key, labels.recipe, otherwise=changed)
        if anew and not standing.adopt(context, ANNOTATE, unit, key):
            found.batches.append(_batch(context, labels, date, unit, key, others))
            found.reasons[ANNOTATE, unit] = anew
    found.gone.extend(
        action
        for unit, action in known.items()
        if unit not in needed and context.wanted(action.date)
    )


def _batch(
    context: Context,
    labels: ArchiveLabels,
    date: dt.date | None,
    unit: str,
    key: str,
    others: dict[str, frozenset[str]],
) -> AnnotateBatch:
    return AnnotateBatch(
        store=context.store.root,
        root=labels.archive.path,
        archive=labels.archive.name,
        date=date,
        unit=unit,
        key=key,
        recipe=labels.recipe.digest,
        exports=tuple(labels.exports[date]),
        acquisitions=tuple(labels.acquisitions[date]),
        other_statuses=others,
        layout=labels.layout,
        vocabulary=context.config.annotate.vocabulary,
        sequence=context.next_sequence(),
        run=context.run,
    )


def graphs(batches: list[AnnotateBatch], threads: int) -> Iterator[tuple[AnnotateBatch, Any]]:
    """Yield one graph a batch; nothing is computed."""
    for batch in batches:
        yield batch, task(annotate, batch, threads=threads)


def run(context: Context) -> None:
    """Bring `annotations` up to date."""
    found = plan(context)
    for digests in found.digests:
        digests.save()
    state = context.store.state
    state.delete(found.gone)

    def done(batch: AnnotateBatch, part: WrittenPart) -> None:
        mended = (state.get(ANNOTATE, export_unit(batch.unit, path)) for path in batch.exports)
        state.delete([action for action in mended if action])
        state.put(standing.with_reasons(part.actions, found.reasons))

    threads = context.config.compute.threads
    context.execute("annotate", graphs(found.batches, threads), len(found.batches), done)
    if context.commits:
        context.commit()

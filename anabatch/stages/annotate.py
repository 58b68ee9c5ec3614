"""Annotate: exports, or class folders, of one archive and date → `annotations`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from anabatch.annotations import Vocabulary, annotate_classes, annotate_exports
from anabatch.schema import to_table
from anabatch.stages.exports import PlannedExport, read_exports
from anabatch.store.actions import FAILED, Action
from anabatch.store.keys import action_key
from anabatch.store.live import ANNOTATE
from anabatch.store.parts import PartWriter, WrittenPart
from anabatch.store.recipes import Recipe

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping
    from pathlib import Path

    from anabatch.archive.layout import Layout

VERSION = 3

WAITING = "waiting:"
"""Begins the unit of an export for which a date waits: the date keeps the labels that it has."""
EXPORTS = "exports"
"""Component of a date's action: SHA-256 of the exports that it was made of, by relative path."""
BAD = "bad"
"""Component of a date's action: why exports cannot be understood, by relative path."""


@dataclass(frozen=True)
class AnnotateBatch:
    """Labels of one archive and date.

    Attributes
    ----------
    store, root : Path
        The store's folder, and the archive's.
    archive : str
    date : datetime.date or None
    unit : str
        The unit of the action.
    key : str
    recipe : str
        Digest of the recipe.
    exports : tuple of PlannedExport
        What the exports held when the key was made.
    acquisitions : tuple of mapping
        The acquisitions of this archive and date.
    other_statuses : mapping
        Image id to the statuses that other dates give the same picture.
    layout : Layout
        Whether its folders name classes, and how names of missing images are read.
    vocabulary : Path or None
        A folder with the user's own vocabulary.
    sequence : int
    run : str
    """

    store: Path
    root: Path
    archive: str
    date: dt.date | None
    unit: str
    key: str
    recipe: str
    exports: tuple[PlannedExport, ...]
    acquisitions: tuple[Mapping[str, Any], ...]
    other_statuses: Mapping[str, frozenset[str]]
    layout: Layout
    vocabulary: Path | None
    sequence: int
    run: str

    def action(
        self, unit: str, *, components: Mapping[str, Any] | None = None, **values: Any
    ) -> Action:
        """Return an action of this batch."""
        return Action(
            stage=ANNOTATE,
            unit=unit,
            archive=self.archive,
            date=self.date,
            sequence=self.sequence,
            run=self.run,
            components={"recipe": self.recipe, **(components or {})},
            **values,
        )


def annotate_recipe(vocabulary: str, layout: str) -> Recipe:
    """Return what determines labels beside exports and acquisitions, by its digests."""
    return Recipe(ANNOTATE, VERSION, models={"vocabulary": vocabulary, "layout": layout})


def load_vocabulary(folder: Path | None, layout: Layout) -> Vocabulary:
    """Read the vocabulary for a layout, with the layout's own tables where it brings some."""
    return Vocabulary.load(folder, codes=layout.code_table, classes=layout.class_table)


def export_unit(unit: str, path: str) -> str:
    """Return the unit of the failed action of an export."""
    return f"{unit}/{path}"


def failed_exports(done: Action) -> list[Action]:
    """Return the failures of the exports that a date's labels could not be made of.

    Parameters
    ----------
    done : Action
        The date's.
    """
    return [
        replace(
            done,
            unit=export_unit(done.unit, path),
            key=action_key(unit=done.key, path=path),
            outcome=FAILED,
            reason=reason,
            components={"recipe": done.components["recipe"], "relative_path": path},
            first_row=0,
            rows=0,
        )
        for path, reason in done.components.get(BAD, {}).items()
    ]


def waits(unit: str, export: PlannedExport, **values: Any) -> Action:
    """Return the action of an export for which a date's labels wait.

    Parameters
    ----------
    unit : str
        The unit of the date's action.
    export : PlannedExport
    **values
        Archive, date and run of the action.
    """
    return Action(
        stage=ANNOTATE,
        unit=WAITING + export_unit(unit, export.path),
        key=action_key(outcome=export.outcome, reason=export.why_not),
        outcome=export.outcome,
        reason=export.why_not,
        components={"relative_path": export.path, "transient": True},
        **values,
    )


def annotate(batch: AnnotateBatch) -> WrittenPart:
    """Write the labels of a batch; an export that cannot be understood becomes a failure.

    If an export is not what the key was made of, no labels are made: those of before stay.
    """
    vocabulary = load_vocabulary(batch.vocabulary, batch.layout)
    read = read_exports(batch.root, batch.exports, batch.layout.export)
    if read.waiting:
        place: dict[str, Any] = {"archive": batch.archive, "date": batch.date, "run": batch.run}
        return WrittenPart(
            None, None, tuple(waits(batch.unit, export, **place) for export in read.waiting)
        )
    rows = annotate_exports(
        read.good,
        batch.acquisitions,
        vocabulary,
        archive=batch.archive,
        date=batch.date,
        other_statuses=batch.other_statuses,
        layout=batch.layout,
    )
    if batch.layout.has_classes:
        rows += annotate_classes(batch.acquisitions, vocabulary)
    used = {export.path: export.sha256 for export in batch.exports if export.sha256}
    facts = {EXPORTS: used, BAD: {path: str(error) for path, error in read.bad}}
    done = batch.action(batch.unit, key=batch.key, rows=len(rows), components=facts)
    failures = failed_exports(done)
    if not rows:
        return WrittenPart(None, None, (done, *failures))
    with PartWriter(
        batch.store, "annotations", archive=batch.archive, date=batch.date, keys=[batch.key]
    ) as part:
        part.rows("annotations", to_table("annotations", rows))
        return part.finish([done, *failures])

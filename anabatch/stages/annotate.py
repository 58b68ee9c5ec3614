"""Annotate: exports, or class folders, of one archive and date → `annotations`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anabatch.annotations import Vocabulary, annotate_classes, annotate_exports
from anabatch.archive.exports import Export, load_export
from anabatch.errors import ExportError
from anabatch.schema import to_table
from anabatch.store.actions import FAILED, Action
from anabatch.store.keys import action_key
from anabatch.store.live import ANNOTATE
from anabatch.store.parts import PartWriter, WrittenPart
from anabatch.store.recipes import Recipe

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping
    from pathlib import Path

    from anabatch.archive.dialect import Dialect
    from anabatch.archive.layout import Layout

VERSION = 2


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
    exports : tuple of str
        Relative paths of the exports.
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
    exports: tuple[str, ...]
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


def read_exports(
    root: Path, paths: tuple[str, ...], dialect: Dialect
) -> tuple[list[Export], list[tuple[str, ExportError]]]:
    """Read exports; those that cannot be understood come with their error."""
    exports, bad = [], []
    for path in paths:
        try:
            exports.append(load_export(root / path, path, dialect))
        except ExportError as error:
            bad.append((path, error))
    return exports, bad


def load_vocabulary(folder: Path | None, layout: Layout) -> Vocabulary:
    """Read the vocabulary for a layout, with the layout's own tables where it brings some."""
    return Vocabulary.load(folder, codes=layout.code_table, classes=layout.class_table)


def export_unit(unit: str, path: str) -> str:
    """Return the unit of the failed action of an export."""
    return f"{unit}/{path}"


def annotate(batch: AnnotateBatch) -> WrittenPart:
    """Write the labels of a batch; an export that cannot be understood becomes a failure."""
    vocabulary = load_vocabulary(batch.vocabulary, batch.layout)
    exports, bad = read_exports(batch.root, batch.exports, batch.layout.export)
    rows = annotate_exports(
        exports,
        batch.acquisitions,
        vocabulary,
        archive=batch.archive,
        date=batch.date,
        other_statuses=batch.other_statuses,
        layout=batch.layout,
    )
    if batch.layout.has_classes:
        rows += annotate_classes(batch.acquisitions, vocabulary)
    failures = [
        batch.action(
            export_unit(batch.unit, path),
            key=action_key(unit=batch.key, path=path),
            outcome=FAILED,
            reason=str(error),
            components={"relative_path": path},
        )
        for path, error in bad
    ]
    done = batch.action(batch.unit, key=batch.key, rows=len(rows))
    if not rows:
        return WrittenPart(None, None, (done, *failures))
    with PartWriter(
        batch.store, "annotations", archive=batch.archive, date=batch.date, keys=[batch.key]
    ) as part:
        part.rows("annotations", to_table("annotations", rows))
        return part.finish([done, *failures])

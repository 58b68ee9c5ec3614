"""What an archive's labels are made of, and what they wait for, date by date."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anabatch.annotations import annotate_exports
from anabatch.archive.layout import file_date
from anabatch.archive.walk import is_below
from anabatch.stages.annotate import EXPORTS, WAITING, annotate_recipe, load_vocabulary
from anabatch.stages.exports import read_exports
from anabatch.store.actions import DEFERRED, FAILED
from anabatch.store.keys import action_key
from anabatch.store.live import ANNOTATE, SCAN, annotate_unit

from .export_digests import ExportDigests

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping

    from anabatch.config import ArchiveConfig
    from anabatch.stages.exports import PlannedExport
    from anabatch.store.actions import Action

    from .context import Context


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
        self.scans: dict[dt.date | None, list[Action]] = defaultdict(list)
        listing = context.listing(archive)
        self.recipe = annotate_recipe(self.vocabulary.digest, self.layout.labels_digest)
        context.use(self.recipe)
        self._blind = tuple(path for path, _ in listing.problems)
        every = context.store.state.stage(ANNOTATE)
        self.known = {action.unit: action for action in every if action.archive == archive.name}
        self.rows: dict[str, list[Action]] = defaultdict(list)
        for action in self.known.values():
            if path := action.fact("relative_path", None):
                unit = action.unit.removeprefix(WAITING).removesuffix(f"/{path}")
                self.rows[unit].append(action)
        awaited = {a.fact("relative_path") for a in self.known.values() if is_kept(a)}
        self.digests = ExportDigests(context, archive, awaited)
        for file in listing.exports:
            self.exports[file_date(file.relative_path, self.layout)].append(file.relative_path)
        for action in context.store.state.stage(SCAN):
            if action.archive == archive.name:
                self.scans[action.date].append(action)
        for scans in self.scans.values():
            scans.sort(key=lambda action: str(action.fact("relative_path")))
        self._statuses_of: dict[dt.date | None, _Statuses] = {}
        self._dates_of_image = _dates_of_images(self.scans)

    @property
    def dates(self) -> list[dt.date | None]:
        """All dates with images, exports or labels, undated last."""
        labelled = {action.date for action in self.known.values()}
        found = self.exports.keys() | self.scans.keys() | labelled
        return sorted(found, key=lambda date: (date is None, str(date)))

    def acquisitions(self, date: dt.date | None) -> list[dict[str, Any]]:
        """Return the rows of a date's images that labels are made of, by path."""
        return [_acquisition(action) for action in self.scans[date]]

    def unit(self, date: dt.date | None) -> str:
        """Return the unit of the action that makes a date's labels."""
        return annotate_unit(self.archive.name, date)

    def used(self, date: dt.date | None) -> dict[str, str]:
        """Return the exports that a date's labels are made of, and their SHA-256."""
        action = self.known.get(self.unit(date))
        return dict(action.fact(EXPORTS, {})) if action else {}

    @property
    def known_exports(self) -> frozenset[str]:
        """All exports that labels are made of."""
        return frozenset(path for date in self.dates for path in self.used(date))

    @property
    def lost_exports(self) -> frozenset[str]:
        """Those of them that are gone: what cannot be looked at is not."""
        here = {path for paths in self.exports.values() for path in paths}
        away = self.known_exports - here
        return frozenset(path for path in away if not is_below(path, self._blind))

    def is_whole(self, date: dt.date | None) -> bool:
        """Whether the listing saw all of a date, and of those that its labels hang on.

        What cannot be looked at has not lost its labels.
        """
        others = self._neighbours(date) if self.unit(date) in self.known else ()
        return all(self._is_seen(one) for one in (date, *others))

    def _is_seen(self, date: dt.date | None) -> bool:
        paths = [str(action.fact("relative_path")) for action in self.scans[date]]
        every = (*paths, *self.exports[date], *self.used(date))
        return not any(is_below(path, self._blind) for path in every)

    def _images(self, date: dt.date | None) -> set[str]:
        return _images(self.scans[date])

    def _neighbours(self, date: dt.date | None) -> set[dt.date | None]:
        """Return the other dates that show pictures of a date."""
        found = {other for image in self._images(date) for other in self._dates_of_image[image]}
        return found - {date}

    def waiting(self, date: dt.date | None) -> list[PlannedExport]:
        """Return those of a date's exports for which its labels wait: they stay as they are.

        An export that cannot be read now is waited for if the labels are made of it.
        """
        found = [self.digests.of(path) for path in self.exports[date]]
        used = self.used(date)
        return [
            export
            for export in found
            if export.outcome == DEFERRED or (export.outcome == FAILED and export.path in used)
        ]

    def other_statuses(
        self, date: dt.date | None
    ) -> tuple[dict[str, frozenset[str]], list[PlannedExport]]:
        """Return the statuses that other dates give to pictures of this date.

        Returns
        -------
        statuses : dict
            By image id.
        waiting : list of PlannedExport
            Exports for which they wait; if there are any, not all statuses are known.
        """
        found: dict[str, set[str]] = defaultdict(set)
        waiting: dict[str, PlannedExport] = {}
        images = self._images(date)
        for other in self._neighbours(date):
            statuses = self._statuses(other)
            waiting |= {export.path: export for export in statuses.waiting}
            for image in images & statuses.of_image.keys():
                found[image] |= statuses.of_image[image]
        ordered = {image: frozenset(found[image]) for image in sorted(found)}
        return ordered, [waiting[path] for path in sorted(waiting)]

    def _statuses(self, date: dt.date | None) -> _Statuses:
        """Return the statuses that a date's own exports give to its pictures; read once a plan."""
        if date not in self._statuses_of:
            self._statuses_of[date] = self._read_statuses(date)
        return self._statuses_of[date]

    def _read_statuses(self, date: dt.date | None) -> _Statuses:
        if waiting := self.waiting(date):
            return _Statuses({}, waiting)
        planned = [self.digests.of(path) for path in self.exports[date]]
        read = read_exports(self.archive.path, planned, self.layout.export)
        for export in read.waiting:
            self.digests.forget(export.path)
        rows = annotate_exports(
            read.good,
            self.acquisitions(date),
            self.vocabulary,
            archive=self.archive.name,
            date=date,
            layout=self.layout,
        )
        statuses: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            if row["axis"] == "status" and row["image_id"] and not row["superseded_by"]:
                statuses[row["image_id"]].add(row["label"])
        return _Statuses(dict(statuses), read.waiting)

    def key(self, date: dt.date | None, others: dict[str, frozenset[str]]) -> str:
        """Return the action key of a date's labels."""
        return action_key(
            stage=ANNOTATE,
            recipe=self.recipe.digest,
            exports={path: self.digests.of(path).digest for path in self.exports[date]},
            acquisitions=[
                [action.unit, action.fact("image_id"), action.fact("sample")]
                for action in self.scans[date]
            ],
            others={image: sorted(statuses) for image, statuses in others.items()},
        )


@dataclass(frozen=True)
class _Statuses:
    """The statuses that a date gives to pictures, and the exports for which they wait."""

    of_image: dict[str, set[str]]
    waiting: list[PlannedExport]


def is_kept(action: Action) -> bool:
    """Whether an action is that of an export for which labels wait."""
    return action.unit.startswith(WAITING)


def _images(scans: Iterable[Action]) -> set[str]:
    return {image for action in scans if (image := action.fact("image_id"))}


def _dates_of_images(
    scans: Mapping[dt.date | None, Iterable[Action]],
) -> dict[str, tuple[dt.date | None, ...]]:
    """Return the dates that show an image: of most it is one, and all of a date share the tuple."""
    found: dict[str, tuple[dt.date | None, ...]] = {}
    for date, actions in scans.items():
        alone = (date,)
        for image in _images(actions):
            found[image] = (*found[image], date) if image in found else alone
    return found


def _acquisition(action: Action) -> dict[str, Any]:
    path = str(action.fact("relative_path"))
    return {
        "acquisition_id": action.unit,
        "image_id": action.fact("image_id"),
        "archive": action.archive,
        "date": action.date,
        "relative_path": path,
        "file_name": path.rpartition("/")[2],
        "sample": action.fact("sample"),
    }

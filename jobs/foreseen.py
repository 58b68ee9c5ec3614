"""What a scan will leave, as far as names and sizes tell: no file is read for it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from anabatch.archive.acquisition import acquisition_id
from anabatch.report.text import plural
from anabatch.store.actions import NO_CELLS, OK
from anabatch.store.live import ANNOTATE, CELLS, annotate_unit
from anabatch.store.recipes import Cause, Reason

from .images import drop_unshown

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Iterator, Mapping

    from anabatch.archive.listing import ListedFile
    from anabatch.store.actions import Action

    from .annotate import AnnotatePlan
    from .context import Context
    from .scan import ScanPlan
    from .stale import ArchiveFiles, ToRead


@dataclass(frozen=True)
class Foreseen:
    """What becomes of an archive's files.

    Attributes
    ----------
    new : Counter
        Files that were never there before, by archive and date.
    back : int
        Files that are taken for ones that were there before.
    moved : int
        Files that are taken for ones that are gone from where they were.
    gone : int
        Images that are no longer there, without those.
    cells : mapping
        What was cut of every image before the scan, by image id.
    """

    new: Counter[tuple[str, dt.date | None]]
    back: int
    moved: int
    gone: int
    cells: Mapping[str, Action]

    def notes(self) -> list[str]:
        """Return what only the files' bytes can tell."""
        notes = []
        if self.back:
            files = plural(self.back, "file has", "files have")
            notes.append(
                f"{files} the name and the size of one that was there before: where the bytes are "
                "the same too, what was computed is found again"
            )
        if self.moved:
            files = plural(self.moved, "file has", "files have")
            notes.append(
                f"{files} the size, and the name or the time, of one that is gone, and perhaps only "
                "moved: where the bytes are the same too, what was computed of it is kept"
            )
        if self.new and self.gone:
            notes.append(
                "images that were only moved or renamed keep what was computed of them, and count "
                "neither as new nor as gone"
            )
        return notes


def foresee(context: Context, scanned: ScanPlan) -> Foreseen:
    """Bring the state to where a scan will leave it, and return what is known of the files.

    Files that were there before, under the same name and as large, are taken for the same. So are
    ones as large as a file that is gone, and of its name or its time: it was moved, or renamed.

    Parameters
    ----------
    context : Context
        As :func:`~.looking.looking` gives it: what is put into its state stays in this process.
    scanned : ScanPlan
    """
    state = context.store.state
    cells = {a.unit: a for a in state.stage(CELLS) if a.outcome in (OK, NO_CELLS)}
    new: Counter[tuple[str, dt.date | None]] = Counter()
    rows = list(scanned.adopted)
    away = _Away(scanned.gone)
    moved = []
    for files in scanned.files:
        for item in files.found.fresh:
            if item.reason.cause != Cause.NEW:
                continue
            if row := _before(files, item):
                rows.append(row)
            elif row := away.take(item.file):
                moved.append(_at(row, files, item.file))
            else:
                new[files.archive.name, files.listing.dates[item.file.relative_path]] += 1
    for row in rows:
        context.adopt(row)
    state.delete(scanned.gone)
    state.put(moved)
    drop_unshown(state)
    back = len(rows) - len(scanned.adopted)
    return Foreseen(new, back, len(moved), len(scanned.gone) - len(moved), cells)


class _Away:
    """Images whose file is gone from where it was; every one of them is found once."""

    def __init__(self, gone: Iterable[Action]) -> None:
        self._alike: dict[tuple[object, ...], list[Action]] = defaultdict(list)
        self._taken: set[str] = set()
        for row in gone:
            facts = (row.fact(name, None) for name in ("relative_path", "size", "mtime_ns"))
            for trait in _traits(*facts) if row.outcome == OK else ():
                self._alike[trait].append(row)

    def take(self, file: ListedFile) -> Action | None:
        """Return the row of an image that a file may be."""
        for trait in _traits(file.relative_path, file.size, file.mtime_ns):
            alike = self._alike.get(trait, [])
            while alike:
                row = alike.pop()
                if row.unit not in self._taken:
                    self._taken.add(row.unit)
                    return row
        return None


def _traits(path: object, size: object, mtime_ns: object) -> tuple[tuple[object, ...], ...]:
    """Return what a file keeps where its folder is renamed, or it is itself."""
    return (size, "name", str(path).rpartition("/")[2]), (size, "time", mtime_ns)


def _at(row: Action, files: ArchiveFiles, file: ListedFile) -> Action:
    """Return an image's row as it is where its file was moved to."""
    path, name = file.relative_path, files.archive.name
    return replace(
        row,
        unit=acquisition_id(name, path),
        archive=name,
        date=files.listing.dates[path],
        components=row.components | {"relative_path": path},
    )


def _before(files: ArchiveFiles, item: ToRead) -> Action | None:
    """Return the last row of a file that had this name and this size."""
    path = item.file.relative_path
    found = [row for sha256 in item.expected if (row := files.finished(path, sha256))]
    same = [row for row in found if row.fact("size", None) == item.file.size]
    return max(same, key=lambda row: row.sequence, default=None)


def labels_of_new_files(
    context: Context, files: Foreseen, labels: AnnotatePlan
) -> Iterator[tuple[str, str, dt.date | None, Reason]]:
    """Yield unit, archive, date and reason of the dates that are labelled since images come.

    Parameters
    ----------
    context : Context
    files : Foreseen
    labels : AnnotatePlan
        What is labelled whatever comes, and what waits.
    """
    waiting = {(action.archive, action.date) for action in labels.waiting}
    for archive, date in files.new:
        unit = annotate_unit(archive, date)
        if (archive, date) in waiting or (ANNOTATE, unit) in labels.reasons:
            continue
        known = context.store.state.get(ANNOTATE, unit)
        yield unit, archive, date, Reason(Cause.INPUT, "new images") if known else Reason(Cause.NEW)

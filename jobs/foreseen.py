"""What a scan will leave, as far as names and sizes tell: no file is read for it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anabatch.report.text import plural
from anabatch.store.actions import NO_CELLS, OK
from anabatch.store.live import ANNOTATE, CELLS
from anabatch.store.recipes import Cause, Reason

from .images import drop_unshown

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Mapping

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
    gone : int
        Images that are no longer there.
    cells : mapping
        What was cut of every image before the scan, by image id.
    """

    new: Counter[tuple[str, dt.date | None]]
    back: int
    gone: int
    cells: Mapping[str, Action]

    def notes(self) -> list[str]:
        """Return what only the files' bytes can tell."""
        notes = []
        if self.back:
            files = "1 file has" if self.back == 1 else f"{plural(self.back, 'file')} have"
            notes.append(
                f"{files} the name and the size of one that was there before: where the bytes are "
                "the same too, what was computed is found again"
            )
        if self.new and self.gone:
            notes.append(
                "images that were only moved or renamed keep what was computed of them, and count "
                "neither as new nor as gone"
            )
        return notes


def foresee(context: Context, scanned: ScanPlan) -> Foreseen:
    """Bring the state to where a scan will leave it, and return what is known of the files.

    Files that were there before, under the same name and as large, are taken for the same.

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
    for files in scanned.files:
        for item in files.found.fresh:
            if item.reason.cause != Cause.NEW:
                continue
            if row := _before(files, item):
                rows.append(row)
            else:
                new[files.archive.name, files.listing.dates[item.file.relative_path]] += 1
    for row in rows:
        context.adopt(row)
    state.delete(scanned.gone)
    drop_unshown(state)
    back = len(rows) - len(scanned.adopted)
    return Foreseen(new, back, len(scanned.gone), cells)


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
        unit = f"{archive}/{date or 'undated'}"
        if (archive, date) in waiting or (ANNOTATE, unit) in labels.reasons:
            continue
        known = context.store.state.get(ANNOTATE, unit)
        yield unit, archive, date, Reason(Cause.INPUT, "new images") if known else Reason(Cause.NEW)

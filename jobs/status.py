"""Status: how far the store is, how its last runs ended, and who holds it now."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from anabatch.archive.acquisition import acquisition_id
from anabatch.errors import AnabatchError
from anabatch.store.actions import DEFERRED, FAILED
from anabatch.store.live import (
    ANNOTATE,
    CELLS,
    CLUSTER,
    CLUSTER_MODEL,
    EMBED,
    FEATURIZE,
    LIST,
    SCAN,
    SEGMENT,
)
from anabatch.store.lock import holder
from anabatch.store.root import RUNS, open_store

from .record import OUTCOME, Last, read_last

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable
    from pathlib import Path

    from anabatch.config import Config
    from anabatch.store.actions import Action

    from .plan import Planned

STAGES = (LIST, SCAN, ANNOTATE, SEGMENT, CELLS, FEATURIZE, EMBED, CLUSTER)
"""The stages that are counted, in the order of the data's way."""


@dataclass
class Counts:
    """Where the units of one stage stand; each is in one place.

    Attributes
    ----------
    done, pending, failed, deferred : int
        What stands; what the next run would do; what is in quarantine; what was put off to the next
        run. A failure that the next run tries again is a failure still.
    pending_images : int
        Images whose cells are still to be cut, so that nobody knows how many units of this stage,
        which are parts of cells, they will make. They are not among `pending`.
    """

    done: int = 0
    pending: int = 0
    failed: int = 0
    deferred: int = 0
    pending_images: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.done + other.done,
            self.pending + other.pending,
            self.failed + other.failed,
            self.deferred + other.deferred,
            self.pending_images + other.pending_images,
        )

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do or to look at."""
        return not (self.pending or self.failed or self.deferred or self.pending_images)


@dataclass
class Day:
    """One date of one archive.

    Attributes
    ----------
    archive : str
    date : datetime.date or None
        None for what has no date.
    stages : dict of str to Counts
        Stages of which there is anything.
    elsewhere : int
        Images whose pictures are counted under another date or archive from their segmentation on.
    """

    archive: str
    date: dt.date | None
    stages: dict[str, Counts] = field(default_factory=lambda: defaultdict(Counts))
    elsewhere: int = 0

    @property
    def is_done(self) -> bool:
        """Whether nothing of it is left to do or to look at."""
        return all(counts.is_done for counts in self.stages.values())


@dataclass(frozen=True)
class Status:
    """All that `anabatch status` tells.

    Attributes
    ----------
    store : str
    version : int
    days : list of Day
        The newest date first, what has no date last.
    unknown : str or None
        Why it is not known what is pending; None if it is.
    models : list of str
        Population models that the next run would fit.
    holder : str or None
        Who holds the store at this moment.
    last : Last
        How the last runs ended.
    unfinished : str or None
        A run after those that has told no end: it goes on, or it was killed.
    """

    store: str
    version: int
    days: list[Day]
    unknown: str | None
    models: list[str]
    holder: str | None
    last: Last
    unfinished: str | None

    @property
    def totals(self) -> dict[str, Counts]:
        """The counts of all dates, by stage."""
        total: dict[str, Counts] = {}
        for stage in STAGES:
            found = [day.stages[stage] for day in self.days if stage in day.stages]
            if found:
                total[stage] = sum(found, Counts())
        return total

    def plain(self) -> dict[str, Any]:
        """Return it as values that JSON can hold."""
        return {
            "store": self.store,
            "version": self.version,
            "held_by": self.holder,
            "last_run": asdict(self.last.last) if self.last.last else None,
            "last_success": asdict(self.last.success) if self.last.success else None,
            "unfinished_run": self.unfinished,
            "pending_is_known": self.unknown is None,
            "pending_is_not_known_because": self.unknown,
            "models_to_fit": self.models,
            "totals": _plain(self.totals),
            "dates": [
                {
                    "archive": day.archive,
                    "date": str(day.date) if day.date else None,
                    "stages": _plain(day.stages),
                    "pictures_elsewhere": day.elsewhere,
                }
                for day in self.days
            ],
        }


def _plain(stages: dict[str, Counts]) -> dict[str, dict[str, int]]:
    return {stage: asdict(counts) for stage, counts in stages.items()}


def _of_a_part(action: Action) -> bool:
    """Whether it is of clusters that nights leave as they are: those of a part of the archive."""
    return action.stage == CLUSTER and not action.unit.startswith(f"{CLUSTER_MODEL}:")


def count(actions: Iterable[Action], planned: Iterable[Planned]) -> list[Day]:
    """Count, by archive, date and stage, what is done, pending, failed and deferred.

    Parameters
    ----------
    actions : iterable of Action
        Those of the ledger.
    planned : iterable of Planned
        What the next run would do.

    Returns
    -------
    list of Day
        The newest date first, what has no date last.
    """
    waiting = {
        (one.stage, _unit(one)): (one.archive, one.date) for one in planned if one.stage in STAGES
    }
    days: dict[tuple[str, dt.date | None], Day] = {}
    actions = list(actions)
    homes = _homes(actions) | {
        unit: at for (stage, unit), at in waiting.items() if stage == SEGMENT
    }

    def counts(stage: str, archive: str, date: dt.date | None) -> Counts:
        day = days.setdefault((archive, date), Day(archive, date))
        return day.stages[stage]

    for action in actions:
        if action.stage not in STAGES or _of_a_part(action):
            continue
        here = counts(action.stage, action.archive, action.date)
        place = action.archive, action.date
        if action.stage == SCAN and homes.get(_picture(action), place) != place:
            days[place].elsewhere += 1
        is_planned = waiting.pop(action.identity, None) is not None
        if action.outcome == FAILED:
            here.failed += 1
        elif action.outcome == DEFERRED:
            here.deferred += 1
        elif is_planned:
            here.pending += 1
        else:
            here.done += 1
    for (stage, unit), place in waiting.items():
        here = counts(stage, *place)
        if stage == FEATURIZE and "/" not in unit:  # an image's id, and no part's path
            here.pending_images += 1
        else:
            here.pending += 1
    found = sorted(days.values(), key=lambda day: day.archive)
    return sorted(found, key=lambda day: str(day.date or ""), reverse=True)


def _homes(actions: Iterable[Action]) -> dict[str, tuple[str, dt.date | None]]:
    """Return under which archive and date pictures are segmented."""
    return {a.unit: (a.archive, a.date) for a in actions if a.stage == SEGMENT}


def _picture(scanned: Action) -> str:
    """Return the image id of a file; empty where it could not be read."""
    return str(scanned.fact("image_id", ""))


def _unit(planned: Planned) -> str:
    """Return the unit that the action will have: a plan names a file by its path."""
    if planned.stage == SCAN:
        return acquisition_id(planned.archive, planned.unit)
    return planned.unit


def status(store: Path, config: Config | None) -> Status:
    """Look at a store.

    Parameters
    ----------
    store : Path
        The store's folder.
    config : Config or None
        Without it nobody knows what the next run would do.

    Raises
    ------
    StoreNotFoundError
        There is no store.
    PartCorruptError
        Its ledger cannot be read.
    """
    planned, unknown = _planned(config)
    opened = open_store(store)
    with opened:
        last = read_last(opened.root)
        models = [one.unit for one in planned if one.stage not in STAGES]
        return Status(
            store=str(opened.root),
            version=opened.version,
            days=count(opened.state.actions(), planned),
            unknown=unknown,
            models=models,
            holder=holder(opened.root),
            last=last,
            unfinished=_unfinished(opened.root, last),
        )


def _planned(config: Config | None) -> tuple[tuple[Planned, ...], str | None]:
    """Return what the next run would do, and if that cannot be known, why."""
    if config is None or not config.archives:
        return (), "that needs the configuration with the archives: -c anabatch.toml"
    from .looking import looking
    from .plan import survey

    try:
        with looking(config) as context:
            return survey(context).items, None
    except AnabatchError as error:  # as a disk that is not mounted: all else can be told
        return (), str(error)


def _unfinished(store: Path, last: Last) -> str | None:
    """Return the newest run that has started after the last that ended, and has no outcome."""
    ended = last.last.run if last.last else ""
    later = [path.name for path in (store / RUNS).glob("*") if path.name > ended]
    open_ones = [name for name in later if not (store / RUNS / name / OUTCOME).exists()]
    return max(open_ones, default=None)

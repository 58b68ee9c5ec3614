"""What all jobs of one run share, and the one loop that runs their graphs."""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from anabatch.archive.layout import detect_layout, load_layout
from anabatch.archive.listing import list_archive
from anabatch.errors import ConfigurationError
from anabatch.named_places import reading
from anabatch.stages.population import fitted_rows
from anabatch.store.attempts import Attempts
from anabatch.store.consistency import check
from anabatch.store.damage import read_damage
from anabatch.store.live import SCAN
from anabatch.store.parts import MANIFEST, settle
from anabatch.store.recipes import RECIPE, Cause, Recipe

from .batches import outcomes

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from anabatch.archive.layout import Layout
    from anabatch.archive.listing import Listing
    from anabatch.compute import Cluster
    from anabatch.config import ArchiveConfig, Config
    from anabatch.store.actions import Action
    from anabatch.store.root import Store

    from .batches import Apart, Blame
    from .reporter import Reporter

_COMMIT_SECONDS = 30.0
"""Finished dates are committed together, at this distance: a commit rewrites the ledger's file."""
_LONG_DATE_SECONDS = 300.0
"""A long date is committed piece by piece, at this distance."""


def new_run_id() -> str:
    """Return an id that sorts by time and that no other run has."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def _layout(archive: ArchiveConfig) -> Layout:
    if not archive.path.is_dir():
        what = f"the archive {archive.name} is not at {archive.path}"
        raise ConfigurationError(what, "Is the disk mounted?")
    return detect_layout(archive.path) if archive.layout == "auto" else load_layout(archive.layout)


@dataclass
class Context:
    """One run over one store.

    Attributes
    ----------
    config : Config
    store : Store
    cluster : Cluster
    reporter : Reporter
    run : str
        The run's id.
    folder : Path
        The run's own folder in the store.
    only_date : datetime.date or None
        Restricts scan to segment to one date.
    accept_vanished, accept_recompute : bool
        Whether more may be taken away, or computed again, than the guards allow.
    commits : bool
        Whether a job commits what it did. `run` commits whole dates instead.
    """

    config: Config
    store: Store
    cluster: Cluster
    reporter: Reporter
    run: str
    folder: Path
    only_date: dt.date | None = None
    accept_vanished: bool = False
    accept_recompute: bool = False
    commits: bool = True
    did_something: bool = False
    _sequence: int = 0
    _layouts: dict[str, Layout] = field(default_factory=dict)
    _listings: dict[str, Listing] = field(default_factory=dict)
    _last_commit: float = field(default_factory=time.monotonic)
    _adopted: dict[str, int] = field(default_factory=dict)
    _fitted: dict[str, Mapping[str, int]] = field(default_factory=dict)

    def use(self, recipe: Recipe) -> str:
        """Return a recipe's digest; the ledger keeps the recipe with the next commit."""
        digest = recipe.digest
        if self.store.state.get(RECIPE, digest) is None:
            self.store.state.put([recipe.action(self.run)])
        return digest

    def recipe(self, digest: Any) -> Recipe | None:
        """Return a recipe that the ledger keeps, or None."""
        action = self.store.state.get(RECIPE, str(digest))
        return Recipe.from_action(action) if action else None

    @cached_property
    def finished(self) -> Attempts:
        """Finished actions that do not stand: of runs that were killed, and of old."""
        return Attempts(self.store.root)

    def adopt(self, action: Action) -> Action:
        """Take over a finished action, and return it as it stands in the state now."""
        part = str(action.part)
        if part not in self._adopted:
            standing = self._sequences.get(part)  # other images of the part are live
            self._adopted[part] = standing or self.next_sequence()
        mine = replace(action, sequence=self._adopted[part])
        self.store.state.put([mine])
        return mine

    @cached_property
    def _sequences(self) -> dict[str, int]:
        """The places of the parts that the ledger named when first asked."""
        return {a.part: a.sequence for a in self.store.state.actions() if a.part}

    @property
    def adopted(self) -> int:
        """Number of finished parts that this run took over."""
        return len(self._adopted)

    @cached_property
    def _condition(self) -> dict[str, Cause | None]:
        """What is wrong with the parts that were looked at; at first, what was found before."""
        return {part: Cause(cause) for part, cause in read_damage(self.store.root).items()}

    def damage(self, part: str | None) -> Cause | None:
        """Return what is wrong with a part, as far as `anabatch verify` or a glance tells."""
        if part is None:
            return None
        if part not in self._condition:
            there = os.path.exists(f"{self.store.root}/{part}/{MANIFEST}")  # noqa: PTH110 -- of every part, every night
            self._condition[part] = None if there else Cause.MISSING
        return self._condition[part]

    def fitted_rows(self, model: Action) -> Mapping[str, int]:
        """Return how many live rows of every cell part a generation was fitted on, read once a run."""
        part = str(model.part)
        if part not in self._fitted:
            self._fitted[part] = fitted_rows(self.store.root, part)
        return self._fitted[part]

    def next_sequence(self) -> int:
        """Return the next number in the store's order of parts, in the order of the plan."""
        if not self._sequence:  # one run holds the store: nobody else counts on
            self._sequence = self.store.state.next_sequence()
        else:
            self._sequence += 1
        return self._sequence

    def layout(self, archive: ArchiveConfig) -> Layout:
        """Return an archive's layout, detected once if the configuration leaves it open.

        Raises
        ------
        ConfigurationError
            The archive's folder is not there, or fits several layouts, or none.
        PlaceError
            This user may not read it.
        """
        if archive.name not in self._layouts:
            with reading(archive.path):
                self._layouts[archive.name] = _layout(archive)
        return self._layouts[archive.name]

    def listing(self, archive: ArchiveConfig) -> Listing:
        """Return what an archive holds, listed once a run."""
        if archive.name not in self._listings:
            scanned = (a for a in self.store.state.stage(SCAN) if a.archive == archive.name)
            paths = [str(action.fact("relative_path")) for action in scanned]
            known = dict(zip(paths, paths, strict=True))
            self._listings[archive.name] = list_archive(
                archive.path, self.layout(archive), known=known
            )
        return self._listings[archive.name]

    def wanted(self, date: dt.date | None) -> bool:
        """Whether a date is within what the run was asked for."""
        return self.only_date is None or date == self.only_date

    def commit(self, select: Callable[[Action], bool] = lambda _: True) -> None:
        """Check pending changes across tables, and commit them in one version of the ledger.

        Raises
        ------
        InconsistentError
            They contradict each other; nothing is committed.
        """
        changes = self.store.state.pending(select)
        self._last_commit = time.monotonic()
        if not changes.delete and all(action.stage == RECIPE for action in changes.put):
            return  # recipes alone are of nothing
        check(self.store.root, self.store.state.after(changes), changes.put)
        for part in sorted(self._adopted.keys() & {action.part for action in changes.put}):
            settle(self.store.root, part)
        if self.store.commit(self.run, select):
            self.did_something = True
            self.reporter.say(
                "commit", f"committed version {self.store.version}", version=self.store.version
            )

    @property
    def commit_is_due(self) -> bool:
        """Whether finished dates should wait no longer."""
        return time.monotonic() - self._last_commit > _COMMIT_SECONDS

    @property
    def long_date_is_due(self) -> bool:
        """Whether the finished part of a long date should wait no longer."""
        return time.monotonic() - self._last_commit > _LONG_DATE_SECONDS

    def execute(
        self,
        job: str,
        graphs: Iterable[tuple[Any, Any]],
        total: int,
        done: Callable[[Any, Any], None],
        apart: Apart | None = None,
    ) -> None:
        """Run named graphs and hand each result to `done` as it comes.

        A graph that ends in an error does not keep others from finishing; the first error that
        taking batches apart could not help is raised when all are through. An error that all
        would meet ends it at once.

        Parameters
        ----------
        job : str
            What to call it.
        graphs : iterable of (name, Delayed)
        total : int
            How many there are.
        done : callable
            Called with name and value, in this process.
        apart : Apart, optional
            How to take a batch apart that failed.
        """
        if not total:
            return
        text = f"{job}: 1 batch" if total == 1 else f"{job}: {total} batches"
        self.reporter.say("start", text, job=job, batches=total)
        started = time.monotonic()
        errors: list[Exception] = []

        def failed(_: Any, error: Exception) -> None:
            text = f"{job}: a batch failed: {error}"
            self.reporter.warn("failed", text, job=job, error=repr(error))

        def alike(blame: Blame) -> None:
            text = (
                f"{job}: {blame.alike} items failed alike, each by itself: {blame.reason}. THIS IS "
                "HARDLY THEIR FAULT, but the program's or the machine's. All else goes on; they "
                "are in quarantine, and the next run tries them again"
            )
            self.reporter.warn("alike", text, job=job, items=blame.alike, error=repr(blame.error))

        backend = self.cluster.backend
        with self.reporter.progress(job, total) as advance:
            for outcome in outcomes(backend, graphs, apart=apart, failed=failed, alike=alike):
                advance()
                if outcome.error is not None:
                    errors.append(outcome.error)
                    continue
                done(outcome.name, outcome.value)
                self.reporter.finished(job, outcome.value)
        seconds = round(time.monotonic() - started, 1)
        self.reporter.say("done", f"{job}: done in {seconds} s", job=job, seconds=seconds)
        if errors:
            errors[0].add_note(f"{len(errors)} of {total} batches of {job} failed")
            raise errors[0]

"""One run of jobs over one store: its lock, its cluster, its record."""

from __future__ import annotations

import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING

from anabatch.compute import Cluster
from anabatch.store.root import hold_store

from .context import Context, new_run_id
from .record import EVENTS, REPORT, WHOLE, Record

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from anabatch.config import Config

    from .reporter import Reporter


@contextmanager
def session(
    config: Config,
    reporter: Reporter,
    *,
    create: bool = True,
    only_date: dt.date | None = None,
    command: str = WHOLE,
) -> Iterator[Context]:
    """Hold the store for one run, and keep the run's record.

    A run that did nothing, and met no error, leaves no folder behind.

    Parameters
    ----------
    config : Config
    reporter : Reporter
    create : bool
        Whether to make the store where there is none.
    only_date : datetime.date, optional
        Restricts scan to segment to one date.
    command : str
        What was asked for, in the record.

    Raises
    ------
    StoreLockedError
        Another run holds the store.
    StoreNotFoundError
        There is no store, and it is not to be made.
    """
    run = new_run_id()
    reporter.bind(run=run)
    with hold_store(config.store, run=run, create=create) as store:
        record = Record(store, config, run, command)
        reporter.record_to(record.folder / EVENTS)
        cluster = Cluster(
            config.compute,
            announce=lambda address: _announce(reporter, address),
            performance_report=record.folder / "performance-report.html",
        )
        context = Context(config, store, cluster, reporter, run, record.folder, only_date)
        reporter.note("started", f"{command} of version {store.version}", command=command)
        try:
            with cluster:
                yield context
        except BaseException as error:
            trace = "".join(traceback.format_exception(error))
            try:
                reporter.note("error", f"{type(error).__name__}: {error}", traceback=trace)
                _end(record, context, error)
            except OSError as lost:  # as on a full disk; what ended the run is what counts
                error.add_note(f"the record of run {run} is not complete: {lost}")
            raise
        _end(record, context, None)


def _end(record: Record, context: Context, error: BaseException | None) -> None:
    context.reporter.close()
    record.end(
        context.reporter,
        error,
        did_something=context.did_something,
        reported=(context.folder / REPORT).exists(),
        keep=context.cluster.started,
    )


def _announce(reporter: Reporter, address: str) -> None:
    if address:
        reporter.say("dashboard", f"Dask dashboard: {address}", address=address)

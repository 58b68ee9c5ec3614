"""One run of jobs over one store: its lock, its folder, its record, its exit code."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from anabatch.compute import Cluster
from anabatch.store.durable import make_folder, replace_text
from anabatch.store.root import RUNS, hold_store

from .context import Context, new_run_id

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from anabatch.config import Config
    from anabatch.store.actions import Action

    from .reporter import Reporter

EVENTS = "events.jsonl"
"""A run's record of what it said."""


@contextmanager
def session(
    config: Config,
    reporter: Reporter,
    *,
    create: bool = True,
    only_date: dt.date | None = None,
) -> Iterator[Context]:
    """Hold the store for one run, and keep the run's record.

    A run that did nothing leaves no folder behind.

    Parameters
    ----------
    config : Config
    reporter : Reporter
    create : bool
        Whether to make the store where there is none.
    only_date : datetime.date, optional
        Restricts scan to segment to one date.

    Raises
    ------
    StoreLockedError
        Another run holds the store.
    StoreNotFoundError
        There is no store, and it is not to be made.
    """
    run = new_run_id()
    with hold_store(config.store, run=run, create=create) as store:
        folder = store.root / RUNS / run
        make_folder(folder, store.root)
        replace_text(folder / "config.json", config.model_dump_json(indent=1))
        reporter.record_to(folder / EVENTS)
        cluster = Cluster(
            config.compute,
            announce=lambda address: _announce(reporter, address),
            performance_report=folder / "performance-report.html",
        )
        context = Context(config, store, cluster, reporter, run, folder, only_date)
        try:
            with cluster:
                yield context
        finally:
            reporter.close()
            if not context.did_something and not cluster.started:
                shutil.rmtree(folder)
            else:
                _write_failures(context)


def _announce(reporter: Reporter, address: str) -> None:
    if address:
        reporter.say("dashboard", f"Dask dashboard: {address}", address=address)


def _write_failures(context: Context) -> None:
    rows = [_failure(action) for action in context.store.state.failures()]
    schema = pa.schema(
        [(name, pa.string()) for name in ("stage", "unit", "archive", "path", "reason")]
    )
    path = context.folder / "failures.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def _failure(action: Action) -> dict[str, str]:
    return {
        "stage": action.stage,
        "unit": action.unit,
        "archive": action.archive,
        "path": str(action.components.get("relative_path", "")),
        "reason": action.reason or "",
    }

"""What computes graphs: this process, or Dask workers, a bounded number of graphs at once."""

from __future__ import annotations

import textwrap
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import dask
from dask.local import get_sync

from anabatch.errors import WorkerError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable


@dataclass(frozen=True)
class Outcome:
    """What came of one graph: its value, or the error that ended it."""

    name: Any
    value: Any = None
    error: Exception | None = None


class Backend(Protocol):
    """Computes graphs. There is one in this process, and one over Dask workers."""

    @property
    def dashboard(self) -> str:
        """Address of the dashboard; empty where there is none."""

    def stream(self, graphs: Iterable[tuple[Any, Any]]) -> Generator[Outcome]:
        """Compute named graphs, a bounded number at once, and yield outcomes as they come."""

    def compute(self, graph: Any) -> Any:
        """Compute one graph and return its value."""


class InProcess:
    """Computes one graph after the other in this process."""

    dashboard = ""

    def stream(self, graphs: Iterable[tuple[Any, Any]]) -> Generator[Outcome]:
        """Compute named graphs one after the other."""
        for name, graph in graphs:
            yield self._outcome(name, graph)

    def compute(self, graph: Any) -> Any:
        """Compute one graph and return its value."""
        # the function, not its name: for a name Dask looks for a client and imports distributed
        return dask.compute(graph, scheduler=get_sync)[0]

    def _outcome(self, name: Any, graph: Any) -> Outcome:
        try:
            return Outcome(name, self.compute(graph))
        except Exception as error:  # noqa: BLE001 (the caller decides; others go on)
            return Outcome(name, error=error)


class Distributed:
    """Computes graphs on Dask workers.

    A task whose worker died is tried again by the scheduler, which gives it up after a number of
    deaths (`distributed.scheduler.allowed-failures`). It cannot tell the guilty from a neighbour
    that waited on the same worker. So what it gave up is computed anew at the end, graph by graph
    with nothing beside it, before it is called an error. A task that raises is never tried again.
    Without the scheduler, or any worker, nothing can be computed: `WorkerError` is raised.

    Parameters
    ----------
    client : distributed.Client
    window : int
        Graphs in flight for every worker.
    retries : int
        As in :class:`~anabatch.config.ComputeConfig`. With 0 nothing is computed anew.
    """

    def __init__(self, client: Any, *, window: int, retries: int) -> None:
        self._client = client
        self._retries = retries
        workers = max(1, len(client.nthreads()))
        self._in_flight = workers * window

    @property
    def dashboard(self) -> str:
        """Address of the dashboard."""
        return str(self._client.dashboard_link)

    def stream(self, graphs: Iterable[tuple[Any, Any]]) -> Generator[Outcome]:
        """Compute named graphs, a bounded number at once, and yield outcomes as they come."""
        suspects: list[tuple[Any, Any]] = []
        with closing(self._crowd(graphs)) as crowd:
            for outcome, graph in crowd:
                if self._retries and isinstance(outcome.error, WorkerError):
                    suspects.append((outcome.name, graph))
                else:
                    yield outcome
        for name, graph in suspects:
            yield self._alone(name, graph)

    def compute(self, graph: Any) -> Any:
        """Compute one graph and return its value.

        Raises
        ------
        WorkerError
            The workers that ran it died, again and again.
        """
        outcome = self._alone("a graph", graph)
        if self._retries and isinstance(outcome.error, WorkerError):
            outcome = self._alone("a graph", graph)
        if outcome.error:
            raise outcome.error
        return outcome.value

    def _crowd(self, graphs: Iterable[tuple[Any, Any]]) -> Generator[tuple[Outcome, Any]]:
        """Compute graphs side by side; yield outcomes with their graphs as they come."""
        from distributed import as_completed

        waiting = iter(graphs)
        submitted: dict[Any, tuple[Any, Any]] = {}
        running = as_completed()

        def start_next() -> None:
            for name, graph in waiting:
                future = self._submit(graph)
                submitted[future] = name, graph
                running.add(future)
                return

        try:
            for _ in range(self._in_flight):
                start_next()
            for future in running:
                name, graph = submitted.pop(future)
                outcome = self._outcome(name, future)
                future.release()
                start_next()
                yield outcome, graph
        finally:
            # the caller has stopped early: nobody waits for what is left
            if submitted and self._connected:
                self._client.cancel(list(submitted))

    def _alone(self, name: Any, graph: Any) -> Outcome:
        future = self._submit(graph)
        try:
            return self._outcome(name, future)
        finally:
            future.release()

    def _submit(self, graph: Any) -> Any:
        self._check_connection()  # it would wait for ever
        return self._client.compute(graph, optimize_graph=False)

    def _outcome(self, name: Any, future: Any) -> Outcome:
        from distributed.client import FutureCancelledError
        from distributed.scheduler import KilledWorker, NoValidWorkerError, NoWorkerError

        try:
            return Outcome(name, future.result())
        except (NoWorkerError, NoValidWorkerError) as error:
            what = f"no worker is left, and none has come: {error}"
            raise WorkerError(what, "Look at the workers' logs.") from error
        except (KilledWorker, FutureCancelledError) as error:
            self._check_connection()
            who = textwrap.shorten(str(name), 120, placeholder=" ...")
            what = f"the workers that computed {who} died: {error}"
            remedy = "Look at the workers' logs; the usual cause is memory."
            return Outcome(name, error=WorkerError(what, remedy))
        except Exception as error:  # noqa: BLE001 (the caller decides; others go on)
            return Outcome(name, error=error)

    @property
    def _connected(self) -> bool:
        return bool(self._client.status == "running")

    def _check_connection(self) -> None:
        if not self._connected:
            what = "the Dask scheduler is gone, and all that it was computing with it"
            remedy = "Look at its log, start it again, and run again: what was committed stays."
            raise WorkerError(what, remedy)

"""Where the work runs. The only place that starts clusters and computes.

As little logic as possible here: jobs say what depends on what, as Dask graphs that compute
nothing; this module puts a bounded number of them in flight and hands back what they return.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import cv2
import dask
from threadpoolctl import threadpool_limits

from anabatch.errors import WorkerError
from anabatch.reduction import reduce_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

    from anabatch.config import ComputeConfig

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)


def limited(function: Callable[..., Any], threads: int, *arguments: Any) -> Any:
    """Call a function with the numerical libraries held to a number of threads.

    Every task of every backend goes through here: results must not depend on where they were
    computed, and sums of floats depend on the number of threads.
    """
    cv2.setNumThreads(threads)
    with threadpool_limits(threads):
        return function(*arguments)


def task(function: Callable[..., Any], *arguments: Any, threads: int) -> Any:
    """Return a node of a graph: a function of `anabatch` on values or other nodes.

    Parameters
    ----------
    function : callable
        A function of `anabatch.*`, which every worker can import.
    *arguments
        Values, or nodes that give them.
    threads : int
        Threads that the numerical libraries may use.

    Returns
    -------
    dask.delayed.Delayed
    """
    return dask.delayed(limited, pure=False)(function, threads, *arguments)


def gather(nodes: list[Any]) -> Any:
    """Return a node that gives the values of others as a list."""
    return dask.delayed(list, pure=False)(nodes)


def tree(items: list[Any], merge: Callable[[Any, Any], Any], *, threads: int) -> Any:
    """Return a node that merges others pairwise, by position.

    The tree's shape depends on the number of items alone, so that floating-point sums are bitwise
    the same for any number of workers.

    Parameters
    ----------
    items : list of Delayed
        At least one.
    merge : callable
        A function of `anabatch.*` of two values.
    threads : int
        Threads that the numerical libraries may use.
    """
    return reduce_tree(items, lambda left, right: task(merge, left, right, threads=threads))


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

    def stream(self, graphs: Iterable[tuple[Any, Any]]) -> Iterator[Outcome]:
        """Compute named graphs, a bounded number at once, and yield outcomes as they come."""

    def compute(self, graph: Any) -> Any:
        """Compute one graph and return its value."""


class InProcess:
    """Computes one graph after the other in this process."""

    dashboard = ""

    def stream(self, graphs: Iterable[tuple[Any, Any]]) -> Iterator[Outcome]:
        """Compute named graphs one after the other."""
        for name, graph in graphs:
            try:
                yield Outcome(name, self.compute(graph))
            except Exception as error:  # noqa: BLE001 (the caller decides; others go on)
                yield Outcome(name, error=error)

    def compute(self, graph: Any) -> Any:
        """Compute one graph and return its value."""
        return dask.compute(graph, scheduler="synchronous")[0]


class Distributed:
    """Computes graphs on Dask workers.

    Parameters
    ----------
    client : distributed.Client
    window : int
        Graphs in flight for every worker.
    retries : int
        How often a task is tried again whose worker died.
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

    def stream(self, graphs: Iterable[tuple[Any, Any]]) -> Iterator[Outcome]:
        """Compute named graphs, a bounded number at once, and yield outcomes as they come."""
        from distributed import as_completed

        waiting = iter(graphs)
        names: dict[Any, Any] = {}
        running = as_completed()

        def start_next() -> None:
            for name, graph in waiting:
                future = self._submit(graph)
                names[future] = name
                running.add(future)
                return

        for _ in range(self._in_flight):
            start_next()
        for future in running:
            outcome = _outcome(names.pop(future), future)
            future.release()
            start_next()
            yield outcome

    def compute(self, graph: Any) -> Any:
        """Compute one graph and return its value.

        Raises
        ------
        WorkerError
            The workers that ran it died, again and again.
        """
        outcome = _outcome("graph", self._submit(graph))
        if outcome.error:
            raise outcome.error
        return outcome.value

    def _submit(self, graph: Any) -> Any:
        return self._client.compute(graph, retries=self._retries, optimize_graph=False)


def _outcome(name: Any, future: Any) -> Outcome:
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker

    try:
        return Outcome(name, future.result())
    except (KilledWorker, FutureCancelledError) as error:
        what = f"the workers that computed {name} died: {error}"
        remedy = "Look at the workers' logs; the usual cause is memory."
        return Outcome(name, error=WorkerError(what, remedy))
    except Exception as error:  # noqa: BLE001 (the caller decides; others go on)
        return Outcome(name, error=error)


class Cluster:
    """A backend that starts when it is first needed; a context manager.

    Parameters
    ----------
    config : ComputeConfig
    announce : callable, optional
        Told the dashboard's address when a cluster starts.
    performance_report : Path, optional
        Where Dask's own account of a distributed run goes.
    """

    def __init__(
        self,
        config: ComputeConfig,
        *,
        announce: Callable[[str], None] | None = None,
        performance_report: Path | None = None,
    ) -> None:
        self.config = config
        self._announce = announce
        self._performance_report = performance_report
        self._stack = ExitStack()
        self._backend: Backend | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def started(self) -> bool:
        """Whether anything was computed."""
        return self._backend is not None

    @property
    def backend(self) -> Backend:
        """The backend, started if it was not."""
        if self._backend is None:
            self._backend = self._start()
            if self._announce:
                self._announce(self._backend.dashboard)
        return self._backend

    def _start(self) -> Backend:
        if self.config.scheduler == "sync":
            return InProcess()
        client = self._stack.enter_context(_client(self.config))
        if self._performance_report:
            from distributed import performance_report

            self._stack.enter_context(performance_report(filename=str(self._performance_report)))
        return Distributed(client, window=self.config.window, retries=self.config.retries)


@contextmanager
def _client(config: ComputeConfig) -> Iterator[Any]:
    """Yield a client of a local cluster, or of a scheduler that is already there."""
    from distributed import Client, LocalCluster

    if config.scheduler != "local":
        with Client(config.scheduler) as client:
            yield client
        return
    environment = dict.fromkeys(_THREAD_VARIABLES, str(config.threads))
    settings = {
        "distributed.nanny.pre-spawn-environ": environment,
        "distributed.scheduler.allowed-failures": config.retries,
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=config.workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def limit_threads_of_this_process(threads: int) -> None:
    """Set the thread variables that numerical libraries read when they are first imported."""
    for variable in _THREAD_VARIABLES:
        os.environ.setdefault(variable, str(threads))

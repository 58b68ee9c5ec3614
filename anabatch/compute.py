"""Where the work runs. The only place that starts clusters and computes.

As little logic as possible here: jobs say what depends on what, as Dask graphs that compute
nothing; this module puts a bounded number of them in flight and hands back what they return.
"""

from __future__ import annotations

import logging
import os
import textwrap
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, Self

import cv2
import dask
from dask.local import get_sync
from threadpoolctl import threadpool_limits

from anabatch.errors import ConfigurationError, DeviceError, WorkerError
from anabatch.gpus import CPU, GPU, VISIBLE, require_gpus, worker_options
from anabatch.reduction import reduce_tree
from anabatch.store.disk import disk_error

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
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

_NO_WORKERS_TIMEOUT = "5 minutes"
"""Without workers for so long, a local cluster gives up; by default it would wait for ever."""


def limited(function: Callable[..., Any], threads: int, *arguments: Any) -> Any:
    """Call a function with the numerical libraries held to a number of threads.

    Every task of every backend goes through here: results must not depend on where they were
    computed, and sums of floats depend on the number of threads.

    Raises
    ------
    OSError
        The disk's error, whatever the function made of it.
    """
    cv2.setNumThreads(threads)
    with threadpool_limits(threads):
        try:
            return function(*arguments)
        except Exception as error:
            # by its number the driver tells a full disk from a bad batch; causes may not travel
            disk = disk_error(error)
            if disk is None or disk is error:
                raise
            raise OSError(disk.errno, str(disk.strerror), disk.filename) from error


def task(function: Callable[..., Any], *arguments: Any, threads: int, on: str | None = None) -> Any:
    """Return a node of a graph: a function of `anabatch` on values or other nodes.

    Parameters
    ----------
    function : callable
        A function of `anabatch.*`, which every worker can import.
    *arguments
        Values, or nodes that give them.
    threads : int
        Threads that the numerical libraries may use.
    on : {'GPU', 'CPU'}, optional
        Kind of worker that computes it: those that have this resource, one such task at a time. In
        this process it says nothing.

    Returns
    -------
    dask.delayed.Delayed
    """
    with _placed(on):
        return dask.delayed(limited, pure=False)(function, threads, *arguments)


def gather(nodes: list[Any], *, on: str | None = None) -> Any:
    """Return a node that gives the values of others as a list; `on` as for :func:`task`."""
    with _placed(on):
        return dask.delayed(list, pure=False)(nodes)


def _placed(on: str | None) -> Any:
    return dask.annotate(resources={on: 1}) if on else nullcontext()


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
            if self._announce and self._backend.dashboard:
                self._announce(self._backend.dashboard)
        return self._backend

    def _start(self) -> Backend:
        if self.config.scheduler == "sync":
            return InProcess()
        client = self._stack.enter_context(_client(self.config))
        if self._performance_report:
            self._stack.enter_context(_account(client, self._performance_report))
        self._stack.callback(_hush_closing)
        return Distributed(client, window=self.config.window, retries=self.config.retries)


@contextmanager
def _account(client: Any, path: Path) -> Iterator[None]:
    """Have Dask write its account of a run, unless the scheduler that keeps it is gone."""
    from distributed import performance_report

    account = performance_report(filename=str(path))
    account.__enter__()
    try:
        yield
    finally:
        if client.status == "running":
            account.__exit__(None, None, None)


def _hush_closing() -> None:
    """Keep what is of no interest any more from the screen: all results are in.

    Workers with network libraries take longer to end than their nannies wait for.
    """
    logging.getLogger("distributed.nanny").setLevel(logging.ERROR)


def _hush_sizes() -> None:
    """Keep Dask from telling that it cannot measure part of its own account of the run."""
    logging.getLogger("distributed.sizeof").setLevel(logging.ERROR)


@contextmanager
def _client(config: ComputeConfig) -> Iterator[Any]:
    """Yield a client of a local cluster, or of a scheduler that is already there."""
    from distributed import Client

    if config.scheduler != "local":
        try:
            remote = Client(config.scheduler)
        except OSError as error:
            what = f"no Dask scheduler answers at {config.scheduler}: {error}"
            raise ConfigurationError(what, "Is it running?") from error
        with remote as client:
            _check_resources(client, config)
            yield client
        return
    environment = dask.config.get("distributed.nanny.pre-spawn-environ")
    environment = environment | dict.fromkeys(_THREAD_VARIABLES, str(config.threads))
    settings = {
        "distributed.nanny.pre-spawn-environ": environment,
        "distributed.scheduler.allowed-failures": max(config.retries - 1, 0),
        "distributed.scheduler.no-workers-timeout": _NO_WORKERS_TIMEOUT,
    }
    with (
        dask.config.set(settings),
        _local_cluster(config) as cluster,
        Client(cluster) as client,
    ):
        client.run(_hush_sizes)
        yield client


def _check_resources(client: Any, config: ComputeConfig) -> None:
    """Refuse a scheduler whose workers have not the GPUs that were asked for: tasks would wait for ever.

    Raises
    ------
    DeviceError
        There are too few workers with the resource GPU, or none with the resource CPU.
    """
    if not config.gpus:
        return
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    number = {kind: sum(kind in w["resources"] for w in workers) for kind in (GPU, CPU)}
    if number[GPU] < max(1, 0 if config.gpus == "all" else config.gpus) or not number[CPU]:
        what = (
            f"GPUs were asked for ({config.gpus}), and of the {len(workers)} workers at "
            f"{config.scheduler} {number[GPU]} have the resource GPU and {number[CPU]} have CPU"
        )
        remedy = "Start one worker a GPU with --resources GPU=1, the others with --resources CPU=1."
        raise DeviceError(what, remedy)


def _local_cluster(config: ComputeConfig) -> Any:
    """Start worker processes; all of them again where one dies before it is up.

    Raises
    ------
    DeviceError
        GPUs were asked for that are not there.
    WorkerError
        They died again and again.
    """
    gpus = require_gpus(config.gpus) if config.gpus else ()
    left = config.retries
    while True:
        try:
            return _gpu_cluster(config, gpus) if gpus else _cpu_cluster(config)
        except RuntimeError as error:
            if not left:
                what = f"the workers died before they were up: {error}"
                raise WorkerError(what, "The usual cause is memory: take fewer.") from error
            left -= 1


def _cpu_cluster(config: ComputeConfig) -> Any:
    from distributed import LocalCluster

    return LocalCluster(
        n_workers=config.workers,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    )


def _gpu_cluster(config: ComputeConfig, gpus: tuple[str, ...]) -> Any:
    """Start one worker a GPU, and the configured number beside them."""
    from distributed import Nanny, Scheduler, SpecCluster

    quiet = {"silence_logs": logging.WARNING}
    workers = {
        name: {"cls": Nanny, "options": options | quiet | _near(options["env"][VISIBLE])}
        for name, options in worker_options(gpus, config.workers).items()
    }
    return SpecCluster(
        scheduler={
            "cls": Scheduler,
            "options": {
                "host": "127.0.0.1",
                "port": 0,
                "dashboard": True,
                "dashboard_address": "127.0.0.1:0",
            },
        },
        workers=workers,
        **quiet,
    )


def _near(gpu: str) -> dict[str, Any]:
    """Return what keeps a worker on the cores next to its GPU; nothing without dask-cuda.

    It is all of dask-cuda that is of use here: no task holds memory of a GPU when it ends.
    """
    if not gpu or find_spec("dask_cuda") is None:
        return {}
    from dask_cuda.plugins import CPUAffinity
    from dask_cuda.utils import get_cpu_affinity, nvml_device_index

    return {"plugins": [CPUAffinity(get_cpu_affinity(nvml_device_index(0, gpu)))]}


def limit_threads_of_this_process(threads: int) -> None:
    """Set the thread variables that numerical libraries read when they are first imported.

    They are set whatever the environment says, as on workers: results depend on the number.
    """
    for variable in _THREAD_VARIABLES:
        os.environ[variable] = str(threads)

"""Worker processes: those of a local cluster, one a GPU where GPUs are asked for, or a scheduler's."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import dask

from anabatch.errors import ConfigurationError, DeviceError, WorkerError
from anabatch.gpus import CPU, GPU, VISIBLE, require_gpus, worker_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabatch.config import ComputeConfig

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)

# glibc hands every freed block of 128 KiB and more back to the system at once where Dask's own
# settings are in force, and each batch of a network then faults its pages in anew: 6 % of the time.
# Blocks up to glibc's largest threshold are kept for the next batch instead, 128 MiB at most.
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": 32 * 2**20, "MALLOC_TRIM_THRESHOLD_": 128 * 2**20}

_NO_WORKERS_TIMEOUT = "5 minutes"
"""Without workers for so long, a local cluster gives up; by default it would wait for ever."""


@contextmanager
def client_of(config: ComputeConfig) -> Iterator[Any]:
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
    environment = environment | _MALLOC | dict.fromkeys(_THREAD_VARIABLES, str(config.threads))
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


def _hush_sizes() -> None:
    """Keep Dask from telling that it cannot measure part of its own account of the run."""
    logging.getLogger("distributed.sizeof").setLevel(logging.ERROR)


def limit_threads_of_this_process(threads: int) -> None:
    """Set the thread variables that numerical libraries read when they are first imported.

    They are set whatever the environment says, as on workers: results depend on the number.
    """
    for variable in _THREAD_VARIABLES:
        os.environ[variable] = str(threads)

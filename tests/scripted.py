"""Functions that tests send to workers: they fail, die or wait as a script says."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import cv2
from threadpoolctl import threadpool_info

from anabatch.errors import ConfigurationError


def note(folder: Path, name: str) -> None:
    """Count one call, also for a process that dies right after."""
    (folder / f"{name}-{time.monotonic_ns()}-{os.getpid()}").touch()


def calls(folder: Path, name: str) -> int:
    """Return how often a name was noted."""
    return len(list(folder.glob(f"{name}-*")))


def give(folder: Path, name: str, value: Any) -> Any:
    """Return a value."""
    note(folder, name)
    return value


def fail(folder: Path, name: str) -> None:
    """Raise, every time."""
    note(folder, name)
    message = f"{name} is broken"
    raise ValueError(message)


def fail_with_note(what: str) -> None:
    """Raise an error of ours with a note."""
    error = ConfigurationError(what, "Copy it again.")
    error.add_note("in batch 7")
    raise error


def die(folder: Path, name: str, times: int, value: Any = None) -> Any:
    """Kill the worker the first `times` calls; then return a value."""
    note(folder, name)
    if calls(folder, name) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def work_through(folder: Path, items: tuple[str, ...]) -> tuple[str, ...]:
    """Take items one after the other; one called `kill...` kills the worker, `fail...` raises."""
    for item in items:
        if item.startswith("kill"):
            die(folder, item, 99)
        if item.startswith("fail"):
            fail(folder, item)
        note(folder, item)
    return items


def wait(folder: Path, name: str, seconds: float) -> str:
    """Take a while."""
    note(folder, name)
    time.sleep(seconds)
    return name


def join(left: str, right: str) -> str:
    """Merge as text, so that the tree can be read off the result."""
    return f"({left}{right})"


def add(left: float, right: float) -> float:
    """Add floats, whose rounding depends on the order."""
    return left + right


def total(values: list[float]) -> float:
    """Sum a list."""
    return sum(values)


def threads() -> dict[str, Any]:
    """Return what the libraries of this process may use, and what their variables say."""
    import numpy as np

    np.ones((2, 2)) @ np.ones((2, 2))
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {
        "opencv": cv2.getNumThreads(),
        "pools": {item["num_threads"] for item in threadpool_info()},
        "variables": {os.environ.get(name) for name in names},
    }


def where(folder: Path, *_: Any) -> tuple[str, ...]:
    """Return the worker's name, the GPUs that it sees and its threads."""
    from distributed import get_worker

    name = str(get_worker().name)
    note(folder, name)
    return name, os.environ["CUDA_VISIBLE_DEVICES"], os.environ["OMP_NUM_THREADS"]

"""What the checks of every kind of model have in common: of segmenters, and of feature extractors."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from anabatch.errors import AnabatchError, DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

SMALL = 64 * 1024
"""Bytes that a pickled model may have: weights are loaded, never sent."""

_DEVICES = ("cpu", "cuda")
_WORKER = (
    "import pickle, sys; model, method, given = pickle.load(sys.stdin.buffer);"
    "answer = model.digest, getattr(model, method)(*given);"
    "sys.stdout.buffer.write(pickle.dumps(answer))"
)


class ConformanceError(AnabatchError, AssertionError):
    """A model does not keep to what all models of its kind promise."""


def require(holds: bool, what: str) -> None:  # noqa: FBT001 - a condition, as in assert
    """Raise :class:`ConformanceError`, saying what was promised, unless it holds."""
    if not holds:
        raise ConformanceError(what)


def answer_of_a_worker(model: Any, method: str, *given: Any) -> Any:
    """Send a model to another process, and return what its method answers there.

    Parameters
    ----------
    model : object
        With a `digest`, which must be the same there.
    method : str
    *given : object
        The method's arguments.

    Raises
    ------
    ConformanceError
        It is large in a pickle, fails there, or has another digest.
    """
    large = len(pickle.dumps(model))
    require(large < SMALL, f"a pickled model has {large} bytes, more than {SMALL}: weights?")
    worker = subprocess.run(  # noqa: S603 - this interpreter, and code of ours
        [sys.executable, "-c", _WORKER],
        input=pickle.dumps((model, method, given)),
        capture_output=True,
        check=False,
    )
    require(worker.returncode == 0, f"on a worker it failed: {worker.stderr.decode()[-2000:]}")
    digest, answer = pickle.loads(worker.stdout)  # noqa: S301 - our own process's bytes
    require(digest == model.digest, "on a worker its digest is another")
    return answer


def require_devices(there: Collection[str], use: Callable[[str], object]) -> None:
    """Use every device that is there, and see that any other is refused.

    Parameters
    ----------
    there : collection of str
    use : callable
        Takes a device's name.

    Raises
    ------
    ConformanceError
        It went on without a device that is not there.
    """
    for device in _DEVICES:
        try:
            use(device)
        except DeviceError:
            if device in there:
                raise
            continue
        require(device in there, f"{device!r} is not there, and it went on without a word")

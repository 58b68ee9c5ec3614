"""Starting Keras: its backend's threads and its log, before either is fixed for the process."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from anabatch.errors import ConfigurationError, DeviceError

if TYPE_CHECKING:
    from collections.abc import Iterator

# TensorFlow logs that oneDNN is on while its libraries are being loaded, whatever its log level.
_START_UP_LOG = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog\(\) .*"
    rb"|I0000 .*\] oneDNN custom operations are on\. .*"
)


def start_keras(threads: int = 1) -> Any:
    """Import Keras with a given number of threads and without TensorFlow's start-up chatter.

    Features depend on the number of threads in their last bits, so it is set before the backend
    starts, and a backend that runs with another number already is an error. The backend is
    Keras's own choice: the environment's `KERAS_BACKEND`, else `keras.json`, else TensorFlow. Only
    where TensorFlow is not installed, and PyTorch is, it is PyTorch unless the environment says
    otherwise: features are the same.

    TensorFlow's log is cut to errors and warnings by `TF_CPP_MIN_LOG_LEVEL=2`, unless the
    environment sets that itself. What TensorFlow writes regardless while it is loaded, that oneDNN
    is on, is taken out of standard error; all other lines are passed on after the import.

    Parameters
    ----------
    threads : int
        Threads within an operation; operations themselves run one after the other.

    Returns
    -------
    module
        `keras`.

    Raises
    ------
    ConfigurationError
        The backend has started in this process with another number of threads, or is one that
        nothing here was tried on.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if "keras" not in sys.modules:
        if find_spec("tensorflow") is None and find_spec("torch") is not None:
            os.environ.setdefault("KERAS_BACKEND", "torch")
        with _without_start_up_log():
            import keras
    import keras

    backend = keras.config.backend()
    if backend == "tensorflow":
        _set_tensorflow_threads(threads)
    elif backend == "torch":
        import torch

        torch.set_num_threads(threads)
    else:
        what = f"Keras runs on {backend!r}"
        raise ConfigurationError(what, "Set KERAS_BACKEND to tensorflow or torch.")
    return keras


def device_scope(device: str) -> Any:
    """Return the context in which Keras builds and runs networks on a device.

    Parameters
    ----------
    device : {'cpu', 'cuda'}

    Returns
    -------
    context manager

    Raises
    ------
    DeviceError
        The device is not there. Nothing falls back to another.
    """
    import keras

    if device == "cuda" and not _finds_cuda(keras.config.backend()):
        what = f"featurize.device is 'cuda', and Keras on {keras.config.backend()} finds none here"
        raise DeviceError(what, "Run where there is one, or set featurize.device to 'cpu'.")
    return keras.device("gpu:0" if device == "cuda" else "cpu:0")


def _finds_cuda(backend: str) -> bool:
    if backend == "torch":
        import torch

        return bool(torch.cuda.is_available())
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def _set_tensorflow_threads(threads: int) -> None:
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        running = tf.config.threading.get_intra_op_parallelism_threads()
        what = f"TensorFlow runs with {running} threads in this process, {threads} are asked for"
        remedy = "Start it through anabatch.features.backend.start_keras, with one number."
        raise ConfigurationError(what, remedy) from error


@contextmanager
def _without_start_up_log() -> Iterator[None]:
    """Hold back what goes to the process's standard error, and pass on all but the known lines."""
    with tempfile.TemporaryFile() as held:
        standard_error = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(standard_error, 2)
            held.seek(0)
            for line in held:
                if not _START_UP_LOG.match(line):
                    os.write(standard_error, line)
            os.close(standard_error)

"""Weights of VGG16: where they come from, what they are, and how they get into the model."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.errors import ConfigurationError, WeightsError
from anabatch.weights import file_digest, shipped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

IMAGENET = "imagenet"
IMAGENET_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
IMAGENET_MD5 = "6d6bbae143d832006294945121d1f1fc"
"""Of that file, as `keras.applications.vgg16` demands it of a cached file and of a download alike."""

FULL_WIDTH = 64
"""Channels of the first convolution of VGG16."""

GREY, PARTED = "grey", "nucleus-cytoplasm-mask"
"""What a network's three channels can be, see :class:`anabatch.config.FeaturizeConfig`."""

_HDF5 = (".h5", ".hdf5")
_FIRST_KERNEL = "block1_conv1/kernel"


def weights_digest(weights: str) -> str:
    """Return the digest of weights by their content.

    Parameters
    ----------
    weights : str
        `imagenet`, a shipped name, or a path.

    Returns
    -------
    str
        For `imagenet` the md5 that Keras demands of the file, whether it is there yet or not, so
        that the key does not change with the first download; else the file's own digest.

    Raises
    ------
    WeightsError
        The weights are neither a shipped name nor a file that is there.
    """
    if weights == IMAGENET:
        return f"md5:{IMAGENET_MD5}"
    if not _is_path(weights):
        return shipped(weights).digest
    return file_digest(_existing(weights))


def check_channels(weights: str, channels: str) -> None:
    """Refuse channels that a shipped network has never seen: it would say nothing of any use.

    What `imagenet` and files are for, nobody but their user knows: they take any channels.

    Parameters
    ----------
    weights : str
        `imagenet`, a shipped name, or a path.
    channels : str
        As :class:`anabatch.config.FeaturizeConfig` has them.

    Raises
    ------
    ConfigurationError
        The network was trained for others.
    WeightsError
        No such network is shipped.
    """
    if weights == IMAGENET or _is_path(weights):
        return
    trained: str = shipped(weights).record.get("channels", channels)
    if trained != channels:
        what = f"{weights} was trained for channels = {trained!r}, not for {channels!r}"
        remedy = (
            f"Set featurize.channels = {trained!r}, or name weights for {channels!r} in "
            f"featurize.weights (python -m anabatch.training.vgg16 --channels {channels} makes some)."
        )
        raise ConfigurationError(what, remedy)


def width_of(weights: str) -> float:
    """Return the width that weights were made for, as a share of VGG16's own.

    Parameters
    ----------
    weights : str
        `imagenet`, a shipped name, or a path.

    Returns
    -------
    float

    Raises
    ------
    WeightsError
        The file is missing, or is no weights file of VGG16.
    """
    if weights == IMAGENET:
        return 1.0
    path = _file_of(weights)
    kernel = read_npz(path)[_FIRST_KERNEL] if path.suffix == ".npz" else _first_hdf5_kernel(path)
    return float(kernel.shape[-1] / FULL_WIDTH)


def load_weights(model: Any, weights: str) -> None:
    """Put weights into a model of :func:`anabatch.features.vgg16.build`.

    Parameters
    ----------
    model : keras.Model
        Of the width that :func:`width_of` gives.
    weights : str
        `imagenet`, a shipped name, or a path.

    Raises
    ------
    WeightsError
        The weights are missing, cannot be had, or do not fit.
    """
    if weights == IMAGENET:
        model.set_weights(_imagenet_arrays())
        return
    path = _file_of(weights)
    try:
        if path.suffix == ".npz":
            _set_by_name(model, read_npz(path))
        else:
            model.load_weights(str(path))
    except (ValueError, KeyError, OSError) as error:
        if isinstance(error, WeightsError):
            raise
        what = f"{path} does not hold the weights of VGG16 up to block 5: {error}"
        raise WeightsError(what) from error


def save_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write weights as they are shipped: float16, uncompressed numpy, no pickles.

    Parameters
    ----------
    path : Path
        Its name ends in `.npz`.
    arrays : mapping of str to ndarray
        `<layer>/kernel` and `<layer>/bias` to the weights.

    Raises
    ------
    WeightsError
        A weight is too large for float16, or not a number.
    """
    half = {}
    for name, array in arrays.items():
        if not np.all(np.abs(array) <= np.finfo(np.float16).max):
            what = f"{name} has weights that float16 cannot hold"
            raise WeightsError(what)
        half[name] = np.asarray(array, dtype=np.float16)
    np.savez(path, **half)


def read_npz(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read weights that :func:`save_npz` wrote.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict of str to ndarray of float32

    Raises
    ------
    WeightsError
        The file is not such a file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name].astype(np.float32) for name in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        what = f"{path} is not a numpy archive of weights: {error}"
        raise WeightsError(what) from error
    if _FIRST_KERNEL not in arrays or arrays[_FIRST_KERNEL].ndim != 4:
        what = f"{path} holds no {_FIRST_KERNEL}"
        raise WeightsError(what)
    return arrays


def _is_path(weights: str) -> bool:
    return Path(weights).suffix in (".npz", *_HDF5) or "/" in weights or "\\" in weights


def _file_of(weights: str) -> Path:
    if not _is_path(weights):
        return shipped(weights).path
    path = _existing(weights)
    if path.suffix not in (".npz", *_HDF5):
        what = f"{path} is not a weights file that is understood"
        raise WeightsError(what, "It must be .npz, .h5, .hdf5 or .weights.h5.")
    return path


def _existing(weights: str) -> Path:
    path = Path(weights).expanduser()
    if not path.is_file():
        what = f"there is no weights file at {path}"
        raise WeightsError(what, "Put it there, or correct featurize.weights.")
    return path


def _imagenet_arrays() -> list[NDArray[np.float32]]:
    from keras.applications import VGG16

    try:
        source = VGG16(include_top=False, weights=IMAGENET, input_shape=(96, 96, 3))
    except Exception as error:
        # Keras raises a bare Exception where the download fails.
        what = f"the ImageNet weights of VGG16 cannot be had: {error}"
        remedy = (
            f"Put {IMAGENET_FILE} (md5 {IMAGENET_MD5}) of Keras's own release into "
            "models/ in KERAS_HOME (~/.keras where it is not set)."
        )
        raise WeightsError(what, remedy) from error
    arrays: list[NDArray[np.float32]] = source.get_weights()
    return arrays


def _first_hdf5_kernel(path: Path) -> NDArray[Any]:
    """Find the only 3 x 3 kernel over three channels; both of Keras's HDF5 formats have one."""
    import h5py

    found: list[NDArray[Any]] = []

    def visit(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape[:3] == (3, 3, 3) and len(item.shape) == 4:
            found.append(item[()])

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except OSError as error:
        what = f"{path} is not an HDF5 file: {error}"
        raise WeightsError(what) from error
    if len(found) != 1:
        what = f"{path} does not hold the weights of VGG16: {len(found)} first convolutions"
        raise WeightsError(what)
    return found[0]


def _set_by_name(model: Any, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    layers = [layer for layer in model.layers if layer.weights]
    expected = {f"{layer.name}/{part}" for layer in layers for part in ("kernel", "bias")}
    if expected != set(arrays):
        message = f"other arrays: {', '.join(sorted(expected ^ set(arrays)))}"
        raise ValueError(message)
    for layer in layers:
        layer.set_weights([arrays[f"{layer.name}/kernel"], arrays[f"{layer.name}/bias"]])

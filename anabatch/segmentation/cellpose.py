"""The adapter to Cellpose 3: tiles in, flows and probabilities out.

All that is known of Cellpose's networks stands in this file, and of its dynamics in `dynamics`, so
that another generation of it is another file.

References
----------
Stringer C., Wang T., Michaelos M., Pachitariu M. (2021). Cellpose: a generalist algorithm for
cellular segmentation. Nature Methods 18, 100-106.
"""

from __future__ import annotations

import threading
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.errors import DeviceError, WeightsError
from anabatch.segmentation.dynamics import LOSSES, Masks, find_masks
from anabatch.segmentation.folded import FoldedNetwork
from anabatch.segmentation.memory import Halving
from anabatch.segmentation.pipeline import Gate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from anabatch.weights import WeightsFile

__all__ = [
    "LOSSES",
    "CellposeNetwork",
    "Masks",
    "build_network",
    "find_masks",
    "require_device",
    "save_network",
    "widths_of",
]

NUCLEI_DIAMETER = 17.0
"""Cellpose's own `nuclei` model sees nuclei of this many pixels, whatever its file says."""

DEFAULT_DIAMETER = 30.0
"""What the other models see, where their file does not say."""

OUTPUTS = 3
"""Flow along y, flow along x (both times five), and the logit of being a cell."""

# What torch.load and the use of its answer raise on files that are no state.
_BROKEN = (OSError, EOFError, RuntimeError, ValueError, AttributeError, KeyError)
# Both networks of a process are on its one GPU.
_GATE = Gate()


class CellposeNetwork:
    """A Cellpose network on one device.

    Parameters
    ----------
    file : WeightsFile
        A file that Cellpose 3 saved, or a shipped `.npz`.
    device : {'cpu', 'cuda'}
    precision : {'float32', 'bfloat16'}
        Of its weights and of what goes between them.

    Attributes
    ----------
    diameter : float
        The object diameter that images are to be scaled to, in network pixels.

    Raises
    ------
    DeviceError
        The device is not there.
    WeightsError
        The file is no Cellpose 3 network.
    """

    def __init__(self, file: WeightsFile, *, device: str, precision: str = "float32") -> None:
        import torch

        self._device = require_device(device)
        self._path = file.path
        state = _read_state(file)
        self.diameter = _diameter(file, state)
        net = build_network(widths_of(state, file), self.diameter)
        _load(net, state, file)
        self._net = FoldedNetwork(net.eval(), self._device, getattr(torch, precision))
        on_gpu = self._device.type == "cuda"
        if on_gpu:
            torch.cuda.synchronize()  # threads with streams of their own must find the weights there
        self._at_once = Halving(_GATE(self._run_on_gpu) if on_gpu else self._run)
        self._own = threading.local()

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network once; in parts, where the device's memory does not hold all of it.

        Parameters
        ----------
        tiles : ndarray of float32, shape (tiles, 2, height, width)
            Channels: what to segment, and nuclei or zeros.

        Returns
        -------
        ndarray of float32, shape (tiles, 3, height, width)

        Raises
        ------
        DeviceError
            The device's memory does not hold a single tile.
        WeightsError
            An answer is no number.
        """
        answer = self._at_once(tiles)
        if not np.isfinite(answer).all():
            what = f"the network {self._path} gives answers that are no numbers"
            raise WeightsError(what, "Name weights that were trained, or copy the file again.")
        return answer

    def _run(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            answer = self._net(torch.from_numpy(tiles))
            return np.asarray(answer.contiguous().numpy(), dtype=np.float32)

    def _run_on_gpu(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        # A stream for every thread: one thread's tiles are copied while another's are worked on.
        if not hasattr(self._own, "stream"):
            self._own.stream = torch.cuda.Stream()
        with torch.inference_mode(), torch.cuda.stream(self._own.stream):
            given = torch.from_numpy(tiles).pin_memory().to(self._device, non_blocking=True)
            answer = self._net(given).contiguous().cpu()
            return np.asarray(answer.numpy(), dtype=np.float32)


def require_device(name: str) -> Any:
    """Return the torch device, set so that results repeat.

    Raises
    ------
    DeviceError
        The device is not there. Nothing falls back to another.
    """
    import torch

    if name == "cuda":
        if not torch.cuda.is_available():
            what = "segment.device is 'cuda', and PyTorch finds no CUDA device here"
            raise DeviceError(what, "Run where there is one, or set segment.device to 'cpu'.")
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
    return torch.device(name)


def build_network(widths: list[int], diameter: float) -> Any:
    """Return Cellpose's U-Net with random weights.

    Parameters
    ----------
    widths : list of int
        Input channels, then the channels of every level.
    diameter : float
        Object diameter that the network works at, in its own pixels.
    """
    from cellpose.resnet_torch import CPnet

    return CPnet(list(widths), OUTPUTS, sz=3, mkldnn=False, max_pool=True, diam_mean=diameter)


def save_network(net: Any, path: Any) -> None:
    """Write a network's weights as a compressed `.npz` without pickles.

    Kernels are stored in half precision; vectors (biases, batch statistics) are few and need the
    range, and stay in single precision.
    """
    arrays = {
        name: value.detach().cpu().numpy().astype(np.float16 if value.ndim > 1 else np.float32)
        for name, value in net.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    np.savez_compressed(path, **arrays)


def _read_state(file: WeightsFile) -> dict[str, NDArray[Any]]:
    """Return parameter name to array, from either format."""
    if file.path.suffix == ".npz":
        try:
            with file.path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
            raise _not_a_network(file, str(error)) from error
    import pickle

    import torch

    try:
        state = torch.load(file.path, map_location="cpu", weights_only=True)
        return {name: value.numpy() for name, value in state.items()}
    except (*_BROKEN, pickle.UnpicklingError) as error:
        raise _not_a_network(file, str(error)) from error


def _not_a_network(file: WeightsFile, why: str) -> WeightsError:
    what = f"{file.path} holds no Cellpose 3 network: {why}"
    return WeightsError(what, "Name a file that Cellpose 3 saved, or a shipped network.")


def widths_of(state: Mapping[str, NDArray[Any]], file: WeightsFile) -> list[int]:
    """Return input channels and the channels of every level, as the weights' shapes say."""
    if "W2" in state:
        raise _not_a_network(file, "it is of Cellpose 4")
    widths: list[int] = []
    while (
        kernel := state.get(f"downsample.down.res_down_{len(widths)}.proj.1.weight")
    ) is not None:
        widths.append(int(kernel.shape[0]))
    if not widths:
        raise _not_a_network(file, "it lacks the first level's weights")
    inputs = int(state["downsample.down.res_down_0.proj.1.weight"].shape[1])
    if inputs != 2:
        raise _not_a_network(file, f"it takes {inputs} channels, and two are given")
    return [inputs, *widths]


def _diameter(file: WeightsFile, state: Mapping[str, NDArray[Any]]) -> float:
    if file.name == "nuclei":
        return NUCLEI_DIAMETER
    if "diam_mean" in state:
        return float(np.asarray(state["diam_mean"]).ravel()[0])
    return DEFAULT_DIAMETER


def _load(net: Any, state: Mapping[str, NDArray[Any]], file: WeightsFile) -> None:
    import torch

    tensors = {name: torch.from_numpy(np.array(value)) for name, value in state.items()}
    optional = ("diam_mean", "diam_labels", "num_batches_tracked")
    try:
        answer = net.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise _not_a_network(file, str(error)) from error
    missing = [name for name in answer.missing_keys if not name.endswith(optional)]
    if missing:
        raise _not_a_network(file, f"it lacks {len(missing)} weights, such as {missing[0]}")

"""Cellpose itself, with any network of its kind: what the segmentation is measured against.

`CellposeModel` builds its network at one width, and its loop wants a style of 256 numbers. Here it
builds what the file's weights say, and the style is padded; nothing else of Cellpose is changed.

    python tests/benchmarks/cellpose_peer.py WEIGHTS --dir FOLDER --diameter 60 ...

is `python -m cellpose --pretrained_model WEIGHTS --dir FOLDER --diameter 60 ...`.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from anabatch.segmentation import recipe
from anabatch.segmentation.cellpose import build_network, widths_of
from anabatch.segmentation.models import resolve_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from anabatch.config import SegmentConfig

STYLE = 256
"""What Cellpose's loop takes for the length of a style."""

NORMALIZE = {"normalize": True}  # a bool would change a default of the whole module


def write_weights(name: str, diameter: float, path: Path) -> None:
    """Write a shipped network as a file that Cellpose 3 reads."""
    file = resolve_model(name)
    with np.load(file.path) as stored:
        state = {key: stored[key] for key in stored.files}
    net = build_network(widths_of(state, file), diameter)
    tensors = {key: torch.from_numpy(value.astype(np.float32)) for key, value in state.items()}
    missing = net.load_state_dict(tensors, strict=False).missing_keys
    left = [key for key in missing if not key.endswith(("diam_mean", "diam_labels", "_tracked"))]
    if left:
        message = f"{file.path} lacks {left}"
        raise ValueError(message)
    torch.save(net.state_dict(), path)


def take_networks_of_any_width(path: Path) -> None:
    """Have `CellposeModel` build the network that a file holds."""
    from cellpose import models, resnet_torch

    state = torch.load(path, map_location="cpu", weights_only=True)
    widths = [2]
    while (
        kernel := state.get(f"downsample.down.res_down_{len(widths) - 1}.proj.1.weight")
    ) is not None:
        widths.append(int(kernel.shape[0]))

    class Net(resnet_torch.CPnet):  # type: ignore[misc]  # of a library without types
        """A network of the file's widths, whatever widths are asked for."""

        def __init__(
            self, _: Any, nout: int, sz: int, mkldnn: Any = None, *args: Any, **more: Any
        ) -> None:
            super().__init__(list(widths), nout, sz, mkldnn=mkldnn)

        def forward(self, data: Any) -> Any:
            """Return the answer, and the style at the length that Cellpose's loop wants."""
            answer, style, levels = super().forward(data)
            return answer, torch.nn.functional.pad(style, (0, STYLE - style.shape[1])), levels

    models.CPnet = Net


def load_model(path: Path, *, device: str) -> Any:
    """Return Cellpose's own model object."""
    from cellpose.models import CellposeModel

    take_networks_of_any_width(path)
    return CellposeModel(
        gpu=device == "cuda", device=torch.device(device), pretrained_model=str(path)
    )


def segment(
    signals: Sequence[NDArray[Any]], config: SegmentConfig, nucleus_model: Any, cell_model: Any
) -> tuple[list[NDArray[np.int32]], list[NDArray[np.int32]]]:
    """Segment by the two-pass recipe, with `CellposeModel.eval` on a list for each pass.

    Returns
    -------
    nuclei, cells : list of ndarray of int32
    """
    fields = recipe.read_fields(signals, [1.0] * len(signals), config)
    thresholds = {
        "flow_threshold": config.flow_threshold,
        "cellprob_threshold": config.cellprob_threshold,
        "min_size": config.min_size,
        "normalize": NORMALIZE,
    }
    shown = [recipe.nucleus_channels(field.signal, config)[0] for field in fields]
    found = nucleus_model.eval(
        shown, channels=[0, 0], diameter=config.nucleus_diameter, **thresholds
    )[0]
    nuclei = [
        recipe.Nuclei(labels := np.asarray(mask, np.int32), recipe.mean_diameter(labels), {})
        for mask in found
    ]
    shown = [
        np.stack([*channels, np.zeros_like(channels[0])], axis=-1)
        for channels in (
            recipe.cell_channels(field.signal, own.labels, config)
            for field, own in zip(fields, nuclei, strict=True)
        )
    ]
    diameters = [recipe.cell_diameter(own, config) for own in nuclei]
    found = cell_model.eval(shown, channels=[1, 2], diameter=diameters, **thresholds)[0]
    cells = [np.asarray(mask, np.int32) for mask in found]
    return [own.labels for own in nuclei], cells


if __name__ == "__main__":
    weights = sys.argv[1]
    take_networks_of_any_width(Path(weights))
    sys.argv = ["cellpose", "--pretrained_model", weights, *sys.argv[2:]]
    runpy.run_module("cellpose", run_name="__main__")

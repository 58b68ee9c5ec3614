"""Training of a small Cellpose network by Cellpose's own code."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.segmentation.cellpose import build_network, save_network

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Sample:
    """One training image in network pixels.

    Attributes
    ----------
    channels : ndarray of float32, shape (2, h, w)
        As the network will see it.
    labels : ndarray of int32, shape (h, w)
    weight : float
        How often it is drawn, relative to others.
    """

    channels: NDArray[np.float32]
    labels: NDArray[np.int32]
    weight: float = 1.0


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes
    ----------
    widths : tuple of int
        Channels of the network's levels.
    diameter : float
        Object diameter that the network is to work at, in network pixels.
    epochs : int
        More than 100: only then does Cellpose's learning rate decay.
    images_per_epoch, batch : int
    crop : int
        Side of the random crops, in network pixels.
    learning_rate : float
    seed : int
    threads : int
    """

    widths: tuple[int, ...]
    diameter: float
    epochs: int
    images_per_epoch: int
    seed: int
    batch: int = 8
    crop: int = 128
    learning_rate: float = 0.005
    threads: int = 1


# Crops are turned by any angle, flipped, and scaled by 0.7 to 1.3.
_SCALE_RANGE = 0.6


def train_network(samples: Sequence[Sample], schedule: Schedule, out: Path) -> list[float]:
    """Train from random weights, and write the network.

    Parameters
    ----------
    samples : sequence of Sample
    schedule : Schedule
    out : Path
        The `.npz` to write.

    Returns
    -------
    list of float
        Cellpose's training loss of every epoch.
    """
    import torch
    from cellpose.train import train_seg

    torch.set_num_threads(schedule.threads)
    torch.manual_seed(schedule.seed)
    net = _in_half_precision(build_network([2, *schedule.widths], schedule.diameter))
    weights = np.array([sample.weight for sample in samples], np.float64)
    with tempfile.TemporaryDirectory() as scratch:
        losses: Any = train_seg(
            net,
            train_data=[sample.channels for sample in samples],
            train_labels=[sample.labels for sample in samples],
            train_probs=weights / weights.sum(),
            normalize={"normalize": False},
            batch_size=schedule.batch,
            learning_rate=schedule.learning_rate,
            n_epochs=schedule.epochs,
            nimg_per_epoch=schedule.images_per_epoch,
            rescale=False,
            scale_range=_SCALE_RANGE,
            bsize=schedule.crop,
            min_train_masks=1,
            save_path=scratch,
            save_every=schedule.epochs,
            model_name="trained",
        )[1]
    save_network(net, out)
    return [float(loss) for loss in losses]


def _in_half_precision(net: Any) -> Any:
    """Let the forward pass run in bfloat16, channels last: twice as fast on processors with it."""
    import torch

    plain = net.to(memory_format=torch.channels_last).forward

    def forward(data: Any) -> tuple[Any, Any, Any]:
        with torch.autocast("cpu", torch.bfloat16):
            answer, style, levels = plain(data.contiguous(memory_format=torch.channels_last))
        return answer.float(), style, levels

    net.forward = forward
    return net

"""Training of a small Cellpose network: Cellpose's U-Net, flows and loss, on any device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anabatch.segmentation.cellpose import build_network, save_network
from anabatch.training.crops import Cropper
from anabatch.training.descent import descend, start

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anabatch.training.crops import Sample


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes
    ----------
    widths : tuple of int
        Channels of the network's levels.
    diameter : float
        Object diameter that the network is to work at, in network pixels.
    steps : int
        Batches.
    seed : int
        Of weights and crops. On one device equal seeds give nearly equal networks: additions on
        graphics processors have no fixed order.
    batch : int
        Crops a step.
    crop : int
        Side of the crops, in network pixels: that of the tiles that the network will see, as it
        averages its style over a tile.
    learning_rate : float
        At its highest, after a twentieth of the steps; then it falls to 0 along a cosine.
    weight_decay : float
    threads : int
    device : {'cpu', 'cuda'}
    graphed : bool
        On a graphics processor, record the network's passes once and replay them: a small network
        waits for its launches otherwise.
    """

    widths: tuple[int, ...]
    diameter: float
    steps: int
    seed: int
    batch: int = 8
    crop: int = 224
    learning_rate: float = 0.003
    weight_decay: float = 1e-3
    threads: int = 1
    device: str = "cpu"
    graphed: bool = False


def train_network(samples: Sequence[Sample], schedule: Schedule, out: Path) -> list[float]:
    """Train from random weights, and write the network.

    Parameters
    ----------
    samples : sequence of Sample
    schedule : Schedule
    out : Path
        The `.npz` to write. Until the end it holds drafts.

    Returns
    -------
    list of float
        Mean loss of every twentieth of the steps.

    Raises
    ------
    DeviceError
        The device is not there.
    """
    import torch

    device = start(schedule)
    net = build_network([2, *schedule.widths], schedule.diameter)
    net = net.to(device, memory_format=torch.channels_last).train()
    cropper = Cropper(samples, schedule.crop, schedule.seed, device)
    trained = [value for value in net.parameters() if value.requires_grad]
    forward = _forward(net, schedule, device)
    return descend(
        schedule,
        trained,
        lambda optimizer: _step(forward, optimizer, *cropper.draw(schedule.batch)),
        lambda: save_network(net, out),
    )


def _forward(net: Any, schedule: Schedule, device: Any) -> Any:
    """Return the pass from images to flows and logits, in bfloat16 where that is exact enough."""
    import torch

    plain = net.forward

    def forward(images: Any) -> Any:
        # A recorded pass must cast the weights itself, every time.
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=not schedule.graphed):
            return plain(images)[0].float()

    net.forward = forward
    if not schedule.graphed:
        return net
    shape = (schedule.batch, 2, schedule.crop, schedule.crop)
    example = torch.zeros(shape, device=device).contiguous(memory_format=torch.channels_last)
    return torch.cuda.make_graphed_callables(net, (example,))


def _step(forward: Any, optimizer: Any, images: Any, targets: Any) -> Any:
    """Take one step and return its loss."""
    import torch

    optimizer.zero_grad(set_to_none=True)
    answer = forward(images.contiguous(memory_format=torch.channels_last))
    loss = loss_of(answer, targets)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
    optimizer.step()
    return loss.detach()


def loss_of(answer: Any, targets: Any) -> Any:
    """Return Cellpose's loss: half the squared error of five times the flow, and the cross entropy.

    Parameters
    ----------
    answer, targets : torch.Tensor, shape (n, 3, h, w)
    """
    from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

    flow = mse_loss(answer[:, :2], 5.0 * targets[:, :2]) / 2
    return flow + binary_cross_entropy_with_logits(answer[:, 2], targets[:, 2])

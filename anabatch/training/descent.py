"""What every training has in common: the device, the optimiser's course, reports and drafts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import structlog

from anabatch.segmentation.cellpose import require_device

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

log = structlog.get_logger(__name__)

# Reports and drafts of the network, over a training.
_REPORTS = 20
_WARM_UP = 0.05


class Course(Protocol):
    """How long and how fast to train.

    The learning rate is at its highest after a twentieth of the steps; then it falls to 0 along a
    cosine.
    """

    @property
    def steps(self) -> int:
        """Batches."""
        ...

    @property
    def seed(self) -> int:
        """Of weights and order."""
        ...

    @property
    def learning_rate(self) -> float:
        """At its highest."""
        ...

    @property
    def weight_decay(self) -> float:
        """Of AdamW."""
        ...

    @property
    def threads(self) -> int:
        """Of PyTorch, on processors."""
        ...

    @property
    def device(self) -> str:
        """`cpu` or `cuda`."""
        ...


def start(course: Course) -> Any:
    """Set seed, threads and device, and return the torch device.

    Raises
    ------
    DeviceError
        The device is not there.
    """
    import torch

    torch.set_num_threads(course.threads)
    torch.manual_seed(course.seed)
    device = require_device(course.device)
    if course.device == "cuda":
        torch.backends.cudnn.benchmark = True  # shapes are fixed, and nothing here must repeat
        torch.backends.cudnn.deterministic = False
    return device


def descend(
    course: Course,
    parameters: Iterable[Any],
    step: Callable[[Any], Any],
    save: Callable[[], None],
) -> list[float]:
    """Take all steps; report, and write a draft, after every twentieth of them.

    Parameters
    ----------
    course : Course
    parameters : iterable of torch.nn.Parameter
    step : callable
        Takes the optimizer, takes one step, and returns its loss as a tensor.
    save : callable
        Writes the network as it is.

    Returns
    -------
    list of float
        Mean loss of every twentieth of the steps.
    """
    import torch

    optimizer = torch.optim.AdamW(
        parameters, lr=course.learning_rate, weight_decay=course.weight_decay
    )
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=course.learning_rate,
        total_steps=course.steps + 1,
        pct_start=_WARM_UP,
        cycle_momentum=False,
    )
    every = max(1, course.steps // _REPORTS)
    losses, total = [], 0.0
    for number in range(1, course.steps + 1):
        total = total + step(optimizer)
        rate.step()
        if number % every == 0:
            losses.append(float(total) / every)
            total = 0.0
            log.info("training", step=number, of=course.steps, loss=round(losses[-1], 4))
            save()
    save()
    return losses

"""Train the shipped VGG16 of a quarter's width: `python -m anabatch.training.vgg16 --out FILE`.

It learns to name the patterns of simulated cells, and to find cells of the same patterns in others, from
views that differ as real pictures of one pattern do (:mod:`anabatch.training.views`).

A plain VGG16 does not train from scratch, so every convolution is followed by batch normalisation
(Ioffe and Szegedy, ICML 2015), which is folded into the convolutions at the end: what is shipped
is VGG16's own topology. Training is PyTorch's, on any device; Keras is not needed for it.
"""

from __future__ import annotations

import argparse
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from anabatch.features.vgg16 import BLOCKS, SIDE
from anabatch.features.vgg16_weights import FULL_WIDTH, GREY, PARTED, save_npz
from anabatch.training.commands import finish
from anabatch.training.descent import descend, start
from anabatch.training.losses import alignment, supervised_contrast, traits, wanted_differences
from anabatch.training.pattern_cells import PatternCells, simulate_cells
from anabatch.training.views import Viewer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from anabatch.training.views import Views

log = structlog.get_logger(__name__)

NAME, NAME_PARTED = "anabatch-vgg16-quarter", "anabatch-vgg16-quarter-parted"
WIDTH = 0.25

_EMBEDDED = 128  # dimensions in which cells look for their like
_TRAITS = 4


@dataclass(frozen=True)
class Training:
    """How to train.

    Attributes
    ----------
    steps : int
        Batches.
    seed : int
        Of weights, order and views.
    batch : int
        Cells a step; each is seen in two views.
    width : float
        Of the network, as a share of VGG16's own.
    channels : {'grey', 'nucleus-cytoplasm-mask'}
        What the network's three channels are, see :class:`anabatch.config.FeaturizeConfig`.
    learning_rate : float
        At its highest, after a twentieth of the steps; then it falls to 0 along a cosine.
    weight_decay : float
        Of AdamW.
    dropout : float
        Share of the features that the head for patterns does not see.
    contrast, traits, align : float
        Weights of :func:`~anabatch.training.losses.supervised_contrast`, of reading off
        :func:`~anabatch.training.losses.traits`, and of
        :func:`~anabatch.training.losses.alignment`, against that of the patterns.
    traits_share : float
        What of the features' variance shall be that of traits; the rest is that of patterns.
    threads : int
    device : {'cpu', 'cuda'}
    """

    steps: int
    seed: int
    batch: int = 512
    width: float = WIDTH
    channels: str = GREY
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    dropout: float = 0.5
    contrast: float = 0.5
    traits: float = 1.0
    align: float = 4.0
    traits_share: float = 0.2
    threads: int = 1
    device: str = "cpu"


def normalised_vgg16(width: float) -> Any:
    """Build VGG16 up to the pooling of block 5 in PyTorch, normalised before every ReLU.

    Parameters
    ----------
    width : float

    Returns
    -------
    torch.nn.Sequential
        From (n, 3, 96, 96) to (n, 512 `width`, 3, 3), with random weights. Modules have the
        names of :func:`anabatch.features.vgg16.build`, and `<convolution>_norm`.
    """
    from torch import nn

    modules: OrderedDict[str, Any] = OrderedDict()
    before = 3
    for block, (convolutions, factor) in enumerate(BLOCKS, start=1):
        after = round(FULL_WIDTH * width) * factor
        for number in range(1, convolutions + 1):
            name = f"block{block}_conv{number}"
            convolution = nn.Conv2d(before, after, 3, padding=1)
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            modules[name] = convolution
            modules[f"{name}_norm"] = nn.BatchNorm2d(after)
            modules[f"{name}_relu"] = nn.ReLU(inplace=True)
            before = after
        modules[f"block{block}_pool"] = nn.MaxPool2d(2)
    return nn.Sequential(modules)


def flattened(block5: Any) -> Any:
    """Flatten what the network returns in Keras's order: rows, columns, channels."""
    return block5.permute(0, 2, 3, 1).flatten(1)


class Heads:
    """What reads patterns, traits and likeness off features while the network trains.

    Patterns are read off both the flattened and the averaged features, so that both are of use.

    Parameters
    ----------
    channels, patterns : int
        Of block 5, and how many patterns there are.
    how : Training
    device : torch.device
    """

    def __init__(self, channels: int, patterns: int, how: Training, device: Any) -> None:
        from torch import nn

        flat = channels * (SIDE // 2 ** len(BLOCKS)) ** 2
        self._how = how
        self._hidden = nn.Dropout(how.dropout)
        self._readers = nn.ModuleDict(
            {
                "flat": nn.Linear(flat, patterns),
                "mean": nn.Linear(channels, patterns),
                "alike": nn.Linear(flat, _EMBEDDED),
                "traits": nn.Linear(flat, _TRAITS),
            }
        ).to(device)

    def parameters(self) -> list[Any]:
        """Return the weights."""
        return list(self._readers.parameters())

    def loss(self, block5: Any, views: Views, labels: Any) -> Any:
        """Return the loss of a batch of views.

        Parameters
        ----------
        block5 : torch.Tensor, shape (n, channels, 3, 3)
        views : Views
        labels : torch.Tensor, shape (n, patterns), bool
        """
        from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

        block5 = block5.float()
        flat, mean = flattened(block5), block5.mean(dim=(2, 3))
        read, truth = self._readers, labels.float()
        # Summed over the patterns: a mean would be small against the other terms.
        named = truth.shape[1] * sum(
            binary_cross_entropy_with_logits(read[name](self._hidden(seen)), truth)
            for name, seen in (("flat", flat), ("mean", mean))
        )
        alike = supervised_contrast(read["alike"](flat), labels)
        seen, how = traits(views.images, views.inside), self._how
        kept = mse_loss(read["traits"](flat), seen)
        apart = alignment(flat, wanted_differences(labels, seen, how.traits_share))
        return named + how.contrast * alike + how.traits * kept + how.align * apart


def train(cells: PatternCells, how: Training, out: Path) -> list[float]:
    """Train from random weights, and write the network with its normalisation folded.

    Parameters
    ----------
    cells : PatternCells
    how : Training
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

    device = start(how)
    net = normalised_vgg16(how.width).to(device, memory_format=torch.channels_last).train()
    labels = torch.from_numpy(cells.labels).to(device)
    heads = Heads(net.block5_conv3.out_channels, labels.shape[1], how, device)
    viewer = Viewer(cells, how.seed, device)

    def step(optimizer: Any) -> Any:
        rows = viewer.draw_rows(how.batch).repeat(2)
        views = viewer.view(rows)
        optimizer.zero_grad(set_to_none=True)
        inputs = views.channels(how.channels).contiguous(memory_format=torch.channels_last)
        # In bfloat16 on processors too: one way to train everywhere.
        with torch.autocast(device.type, torch.bfloat16):
            block5 = net(inputs)
        loss = heads.loss(block5, views, labels[rows])
        loss.backward()
        optimizer.step()
        return loss.detach()

    trained = [*net.parameters(), *heads.parameters()]
    return descend(how, trained, step, lambda: save_npz(out, fold(net)))


def fold(net: Any) -> dict[str, NDArray[np.float32]]:
    """Fold batch normalisation into the convolutions before it.

    With g = gamma / sqrt(moving variance + epsilon), the kernel becomes kernel * g and the bias
    (bias - moving mean) * g + beta.

    Parameters
    ----------
    net : torch.nn.Sequential
        Of :func:`normalised_vgg16`.

    Returns
    -------
    dict of str to ndarray
        `<layer>/kernel` and `<layer>/bias` of the equal network without normalisation, as Keras
        orders them.
    """
    modules = dict(net.named_children())
    folded = {}
    for name in [name for name in modules if f"{name}_norm" in modules]:
        norm = modules[f"{name}_norm"]
        kernel, bias, gamma, beta, mean, variance = (
            value.detach().cpu().numpy().astype(np.float64)
            for value in (
                modules[name].weight,
                modules[name].bias,
                norm.weight,
                norm.bias,
                norm.running_mean,
                norm.running_var,
            )
        )
        gain = gamma / np.sqrt(variance + norm.eps)
        folded[f"{name}/kernel"] = (kernel.transpose(2, 3, 1, 0) * gain).astype(np.float32)
        folded[f"{name}/bias"] = ((bias - mean) * gain + beta).astype(np.float32)
    return folded


def drawn_cells(options: argparse.Namespace) -> PatternCells:
    """Draw the cells that the options ask for, or read those that were drawn before."""
    path: Path | None = options.cells
    if path is not None and path.exists():
        with np.load(path) as file:
            return PatternCells(**file)
    cells = simulate_cells(options.seed, options.fields, workers=options.workers)
    if path is not None:
        np.savez(path, **vars(cells))
    return cells


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, write the file, and enter it in the manifest beside it.

    Its `quality` is measured by `python -m anabatch.training.compare_features --record`.
    """
    parser = argparse.ArgumentParser(prog="python -m anabatch.training.vgg16", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the .npz to write")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fields", type=int, default=2400, help="simulated fields")
    parser.add_argument("--steps", type=int, default=4000, help="batches")
    parser.add_argument("--batch", type=int, default=512, help="cells of a batch, in two views")
    parser.add_argument("--width", type=float, default=WIDTH, help="share of VGG16's own width")
    parser.add_argument("--channels", choices=[GREY, PARTED], default=GREY)
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--contrast", type=float, default=0.5, help="weight of likeness")
    parser.add_argument("--traits", type=float, default=1.0, help="weight of reading traits")
    parser.add_argument("--align", type=float, default=4.0, help="weight of the differences")
    parser.add_argument(
        "--traits-share", type=float, default=0.2, help="of the differences, those of traits"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="processes that draw fields")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--cells", type=Path, help="keep drawn cells here for the next training")
    options = parser.parse_args(arguments)
    cells = drawn_cells(options)
    log.info("cells", fields=options.fields, cells=len(cells.crops))
    how = Training(
        steps=options.steps,
        seed=options.seed,
        batch=options.batch,
        width=options.width,
        channels=options.channels,
        learning_rate=options.rate,
        contrast=options.contrast,
        traits=options.traits,
        align=options.align,
        traits_share=options.traits_share,
        threads=options.threads,
        device=options.device,
    )
    losses = train(cells, how, options.out)
    source = {"simulator": "anabatch.simulate.field", "fields": options.fields}
    name = NAME if options.channels == GREY else NAME_PARTED
    data = [source | {"cells": len(cells.crops)}]
    finish(name, options, data, losses, module="vgg16", channels=options.channels)


if __name__ == "__main__":
    main()

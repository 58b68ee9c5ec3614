"""What the training commands have in common."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabatch.training.manifest import update_entry
from anabatch.training.unet import Schedule

if TYPE_CHECKING:
    import argparse

# Options that change nothing of the result, and so do not belong into the recorded command.
_NOT_RECORDED = frozenset({"workers", "cells"})


def add_schedule(parser: argparse.ArgumentParser) -> None:
    """Add the options of a training's length and of the network's size."""
    parser.add_argument("--out", type=Path, required=True, help="the .npz to write")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fields", type=int, default=280, help="simulated fields")
    parser.add_argument("--steps", type=int, default=3200, help="batches")
    parser.add_argument("--batch", type=int, default=8, help="crops of a batch")
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 32, 64, 112])
    parser.add_argument("--crop", type=int, default=224, help="side of crops, in network pixels")
    parser.add_argument("--rate", type=float, default=0.003, help="highest learning rate")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="processes that draw fields")
    parser.add_argument("--graphed", action="store_true", help="replay recorded passes (CUDA)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")


def schedule_from(options: argparse.Namespace, diameter: float) -> Schedule:
    """Return the schedule that the options name."""
    return Schedule(
        widths=tuple(options.widths),
        diameter=diameter,
        steps=options.steps,
        seed=options.seed,
        batch=options.batch,
        crop=options.crop,
        learning_rate=options.rate,
        threads=options.threads,
        device=options.device,
        graphed=options.graphed,
    )


def finish(
    name: str,
    options: argparse.Namespace,
    data: list[dict[str, Any]],
    losses: list[float],
    *,
    module: str,
    channels: str | None = None,
) -> None:
    """Enter the network that a module of this package trained in the manifest beside it, if there is one.

    `channels` are those that a feature network was trained for, which takes no others then.

    Its `quality` is measured by `python -m anabatch.training.evaluate --record`, or
    `compare_features --record`.
    """
    if not (options.out.parent / "manifest.json").exists():
        return
    changes = {
        "file": options.out.name,
        "command": command_of(module, options),
        "data": data,
        "seed": options.seed,
        "final_loss": round(losses[-1], 4),
        "quality": {},
    }
    if channels is not None:
        changes["channels"] = channels
    update_entry(name, changes, options.out.parent)


def command_of(module: str, options: argparse.Namespace) -> str:
    """Return the command that reproduces a network: folders by placeholder, the rest as given."""
    words = [f"python -m anabatch.training.{module}"]
    for key, value in sorted(vars(options).items()):
        if key in _NOT_RECORDED or value is False:
            continue
        flag = "--" + key.replace("_", "-")
        if value is True:
            words.append(flag)
            continue
        if isinstance(value, Path):
            shown = value.name if key == "out" else key.upper()
        elif isinstance(value, list):
            shown = " ".join(str(item) for item in value)
        else:
            shown = str(value)
        words.append(f"{flag} {shown}")
    return " ".join(words)

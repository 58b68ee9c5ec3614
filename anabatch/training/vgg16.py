"""Train the shipped VGG16 of a quarter's width to name the patterns of simulated cells.

A plain VGG16 does not train from scratch, so every convolution is followed by batch normalisation
(Ioffe and Szegedy, ICML 2015), which is folded into the convolutions at the end: what is shipped
is VGG16's own topology. Run as::

    python -m anabatch.training.vgg16 --out FILE --images N --epochs E --seed S
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - Typer reads it from the signature
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import structlog
import typer

from anabatch.config import FeaturizeConfig
from anabatch.errors import WeightsError
from anabatch.features.backend import start_keras
from anabatch.features.vgg16 import VGG16Features, build, preprocess
from anabatch.features.vgg16_weights import save_npz
from anabatch.simulate.field import PATTERNS
from anabatch.training.manifest import update_entry
from anabatch.training.pattern_cells import PatternCells, augment, simulate_cells
from anabatch.training.probe import Rows, probe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

log = structlog.get_logger(__name__)

NAME = "anabatch-vgg16-quarter"
WIDTH = 0.25

# Seeds of the fields that measure quality: one set for the probes to learn from, one to judge them.
_PROBE_SEED_OFFSET, _TEST_SEED_OFFSET = 1_000_003, 2_000_003
_FOLDING_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Training:
    """Parameters of a training.

    Attributes
    ----------
    images : int
        Simulated fields to train on.
    epochs : int
        Passes over their cells.
    seed : int
        Of fields, initial weights, order and augmentation.
    batch : int
        Cells a step.
    learning_rate : float
        At the start; it falls to 0 along a cosine.
    weight_decay : float
        Of AdamW.
    dropout : float
        Share of the features that the head does not see.
    """

    images: int
    epochs: int
    seed: int
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    dropout: float = 0.5


def train(cells: PatternCells, how: Training, *, width: float = WIDTH, threads: int = 1) -> Any:
    """Train a network to name the patterns of cells.

    Parameters
    ----------
    cells : PatternCells
    how : Training
    width : float
        Width of the network.
    threads : int
        Threads of the backend.

    Returns
    -------
    keras.Model
        With batch normalisation still in it, up to the features.
    """
    keras = start_keras(threads)
    keras.utils.set_random_seed(how.seed)
    body = build(width, normalized=True)
    hidden = keras.layers.Dropout(how.dropout)(body.output)
    head = keras.layers.Dense(cells.labels.shape[1], activation="sigmoid")(hidden)
    model = keras.Model(body.input, head)
    steps = how.epochs * (len(cells.crops) // how.batch)
    rate = keras.optimizers.schedules.CosineDecay(how.learning_rate, max(steps, 1))
    optimizer = keras.optimizers.AdamW(rate, weight_decay=how.weight_decay)
    model.compile(optimizer, loss="binary_crossentropy", jit_compile=False)
    for epoch in range(how.epochs):
        losses = [
            float(model.train_on_batch(preprocess(crops, "unit"), labels))
            for crops, labels in _batches(cells, how, epoch)
        ]
        log.info("epoch", epoch=epoch + 1, of=how.epochs, loss=round(float(np.mean(losses)), 4))
    return body


def _batches(
    cells: PatternCells, how: Training, epoch: int
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Yield one epoch's augmented cells in whole batches."""
    rng = np.random.default_rng([how.seed, epoch])
    order = rng.permutation(len(cells.crops))
    for start in range(0, len(order) - how.batch + 1, how.batch):
        rows = order[start : start + how.batch]
        yield augment(cells.crops[rows], rng), cells.labels[rows].astype(np.float32)


def fold(model: Any) -> dict[str, NDArray[np.float32]]:
    """Fold batch normalisation into the convolutions before it.

    With g = gamma / sqrt(moving variance + epsilon), the kernel becomes kernel * g and the bias
    (bias - moving mean) * g + beta.

    Parameters
    ----------
    model : keras.Model
        Of `build(normalized=True)`.

    Returns
    -------
    dict of str to ndarray
        `<layer>/kernel` and `<layer>/bias` of the equal network without normalisation.
    """
    layers = {layer.name: layer for layer in model.layers}
    folded = {}
    for name in [name for name in layers if f"{name}_norm" in layers]:
        norm = layers[f"{name}_norm"]
        kernel, bias = (array.astype(np.float64) for array in layers[name].get_weights())
        gamma, beta, mean, variance = (array.astype(np.float64) for array in norm.get_weights())
        gain = gamma / np.sqrt(variance + norm.epsilon)
        folded[f"{name}/kernel"] = (kernel * gain).astype(np.float32)
        folded[f"{name}/bias"] = ((bias - mean) * gain + beta).astype(np.float32)
    return folded


def folding_error(model: Any, arrays: dict[str, NDArray[np.float32]], crops: NDArray[Any]) -> float:
    """Return the largest difference that folding makes, as a share of the largest feature.

    Parameters
    ----------
    model : keras.Model
        With batch normalisation.
    arrays : dict of str to ndarray
        What :func:`fold` made of it.
    crops : ndarray, shape (n, 96, 96), uint8 or uint16

    Returns
    -------
    float
    """
    plain = build(model.output_shape[-1] / 4608)
    for layer in plain.layers:
        if layer.weights:
            layer.set_weights([arrays[f"{layer.name}/kernel"], arrays[f"{layer.name}/bias"]])
    inputs = preprocess(crops, "unit")
    before, after = (np.asarray(net.predict_on_batch(inputs)) for net in (model, plain))
    return float(np.abs(before - after).max() / np.abs(before).max())


def save_random(path: Path, seed: int, *, width: float = WIDTH) -> None:
    """Write a network with He's random weights: what training has to beat.

    Parameters
    ----------
    path : Path
    seed : int
    width : float
    """
    start_keras().utils.set_random_seed(seed)
    arrays = {}
    for layer in build(width).layers:
        if layer.weights:
            arrays[f"{layer.name}/kernel"], arrays[f"{layer.name}/bias"] = layer.get_weights()
    save_npz(path, arrays)


def measure(path: Path, how: Training) -> dict[str, Any]:
    """Measure weights as they are shipped on simulated fields that no training saw.

    The probes learn on two thirds as many fields as the network did, and are judged on as many
    others.

    Parameters
    ----------
    path : Path
        The weights.
    how : Training
        How they were trained.

    Returns
    -------
    dict
        Results of :func:`anabatch.training.probe.probe` for these weights (`trained`), for random
        weights of the same network (`random`), and for the grey levels themselves (`pixels`).
    """
    fields = max(how.images * 2 // 3, 3 * len(PATTERNS))
    seen = simulate_cells(how.seed + _PROBE_SEED_OFFSET, fields)
    unseen = simulate_cells(how.seed + _TEST_SEED_OFFSET, fields)
    untrained = path.with_name(f"{path.stem}.random.npz")
    save_random(untrained, how.seed)
    networks = {
        name: VGG16Features(FeaturizeConfig(weights=str(file.resolve())))
        for name, file in (("trained", path), ("random", untrained))
    }
    untrained.unlink()
    quality: dict[str, Any] = {
        "probe_cells": len(seen.crops),
        "test_cells": len(unseen.crops),
        "pixels": probe(_pixels(seen), _pixels(unseen), PATTERNS),
    }
    for name, network in networks.items():
        rows = [
            Rows(network.extract(cells.crops).astype(np.float32), cells.labels, cells.fields)
            for cells in (seen, unseen)
        ]
        quality[name] = probe(rows[0], rows[1], PATTERNS)
    return quality


def _pixels(cells: PatternCells) -> Rows:
    grey = cells.crops.reshape(len(cells.crops), -1).astype(np.float32)
    return Rows(grey, cells.labels, cells.fields)


def main(
    out: Annotated[Path, typer.Option(help="The weights file to write, .npz.")],
    images: Annotated[int, typer.Option(help="Simulated fields to train on.")] = 420,
    epochs: Annotated[int, typer.Option(help="Passes over their cells.")] = 20,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 1,
    *,
    record: Annotated[
        bool, typer.Option("--record", help="Enter the result into the manifest beside the file.")
    ] = False,
) -> None:
    """Train the VGG16 of a quarter's width on simulated patterns, and measure it."""
    how = Training(images=images, epochs=epochs, seed=seed)
    cells = simulate_cells(how.seed, how.images)
    log.info("simulated", fields=how.images, cells=len(cells.crops))
    model = train(cells, how)
    arrays = fold(model)
    error = folding_error(model, arrays, cells.crops[:64])
    if error > _FOLDING_TOLERANCE:
        what = f"folding the normalisation changes features by {error:.1e}"
        raise WeightsError(what)
    save_npz(out, arrays)
    quality = {"folding_error": error, **measure(out, how)}
    typer.echo(json.dumps(quality, indent=2))
    if record:
        command = f"--out anabatch/weights/{out.name} --images {images} --epochs {epochs}"
        entry = {
            "file": out.name,
            "command": f"python -m anabatch.training.vgg16 {command} --seed {seed} --record",
            "data": [
                {
                    "simulator": "anabatch.simulate.field",
                    "fields": images,
                    "cells": len(cells.crops),
                }
            ],
            "seed": seed,
            "quality": quality,
        }
        update_entry(NAME, entry, out.parent)


if __name__ == "__main__":
    typer.run(main)

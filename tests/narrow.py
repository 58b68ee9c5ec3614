"""Networks of a few channels with random weights: what they say means nothing, but they are quick."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anabatch.features.backend import start_keras
from anabatch.features.vgg16 import build
from anabatch.features.vgg16_weights import save_npz

if TYPE_CHECKING:
    from pathlib import Path


def save_random(path: Path, width: float = 1 / 16, gain: float = 1.0) -> None:
    """Write the random weights of a VGG16 of some width, always the same."""
    start_keras()
    model = build(width)
    arrays = {}
    rng = np.random.default_rng(2)
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            deviation = gain * np.sqrt(2 / np.prod(kernel.shape[:3]))
            arrays[f"{layer.name}/kernel"] = rng.normal(0, deviation, kernel.shape)
            arrays[f"{layer.name}/bias"] = rng.normal(0, 0.1, bias.shape)
    save_npz(path, arrays)

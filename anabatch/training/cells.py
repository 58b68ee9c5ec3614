"""Train `anabatch-cells`: `python -m anabatch.training.cells --out FILE`."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

import cv2
import numpy as np

from anabatch.config import SegmentConfig
from anabatch.segmentation.cellpose import LOSSES
from anabatch.segmentation.labels import resize_nearest
from anabatch.segmentation.recipe import (
    Nuclei,
    cell_channels,
    cell_diameter,
    mean_diameter,
    network_input,
)
from anabatch.training.commands import add_schedule, finish, schedule_from
from anabatch.training.crops import sample_of
from anabatch.training.drawing import draw
from anabatch.training.fields import training_field
from anabatch.training.unet import train_network

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from anabatch.training.crops import Sample
    from anabatch.training.fields import TrainingField

NAME = "anabatch-cells"
DIAMETER = 36.0
"""Network pixels for the configured cell diameter."""

# Share of the samples that are made as in the one-pass recipe.
_ONE_PASS_SHARE = 0.1


def sample(field: TrainingField, rng: np.random.Generator, config: SegmentConfig) -> Sample:
    """Return a field as the cell network sees it, after a nucleus pass with some mistakes."""
    nuclei = perturb(field.nuclei, rng)
    own = Nuclei(nuclei, mean_diameter(nuclei), dict.fromkeys(LOSSES, 0))
    scale = DIAMETER / cell_diameter(own, config)
    channels = network_input(*cell_channels(field.signal, nuclei, config), scale)
    shape = (channels.shape[1], channels.shape[2])
    return sample_of(channels, resize_nearest(field.cells, shape))


def perturb(nuclei: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.int32]:
    """Grow or shrink nuclei by a few pixels and lose some, as a nucleus pass may.

    Half of all fields stay as they are.
    """
    if rng.random() < 0.5:
        return nuclei
    changed = nuclei.astype(np.int16)
    size = 1 + 2 * int(rng.integers(0, 4))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    if rng.random() < 0.5:
        grown = cv2.dilate(changed, kernel)
        changed = np.where(changed > 0, changed, grown)
    else:
        changed = np.where(cv2.erode((changed > 0).astype(np.uint8), kernel) > 0, changed, 0)
    lost = rng.random(int(nuclei.max()) + 1) < rng.uniform(0, 0.3)
    return np.where(lost[changed], 0, changed).astype(np.int32)


def simulated(seed: int, index: int) -> Sample:
    """Return the sample of a simulated field."""
    rng = np.random.default_rng([seed, index, 1])
    one_pass = rng.random() < _ONE_PASS_SHARE
    config = SegmentConfig(recipe="one-pass") if one_pass else SegmentConfig()
    return sample(training_field(seed, index), rng, config)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, write the file, and enter it in the manifest beside it."""
    parser = argparse.ArgumentParser(prog="python -m anabatch.training.cells", description=__doc__)
    add_schedule(parser)
    options = parser.parse_args(arguments)
    samples = list(draw(partial(simulated, options.seed), options.fields, options.workers))
    losses = train_network(samples, schedule_from(options, DIAMETER), options.out)
    data = [
        {"simulator": "anabatch.simulate.field", "fields": options.fields, "seed": options.seed}
    ]
    finish(NAME, options, data, losses, module="cells")


if __name__ == "__main__":
    main()

"""Train `anabatch-nuclei`: `python -m anabatch.training.nuclei --dsb2018 DIR --out FILE`."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from anabatch.config import SegmentConfig
from anabatch.segmentation.labels import resize_nearest
from anabatch.segmentation.recipe import network_input, nucleus_channels, to_reference
from anabatch.training import dsb2018
from anabatch.training.commands import add_schedule, finish, schedule_from
from anabatch.training.crops import sample_of
from anabatch.training.drawing import draw
from anabatch.training.fields import training_field
from anabatch.training.unet import train_network

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from anabatch.training.crops import Sample

NAME = "anabatch-nuclei"
DIAMETER = 24.0
"""Network pixels for the configured nucleus diameter."""

# Share of the drawn crops that come from real images, all in all.
_REAL_SHARE = 0.35


def sample(
    signal: NDArray[np.uint8], labels: NDArray[np.int32], config: SegmentConfig, weight: float
) -> Sample:
    """Return a field at reference resolution as the nucleus network sees it."""
    scale = DIAMETER / config.nucleus_diameter
    channels = network_input(*nucleus_channels(signal, config), scale)
    shape = (channels.shape[1], channels.shape[2])
    return sample_of(channels, resize_nearest(labels, shape), weight)


def simulated(seed: int, share: float, index: int) -> Sample:
    """Return the sample of a simulated field, which is to have a share of all drawn crops."""
    field = training_field(seed, index)
    return sample(field.signal, field.nuclei, SegmentConfig(), share)


def real(folder: Path, names: Sequence[str], index: int) -> Sample:
    """Return the sample of an image of the Data Science Bowl, one of `names`."""
    image = dsb2018.read(folder, names[index])
    reference = to_reference(image.signal, image.pixels_per_reference_pixel)
    labels = resize_nearest(image.labels, (reference.shape[0], reference.shape[1]))
    return sample(reference, labels, SegmentConfig(), _REAL_SHARE / len(names))


def all_samples(folder: Path, fields: int, seed: int, workers: int) -> list[Sample]:
    """Return the samples of simulated fields, and of all real images that are not held out."""
    names = dsb2018.names(folder, test=False)
    drawn = partial(simulated, seed, (1 - _REAL_SHARE) / fields)
    return [
        *draw(partial(real, folder, names), len(names), workers),
        *draw(drawn, fields, workers),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, write the file, and enter it in the manifest beside it."""
    parser = argparse.ArgumentParser(prog="python -m anabatch.training.nuclei", description=__doc__)
    parser.add_argument("--dsb2018", type=Path, required=True, help="folder of images/ and labels/")
    add_schedule(parser)
    options = parser.parse_args(arguments)
    samples = all_samples(options.dsb2018, options.fields, options.seed, options.workers)
    losses = train_network(samples, schedule_from(options, DIAMETER), options.out)
    data = [
        {"simulator": "anabatch.simulate.field", "fields": options.fields, "seed": options.seed},
        {"source": dsb2018.SOURCE, "digest": dsb2018.folder_digest(options.dsb2018)},
    ]
    finish(NAME, options, data, losses, module="nuclei")


if __name__ == "__main__":
    main()

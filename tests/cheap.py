"""Stand-ins for the networks: no model of anything, but quick, and as strict about what they depend on."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
from PIL import Image
from scipy import ndimage

from anabatch.features.vgg16 import VGG16Features, features_digest
from anabatch.segmentation.recipe import Segmentation
from anabatch.segmentation.two_pass import TwoPassSegmenter
from anabatch.stages import featurize as featurize_stage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from anabatch.config import FeaturizeConfig, SegmentConfig

TINY = (108, 84)
"""Size of the images that :func:`draw_tiny` draws, width and height."""

_CELLS = 6  # of a tiny image
_SIDE = 4  # features of one cell are the means of so many by so many fields of its crop


@contextmanager
def cheap_networks() -> Iterator[None]:
    """Segment by a threshold and describe by means, in this process, until the block ends.

    Results depend on the image and on all parameters, as those of the networks do, and on nothing
    else. Keys and digests stay what they are: plans ask for the weights, and nobody loads them.
    """
    featurize_stage._loaded.cache_clear()
    with (
        patch.object(TwoPassSegmenter, "segment", _segment),
        patch.object(VGG16Features, "__init__", _init),
        patch.object(VGG16Features, "extract", _extract),
    ):
        try:
            yield
        finally:
            featurize_stage._loaded.cache_clear()


def _segment(
    self: TwoPassSegmenter,
    signals: Sequence[NDArray[Any]],
    pixels_per_reference_pixel: Sequence[float],
) -> list[Segmentation]:
    return [
        cheap_segmentation(signal, pixels, self.config)
        for signal, pixels in zip(signals, pixels_per_reference_pixel, strict=True)
    ]


def cheap_segmentation(
    signal: NDArray[Any], pixels_per_reference_pixel: float, config: SegmentConfig
) -> Segmentation:
    """Call everything brighter than a quarter of the range a cell, and its core a nucleus."""
    bright = signal > np.iinfo(signal.dtype).max // 4
    grown = round(pixels_per_reference_pixel * config.cell_diameter / 50)
    cells, _ = ndimage.label(ndimage.binary_dilation(bright, iterations=max(grown, 1)))
    shrunk = round(pixels_per_reference_pixel * config.nucleus_diameter / 30)
    core = ndimage.binary_erosion(bright, iterations=max(shrunk, 1))
    nuclei, count = ndimage.label(core)
    sizes = np.bincount(nuclei.ravel())[1:]
    diameter = float(np.sqrt(sizes).mean()) if count else float("nan")
    found = {"nuclei": count, "cells": int(cells.max(initial=0))}
    return Segmentation(nuclei.astype(np.int32), cells.astype(np.int32), diameter, {}, found)


def _init(self: VGG16Features, config: FeaturizeConfig, *, threads: int = 1) -> None:
    del threads
    self.config = config
    self.digest = features_digest(config)
    self.n_features = _SIDE**2


def _extract(
    self: VGG16Features, crops: NDArray[Any], masks: NDArray[Any] | None = None
) -> NDArray[np.float16]:
    del masks
    n, side, _ = crops.shape
    fields = crops.reshape(n, _SIDE, side // _SIDE, _SIDE, side // _SIDE).astype(np.float32)
    scale = {"unit": 1.0, "keras": 2.0}[self.config.preprocessing] / np.iinfo(crops.dtype).max
    return np.asarray((fields.mean(axis=(2, 4)) * scale).reshape(n, -1), np.float16)


def draw_tiny(path: Path, seed: int, *, cells: int = _CELLS) -> None:
    """Draw a tiny image of bright discs on black, for :func:`cheap_networks` to find.

    Parameters
    ----------
    path : Path
        A `.jpg` file; its folder is made.
    seed : int
        Another seed draws another picture.
    cells : int
        Discs to draw, at most 12.
    """
    rng = np.random.default_rng(seed)
    width, height = TINY
    y, x = np.mgrid[:height, :width]
    signal = rng.uniform(0, 20, (height, width))
    for place in rng.permutation(12)[:cells]:  # a grid of 4 by 3, so that no two discs touch
        cy, cx = 14 + 28 * (place // 4), 14 + 27 * (place % 4)
        disc = (y - cy) ** 2 + (x - cx) ** 2 < rng.uniform(5, 8) ** 2
        signal[disc] = rng.uniform(120, 255)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 1] = signal
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "JPEG", quality=95, subsampling=0)

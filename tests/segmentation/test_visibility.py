import numpy as np
import pytest

from anabatch.config import SegmentConfig
from anabatch.segmentation.results import NO_CONTRAST
from anabatch.segmentation.scale_bar import find_scale_bar, without_scale_bar
from anabatch.segmentation.two_pass import segmenter_for
from anabatch.segmentation.visibility import visible
from anabatch.simulate.field import simulate_field
from anabatch.training.fields import as_jpeg


def noise(deviation, mean=20.0, shape=(520, 700), dtype=np.uint8, seed=0):
    drawn = np.random.default_rng(seed).normal(mean, deviation, shape)
    return np.clip(np.rint(drawn), 0, np.iinfo(dtype).max).astype(dtype)


def disc(signal, level):
    y, x = np.mgrid[: signal.shape[0], : signal.shape[1]]
    lit = signal.astype(float) + level * ((y - 200) ** 2 + (x - 300) ** 2 < 35**2)
    return np.rint(lit).astype(signal.dtype)


@pytest.mark.parametrize("level", [0, 7, 255])
def test_an_even_image_shows_nothing(level):
    assert not visible(np.full((300, 400), level, np.uint8), 60.0)


@pytest.mark.parametrize("deviation", [0.3, 1.0, 5.0, 30.0])
def test_noise_shows_nothing(deviation):
    assert not visible(noise(deviation), 60.0)
    assert not visible(noise(deviation * 100, mean=9000, dtype=np.uint16), 60.0)


@pytest.mark.parametrize("quality", [75, 95])
def test_noise_in_a_jpeg_file_shows_nothing(quality):
    for deviation in (0.3, 1.0, 5.0):
        assert not visible(as_jpeg(noise(deviation), quality), 60.0)


def test_light_that_fades_over_the_field_shows_nothing():
    ramp = np.linspace(0, 20, 1388)[np.newaxis]
    signal = np.rint(noise(1.0, shape=(1040, 1388)) + ramp).astype(np.uint8)
    assert not visible(signal, 60.0)


def test_one_cell_six_levels_brighter_shows():
    for signal in (noise(1.0), noise(1.0).astype(np.uint16) * 257):
        assert not visible(signal, 60.0)
        assert visible(disc(signal, 6 * int(signal.max() // noise(1.0).max())), 60.0)
    camera = noise(40.0, mean=300, dtype=np.uint16)  # 12 bits, of which few are used
    assert not visible(camera, 60.0)
    assert visible(disc(camera, 100), 60.0)


def test_dim_negatives_show_their_cells():
    for seed in range(6):
        signal = as_jpeg(simulate_field(8_200_000 + seed, ["negative"], size=(700, 520)).signal, 90)
        assert visible(without_scale_bar(signal, find_scale_bar(signal)), 60.0), seed


@pytest.mark.parametrize("recipe", ["two-pass", "one-pass", "watershed"])
@pytest.mark.parametrize("deviation", [0.0, 0.3, 3.0])
def test_no_segmenter_invents_cells_in_noise(recipe, deviation):
    """An answer, with its reason: equalised, one grey level of noise is as bright as cells."""
    segmenter = segmenter_for(SegmentConfig(recipe=recipe))
    (found,) = segmenter.segment([noise(deviation)], [1.0])
    assert not found.nuclei.any()
    assert not found.cells.any()
    assert found.reason == NO_CONTRAST
    assert found.proposed == {"nuclei": 0, "cells": 0}
    assert found.dropped == {}

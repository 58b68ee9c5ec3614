import logging

import numpy as np
import pytest
import torch

from anabatch.errors import DeviceError
from anabatch.segmentation.memory import Halving
from anabatch.segmentation.tiling import run_batches


class Small:
    """A network whose device holds `pixels` pixels at once."""

    def __init__(self, pixels):
        self.pixels = pixels
        self.shapes = []

    def __call__(self, tiles):
        if len(tiles) * tiles[0, 0].size > self.pixels:
            message = "CUDA out of memory"
            raise torch.OutOfMemoryError(message)
        self.shapes.append(tiles.shape)
        return np.concatenate([tiles, tiles[:, :1] + len(tiles)], axis=1)


def tiles_of(count, side=16):
    return np.random.default_rng(count).random((count, 2, side, side), dtype=np.float32)


def test_what_fits_goes_through_whole_and_silently(caplog):
    network = Small(8 * 256)
    tiles = tiles_of(8)
    np.testing.assert_array_equal(Halving(network)(tiles)[:, :2], tiles)
    assert network.shapes == [(8, 2, 16, 16)]
    assert not caplog.records


def test_batches_are_halved_until_they_fit_and_stay_so_and_it_is_said_once(caplog):
    network = Small(3 * 256)
    halving = Halving(network)
    tiles = tiles_of(7)
    with caplog.at_level(logging.WARNING):
        first = halving(tiles)
        second = halving(tiles)
    # 7, then 3: the last is padded, so that every part has one shape.
    assert network.shapes == [(3, 2, 16, 16)] * 6
    np.testing.assert_array_equal(first[:, :2], tiles)
    np.testing.assert_array_equal(first[:, 2], tiles[:, 0] + 3)
    np.testing.assert_array_equal(second, first)
    assert len(caplog.records) == 1
    assert "batches of at most 3" in caplog.text


def test_what_fits_of_small_tiles_is_known_from_large_ones():
    network = Small(4 * 1024)
    halving = Halving(network)
    halving(tiles_of(8, side=32))
    halving(tiles_of(16, side=16))
    assert network.shapes == [(4, 2, 32, 32)] * 2 + [(16, 2, 16, 16)]
    halving(tiles_of(4, side=32))
    assert network.shapes[-1] == (4, 2, 32, 32)


def test_a_tile_that_does_not_fit_alone_is_an_error_that_says_what_to_do():
    with pytest.raises(DeviceError, match=r"one tile of 16 x 16 .*segment\.tile"):
        Halving(Small(255))(tiles_of(4))


def test_a_tile_s_answer_does_not_depend_on_its_neighbours_after_halving():
    halving = Halving(Small(2 * 256))
    tiles = tiles_of(5)
    whole = np.stack(list(run_batches(halving, iter(tiles), 4)))
    alone = np.stack([next(run_batches(halving, iter(tile[np.newaxis]), 4)) for tile in tiles])
    np.testing.assert_array_equal(whole, alone)

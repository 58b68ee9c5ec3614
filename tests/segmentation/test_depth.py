import numpy as np
import pytest

from anabatch.segmentation.depth import filled, unused_bits


@pytest.mark.parametrize(
    ("top", "bits"), [(255, 8), (1023, 6), (4095, 4), (16_383, 2), (40_000, 0), (65_535, 0), (7, 8)]
)
def test_bits_that_no_pixel_uses(top, bits):
    signal = np.arange(100).reshape(10, 10) * top // 99
    assert unused_bits(signal.astype(np.uint16)) == bits


@pytest.mark.parametrize("factor", [256, 257])
def test_8_bits_spread_over_16_stay_as_dark_as_they_are(factor):
    signal = (np.arange(60, dtype=np.uint16) * factor).reshape(6, 10)
    assert unused_bits(signal) == 0


def test_8_bits_and_nothing_at_all_have_none():
    assert unused_bits(np.full((4, 4), 3, np.uint8)) == 0
    assert unused_bits(np.zeros((4, 4), np.uint16)) == 0


def test_filling_keeps_every_difference():
    signal = np.arange(1024, dtype=np.uint16).reshape(32, 32)
    moved = filled(signal, unused_bits(signal))
    assert moved.dtype == np.uint16
    np.testing.assert_array_equal(moved >> 6, signal)
    assert moved.max() == 65_472

import cv2
import numpy as np
import pytest

from anabatch.config import SegmentConfig
from anabatch.imaging import equalize
from anabatch.segmentation.equalisation import contrast_grid, equalized


def picture(height, width):
    noise = np.random.default_rng(height).normal(size=(height, width))
    return np.clip(cv2.GaussianBlur(noise, (0, 0), 5) * 300 + 90, 0, 255).astype(np.uint8)


SHAPES = [(130, 174), (131, 174), (128, 175), (400, 64), (17, 9), (1, 1), (3, 200)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("clip", [1.0, 10.0])
def test_every_pixel_is_opencvs(shape, clip):
    """Whatever of the image does not divide by the grid."""
    image = picture(*shape)
    expected = equalize(image, clip=clip, grid=8)
    view = equalized(image, (8, 8), clip)
    np.testing.assert_array_equal(view[0 : shape[0], 0 : shape[1]], expected)
    window = slice(shape[0] // 3, shape[0]), slice(shape[1] // 2, shape[1])
    np.testing.assert_array_equal(view[window], expected[window])


def test_grids_need_not_be_square():
    image = picture(120, 250)
    expected = cv2.createCLAHE(clipLimit=10.0, tileGridSize=(7, 3)).apply(image)
    np.testing.assert_array_equal(equalized(image, (3, 7), 10.0)[0:120, 0:250], expected)


def test_sixteen_bits_are_equalised_as_fields_are():
    image = picture(90, 80).astype(np.uint16) * 257 + 100
    view = equalized(image, (8, 8), 10.0)
    assert view.dtype == np.uint16
    np.testing.assert_array_equal(view[0:90, 0:80], equalize(image, clip=10.0, grid=8))


@pytest.mark.parametrize(
    ("shape", "grid"),
    [
        ((1040, 1388), (8, 8)),
        ((1388, 1040), (8, 8)),
        ((300, 200), (8, 8)),
        ((1474, 1475), (8, 9)),
        ((20_000, 13_880), (115, 80)),
    ],
)
def test_the_cells_of_the_grid_stay_as_large_as_a_fields(shape, grid):
    assert contrast_grid(shape, SegmentConfig()) == grid
    twice = contrast_grid(shape, SegmentConfig(clahe_grid=16))
    assert all(abs(fine - 2 * coarse) <= 1 for fine, coarse in zip(twice, grid, strict=True))

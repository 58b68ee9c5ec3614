from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from skimage.measure import regionprops

from anabatch.morphology import CellPixels, ellipse_axes, measure, solidity

masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)).filter(np.any)


def disc(radius: int) -> np.ndarray[Any, Any]:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(np.hypot(y, x) <= radius)


def measured(signal: Any, inside: Any, nuclei: Any, sizes: Any) -> dict[str, Any]:
    signal = np.asarray(signal)
    height, width = signal.shape
    edges = (1, 1, height + 1, width + 1)
    image = (height + 2, width + 2)
    cell = CellPixels(edges, signal, np.asarray(inside, bool), np.asarray(nuclei), image)
    return measure(cell, np.asarray(sizes))


@given(masks)
def test_axes_are_those_of_scikit_image_for_pixels_with_a_size(
    mask: np.ndarray[Any, Any],
) -> None:
    (region,) = regionprops(mask.astype(np.uint8))
    of_points = np.array([region.axis_major_length, region.axis_minor_length])
    assert ellipse_axes(mask) == pytest.approx(np.sqrt(of_points**2 + 16 / 12), abs=1e-5)


def test_axes_of_an_ellipse_are_its_own() -> None:
    y, x = np.mgrid[-60:61, -60:61]
    turned = ((x + y) / 2**0.5 / 50) ** 2 + ((x - y) / 2**0.5 / 20) ** 2
    assert ellipse_axes(turned <= 1) == pytest.approx((100, 40), rel=0.01)


@given(masks)
def test_solidity_is_a_share_and_filling_the_box_makes_it_one(mask: np.ndarray[Any, Any]) -> None:
    assert 0 < solidity(mask) <= 1
    assert solidity(np.ones_like(mask)) == 1


def test_solidity_falls_with_a_notch() -> None:
    whole = disc(30)
    notched = whole.copy()
    notched[:30, 25:36] = False
    assert solidity(whole) > 0.97
    assert solidity(notched) == pytest.approx(notched.sum() / whole.sum(), abs=0.03)


def test_the_largest_of_a_cells_own_nuclei_has_the_shape() -> None:
    nuclei = np.zeros((6, 12), int)
    nuclei[0, :9] = 3  # nine of twenty pixels lie here: another cell's
    nuclei[2:4, 0:2] = 1
    nuclei[2:4, 4:8] = 2
    row = measured(np.full((6, 12), 50, np.uint8), nuclei >= 0, nuclei, [0, 4, 8, 20])
    assert (row["nucleus_count"], row["nucleus_area_px"]) == (2, 21)
    assert row["nucleus_major_px"] == pytest.approx(16 / 12**0.5)
    assert row["nucleus_minor_px"] == pytest.approx(8 / 12**0.5)
    assert row["nucleus_cytoplasm_ratio"] == 1


def test_a_cell_that_is_all_nucleus_has_no_cytoplasm() -> None:
    row = measured(np.full((3, 3), 9, np.uint16), np.ones((3, 3)), np.ones((3, 3), int), [0, 9])
    assert row["nucleus_mean_intensity"] == 9
    assert row["cytoplasm_mean_intensity"] is row["nucleus_cytoplasm_ratio"] is None


def test_over_a_black_cytoplasm_there_is_no_ratio() -> None:
    signal = np.zeros((3, 3), np.uint8)
    nuclei = np.zeros((3, 3), int)
    signal[1, 1], nuclei[1, 1] = 200, 1
    row = measured(signal, np.ones((3, 3)), nuclei, [0, 1])
    assert row["cytoplasm_mean_intensity"] == 0
    assert row["nucleus_cytoplasm_ratio"] is None
    assert row["black_fraction"] == 8 / 9


@pytest.mark.parametrize(("dtype", "highest"), [(np.uint8, 255), (np.uint16, 65_535)])
def test_saturated_pixels_are_at_the_types_highest_value(dtype: Any, highest: int) -> None:
    signal = np.full((4, 5), 255, dtype)
    signal[0] = highest
    inside = np.ones((4, 5), bool)
    inside[0, 0] = False
    row = measured(signal, inside, np.zeros((4, 5), int), [0])
    assert row["saturated_fraction"] == (1 if highest == 255 else 4 / 19)


@pytest.mark.parametrize(
    ("edges", "at"),
    [
        ((0, 3, 4, 8), "top"),
        ((3, 0, 7, 5), "left"),
        ((6, 3, 10, 8), "bottom"),
        ((3, 7, 7, 12), "right"),
        ((3, 3, 7, 8), "nowhere"),
    ],
)
def test_the_border_is_where_the_mask_reaches_the_images_outermost_lines(
    edges: Any, at: str
) -> None:
    empty = np.zeros((4, 5))
    cell = CellPixels(edges, empty.astype(np.uint8), empty > 0, empty.astype(int), (10, 12))
    places = {"top": (0, 2), "left": (2, 0), "bottom": (3, 2), "right": (2, 4), "middle": (2, 2)}
    for name, place in places.items():
        mask = np.zeros((4, 5), bool)
        mask[place] = True
        assert cell.at_border(mask) == (name == at)

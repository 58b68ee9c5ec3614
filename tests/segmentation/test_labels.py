import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from anabatch.segmentation import labels as ops

label_images = arrays.arrays(
    np.int32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 5)
)


@settings(deadline=None)
@given(label_images)
def test_consecutive_keeps_the_masks_and_their_order(image):
    packed = ops.consecutive(image * 100)
    names = np.unique(image[image > 0])
    assert sorted(set(packed[packed > 0].tolist())) == list(range(1, names.size + 1))
    for number, name in enumerate(names, 1):
        np.testing.assert_array_equal(packed == number, image == name)
    assert ops.count(image) == names.size


def test_consecutive_without_background_renames_nothing_to_zero():
    assert ops.consecutive(np.full((3, 3), 9)).tolist() == [[1] * 3] * 3


def test_holes_are_filled_with_whatever_lies_in_them():
    image = np.zeros((9, 9), np.int32)
    image[1:8, 1:8] = 3
    image[3:6, 3:6] = 0
    image[4, 4] = 7
    image[0, 0] = 9
    filled = ops.fill_and_filter(image, min_size=1)
    assert (filled[1:8, 1:8] == 1).all()
    assert filled[0, 0] == 2
    assert np.count_nonzero(filled) == 50


@settings(deadline=None)
@given(label_images, st.integers(0, 4))
def test_filling_is_cellposes(image, min_size):
    utils = pytest.importorskip("cellpose.utils")
    image = ops.consecutive(image)
    image = np.pad(image, 1)  # Cellpose takes the smallest label for the background
    whole = ops._without_small(image, min_size)
    # Where a mask has been swallowed, Cellpose takes sizes for those of other masks.
    assume(ops.count(ops.fill_and_filter(whole, 0)) == ops.count(whole))
    theirs = utils.fill_holes_and_remove_small_masks(image.copy(), min_size=min_size)
    ours = ops.fill_and_filter(image, min_size)
    pairs = set(zip(ours.ravel().tolist(), theirs.ravel().tolist(), strict=True))
    assert len(pairs) == ops.count(ours) + 1 == ops.count(theirs) + 1  # the same up to names
    assert (0, 0) in pairs


def test_masks_below_the_smallest_size_go_and_the_rest_is_renumbered():
    image = np.zeros((6, 6), np.int32)
    image[0, :2] = 1
    image[2:5, 2:5] = 2
    assert ops.count(ops.fill_and_filter(image, min_size=3)) == 1
    assert ops.count(ops.fill_and_filter(image, min_size=2)) == 2


@settings(deadline=None)
@given(label_images, st.integers(1, 4))
def test_scaling_up_by_a_whole_number_repeats_pixels(image, factor):
    shape = (image.shape[0] * factor, image.shape[1] * factor)
    large = ops.resize_nearest(image, shape)
    np.testing.assert_array_equal(large, np.kron(image, np.ones((factor, factor), np.int32)))
    np.testing.assert_array_equal(ops.resize_nearest(large, image.shape), image)


def disc_flows(centres, radius, shape):
    """Flows towards the centres, five times unit length, and logits: what a perfect net says."""
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    image = np.zeros(shape, np.int32)
    flows = np.zeros((2, *shape), np.float32)
    logit = np.full(shape, -5, np.float32)
    for label, (y, x) in enumerate(centres, 1):
        away = np.hypot(rows - y, columns - x)
        mask = away < radius
        image[mask] = label
        for axis, step in enumerate((y - rows, x - columns)):
            flows[axis][mask] = (5 * step / np.maximum(away, 1))[mask]
        logit = np.maximum(logit, radius - away)
    return image, flows, logit


@pytest.mark.parametrize("factor", [2, 4])
def test_refined_masks_are_rounder_than_enlarged_ones(factor):
    centres = [(20, 20), (20, 43.3), (45, 31)]
    coarse, flows, logit = disc_flows(centres, 11.6, (64, 64))
    shape = (64 * factor, 64 * factor)
    fine_centres = [((y + 0.5) * factor - 0.5, (x + 0.5) * factor - 0.5) for y, x in centres]
    truth = disc_flows(fine_centres, 11.6 * factor, shape)[0]
    refined = ops.refine(coarse, flows, logit, shape, 0.0)
    wrong = np.count_nonzero(refined != truth)
    assert wrong < 0.25 * np.count_nonzero(ops.resize_nearest(coarse, shape) != truth)
    assert wrong < 0.01 * np.count_nonzero(truth)


def test_a_mask_that_was_given_up_does_not_come_back():
    coarse, flows, logit = disc_flows([(20, 20), (20, 45)], 10, (64, 64))
    coarse[coarse == 2] = 0
    assert set(np.unique(ops.refine(coarse, flows, logit, (128, 128), 0.0))) == {0, 1}

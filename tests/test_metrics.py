import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from anabatch import metrics

label_images = arrays.arrays(np.int32, (9, 9), elements=st.integers(0, 4))


def discs(seed, shift=0, count=25, side=300):
    rng = np.random.default_rng(seed)
    image = np.zeros((side, side), np.int32)
    rows, columns = np.mgrid[:side, :side]
    for label in range(1, count + 1):
        y, x = rng.integers(0, side, 2)
        radius = rng.integers(8, 25)
        image[(rows - y - shift) ** 2 + (columns - x) ** 2 < radius**2] = label
    return image


def test_a_shifted_square_has_the_overlap_that_geometry_says():
    truth = np.zeros((40, 40), np.int32)
    prediction = np.zeros_like(truth)
    truth[10:20, 10:20] = 5
    prediction[10:20, 12:22] = 9
    pairs = metrics.overlaps(truth, prediction)
    assert pairs.iou.tolist() == [80 / 120]
    assert metrics.match(pairs, 0.5).tolist() == [[5, 9]]
    assert metrics.score(truth, prediction).average_precision.tolist() == [1.0, 0.0, 0.0]


def test_two_halves_of_one_mask_count_once():
    truth = np.ones((4, 4), np.int32)
    halves = np.ones((4, 4), np.int32)
    halves[2:] = 2
    scores = metrics.score(truth, halves, [0.5])
    assert scores.true_positives.tolist() == [1]
    assert scores.false_positives.tolist() == [1]
    assert scores.false_negatives.tolist() == [0]


def test_nothing_to_find_and_nothing_found_has_no_precision():
    empty = np.zeros((5, 5), np.int32)
    assert np.isnan(metrics.score(empty, empty).average_precision).all()
    assert metrics.score(empty, np.ones_like(empty)).average_precision.tolist() == [0, 0, 0]
    assert metrics.score(np.ones_like(empty), empty).average_precision.tolist() == [0, 0, 0]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shift", [0, 2, 6])
def test_average_precision_is_cellposes(seed, shift):
    cellpose = pytest.importorskip("cellpose.metrics")
    truth, prediction = discs(seed), discs(seed, shift, count=22)
    # Cellpose counts labels by their maximum, so it wants them consecutive.
    packed = [np.unique(i, return_inverse=True)[1].reshape(i.shape) for i in (truth, prediction)]
    ap, tp, fp, fn = cellpose.average_precision(packed[0], packed[1], [0.5, 0.75, 0.9])
    scores = metrics.score(truth, prediction)
    np.testing.assert_array_equal(scores.true_positives, tp)
    np.testing.assert_array_equal(scores.false_positives, fp)
    np.testing.assert_array_equal(scores.false_negatives, fn)
    np.testing.assert_allclose(scores.average_precision, ap, rtol=1e-6)


@settings(max_examples=50, deadline=None)
@given(label_images)
def test_an_image_agrees_with_itself(image):
    scores = metrics.score(image, image)
    assert (scores.false_positives == 0).all()
    assert (scores.false_negatives == 0).all()
    assert (scores.true_positives == len(set(image.ravel().tolist()) - {0})).all()


@settings(max_examples=50, deadline=None)
@given(label_images, label_images, st.permutations(range(1, 5)))
def test_names_of_labels_do_not_matter(truth, prediction, order):
    names = np.array([0, *order], np.int32)
    left = metrics.score(truth, prediction)
    right = metrics.score(truth, names[prediction] * 1000)
    np.testing.assert_array_equal(left.true_positives, right.true_positives)
    np.testing.assert_array_equal(left.false_positives, right.false_positives)


@settings(max_examples=50, deadline=None)
@given(label_images, label_images)
def test_swapping_the_images_swaps_the_errors(truth, prediction):
    left, right = metrics.score(truth, prediction), metrics.score(prediction, truth)
    np.testing.assert_array_equal(left.true_positives, right.true_positives)
    np.testing.assert_array_equal(left.false_positives, right.false_negatives)


def test_counts_add_up_over_images():
    one, two = metrics.score(discs(1), discs(1, 6)), metrics.score(discs(2), discs(2, 2))
    total = one + two
    assert (total.true_positives == one.true_positives + two.true_positives).all()
    with pytest.raises(ValueError, match="thresholds differ"):
        one + metrics.score(discs(1), discs(1), [0.5])


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(3, 2\)"):
        metrics.score(np.zeros((2, 3), int), np.zeros((3, 2), int))

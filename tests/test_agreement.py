"""How label images are compared beside precision: foreground, counts, outlines, splits, merges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from anabatch import metrics

EMPTY = np.zeros((30, 40), np.int32)
label_images = arrays.arrays(np.int32, (9, 9), elements=st.integers(0, 4))


def boxes(*places, shape=(30, 40)):
    """Draw boxes (top, bottom, left, right) as masks 1 to n."""
    image = np.zeros(shape, np.int32)
    for label, (top, bottom, left, right) in enumerate(places, start=1):
        image[top:bottom, left:right] = label
    return image


def ellipses(seed, count=20, side=240):
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    image = np.zeros((side, side), np.int32)
    for label in range(1, count + 1):
        y, x = rng.uniform(0, side, 2)
        b, a = rng.uniform(6, 25, 2)
        image[((rows - y) / b) ** 2 + ((columns - x) / a) ** 2 < 1] = label
    return np.unique(image, return_inverse=True)[1].reshape(image.shape)


def cuts(truth, prediction):
    found = metrics.compare(truth, prediction)
    return found.splits, found.merges


ONE = boxes((5, 25, 5, 35))
THIRDS = boxes((5, 25, 5, 15), (5, 25, 15, 25), (5, 25, 25, 35))


@pytest.mark.parametrize(
    ("truth", "prediction", "expected"),
    [
        pytest.param(ONE, ONE, (0, 0), id="same"),
        pytest.param(ONE, THIRDS, (2, 0), id="one in three"),
        pytest.param(THIRDS, ONE, (0, 2), id="three in one"),
        pytest.param(EMPTY, ONE, (0, 0), id="nothing to find"),
        pytest.param(ONE, EMPTY, (0, 0), id="nothing found"),
        pytest.param(EMPTY, EMPTY, (0, 0), id="nothing at all"),
        # two of the thirds reach out of the mask by half: they belong to nobody
        pytest.param(ONE, np.roll(THIRDS, 5, axis=1), (1, 0), id="half outside"),
        pytest.param(boxes((5, 25, 5, 35)), boxes((5, 25, 5, 33)), (0, 0), id="smaller"),
        # one mask is cut in two, two others are fused
        pytest.param(
            boxes((0, 10, 0, 10), (20, 30, 0, 10), (20, 30, 10, 20)),
            boxes((0, 5, 0, 10), (5, 10, 0, 10), (20, 30, 0, 20)),
            (1, 1),
            id="both",
        ),
    ],
)
def test_splits_and_merges_of_boxes(truth, prediction, expected):
    assert cuts(truth, prediction) == expected
    assert cuts(prediction, truth) == expected[::-1]


def test_foreground_and_counts_of_boxes():
    found = metrics.compare(boxes((0, 10, 0, 10)), boxes((0, 10, 5, 15), (20, 30, 20, 30)))
    assert found.dice == 2 * 50 / (100 + 200)
    assert found.count_error == 1.0
    assert found.scores.false_positives.tolist() == [2, 2, 2]


def test_an_outline_shifted_by_less_than_the_band_is_partly_right():
    truth, shifted = boxes((5, 25, 5, 35)), boxes((5, 25, 6, 36))
    # Bands of one pixel to either side: four columns of 22 pixels, less what both have.
    found = metrics.compare(truth, shifted)
    assert 0.8 < found.boundary_f1 < 1.0
    assert metrics.compare(truth, boxes((12, 18, 12, 28))).boundary_f1 == 0.0
    assert metrics.compare(truth, truth).boundary_f1 == 1.0


def test_empty_images_have_no_ratios():
    nothing = metrics.compare(EMPTY, EMPTY)
    assert np.isnan([nothing.dice, nothing.count_error, nothing.boundary_f1]).all()
    missed = metrics.compare(ONE, EMPTY)
    assert (missed.dice, missed.count_error, missed.boundary_f1) == (0.0, 1.0, 0.0)
    invented = metrics.compare(EMPTY, ONE)
    assert invented.dice == 0.0
    assert np.isnan(invented.count_error)


def test_errors_of_two_images_do_not_cancel():
    total = metrics.compare(ONE, EMPTY) + metrics.compare(EMPTY, ONE)
    assert total.miscounted == 2
    assert (total.true_masks, total.predicted_masks) == (1, 1)
    assert total.scores.false_negatives.tolist() == [1, 1, 1]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scale", [0.001, 0.025, 0.1])
def test_the_boundary_scores_are_cellposes(seed, scale):
    cellpose = pytest.importorskip("cellpose.metrics")
    truth, prediction = ellipses(seed), np.roll(ellipses(seed, count=18), 2, axis=0)
    precision, recall, f1 = (
        float(figure[0, 0]) for figure in cellpose.boundary_scores([truth], [prediction], [scale])
    )
    found = metrics.compare(truth, prediction, boundary_scale=scale)
    assert found.shared_band / found.predicted_band == pytest.approx(precision, rel=1e-12)
    assert found.shared_band / found.true_band == pytest.approx(recall, rel=1e-12)
    assert found.boundary_f1 == pytest.approx(f1, rel=1e-12)


@settings(max_examples=50, deadline=None)
@given(label_images, label_images, st.permutations(range(1, 5)))
def test_swapping_images_swaps_splits_and_merges_and_names_do_not_matter(truth, prediction, order):
    names = np.array([0, *order], np.int32) * 1000
    left, right = metrics.compare(truth, prediction), metrics.compare(prediction, truth)
    named = metrics.compare(truth, names[prediction])
    assert (left.splits, left.merges) == (right.merges, right.splits)
    assert (named.splits, named.merges) == (left.splits, left.merges)
    assert named.boundary_f1 == pytest.approx(left.boundary_f1, nan_ok=True)
    assert left.dice == pytest.approx(right.dice, nan_ok=True)


@settings(max_examples=50, deadline=None)
@given(label_images)
def test_an_image_agrees_with_itself(image):
    found = metrics.compare(image, image)
    assert (found.splits, found.merges, found.miscounted) == (0, 0, 0)
    if image.any():
        assert (found.dice, found.boundary_f1) == (1.0, 1.0)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_average_precision_is_cellposes_on_any_labels(seed):
    cellpose = pytest.importorskip("cellpose.metrics")
    rng = np.random.default_rng(seed)
    truth = ellipses(rng.integers(1000), count=6, side=60)
    prediction = np.roll(truth, rng.integers(-6, 7, 2), axis=(0, 1))
    for label in range(1, 1 + int(prediction.max())):
        if rng.random() < 0.3:  # some masks are missed, or fused with the next
            prediction[prediction == label] = min(label + 1, prediction.max()) * rng.integers(2)
    prediction = np.unique(prediction, return_inverse=True)[1].reshape(truth.shape)
    if not truth.max() and not prediction.max():
        return
    precision = cellpose.average_precision(truth, prediction, [0.5, 0.75, 0.9])[0]
    ours = metrics.compare(truth, prediction).scores.average_precision
    np.testing.assert_allclose(ours, precision, rtol=1e-6)

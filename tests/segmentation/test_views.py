import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabatch.segmentation import views
from anabatch.segmentation.channels import scaled


def picture(height, width, dtype=np.uint8, seed=0):
    top = 255 if dtype == np.float32 else np.iinfo(dtype).max
    return (np.random.default_rng(seed).random((height, width)) * top).astype(dtype)


def whole(view):
    return view[0 : view.shape[0], 0 : view.shape[1]]


def by_opencv(image, shape):
    method = cv2.INTER_AREA if shape[0] < image.shape[0] else cv2.INTER_LINEAR
    return cv2.resize(image, shape[::-1], interpolation=method)


@st.composite
def windows_of(draw, shape):
    spans = []
    for length in shape:
        start = draw(st.integers(0, length - 1))
        spans.append(slice(start, draw(st.integers(start, length))))
    return tuple(spans)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("scale", [0.1, 0.24827, 0.4, 0.5, 0.97])
def test_shrinking_is_opencvs(scale, dtype):
    image = picture(97, 140, dtype)
    shape = scaled(image.shape, scale)
    found = whole(views.resized(image, shape))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, by_opencv(image, shape), rtol=1e-5)


def test_halving_rounds_halves_as_opencv_does():
    image = picture(64, 90)
    np.testing.assert_array_equal(whole(views.resized(image, (32, 45))), by_opencv(image, (32, 45)))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_enlarging_is_opencvs_but_for_its_rounding(dtype):
    image = picture(31, 47, dtype)
    found = whole(views.resized(image, (50, 80)))
    np.testing.assert_allclose(
        found.astype(float), by_opencv(image, (50, 80)), atol=1 if dtype == np.uint8 else 1e-3
    )


@given(st.data(), st.integers(1, 60), st.integers(1, 60), st.floats(0.1, 3))
def test_windows_of_a_resized_image_are_parts_of_the_whole(data, height, width, scale):
    image = picture(height, width, np.float32)
    view = views.resized(image, scaled(image.shape, scale))
    window = data.draw(windows_of(view.shape))
    np.testing.assert_array_equal(view[window], whole(view)[window])


def test_an_image_of_its_own_size_is_itself():
    image = picture(5, 7)
    assert views.resized(image, (5, 7)) is image


@given(st.data(), st.integers(0, 12), st.integers(0, 12))
def test_a_patch_covers_what_is_under_it(data, top, left):
    image, patch = picture(20, 25), np.full((8, 13), 255, np.uint8)
    expected = image.copy()
    expected[top : top + 8, left : left + 13] = 255
    window = data.draw(windows_of(image.shape))
    before = image.copy()
    view = views.Patched(image, patch, (top, left))
    np.testing.assert_array_equal(view[window], expected[window])
    np.testing.assert_array_equal(image, before)


def test_pointwise_views_get_all_sources_and_the_window():
    one, other = picture(9, 9), picture(9, 9, seed=1)

    def difference(a, b, window):
        return np.where(np.arange(9)[window[0], np.newaxis] > 4, a > b, 0)

    view = views.Pointwise(difference, (one, other), np.dtype(bool))
    expected = (one > other) & (np.arange(9)[:, np.newaxis] > 4)
    np.testing.assert_array_equal(view[3:7, 2:9], expected[3:7, 2:9])


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 40))
def test_windows_tile_an_image(height, width, side):
    seen = np.zeros((height, width), int)
    for window in views.windows(seen.shape, side):
        assert max(seen[window].shape) <= side
        seen[window] += 1
    assert (seen == 1).all()


@given(st.integers(0, 9), st.integers(1, 40), st.sampled_from([0.0, 1.0, 37.5, 50.0, 99.0, 100.0]))
def test_percentiles_are_numpys(seed, length, share):
    image = picture(length, 7, seed=seed) // 40
    counts = views.level_counts(image, 5)
    assert counts.sum() == image.size
    assert views.percentile_of(counts, share) == pytest.approx(np.percentile(image, share))

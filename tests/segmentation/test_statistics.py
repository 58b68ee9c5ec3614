import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from anabatch.segmentation.recipe import mean_diameter
from anabatch.segmentation.statistics import measure_labels, renumber


def masks(seed, height=70, width=90):
    rng = np.random.default_rng(seed)
    labels, _ = ndimage.label(ndimage.gaussian_filter(rng.normal(size=(height, width)), 3) > 0.05)
    return np.where(labels % 5 == 3, 0, labels).astype(np.int32)  # names with gaps


@given(st.integers(0, 50), st.integers(5, 100))
def test_boxes_and_first_pixels_do_not_depend_on_the_windows(seed, side):
    labels = masks(seed)
    found = measure_labels(labels, side)
    assert found.mean_side == pytest.approx(mean_diameter(labels), nan_ok=True)
    assert found.count == np.unique(labels[labels > 0]).size
    for label, box in enumerate(ndimage.find_objects(labels)):
        if box is None:
            assert found.first[label] == -1
            continue
        rows, columns = box
        expected = [rows.start, columns.start, rows.stop, columns.stop]
        assert found.boxes[label].tolist() == expected
        assert found.first[label] == np.flatnonzero(labels.ravel() == label + 1)[0]


def test_the_boxes_are_dask_images():
    import dask.array as da
    from dask_image import ndmeasure

    labels = masks(3, 30, 40)
    theirs = ndmeasure.find_objects(da.from_array(labels, chunks=25)).compute(scheduler="sync")
    ours = measure_labels(labels, 25).boxes
    assert len(theirs) == np.unique(labels[labels > 0]).size
    for label, (rows, columns) in zip(theirs.index, theirs.to_numpy(), strict=True):
        expected = [rows.start, columns.start, rows.stop, columns.stop]
        assert ours[label - 1].tolist() == expected


def test_masks_are_numbered_by_their_first_pixels():
    labels = masks(1)
    names, statistics = renumber(measure_labels(labels, 31))
    numbered = names[labels]
    present, first = np.unique(numbered[numbered > 0], return_index=True)
    assert present.tolist() == list(range(1, present.size + 1))
    assert (np.diff(first) > 0).all()
    np.testing.assert_array_equal(statistics.boxes, measure_labels(numbered, 31).boxes)
    np.testing.assert_array_equal((numbered > 0), (labels > 0))


def test_an_empty_image_has_no_statistics():
    found = measure_labels(np.zeros((9, 9), np.int32), 4)
    assert found.count == 0
    assert np.isnan(found.mean_side)

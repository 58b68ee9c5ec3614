from itertools import islice

import numpy as np

from anabatch.training.fields import SIZES, as_jpeg, degrade, training_fields


def test_fields_repeat_and_do_not_depend_on_how_many_are_drawn(monkeypatch):
    monkeypatch.setattr("anabatch.training.fields.SIZES", ((200, 150),))
    few = list(training_fields(2, seed=3))
    many = list(islice(training_fields(50, seed=3), 2))
    for one, two in zip(few, many, strict=True):
        np.testing.assert_array_equal(one.signal, two.signal)
        np.testing.assert_array_equal(one.cells, two.cells)
        assert one.signal.shape == (150, 200)
        assert one.signal.dtype == np.uint8
    other = next(training_fields(1, seed=4))
    assert other.signal.shape != few[0].signal.shape or (other.signal != few[0].signal).any()


def test_sizes_are_those_of_the_archive_and_of_the_demo():
    assert (1388, 1040) in SIZES
    assert (972, 724) in SIZES


def test_degrading_keeps_the_picture_recognisable():
    rows, columns = np.mgrid[:200, :200]
    disc = np.where((rows - 100) ** 2 + (columns - 100) ** 2 < 60**2, 160, 20).astype(np.uint8)
    changed = [degrade(disc, np.random.default_rng(seed)) for seed in range(8)]
    assert len({image.tobytes() for image in changed}) == 8
    for image in changed:
        assert np.corrcoef(image.ravel(), disc.ravel())[0, 1] > 0.9


def test_jpeg_of_high_quality_changes_little():
    image = np.tile(np.arange(0, 250, 2, dtype=np.uint8), (64, 1))
    assert np.abs(as_jpeg(image, 95).astype(int) - image).max() <= 6

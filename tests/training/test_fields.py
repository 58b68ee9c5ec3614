import numpy as np

from anabatch.training.fields import SIZES, _with_panel, as_jpeg, degrade, training_field


def test_fields_repeat_by_seed_and_index(monkeypatch):
    monkeypatch.setattr("anabatch.training.fields.SIZES", ((200, 150),))
    one, same, other, next_one = (training_field(*key) for key in ((3, 1), (3, 1), (4, 1), (3, 2)))
    np.testing.assert_array_equal(one.signal, same.signal)
    np.testing.assert_array_equal(one.cells, same.cells)
    assert one.signal.shape == (150, 200)
    assert one.signal.dtype == np.uint8
    assert (one.signal != other.signal).any()
    assert (one.signal != next_one.signal).any()


def test_some_fields_are_empty_and_some_full_of_dividing_cells(monkeypatch):
    monkeypatch.setattr("anabatch.training.fields.SIZES", ((160, 120),))
    counts = [training_field(1, index).cells.max() for index in range(60)]
    assert 0 < counts.count(0) < 20


def test_a_panel_covers_no_cell():
    signal = np.full((200, 300), 20, np.uint8)
    cells = np.zeros((200, 300), np.int32)
    cells[100:, :] = 1
    for seed in range(20):
        changed = _with_panel(signal, cells, np.random.default_rng(seed))
        assert (changed[100:] == 20).all()
        rows, columns = np.nonzero(changed != 20)
        if rows.size:
            window = changed[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            assert len(np.unique(window)) == 1


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

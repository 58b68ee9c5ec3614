"""Telling cells that are only brighter: what is changed, and by whom it is seen."""

import numpy as np
import pytest

from anabatch.training import brightness
from anabatch.training.brightness import against_picture, brightened, main, tell
from anabatch.training.compare_features import Contestant
from anabatch.training.compared_cells import ComparedCells

GROUPS = np.repeat(np.arange(6), 20)
COUNT = len(GROUPS)


@pytest.fixture(scope="module")
def cells():
    """Even cells, of pictures of different light."""
    rng = np.random.default_rng(1)
    levels = 60 + 2 * GROUPS + rng.integers(-3, 4, COUNT)
    crops = np.zeros((COUNT, 96, 96), np.uint8)
    crops[:, 20:70, 20:70] = levels[:, None, None]
    masks = (crops > 0).astype(np.uint8)
    return ComparedCells(crops, masks, GROUPS % 2, GROUPS, np.array(["a", "b"]))


def level(crops, masks):
    rng = np.random.default_rng(0)
    mean = np.where(masks > 0, crops, 0).sum(axis=(1, 2)) / (masks > 0).sum(axis=(1, 2))
    return np.column_stack([mean, rng.normal(0, 1, (len(crops), 3))])


def shape(crops, masks):
    rng = np.random.default_rng(0)
    return np.column_stack([masks.mean(axis=(1, 2)), rng.normal(0, 1, (len(crops), 3))])


def test_half_of_every_pictures_cells_are_brighter_by_the_factor(cells):
    crops, changed = brightened(cells, 1.5)
    assert [changed[group == GROUPS].sum() for group in range(6)] == [10] * 6
    before, after = cells.crops[:, 40, 40].astype(int), crops[:, 40, 40].astype(int)
    np.testing.assert_array_equal(after[changed == 0], before[changed == 0])
    assert after[changed > 0] == pytest.approx(1.5 * before[changed > 0], abs=0.5)
    assert not crops[cells.masks == 0].any()
    assert brightened(cells, 9.0)[0].max() == 255


def test_pictures_own_means_are_taken_away():
    rows = np.arange(12.0).reshape(6, 2)
    centred = against_picture(rows, np.array([0, 1, 0, 1, 0, 1]))
    np.testing.assert_array_equal(centred[:, 0], [-4, -4, 0, 0, 4, 4])


@pytest.mark.parametrize(("describe", "low", "high"), [(level, 0.9, 1), (shape, 0.3, 0.7)])
def test_brightness_is_told_by_features_that_have_it_and_by_no_others(cells, describe, low, high):
    found = tell(Contestant("one", describe, 20), cells, 1.5)
    assert [(one.rows, one.reader) for one in found] == [
        (rows, reader) for rows in ("features", "components") for reader in brightness.READERS
    ]
    for one in found:
        assert low <= one.right <= high
        assert 0 <= one.error < 0.1


def test_the_command_prints_a_row_a_set_and_contestant(cells, monkeypatch, capsys):
    monkeypatch.setattr(brightness, "drawn_sets", lambda _: {"drawn": cells})
    both = [Contestant("level", level, 10), Contestant("shape", shape, 10)]
    monkeypatch.setattr(brightness, "contestants", lambda *_: both)
    main(["--gain", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[:2] for line in lines[2:]] == [
        ["| drawn", "level"],
        ["| drawn", "shape"],
    ]
    assert {line.count("|") for line in lines} == {7}

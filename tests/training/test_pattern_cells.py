"""Labelled cells of simulated fields."""

import numpy as np
import pytest

from anabatch.simulate.field import PATTERNS
from anabatch.training.pattern_cells import (
    PatternCells,
    cells_of_field,
    joined,
    redrawn,
    shown_patterns,
    simulate_cells,
)


@pytest.fixture(autouse=True)
def small_fields(monkeypatch):
    monkeypatch.setattr("anabatch.training.fields.SIZES", ((330, 250),))


def columns(cells: PatternCells):
    return cells.crops, cells.masks, cells.labels, cells.fields


def test_cells_carry_their_fields_patterns():
    cells = simulate_cells(seed=3, fields=4)
    assert cells.crops.shape[1:] == cells.masks.shape[1:] == (96, 96)
    assert {len(column) for column in columns(cells)} == {len(cells.crops)}
    assert len(cells.crops) > 3
    for number in np.unique(cells.fields):
        own = cells.labels[cells.fields == number]
        assert np.all(own == own[0])
        assert own[0, number] or "negative" in PATTERNS[number]
    assert not cells.crops[~cells.inside].any()
    assert cells.inside[cells.masks > 0].all()
    assert set(np.unique(cells.masks)) == {0, 1, 2}
    # Most cells have a nucleus, and none is all nucleus.
    shares = (cells.masks == 2).sum(axis=(1, 2)) / (cells.masks > 0).sum(axis=(1, 2))
    assert 0.1 < np.median(shares) < 0.9


def test_a_field_is_the_same_alone_and_among_others():
    for part, again in zip(
        columns(joined(cells_of_field(5, index) for index in range(3))),
        columns(simulate_cells(5, 3)),
        strict=True,
    ):
        np.testing.assert_array_equal(part, again)


def test_a_field_without_cells_has_none(monkeypatch):
    monkeypatch.setattr("anabatch.training.fields._EMPTY_SHARE", 1.1)
    cells = cells_of_field(1, 0)
    assert cells.crops.shape == (0, 96, 96)
    assert cells.labels.shape == (0, len(PATTERNS))


def test_a_pattern_beside_nothing_is_alone():
    assert shown_patterns(("golgi", "negative")) == ("golgi",)
    assert shown_patterns(("negative",)) == ("negative",)
    assert shown_patterns(("golgi", "nucleolar")) == ("golgi", "nucleolar")


def test_outlines_grow_into_the_background_alone_or_shrink():
    cells = np.zeros((80, 120), np.int32)
    cells[20:60, 20:60], cells[20:60, 60:100] = 1, 2
    drawn = [redrawn(cells, np.random.default_rng(seed)) for seed in range(40)]
    areas = [int((image > 0).sum()) for image in drawn]
    true = int((cells > 0).sum())
    assert min(areas) < true < max(areas)
    assert areas.count(true) > 8
    for image, area in zip(drawn, areas, strict=True):
        inner = image[cells > 0]
        kept = inner > 0
        assert np.array_equal(inner[kept], cells[cells > 0][kept])
        if area > true:
            assert np.array_equal(inner, cells[cells > 0])
        elif area < true:
            assert not image[30:50, 59:61].any()  # neighbours part where they touched

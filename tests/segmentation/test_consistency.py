import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from anabatch.segmentation.consistency import cells_of_nuclei, consistent, without_partner
from anabatch.segmentation.labels import consecutive


def row(*labels):
    return np.array([labels], np.int32)


@pytest.mark.parametrize(
    ("nuclei", "cells", "settled_nuclei", "settled_cells"),
    [
        # The cell takes in what is in none.
        (row(1, 1, 1, 0), row(0, 1, 1, 1), row(1, 1, 1, 0), row(1, 1, 1, 1)),
        # What is another cell's the nucleus loses.
        (row(0, 1, 1, 1), row(1, 1, 2, 2), row(0, 0, 1, 1), row(1, 1, 2, 2)),
        # Of equals the lowest label.
        (row(1, 1, 1, 1), row(2, 2, 1, 1), row(0, 0, 1, 1), row(2, 2, 1, 1)),
        # Just half in cells is in; less is out, and is clipped.
        (row(1, 1, 1, 1), row(0, 0, 1, 1), row(1, 1, 1, 1), row(1, 1, 1, 1)),
        (row(1, 1, 1, 0), row(0, 0, 1, 1), row(1, 1, 0, 0), row(0, 0, 1, 1)),
        # Two nuclei of one cell; a cell without, and a nucleus without.
        (row(1, 2, 0, 3), row(1, 1, 2, 0), row(1, 2, 0, 3), row(1, 1, 2, 0)),
    ],
)
def test_pixels_are_settled(nuclei, cells, settled_nuclei, settled_cells):
    found = consistent(nuclei, cells)
    np.testing.assert_array_equal(found[0], settled_nuclei)
    np.testing.assert_array_equal(found[1], settled_cells)
    assert found[0].dtype == found[1].dtype == np.int32


def test_nuclei_without_a_cell_and_cells_without_a_nucleus_are_counted():
    nuclei, cells = row(1, 2, 0, 3), row(1, 1, 2, 0)
    assert cells_of_nuclei(nuclei, cells).tolist() == [1, 1, 0]
    assert without_partner(nuclei, cells) == (1, 1)
    nothing = np.zeros((4, 4), np.int32)
    assert cells_of_nuclei(nothing, nothing).tolist() == []
    assert without_partner(nothing, nothing) == (0, 0)


LABELS = arrays(np.int32, (7, 9), elements=st.integers(0, 5)).map(consecutive)


@settings(max_examples=200, deadline=None)
@given(nuclei=LABELS, cells=LABELS)
def test_a_nucleus_lies_in_one_cell_or_in_none(nuclei, cells):
    """For any two label images; no mask is lost, no cell shrinks, and doing it twice changes nothing."""
    settled = consistent(nuclei, cells)
    owners = cells_of_nuclei(*settled)
    for label in range(1, nuclei.max() + 1):
        held = np.unique(settled[1][settled[0] == label])
        assert held.tolist() == [owners[label - 1]]
    assert set(np.unique(settled[0])) - {0} == set(np.unique(nuclei)) - {0}
    assert set(np.unique(settled[1])) - {0} == set(np.unique(cells)) - {0}
    np.testing.assert_array_equal(settled[1][cells > 0], cells[cells > 0])
    grown = (settled[1] > 0) & (cells == 0)
    assert (settled[0][grown] > 0).all()
    for once, twice in zip(settled, consistent(*settled), strict=True):
        np.testing.assert_array_equal(once, twice)

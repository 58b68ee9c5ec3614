import numpy as np
import pytest
from making import image_batch

from anabatch.config import SegmentConfig
from anabatch.segmentation import conformance
from anabatch.segmentation.results import NO_CONTRAST
from anabatch.stages.cells import cut
from anabatch.stages.segment import segment
from anabatch.store.actions import NO_CELLS, OK
from anabatch.store.parts import Part

CONFIG = SegmentConfig(recipe="watershed")


def with_bar(signal):
    wide = np.full((600, 800), 12, np.uint8)
    wide[200 : 200 + signal.shape[0], 200 : 200 + signal.shape[1]] = signal
    wide[26:50, 34:250] = 66
    wide[30:44, 120:150:3] = 255
    wide[49:51, 34:250] = 190
    return wide


PICTURES = {
    "field": conformance.FIELD.signal,
    "bar": with_bar(conformance.FIELD.signal),
    "empty": np.full((300, 420), 9, np.uint8),
}


@pytest.fixture
def batch(tmp_path):
    pictures = {
        name: np.stack([signal // 4, signal, signal // 8], axis=-1)
        for name, signal in PICTURES.items()
    }
    return image_batch(tmp_path, pictures, CONFIG)


def test_the_row_of_an_image_says_what_was_looked_for_and_what_became_of_it(batch):
    rows = {action.unit: action for action in segment(batch).actions}
    facts = rows["field"].components
    assert (rows["field"].outcome, rows["field"].reason) == (OK, None)
    assert facts["cells"] == facts["nuclei"] == conformance.FIELD.cells.max()
    assert facts["proposed"] == {"nuclei": facts["nuclei"], "cells": facts["cells"]}
    assert set(facts["dropped"].values()) == {0}
    assert (facts["nuclei_without_cell"], facts["cells_without_nucleus"]) == (0, 0)
    assert facts["nucleus_diameter"] == 60.0
    assert facts["nucleus_diameter_from"] == "default"
    assert facts["cell_diameter"] is None  # the watershed has none
    assert facts["scale_bar"] is None
    top, left, bottom, right = rows["bar"].components["scale_bar"]
    assert top < 26 < 51 <= bottom
    assert left < 34 < 250 <= right
    assert rows["bar"].components["cells"] == facts["cells"]
    for action in rows.values():  # they are written to the ledger
        assert type(action).from_row(action.to_row()) == action


def test_an_image_without_cells_is_a_state_of_both_stages(batch):
    """It is neither an error nor silence; its label images stand, and are empty."""
    segmented = segment(batch)
    empty = {action.unit: action for action in segmented.actions}["empty"]
    assert (empty.outcome, empty.reason) == (NO_CELLS, NO_CONTRAST)
    assert empty.components["proposed"] == {"nuclei": 0, "cells": 0}
    row = empty.first_row
    assert (
        not Part(batch.store, str(empty.part)).array(empty.components["array"], row, row + 1).any()
    )
    outcomes = {action.unit: action.outcome for action in cut(batch, segmented).actions}
    assert outcomes == {"field": OK, "bar": OK, "empty": NO_CELLS}

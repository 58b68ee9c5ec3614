"""What must hold across tables before a commit."""

import numpy as np
import pytest

from anabatch.errors import InconsistentError
from anabatch.store.actions import Action
from anabatch.store.consistency import check
from anabatch.store.live import CELLS, CLUSTER, FEATURIZE, SCAN, SEGMENT, cluster_unit
from anabatch.store.parts import PartWriter
from anabatch.store.state import State


@pytest.fixture
def part_of(tmp_path):
    def write(table, *arrays, rows):
        with PartWriter(tmp_path, table, keys=[table]) as part:
            for name in arrays:
                part.array(name, np.zeros((rows, 2), np.uint8))
            return part.finish([]).path

    return write


@pytest.fixture
def actions(part_of):
    """One image with five cells and their features: all that a commit brings."""
    cells = part_of("cells", "crops", "masks", rows=5)
    features = part_of("features", "features", rows=5)
    return {
        SCAN: Action(SCAN, "a", "k", components={"image_id": "i"}),
        SEGMENT: Action(SEGMENT, "i", "k", part="parts/labels/x"),
        CELLS: Action(CELLS, "i", "k", part=cells, rows=5),
        FEATURIZE: Action(FEATURIZE, cells, "k", part=features, rows=5),
        CLUSTER: Action(CLUSTER, cluster_unit(cells), "k", rows=5),
    }


def checked(tmp_path, actions):
    state = State()
    state.put(actions.values())
    check(tmp_path, state, tuple(actions.values()))


def test_what_belongs_together_passes(tmp_path, actions):
    checked(tmp_path, actions)


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        (SCAN, "no acquisition"),
        (SEGMENT, "no label image"),
        (CELLS, "no cell is live"),
    ],
)
def test_cells_need_their_image_and_features_their_cells(tmp_path, actions, missing, words):
    del actions[missing]
    with pytest.raises(InconsistentError, match=words):
        checked(tmp_path, actions)


def test_an_array_with_other_rows_than_its_cells_is_refused(tmp_path, actions, part_of):
    shorter = part_of("features", "features", rows=4)
    actions[FEATURIZE] = Action(FEATURIZE, actions[CELLS].part, "k", part=shorter, rows=4)
    with pytest.raises(InconsistentError, match="has 4 rows, and its cell part has 5"):
        checked(tmp_path, actions)


def test_fewer_clusters_than_cells_are_refused(tmp_path, actions):
    actions[CLUSTER] = Action(CLUSTER, actions[CLUSTER].unit, "k", rows=4)
    with pytest.raises(InconsistentError, match="4 rows for 5 cells"):
        checked(tmp_path, actions)

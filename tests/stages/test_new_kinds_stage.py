"""Far rows of many parts: a fair draw from all, of no more rows than are looked at."""

from functools import reduce
from itertools import permutations

import numpy as np
import pytest
from populous import fill_table

from anabatch.sampling import draw
from anabatch.stages import new_kinds as stage
from anabatch.stages.new_kinds import Far, Question
from anabatch.stages.population import Generation, Source, read_model
from anabatch.store.live import LivePart
from anabatch.store.parts import PartWriter

MOST = 200
KIND_AT = 5.0


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "_MOST_ROWS", MOST)
    return tmp_path


def write(store, name, far, kind=0):
    """Write cells of which the first ones are far, and the first of these lie together."""
    rows = far + 50
    rng = np.random.default_rng(far)
    values = rng.normal(0, 100, (rows, 3)).astype(np.float32)
    values[:kind] = KIND_AT + rng.normal(0, 0.1, (kind, 3))
    ids = [f"{name}-{row}" for row in range(rows)]
    distance = np.where(np.arange(rows) < far, 9.0, 0.5)
    with PartWriter(store, "cells", keys=[name]) as part:
        images = [f"{name}:{row // 20}" for row in range(rows)]
        part.rows("cells", fill_table("cells", rows, cell_id=ids, image_id=images))
        part.rows("clusters", fill_table("clusters", rows, distance=distance))
        part.array("embedding", values)
        path = str(part.finish([]).path)
    return Source(LivePart(path, ((0, rows),), ()), path, "embedding")


def look(store, sources):
    pieces = [stage.far_rows(store, one, one.part, Far(1.0), 2) for one in sources]
    return reduce(stage.merge, pieces), pieces


def test_all_far_rows_are_as_likely_to_be_looked_at_whatever_part_they_lie_in(store):
    sizes = {"large": 900, "a": 100, "b": 100, "c": 100}
    sources = [write(store, name, far) for name, far in sizes.items()]
    found, pieces = look(store, sources)
    assert max(len(piece.rows) for piece in pieces) == MOST
    assert found.total == 1200
    ids = [f"{name}-{row}" for name, far in sizes.items() for row in range(far)]
    assert found.cell_ids.tolist() == [ids[row] for row in draw(ids, MOST, 0)]
    # three quarters of them are of the part that has three quarters of all
    of_large = np.char.startswith(found.cell_ids, "large").mean()
    assert of_large == pytest.approx(0.75, abs=0.1)
    rows = {
        name: row for piece in pieces for name, row in zip(piece.cell_ids, piece.rows, strict=True)
    }
    assert all(
        np.array_equal(rows[name], row)
        for name, row in zip(found.cell_ids, found.rows, strict=True)
    )
    assert found.rows.shape == (MOST, 2)


def test_the_order_of_parts_does_not_matter(store):
    sources = [write(store, name, far) for name, far in (("a", 150), ("b", 220), ("c", 0))]
    first, *others = (look(store, order)[0] for order in permutations(sources))
    for other in others:
        assert other.total == first.total == 370
        assert np.array_equal(other.cell_ids, first.cell_ids)
        assert np.array_equal(other.image_ids, first.image_ids)
        assert np.array_equal(other.rows, first.rows)


def test_how_many_lie_together_is_told_of_all_and_not_of_those_looked_at(store):
    sources = [write(store, "large", 1000, kind=600), write(store, "small", 200)]
    found, _ = look(store, sources)
    generation = Generation(store, stage.KIND, "archive", 1, "s", {}, 1, "run-1")
    question = Question("model", quantile=1.0, criteria=1, new=5000, least=25)
    written = stage.propose(generation, found, question)
    assert written is not None
    (action,) = written.actions
    assert action.components["beyond"] == 1200
    # the fair draw has the kind's own share; half of the rows were of the small part before
    assert action.components["together"] == pytest.approx(600, rel=0.15)
    np.testing.assert_allclose(read_model(store, str(written.path))["center"], KIND_AT, atol=0.1)


def test_no_far_rows_are_no_kind(store):
    found, _ = look(store, [write(store, "none", 0)])
    generation = Generation(store, stage.KIND, "archive", 1, "s", {}, 1, "run-1")
    assert stage.propose(generation, found, Question("model", 1.0, 1, 0, 1)) is None


def test_a_proposal_of_the_same_rows_is_made_again_without_them(store):
    sources = [write(store, "large", 1000, kind=600), write(store, "small", 200)]
    found, _ = look(store, sources)
    first, second = (
        Generation(store, stage.KIND, "archive", number, "s", {}, number, "run-1")
        for number in (1, 2)
    )
    made = stage.propose(first, found, Question("model", 1.0, 1, new=5000, least=25))
    assert made is not None
    (before,) = made.actions
    later = Question("model", 1.0, 1, new=9000, least=25)
    again, anew = stage.propose_again(second, before, later), stage.propose(second, found, later)
    assert again is not None
    assert anew is not None
    (mine,), (theirs,) = again.actions, anew.actions
    assert mine.components == theirs.components
    assert mine.key == theirs.key
    arrays, expected = (read_model(store, str(one.path)) for one in (again, anew))
    assert arrays.keys() == expected.keys() == {"center", "cell_ids"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected[name])
    # with too many others they are what was to be expected
    assert stage.propose_again(second, before, Question("model", 1.0, 1, 10**6, 25)) is None
    assert stage.propose_again(second, before, Question("model", 1.0, 1, 9000, 10**4)) is None

"""Pilots that many tasks draw together, against the draw of one."""

import numpy as np
import pytest
from populous import fill_table

from anabatch.stages import pilots
from anabatch.stages.pilots import Draw
from anabatch.stages.population import Source, draw_pilot
from anabatch.store.live import LivePart
from anabatch.store.parts import PartWriter


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def sources(store):
    """Three parts, of which the second has rows that are gone."""
    return tuple(
        write(store, f"{number}", rows, live)
        for number, (rows, live) in enumerate(
            [(700, ((0, 700),)), (900, ((5, 20), (300, 850))), (3, ((0, 3),))]
        )
    )


def write(store, name, rows, live, cell_ids=None):
    ids = cell_ids or [f"{name}-{row}" for row in range(rows)]
    with PartWriter(store, "cells", keys=[name]) as part:
        part.rows("cells", fill_table("cells", rows, cell_id=ids))
        values = np.random.default_rng(rows).standard_normal((rows, 5), dtype=np.float32)
        part.array("embedding", values)
        path = str(part.finish([]).path)
    return Source(LivePart(path, live, ()), path, "embedding")


def pilot(store, sources, draw):
    found = [pilots.candidates(store, source, draw) for source in sources]
    return pilots.join(store, sources, draw, found)


@pytest.mark.parametrize("rows", [1, 40, 500, 1268, 5000])
def test_a_pilot_of_tasks_is_the_pilot_of_one(store, sources, rows):
    draw = Draw(rows, sum(source.live.rows for source in sources), seed=3)
    one = draw_pilot(store, sources, rows, 3)
    assert len(one) == min(rows, 1268)
    assert np.array_equal(pilot(store, sources, draw), one)
    # numbers of parts do not matter, nor their order: other digests decide
    assert np.array_equal(pilot(store, sources[::-1], draw), one)


def test_only_the_columns_that_are_wanted_travel(store, sources):
    draw = Draw(40, 1268, seed=0, columns=2)
    found = pilots.candidates(store, sources[0], draw)
    assert found.rows.shape == (len(found.digests), 2)
    assert found.rows.dtype == np.float32
    assert np.array_equal(pilot(store, sources, draw), draw_pilot(store, sources, 40, 0)[:, :2])


def test_parts_send_little_more_than_what_is_drawn(store):
    source = write(store, "large", 20_000, ((0, 20_000),))
    sent = len(pilots.candidates(store, source, Draw(1000, 20_000, seed=1)).rows)
    assert 1000 <= sent <= 1600


def test_rows_that_share_an_id_are_drawn_as_by_one(store):
    source = (write(store, "same", 3000, ((0, 3000),), ["a"] * 3000),)
    for seed in range(3):
        draw = Draw(10, 3000, seed)
        assert np.array_equal(pilot(store, source, draw), draw_pilot(store, source, 10, seed))


def test_the_bar_lets_all_pass_where_all_may_be_drawn():
    assert Draw(100, 90, 0).bar == Draw(100, 240, 0).bar == 2**64
    assert 0.10 < Draw(100_000, 10**6, 0).bar / 2**64 < 0.11

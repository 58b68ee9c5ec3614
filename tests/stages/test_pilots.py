"""Pilots that many tasks draw together, against a draw from all rows at once."""

import numpy as np
import pytest
from drawn import draw_pilot
from populous import fill_table

from anabatch.sampling import draw as draw_ids
from anabatch.stages import pilots
from anabatch.stages.pilots import Draw
from anabatch.stages.population import Source
from anabatch.store.live import LivePart
from anabatch.store.parts import Part, PartWriter


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


def write(store, name, rows, live, cell_ids=None, values=None):
    """Write a part of rows that are drawn, or given."""
    ids = cell_ids or [f"{name}-{row}" for row in range(rows)]
    images = [f"image {name} {row // 100}" for row in range(len(ids))]
    if values is None:
        values = np.random.default_rng(rows).standard_normal((rows, 5), dtype=np.float32)
    with PartWriter(store, "cells", keys=[name]) as part:
        part.rows("cells", fill_table("cells", len(ids), cell_id=ids, image_id=images))
        part.array("embedding", values)
        path = str(part.finish([]).path)
    return Source(LivePart(path, ((0, len(ids)),) if live is None else live, ()), path, "embedding")


def all_at_once(store, sources, rows, seed):
    ids = [name for source in sources for name in live_cells(store, source, "cell_id")]
    values = np.concatenate([chunk for source in sources for chunk in source.chunks(store, 10_000)])
    return values[draw_ids(ids, rows, seed)]


def live_cells(store, source, name):
    column = Part(store, source.live.path).rows("cells").column(name).to_numpy()
    return column[source.live.indices()]


@pytest.mark.parametrize("rows", [1, 40, 500, 1268, 5000])
def test_a_pilot_of_tasks_is_that_of_all_rows_at_once(store, sources, rows):
    pilot = draw_pilot(store, sources, rows, 3)
    assert len(pilot) == min(rows, 1268)
    assert np.array_equal(pilot, all_at_once(store, sources, rows, 3))
    # numbers of parts do not matter, nor their order: digests alone decide
    assert np.array_equal(pilot, draw_pilot(store, sources[::-1], rows, 3))
    if rows < 1268:
        assert not np.array_equal(pilot, draw_pilot(store, sources, rows, 4))


def test_a_pilot_does_not_depend_on_how_rows_are_cut_into_parts(store):
    ids = [f"c{row}" for row in range(900)]
    whole = write(store, "whole", 900, ((0, 900),), ids)
    values = Part(store, whole.part).array("embedding", 0, 900)
    pieces = [slice(600, 900), slice(0, 100), slice(100, 600)]
    three = tuple(
        write(store, f"piece {piece.start}", 0, None, ids[piece], values[piece]) for piece in pieces
    )
    assert np.array_equal(draw_pilot(store, (whole,), 40, 0), draw_pilot(store, three, 40, 0))


def test_only_the_columns_that_are_wanted_travel(store, sources):
    draw = Draw(40, 1268, seed=0, columns=2)
    found = [pilots.candidates(store, source, draw) for source in sources]
    assert found[0].rows.shape == (len(found[0].digests), 2)
    assert found[0].rows.dtype == np.float32
    assert np.array_equal(pilots.join(draw, found), draw_pilot(store, sources, 40, 0)[:, :2])


def test_the_images_of_a_pilot_come_in_its_order(store, sources):
    draw = Draw(500, 1268, seed=3)
    found = [pilots.candidates(store, source, draw) for source in sources]
    rows, images = pilots.join_with_images(draw, found)
    assert np.array_equal(rows, all_at_once(store, sources, 500, 3))
    assert np.array_equal(rows, pilots.join(draw, found))
    names = {
        row.tobytes(): name
        for source in sources
        for row, name in zip(
            np.concatenate(list(source.chunks(store, 10_000))),
            live_cells(store, source, "image_id"),
            strict=True,
        )
    }
    drawn = [names[row.tobytes()] for row in rows]
    assert len(set(drawn)) > 10
    # one number an image, and one image a number
    assert len(set(zip(drawn, images.tolist(), strict=True))) == len(set(drawn))
    assert len(np.unique(images)) == len(set(drawn))


def test_an_image_has_one_number_whatever_part_it_lies_in(store):
    draw = Draw(20, 20, seed=0)
    pieces = [write(store, "image", 10, None, [f"{n}{r}" for r in range(10)]) for n in range(2)]
    found = [pilots.candidates(store, piece, draw) for piece in pieces]
    assert len(np.unique(pilots.join_with_images(draw, found).images)) == 1


def test_parts_send_little_more_than_what_is_drawn(store):
    source = write(store, "large", 20_000, ((0, 20_000),))
    sent = len(pilots.candidates(store, source, Draw(1000, 20_000, seed=1)).rows)
    assert 1000 <= sent <= 1600


def test_a_pilot_of_nothing_is_refused(store):
    gone = write(store, "gone", 5, ())
    with pytest.raises(ValueError, match="no rows"):
        draw_pilot(store, (gone,), 10, 0)
    with pytest.raises(ValueError, match="no rows"):
        pilots.join_with_images(Draw(10, 0, 0), [pilots.candidates(store, gone, Draw(10, 0, 0))])


def test_the_bar_lets_all_pass_where_all_may_be_drawn():
    assert Draw(100, 90, 0).bar == Draw(100, 240, 0).bar == 2**64
    assert 0.10 < Draw(100_000, 10**6, 0).bar / 2**64 < 0.11

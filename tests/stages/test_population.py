"""Rows of the whole archive, whatever parts they lie in."""

import hashlib

import numpy as np
import pytest

from anabatch.schema import table_schema, to_table
from anabatch.stages.population import Generation, Source, fitted_rows, read_model
from anabatch.store.live import LivePart
from anabatch.store.parts import PartWriter


def cell_row(name):
    numbers = dict.fromkeys(
        ("label_id", "y0", "x0", "y1", "x1", "area_px", "nucleus_area_px", "nucleus_count"), 1
    )
    floats = dict.fromkeys(
        ("centroid_y", "centroid_x", "scale", "black_fraction", "mean_intensity"), 1.0
    )
    rest = {"cell_id": name, "image_id": "i", "touches_border": False, "source_dtype": "uint8"}
    schema = table_schema("cells", derived=False)
    return dict.fromkeys(schema.names) | numbers | floats | rest


def write(store, names, live):
    """Write a cell part whose features are a function of the cell's name."""
    with PartWriter(store, "cells", keys=names) as part:
        part.rows("cells", to_table("cells", [cell_row(name) for name in names]))
        part.array("features", np.stack([feature(name) for name in names]))
        path = path_of(part.finish([]))
    return Source(LivePart(path, live, ()), path, "features")


def path_of(written):
    """Return where a part lies that has something in it."""
    assert written.path is not None
    return written.path


def feature(name):
    return np.frombuffer(hashlib.sha256(name.encode()).digest()[:4], np.uint8).astype(np.float16)


@pytest.fixture
def names():
    return [f"cell{number:04d}" for number in range(900)]


@pytest.mark.parametrize("piece", [800, 10_000])
def test_chunks_are_the_live_rows_in_order(tmp_path, names, monkeypatch, piece):
    monkeypatch.setattr("anabatch.stages.population._PIECE_BYTES", piece)
    source = write(tmp_path, names, ((3, 8), (500, 503)))
    chunks = list(source.chunks(tmp_path, 4))
    assert [len(chunk) for chunk in chunks] == [4, 4]
    alive = np.stack([feature(name) for name in names[3:8] + names[500:503]])
    assert np.array_equal(np.concatenate(chunks), alive)
    (whole,) = write(tmp_path, names, ((0, 900),)).chunks(tmp_path, 900)
    assert np.array_equal(whole, np.stack([feature(name) for name in names]))


def test_a_generation_is_read_back_with_what_it_was_fitted_on(tmp_path):
    generation = Generation(
        tmp_path, "kpca", "archive", 3, "digest", {"parts/cells/a": 7, "parts/cells/b": 2}, 5, "run"
    )
    arrays = {"weights": np.arange(6.0).reshape(2, 3), "gamma": np.array(0.5)}
    part = generation.write(arrays, {"gamma": 0.5})
    (action,) = part.actions
    assert action.unit == "kpca/archive/000003"
    assert action.components["rows"] == 9
    back = read_model(tmp_path, path_of(part))
    assert back.keys() == arrays.keys()
    assert all(np.array_equal(back[name], arrays[name]) for name in arrays)
    assert fitted_rows(tmp_path, path_of(part)) == generation.rows

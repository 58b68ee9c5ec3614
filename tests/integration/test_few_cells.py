"""Archives that have had many cells, and have few."""

import pytest
from anabatch.jobs import featurize as featurize_job
from anabatch.jobs import segment as segment_job
from cheap import cheap_networks, draw_tiny
from running import make_config, run_jobs

import anabatch
from anabatch.errors import MissingRowsError


@pytest.fixture(autouse=True)
def _cheap():
    with cheap_networks():
        yield


@pytest.fixture
def night(tmp_path):
    """Run a whole night, and return what it told and the store."""

    def run(**sections):
        config = make_config(tmp_path / "DATA", tmp_path / "store", **sections)
        told = {event["event"] for event in run_jobs(config, accept=True)}
        return told, anabatch.open_store(config.store)

    return run


def draw(tmp_path, number, **options):
    path = (
        tmp_path
        / "DATA"
        / "20211213"
        / "001_SN09001"
        / f"{number:03d}_0ae0_1_20252440{number}_3_1_05.jpg"
    )
    draw_tiny(path, number, **options)
    return path


def test_new_cells_join_the_generation_of_many_when_there_are_few(tmp_path, night):
    draw(tmp_path, 1, cells=1)
    others = [draw(tmp_path, number) for number in (2, 3)]
    _, before = night()
    ids = before.table("cells").to_pandas().cell_id
    places = dict(zip(ids, before.array("embedding").compute(), strict=True))
    for path in others:
        path.unlink()
    draw(tmp_path, 4, cells=1)
    told, store = night()
    assert "too_few" in told
    ids = store.table("cells").to_pandas().cell_id
    found = dict(zip(ids, store.array("embedding").compute(), strict=True))
    (old,), (new,) = found.keys() & places.keys(), found.keys() - places.keys()
    assert (found[old] == places[old]).all()
    assert found[new].any()
    assert set(store.table("clusters").to_pandas().generation) == {1}


def test_few_cells_of_other_features_are_in_no_generation_until_there_are_more(tmp_path, night):
    draw(tmp_path, 1, cells=1)
    path = draw(tmp_path, 2)
    night()
    path.unlink()
    other = {"featurize": {"preprocessing": "keras"}}
    assert "too_few" in night(**other)[0]
    for number in (2, 3):
        draw(tmp_path, number)
    told, store = night(**other)
    assert "too_few" not in told
    assert set(store.table("clusters").to_pandas().generation) == {2}


def test_crops_of_another_size_are_not_described(tmp_path, night):
    draw(tmp_path, 1)
    night()
    config = make_config(tmp_path / "DATA", tmp_path / "store")
    small = make_config(tmp_path / "DATA", tmp_path / "store", cells={"crop": 64})
    run_jobs(small, segment_job, accept=True)
    with pytest.raises(MissingRowsError, match="6 live cells have crops of another size than 96"):
        run_jobs(config, featurize_job)
    _, store = night()
    assert store.array("features").shape[0] == store.array("crops").shape[0] == 6


def test_an_archive_without_a_cell_has_no_embedding_and_is_no_error(tmp_path, night):
    draw(tmp_path, 1, cells=0)
    told, store = night()
    assert "too_few" in told
    with pytest.raises(MissingRowsError):
        store.array("embedding")

import datetime as dt

import pytest
from making import Maker

from anabatch.config import KeepConfig
from anabatch.errors import PartCorruptError, StoreNotFoundError
from anabatch.store.leases import raise_horizon
from anabatch.store.live import CELLS
from anabatch.store.past import Kept, past
from anabatch.store.root import open_store

NOW = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
KEEP = KeepConfig(versions=2, days=0.0)


@pytest.fixture
def history(tmp_path):
    """Versions: made, two images, one gone and one anew, folded, restored."""
    maker = Maker(tmp_path / "store")
    maker.cells({"image0": 2, "image1": 1}, sequence=1)
    maker.store.commit("run-1")
    maker.store.state.delete([maker.store.state.get(CELLS, "image1")])
    maker.cells({"image0": 1}, sequence=2)
    maker.store.commit("run-2")
    maker.store.fold("run-3")
    maker.store.restore(1, "run-4")
    return maker.root


def test_versions_tell_what_each_brought(history):
    found = past(history, KEEP, NOW)
    assert [(item.version, item.operation, item.run) for item in found] == [
        (4, "restore", "run-4"),
        (3, "fold", "run-3"),
        (2, "commit", "run-2"),
        (1, "commit", "run-1"),
        (0, "create", ""),
    ]
    assert [(item.done, item.gone) for item in found] == [
        ({}, {}),
        ({}, {}),
        ({CELLS: 1}, {CELLS: 1}),
        ({CELLS: 2}, {}),
        ({}, {}),
    ]


def test_versions_tell_how_long_they_are_kept(history):
    raise_horizon(history, 1)
    assert [item.kept for item in past(history, KEEP, NOW)] == [
        Kept.KEPT,
        Kept.KEPT,
        Kept.UNTIL_GC,
        Kept.UNTIL_GC,
        Kept.GONE,
    ]


def test_the_newest_are_listed_with_who_reads_them(history):
    with open_store(history, at=3):
        newest, before = past(history, KEEP, NOW, limit=2)
    assert newest.readers == ()
    assert [reader.version for reader in before.readers] == [3]


def test_what_is_gone_is_not_looked_for_and_what_is_lost_is_an_error(history):
    for path in (history / "ledger").glob("*.parquet"):
        path.unlink()
    with pytest.raises(PartCorruptError):
        past(history, KEEP, NOW)
    raise_horizon(history, 3)
    assert past(history, KEEP, NOW)[2].done == {}


def test_no_store_is_an_error(tmp_path):
    with pytest.raises(StoreNotFoundError):
        past(tmp_path, KEEP, NOW)

"""A night without a refit that adds one date to a store of fifty, counted: it touches that date alone."""

import datetime as dt

import pytest
from anabatch.jobs import report
from cheap import cheap_networks, draw_tiny
from running import make_config, run_jobs

import anabatch
from anabatch.store.live import CLUSTER, EMBED, FEATURIZE
from anabatch.store.parts import PARTS, Part

DATES = 50
FIRST = dt.date(2021, 1, 1)
TABLES = ("features", "embedding", "clusters")


def draw(folder, day):
    date = FIRST + dt.timedelta(days=day)
    name = f"001_0ae00000001_1_29999{day:04d}_3_14_01.jpg"
    draw_tiny(folder / f"DATA/{date:%Y%m%d}/001_SN08030" / name, day, cells=4)


def files(store):
    """Return every file of the three tables, with its times and size."""
    folders = (store / PARTS / table for table in TABLES)
    every = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(store)): path.stat()[6:] for path in every}


@pytest.fixture(autouse=True)
def _cheap():
    with cheap_networks():
        yield


@pytest.fixture
def opened(monkeypatch):
    """Return the folders of all parts that are opened; the report, which shows all dates, is not made."""
    paths = []
    start = Part.__init__

    def noted(self, store, path):
        paths.append(path)
        start(self, store, path)

    monkeypatch.setattr(Part, "__init__", noted)
    monkeypatch.setattr(report, "run", lambda _: None)
    return paths


@pytest.mark.slow
def test_a_night_touches_the_new_date_alone(tmp_path, opened):
    config = make_config(tmp_path / "DATA", tmp_path / "store")
    for day in range(DATES):
        draw(tmp_path, day)
    run_jobs(config)
    before = anabatch.open_store(config.store)
    old = files(config.store)
    assert all(len(before.state.stage(stage)) == DATES for stage in (FEATURIZE, EMBED, CLUSTER))
    draw(tmp_path, DATES)
    opened.clear()
    events = run_jobs(config)
    read = {path for path in opened if path.split("/")[1] in TABLES}
    assert {path.split("/")[3] for path in read} == {f"date={FIRST + dt.timedelta(days=DATES)}"}
    after = anabatch.open_store(config.store)
    now = files(config.store)
    assert {
        path: now[path] for path in old
    } == old  # nothing was written to, and nothing taken away
    new = {path.split("/")[3] for path in now.keys() - old.keys()}
    assert new == {f"date={FIRST + dt.timedelta(days=DATES)}"}
    for stage in (FEATURIZE, EMBED, CLUSTER):
        changed = {a.unit: a for a in after.state.stage(stage)}
        kept = {a.unit: a for a in before.state.stage(stage)}
        assert {unit for unit in changed if changed[unit] != kept.get(unit)} == (
            changed.keys() - kept.keys()
        )
        assert len(changed.keys() - kept.keys()) == 1
    assert not any(event["event"] == "fit" for event in events)
    assert len(after.state.stage("model")) == len(before.state.stage("model")) == 2
    batches = {event["job"]: event["batches"] for event in events if event["event"] == "start"}
    assert batches["embed"] == batches["cluster"] == 1
    rows = after.table("clusters").to_pandas()
    assert len(rows) == len(after.table("cells").to_pandas()) == 4 * (DATES + 1)
    assert set(rows.generation) == {1}

"""How far the store is, counted by hand, and what is told of runs and of the lock."""

import datetime as dt
import json

import pytest
from anabatch.jobs import cli, status
from anabatch.jobs.commands_watch import _cell, _row
from anabatch.jobs.plan import Planned, Survey
from anabatch.jobs.record import read_last
from anabatch.jobs.status import Counts, count
from running import make_config, run_jobs
from typer.testing import CliRunner

from anabatch.archive.acquisition import acquisition_id
from anabatch.errors import GuardError
from anabatch.store.actions import DEFERRED, FAILED, NO_CELLS, Action
from anabatch.store.lock import hold
from anabatch.store.recipes import Cause, Reason
from anabatch.store.root import create_store

MONDAY, TUESDAY = dt.date(2021, 12, 13), dt.date(2021, 12, 14)
NEW = Reason(Cause.NEW)


def action(stage, unit, date=MONDAY, **values):
    return Action(stage, unit, "k", "a", date, **values)


def test_every_unit_is_counted_once():
    actions = [
        action("segment", "stands"),
        action("segment", "empty", outcome=NO_CELLS),
        action("segment", "anew"),
        action("segment", "broken", outcome=FAILED),
        action("segment", "broken, and tried again", outcome=FAILED),
        action("segment", "growing", outcome=DEFERRED),
        action("segment", "other day", TUESDAY),
    ]
    planned = [
        Planned("segment", "anew", "a", MONDAY, NEW),
        Planned("segment", "broken, and tried again", "a", MONDAY, NEW),
        Planned("segment", "growing", "a", MONDAY, NEW),
        Planned("segment", "to come", "a", MONDAY, NEW),
        Planned("segment", "first of its day", "b", None, NEW),
    ]
    days = count(actions, planned)
    assert [(day.archive, day.date) for day in days] == [("a", TUESDAY), ("a", MONDAY), ("b", None)]
    assert days[0].stages == {"segment": Counts(done=1)}
    assert days[1].stages == {"segment": Counts(done=2, pending=2, failed=2, deferred=1)}
    assert days[2].stages == {"segment": Counts(pending=1)}
    assert [day.is_done for day in days] == [True, False, False]


def test_a_file_that_the_plan_names_by_its_path_is_counted_once():
    unit = acquisition_id("a", "20211213/x.jpg")
    planned = [Planned("scan", "20211213/x.jpg", "a", MONDAY, NEW)]
    (day,) = count([action("scan", unit)], planned)
    assert day.stages == {"scan": Counts(pending=1)}


def test_images_without_cells_are_no_parts_of_cells():
    part = "parts/cells/a/2021-12-13/0ae1"
    planned = [
        Planned("featurize", unit, "a", MONDAY, NEW) for unit in ("0a1b", "0a2b", part + "2")
    ]
    (day,) = count([action("featurize", part)], planned)
    assert day.stages == {"featurize": Counts(done=1, pending=1, pending_images=2)}
    assert _cell(day.stages["featurize"]) == "1, 1 pending, 2 images pending"
    assert not Counts(done=1, pending_images=1).is_done
    assert Counts(pending_images=1) + Counts(pending_images=2) == Counts(pending_images=3)


def scanned(unit, image, date, archive="a"):
    return Action("scan", unit, "k", archive, date, components={"image_id": image})


def test_pictures_that_stand_under_another_date_are_told():
    actions = [
        scanned("m1", "one", MONDAY),
        scanned("m2", "one", MONDAY),  # twice on its own date
        scanned("t1", "one", TUESDAY),
        scanned("t2", "two", TUESDAY),
        scanned("b1", "one", MONDAY, "b"),
        action("scan", "m3", outcome=FAILED),
        action("segment", "one"),
    ]
    days = count(actions, [Planned("segment", "two", "b", MONDAY, NEW)])
    found = {(day.archive, day.date): (day.elsewhere, dict(day.stages)) for day in days}
    assert found == {
        ("a", MONDAY): (0, {"scan": Counts(done=2, failed=1), "segment": Counts(done=1)}),
        ("a", TUESDAY): (2, {"scan": Counts(done=2)}),
        ("b", MONDAY): (1, {"scan": Counts(done=1), "segment": Counts(pending=1)}),
    }
    rows = [_row(day, ["scan", "segment", "cells"]) for day in days]
    assert rows == [
        ["2021-12-14", "a", "2", "2 elsewhere", ""],
        ["2021-12-13", "a", "2, 1 failed", "1", ""],
        ["2021-12-13", "b", "1", "1 pending, 1 elsewhere", ""],
    ]


def test_recipes_and_models_are_of_no_date():
    assert count([Action("recipe", "r", "r"), Action("model", "m", "k")], []) == []


def test_an_old_day_comes_after_a_new_one_and_undated_last():
    days = count([action("scan", str(d), d) for d in (None, MONDAY, TUESDAY)], [])
    assert [day.date for day in days] == [TUESDAY, MONDAY, None]


@pytest.fixture
def config(tmp_path):
    (tmp_path / "DATA").mkdir()
    config = make_config(tmp_path / "DATA", tmp_path / "store")
    store = create_store(config.store)
    store.state.put([action("scan", "s"), action("segment", "i", outcome=FAILED)])
    store.commit("r")
    return config


def invoke(*arguments):
    done = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_without_a_configuration_nobody_knows_what_is_pending(config):
    found = status.status(config.store, None)
    assert "needs the configuration" in found.unknown
    assert found.totals == {"scan": Counts(done=1), "segment": Counts(failed=1)}
    assert found.holder is None
    assert (found.last.last, found.last.success, found.unfinished) == (None, None, None)


def test_what_the_next_run_would_do_is_pending(config, monkeypatch):
    planned = (
        Planned("cells", "i2", "a", MONDAY, NEW),
        Planned("model", "kpca/archive", "", None, NEW),
    )
    monkeypatch.setattr("anabatch.jobs.plan.survey", lambda _: Survey(planned, 0, 0, ()))
    found = status.status(config.store, config)
    assert found.unknown is None
    assert found.totals["cells"] == Counts(pending=1)
    assert found.models == ["kpca/archive"]


def test_a_plan_that_is_refused_hides_nothing_else(config, monkeypatch):
    def refuse(_):
        what = "all images are gone"
        raise GuardError(what, "Is the disk mounted?")

    monkeypatch.setattr("anabatch.jobs.plan.survey", refuse)
    found = status.status(config.store, config)
    assert found.unknown == "all images are gone. Is the disk mounted?"
    assert found.totals["scan"] == Counts(done=1)


class Idle:
    """A job that has nothing to do."""

    @staticmethod
    def run(context):
        pass


def test_the_last_run_and_the_holder_are_told(config):
    run_jobs(config, Idle)
    run = read_last(config.store).last.run
    with hold(config.store, run="tonight"):
        text = invoke("status", "--store", config.store)
    assert "now: run tonight (process" in text
    assert f"run {run}, exit code 3, nothing to do" in text
    assert "last success: none" not in text
    assert "now: nobody holds it" in invoke("status", "--store", config.store)


def test_a_run_that_told_no_end_was_cut_short(config):
    run_jobs(config, Idle)
    (config.store / "runs" / "99990101T000000Z-abcdef").mkdir(parents=True)
    text = invoke("status", "--store", config.store)
    assert "run 99990101T000000Z-abcdef was cut short" in text
    with hold(config.store, run="99990101T000000Z-abcdef"):
        assert "cut short" not in invoke("status", "--store", config.store)


def test_as_json_for_another_program(config):
    found = json.loads(invoke("status", "--store", config.store, "--json"))
    assert found["totals"]["segment"] == {
        "done": 0,
        "pending": 0,
        "failed": 1,
        "deferred": 0,
        "pending_images": 0,
    }
    assert found["dates"][0]["date"] == "2021-12-13"
    assert found["pending_is_known"] is False
    assert found["last_run"] is None


def test_what_is_not_done_is_listed_before_what_is(config):
    store = create_store(config.store)
    days = [dt.date(2022, 1, 1) + dt.timedelta(days=n) for n in range(60)]
    store.state.put(action("scan", str(day), day) for day in days)
    store.commit("r")
    text = invoke("status", "--store", config.store)
    assert "2021-12-13" in text  # the oldest, and the one with a failure
    assert "and 21 more dates" in text
    assert "more dates" not in invoke("status", "--store", config.store, "--all")
    assert "elsewhere" not in text


def test_what_the_numbers_are_of_is_told_of_what_there_is(config):
    assert "counted: scan, segment in images\n" in invoke("status", "--store", config.store)
    store = create_store(config.store)
    again = scanned("t1", "i", TUESDAY)
    store.state.put(
        [again, *(action(stage, "u") for stage in ("list", "annotate", "featurize", "embed"))]
    )
    store.commit("r")
    text = invoke("status", "--store", config.store)
    legend = "counted: list in files and folders; scan, segment in images; annotate in dates; featurize, embed in parts of cells"
    assert " ".join(text.split()).endswith(
        f"{legend} elsewhere: the same picture stands under another date or archive, and is "
        "segmented there"
    )
    found = json.loads(invoke("status", "--store", config.store, "--json"))
    assert [day["pictures_elsewhere"] for day in found["dates"]] == [1, 0]

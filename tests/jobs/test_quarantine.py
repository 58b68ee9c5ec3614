"""What is in quarantine, and what trying again marks for the next run."""

import datetime as dt
import json

import pytest
from anabatch.jobs import cli, scan
from anabatch.jobs.quarantine import items
from anabatch.jobs.standing import TRANSIENT
from cheap import draw_tiny
from running import make_config, run_jobs
from typer.testing import CliRunner

from anabatch.errors import ConfigurationError
from anabatch.store.actions import DEFERRED, FAILED, Action
from anabatch.store.root import create_store, open_store
from anabatch.store.state import State

MONDAY = dt.date(2021, 12, 13)
RUN = "20211214T030002Z-abcdef"


def scanned(unit, path, outcome="ok", **values):
    facts = {"relative_path": path, "image_id": f"i-{unit}" if outcome == "ok" else None}
    return Action("scan", unit, "k", "a", MONDAY, outcome, components=facts, run=RUN, **values)


ACTIONS = (
    scanned("1", "d/whole.jpg"),
    scanned("2", "d/torn.jpg", FAILED, reason="it is truncated"),
    scanned("3", "d/new[1].jpg", FAILED, reason="no image"),
    scanned("4", "e/odd\n.jpg", FAILED, reason="no image"),
    scanned("5", "e/growing.jpg", DEFERRED, reason="it is still changing"),
    Action("segment", "i-1", "k", "a", MONDAY, FAILED, "boom", run=RUN),
    Action("annotate", "a/2021-12-13", "labels", "a", MONDAY, rows=3),
    Action(
        "annotate",
        "a/2021-12-13/d/x.csv",
        "k",
        "a",
        MONDAY,
        FAILED,
        "no header",
        {"relative_path": "d/x.csv"},
        run=RUN,
    ),
)


@pytest.fixture
def store(tmp_path):
    made = create_store(tmp_path / "store")
    made.state.put(ACTIONS)
    made.commit("r")
    return made.root


def invoke(*arguments):
    return CliRunner().invoke(cli.app, ["quarantine", *map(str, arguments)])


def retry(store, *patterns):
    done = invoke("retry", *patterns, "--store", store, "--log-format", "json")
    assert done.exit_code == 0, done.output
    return {
        action.identity
        for action in open_store(store).state.failures()
        if action.components.get(TRANSIENT)
    }


def test_items_say_which_file_since_when_why_and_what_to_do():
    found = {(item.stage, item.path): item for item in items(State(ACTIONS))}
    assert len(found) == 6
    segmented = found["segment", "d/whole.jpg"]
    assert (segmented.reason, segmented.since) == ("boom", "2021-12-14T03:00:02Z")
    assert "quarantine retry" in segmented.remedy
    assert found["scan", "e/growing.jpg"].remedy == "the next run tries it again"
    assert "good copy" in found["scan", "d/torn.jpg"].remedy
    assert "export it again" in found["annotate", "d/x.csv"].remedy


def test_a_run_of_no_known_time_is_no_error():
    (item,) = items(State([Action("scan", "u", "k", outcome=FAILED, run="somebody")]))
    assert (item.since, item.reason) == ("", "no reason was given")


def test_they_are_listed_with_names_that_cannot_harm_a_terminal(store):
    text = invoke("ls", "--store", store).stdout
    assert "a: e/odd\\n.jpg" in text
    assert "scan put off: it is still changing" in text
    found = json.loads(invoke("ls", "--store", store, "--json").stdout)
    assert {item["path"] for item in found} >= {"e/odd\n.jpg", "d/x.csv"}


def test_an_empty_quarantine_says_so(tmp_path):
    create_store(tmp_path)
    assert "nothing is in quarantine" in invoke("ls", "--store", tmp_path).stdout
    assert retry(tmp_path) == set()
    assert open_store(tmp_path).version == 0


@pytest.mark.parametrize(
    ("patterns", "units"),
    [
        (["d/torn.jpg"], {"2"}),
        (["d/*.jpg"], {"2", "3", "i-1"}),
        (["d/new[[]1].jpg"], {"3"}),
        (["d/new[1].jpg"], {"3"}),
        (["e/odd\\n.jpg"], {"4"}),
        (["i-1", "e/*"], {"i-1", "4"}),
        ([], {"2", "3", "4", "i-1", "a/2021-12-13/d/x.csv"}),
    ],
)
def test_what_fits_is_tried_again_and_stays_until_it_is_mended(store, patterns, units):
    assert {unit for _, unit in retry(store, *patterns)} == units
    assert len(open_store(store).state.failures()) == 5
    assert "the next run tries it again" in invoke("ls", "--store", store).stdout


@pytest.mark.parametrize(("pattern", "items"), [("d/torn.jpg", "1 item"), ("d/*.jpg", "3 items")])
def test_how_many_are_tried_again_is_told(store, pattern, items):
    assert f"the next run tries {items} again" in invoke("retry", pattern, "--store", store).output


def test_the_labels_of_an_exports_date_are_made_again_and_stand_until_then(store):
    retry(store, "d/x.csv")
    date = open_store(store).state.get("annotate", "a/2021-12-13")
    assert date is not None
    assert (date.key, date.rows, date.outcome) == ("", 3, "ok")


def test_a_pattern_that_fits_nothing_is_a_mistake_and_changes_nothing(store):
    done = invoke("retry", "d/torn.jpg", "nowhere/*", "--store", store)
    assert isinstance(done.exception, ConfigurationError)
    assert "nowhere/*" in str(done.exception)
    assert open_store(store).version == 1


def test_trying_again_leaves_a_record(store):
    retry(store, "d/torn.jpg")
    (folder,) = (store / "runs").iterdir()
    outcome = json.loads((folder / "outcome.json").read_text())
    assert (outcome["command"], outcome["exit_code"]) == ("quarantine retry", 3)


def test_a_bad_file_is_read_once_and_once_more_when_asked(tmp_path):
    draw_tiny(tmp_path / "DATA/20240101/001_SN09001/001_plate_1_202400001_1_1_01.jpg", 1)
    bad = tmp_path / "DATA/20240101/001_SN09001/002_plate_1_202400002_1_1_02.jpg"
    bad.write_bytes(b"no image")
    config = make_config(tmp_path / "DATA", tmp_path / "store", scan={"rehash_share": 0.0})

    def read():
        (told,) = [e for e in run_jobs(config, scan) if e["event"] == "scanned"]
        return told["read"]

    # a second look may be due to files that changed in the very moment in which they were read
    assert read() == 2
    assert read() == 0
    retry(config.store, "*002*")
    assert [read(), read()] == [1, 0]
    assert len(open_store(config.store).state.failures()) == 1

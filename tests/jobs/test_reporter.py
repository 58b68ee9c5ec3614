"""What a run says, and what it writes down about itself."""

import datetime as dt
import io
import json

import pytest
from anabatch.jobs.reporter import Reporter

from anabatch.store.actions import FAILED, Action
from anabatch.store.parts import WrittenPart

MONDAY = dt.date(2021, 12, 13)
SCANNED = WrittenPart(
    "parts/acquisitions/a/2021-12-13/x",
    "d",
    (
        Action(
            "scan", "u1", "k1", "a", MONDAY, components={"image_id": "i1", "relative_path": "p"}
        ),
        Action("scan", "u2", "k2", "a", MONDAY, outcome=FAILED, reason="no image"),
    ),
)


@pytest.fixture
def spoken(tmp_path):
    """A reporter with a record: (reporter, what it told, what it wrote down)."""
    stream = io.StringIO()
    reporter = Reporter("json", stream)
    reporter.record_to(tmp_path / "events.jsonl")

    def lines(text):
        return [json.loads(line) for line in text.splitlines()]

    yield (
        reporter,
        lambda: lines(stream.getvalue()),
        lambda: lines((tmp_path / "events.jsonl").read_text(encoding="utf-8")),
    )
    reporter.close()


def test_every_event_names_its_run_once_it_is_known(spoken):
    reporter, told, written = spoken
    reporter.say("early", "before")
    reporter.bind(run="r1")
    reporter.say("late", "after", job="scan")
    reporter.warn("loud", "careful")
    reporter.note("quiet", "for the record")
    assert [event.get("run") for event in told()] == [None, "r1", "r1"]
    assert [event.get("run") for event in written()] == [None, "r1", "r1", "r1"]
    assert told()[1]["job"] == "scan"


def test_a_note_is_in_the_record_alone(spoken):
    reporter, told, written = spoken
    reporter.note("quiet", "for the record")
    assert told() == []
    assert [(event["event"], event["level"]) for event in written()] == [("quiet", "debug")]


def test_a_note_without_a_record_is_lost_and_no_error():
    Reporter("json", io.StringIO()).note("quiet", "for nobody")


def test_a_finished_batch_names_its_actions_by_unit_key_and_outcome(spoken):
    reporter, _, written = spoken
    reporter.finished("scan", SCANNED)
    (event,) = written()
    assert (event["job"], event["archive"], event["date"]) == ("scan", "a", "2021-12-13")
    assert event["parts"] == [SCANNED.path]
    assert event["actions"] == [
        {"stage": "scan", "unit": "u1", "key": "k1", "outcome": "ok", "image": "i1", "path": "p"},
        {"stage": "scan", "unit": "u2", "key": "k2", "outcome": "failed", "reason": "no image"},
    ]


def test_a_chain_of_stages_counts_its_images_once(spoken):
    reporter, _, _ = spoken
    cut = WrittenPart(None, None, tuple(Action("cells", u, "k") for u in ("u1", "u2")))
    described = WrittenPart("p", "d", (Action("features", "part", "k"),))
    reporter.finished("segment", [SCANNED, cut, described])
    reporter.finished("segment", [])
    timing = reporter.timings["segment"]
    assert (timing.batches, timing.items) == (2, 2)


def test_time_adds_up_by_job(spoken, monkeypatch):
    reporter, _, _ = spoken
    now = iter([0.0, 2.0, 10.0, 15.0])
    monkeypatch.setattr("anabatch.jobs.reporter.time.monotonic", lambda: next(now))
    with reporter.progress("embed", 1) as advance:
        advance()
    with pytest.raises(KeyboardInterrupt), reporter.timed("embed"):
        raise KeyboardInterrupt
    assert reporter.timings["embed"].seconds == 7.0


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_name_that_is_no_utf_8_can_be_told_and_written(tmp_path, log_format):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="utf-8")
    reporter = Reporter(log_format, stream)
    reporter.record_to(tmp_path / "events.jsonl")
    reporter.warn("problem", "bad name a\udce9", path="a\udce9")
    reporter.close()
    stream.flush()  # and never closed before it is read
    assert b"\\udce9" in raw.getvalue()
    (line,) = (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["path"] == "a\udce9"

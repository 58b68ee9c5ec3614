"""What a run leaves behind: its folder, and how the last runs ended."""

import io
import json

import pyarrow.parquet as pq
import pytest
from anabatch.jobs import record, report
from anabatch.jobs.record import Ended, read_last
from anabatch.jobs.reporter import Reporter
from anabatch.jobs.session import session
from anabatch.jobs.versions import versions
from running import make_config

from anabatch.errors import GuardError
from anabatch.store.actions import FAILED, Action


@pytest.fixture
def config(tmp_path):
    return make_config(tmp_path / "DATA", tmp_path / "store")


def perform(config, job=lambda _: None, **options):
    reporter = Reporter("json", io.StringIO())
    with session(config, reporter, **options) as context:
        job(context)
    return context


def commit(*actions):
    def job(context):
        context.store.state.put(actions)
        context.store.commit(context.run)
        context.did_something = True

    return job


def read(context, name):
    return json.loads((context.folder / name).read_text(encoding="utf-8"))


def test_a_folder_holds_the_whole_record(config):
    bad = Action(
        "scan", "u", "k", "a", outcome=FAILED, reason="torn", components={"relative_path": "p"}
    )

    def job(context):
        commit(bad)(context)
        with context.reporter.progress("scan", 1):
            pass

    context = perform(config, job)
    assert read(context, "config.json")["embed"]["landmarks"] == 24
    assert read(context, "timings.json")["scan"].keys() == {"seconds", "batches", "items"}
    outcome = read(context, "outcome.json")
    assert (outcome["exit_code"], outcome["error"], outcome["command"]) == (3, None, "run")
    assert (outcome["version_before"], outcome["version"]) == (0, 1)
    failures = pq.read_table(context.folder / "failures.parquet").to_pylist()
    assert [(row["path"], row["reason"]) for row in failures] == [("p", "torn")]


def test_the_counts_are_of_what_this_run_did(config):
    perform(config, commit(Action("scan", "old", "k", "a", run="before")))
    mine = {}

    def job(context):
        mine["run"] = context.run
        commit(Action("scan", "u", "k", "a", run=context.run))(context)

    context = perform(config, job)
    assert read(context, "outcome.json")["did"] == {"scan": {"ok": 1}}


def test_versions_name_what_computes_without_importing_it():
    found = versions()
    assert {"numpy", "torch", "keras", "cellpose", "zarr", "dask", "pillow"} <= {
        name.lower() for name in found["libraries"]
    }
    assert found["python"].startswith("3.")
    assert found["processor"]


def test_an_idle_run_leaves_no_folder_and_is_known_all_the_same(config):
    perform(config, commit(Action("scan", "u", "k", "a")))
    idle = perform(config)
    assert not idle.folder.exists()
    last = read_last(config.store)
    assert last.last.run == last.success.run == idle.run
    assert not last.last.did_something


def test_a_refused_run_is_the_last_and_no_success(config):
    def refuse(_):
        what = "half of the archive is gone"
        raise GuardError(what)

    good = perform(config)
    with pytest.raises(GuardError):
        perform(config, refuse)
    last = read_last(config.store)
    assert (last.last.exit_code, last.last.error) == (4, "GuardError: half of the archive is gone")
    assert last.success.run == good.run
    folder = config.store / "runs" / last.last.run
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["started", "error"]
    assert "refuse" in events[1]["traceback"]


def test_one_job_is_no_success_of_a_night(config):
    perform(config, command="scan")
    last = read_last(config.store)
    assert last.last.command == "scan"
    assert last.success is None


def test_the_last_report_is_remembered_over_runs_without_one(config):
    def job(context):
        commit(Action("scan", "u", "k", "a"))(context)
        (context.folder / "report.html").write_text("<html>")

    reported = perform(config, job)
    perform(config, commit(Action("scan", "v", "k", "a")))
    report = read_last(config.store).report
    assert (report.run, report.version) == (reported.run, 1)


def test_a_record_that_cannot_be_written_does_not_hide_what_ended_the_run(config, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    def interrupt(_):
        monkeypatch.setattr(record.Record, "end", full)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        perform(config, interrupt)
    assert "No space left" in caught.value.__notes__[0]


def test_an_interrupted_run_is_called_so(config):
    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        perform(config, interrupt)
    last = read_last(config.store).last
    assert (last.exit_code, last.error) == (130, "interrupted")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"last": {"run": 1}}'])
def test_a_damaged_file_of_last_runs_tells_nothing(config, text):
    perform(config)
    (config.store / "last-run.json").write_text(text)
    assert read_last(config.store).last is None
    perform(config)
    assert read_last(config.store).last is not None


@pytest.mark.parametrize(("code", "success"), [(0, True), (3, True), (1, False), (4, False)])
def test_items_in_quarantine_are_no_failure_of_the_night(code, success):
    assert Ended("r", "run", "", "", code, None, False, 0, 0).succeeded is success


def test_a_report_is_told_of_the_report_before_and_of_no_debugging(config, monkeypatch):
    told = []

    def build(_, out, *, news, **__):
        told.append(news)
        return out.write_text("<html>")

    def job(context):
        context.reporter.say("loud", "for all")
        commit(Action("scan", context.run, "k", "a"))(context)
        report.run(context)

    monkeypatch.setattr(report, "build_report", build)
    first, second = perform(config, job), perform(config, job)
    assert told[0].since is None
    assert (told[1].since.run, told[1].since.version) == (first.run, 1)
    assert told[1].run == second.run
    assert [event["event"] for event in told[1].events] == ["loud"]

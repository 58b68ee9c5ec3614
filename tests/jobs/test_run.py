"""When a run writes a report. The jobs before it do nothing here."""

from types import SimpleNamespace

import pytest
from anabatch.jobs import featurize, report, segment
from anabatch.jobs import run as whole_run
from running import make_config, run_jobs

from anabatch.store.actions import Action
from anabatch.store.root import create_store


@pytest.fixture
def config(tmp_path, monkeypatch):
    for job in ("scan", "annotate", "segment", "featurize", "embed", "cluster"):
        monkeypatch.setattr(getattr(whole_run, job), "run", lambda *_, **__: None)
    for job in (segment, featurize):
        monkeypatch.setattr(job, "plan", lambda _: SimpleNamespace(reasons={}))
    monkeypatch.setattr(report, "build_report", lambda _, out, **__: out.write_text("<html>"))
    return make_config(tmp_path, tmp_path / "store")


def commit(config, unit):
    store = create_store(config.store)
    store.state.put([Action("scan", unit, "k")])
    store.commit("r")


def events(config):
    return [event["event"] for event in run_jobs(config)]


def runs(config):
    return len(list((config.store / "runs").iterdir()))


def test_a_report_is_written_once_for_every_state_of_the_store(config):
    commit(config, "a")
    assert events(config) == ["report"]
    assert events(config) == []
    assert runs(config) == 1
    commit(config, "b")
    assert events(config) == ["report"]
    assert events(config) == []
    assert runs(config) == 2


def test_a_report_that_failed_is_written_by_the_next_run(config, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    commit(config, "a")
    with monkeypatch.context() as patch:
        patch.setattr(report, "build_report", fail)
        with pytest.raises(MemoryError):
            run_jobs(config)
    assert events(config) == ["report"]
    assert events(config) == []


def test_a_report_that_was_removed_is_written_again(config):
    commit(config, "a")
    run_jobs(config)
    (made,) = config.store.glob("runs/*/report.html")
    made.unlink()
    assert events(config) == ["report"]


def test_a_store_in_which_nothing_was_ever_done_has_no_report(config):
    assert events(config) == []
    assert runs(config) == 0

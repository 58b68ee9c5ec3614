"""A kernel PCA that is something else, or less, than what was asked for is said where a person looks."""

from pathlib import Path

import pytest
from cheap import cheap_networks, draw_tiny
from running import make_config, run_jobs

import anabatch
from anabatch.store.live import MODEL

WORDS = "this gives linear PCA"


@pytest.fixture(autouse=True)
def _cheap():
    with cheap_networks():
        yield


@pytest.fixture
def night(tmp_path):
    """Run a whole night over some images; return what was told, the store and the report."""
    folder = tmp_path / "DATA" / "20211213" / "001_SN09001"

    def run(*numbers, cluster=None, **embed):
        for number in numbers:
            draw_tiny(folder / f"{number:03d}_0ae0_1_20252440{number}_3_1_05.jpg", number)
        sections = {"embed": embed, "cluster": cluster or {}}
        config = make_config(tmp_path / "DATA", tmp_path / "store", **sections)
        events = run_jobs(config, accept=True)
        (report,) = [Path(event["path"]) for event in events if event["event"] == "report"]
        return events, anabatch.open_store(config.store), report.read_text("utf-8")

    return run


def test_a_width_of_no_use_is_told_and_stands_in_the_report(night, recwarn):
    events, store, report = night(1, 2, gamma=1e-5, refit_share=9.0)
    (told,) = [event for event in events if event["event"] == "gamma"]
    assert told["level"] == "warning"
    assert WORDS in told["message"]
    assert "embed.gamma" in told["message"]
    assert told["gamma"] == 1e-5
    (model,) = [a for a in store.state.stage(MODEL) if a.unit.startswith("kpca")]
    assert model.components["gamma"] == 1e-5
    assert model.components["gamma_median"] == told["gamma_median"] < 0.02
    assert report.count(WORDS) == 2, "in the section of the embedding, and among what the run said"
    assert not [warning for warning in recwarn if WORDS in str(warning.message)]

    events, _, report = night(3, gamma=1e-5, refit_share=9.0)
    assert "gamma" not in {event["event"] for event in events}, "nothing is fitted anew"
    assert report.count(WORDS) == 1, "and the report says what the cells are embedded by"


def test_a_width_of_use_is_no_matter(night):
    events, store, report = night(1, 2)
    assert "gamma" not in {event["event"] for event in events}
    (model,) = [a for a in store.state.stage(MODEL) if a.unit.startswith("kpca")]
    assert model.components["gamma_median"] == pytest.approx(1)
    assert WORDS not in report


def test_fewer_components_than_asked_for_are_told_with_the_reason(night):
    told = [event for event in night(1, 2)[0] if event["event"] == "components"]
    (few_cells,) = told
    assert few_cells["level"] == "warning"
    cells = int(few_cells["message"].split(" cells give")[0].split()[-1])
    assert few_cells["components"] < cells < 24

    (few,) = [e for e in night(landmarks=3, components=9)[0] if e["event"] == "components"]
    assert (few["components"], few["asked"]) == (2, 9)
    assert "3 landmarks (embed.landmarks) give no more" in few["message"]
    assert "Clusters use these 2, not" in few["message"]

    events, *_ = night(landmarks=3, components=2)
    assert "components" not in {event["event"] for event in events}


def test_clusters_that_ask_for_more_components_than_there_are_are_told_of(night):
    def told(*numbers, cluster=None, **embed):
        events, _, report = night(*numbers, cluster={"components": cluster}, **embed)
        return [e for e in events if e["event"] == "few_components"], report

    found, report = told(1, 2, 3, components=3, landmarks=12, cluster=7)
    (warned,) = found
    assert warned["level"] == "warning"
    assert (
        "archive uses 3 components, and 7 are asked for (cluster.components)" in warned["message"]
    )
    assert "components used</dt><dd>3 (7 are asked for)" in report
    found, report = told(components=3, landmarks=12, cluster=3)
    assert not found
    assert "components used</dt><dd>3<" in report
    found, _ = told(components=3, landmarks=12, cluster=8)  # on an embedding that stands
    assert [event["asked"] for event in found] == [8]
    found, _ = told(components=30, landmarks=12, cluster=20)
    assert not found, "the embedding's own warning says so"


def test_fewer_cells_than_landmarks_are_told(night):
    events, *_ = night(1, 2, components=2, landmarks=500)
    (told,) = [event for event in events if event["event"] == "landmarks"]
    assert told["level"] == "info"
    assert told["cells"] < told["asked"] == 500
    events, *_ = night(components=2, landmarks=3)
    assert "landmarks" not in {event["event"] for event in events}

"""What is new since the last report, counted by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from anabatch.config import ReportConfig
from anabatch.report import delta, quarantine
from anabatch.report.changes import Change, changes_since, compare
from anabatch.report.source import Since, Source
from anabatch.store.actions import DEFERRED, FAILED, Action
from anabatch.store.live import ANNOTATE, CELLS, LIST, MODEL, SCAN, SEGMENT


def facts_of(laboratory, since):
    source = Source(laboratory.store, ReportConfig(), "run-2", (), {}, since)
    return delta.section(source)


def version(laboratory):
    return Since("run-1", laboratory.store.version)


@pytest.fixture
def reported(full):
    """The full store with the version that its last report told of."""
    full.commit()
    full.run = "run-2"
    return full, version(full)


def test_the_first_report_has_nothing_to_compare_with(full):
    assert "no earlier report" in facts_of(full, None).absent


def test_a_version_that_is_not_kept_is_said_and_not_guessed(full):
    full.commit()
    assert "no version 4711" in facts_of(full, Since("run-0", 4711)).absent


def test_nothing_is_different(reported):
    full, since = reported
    facts = facts_of(full, since).facts
    assert facts["nothing"]
    assert facts["days"]["rows"] == []


def test_new_changed_gone_and_saved_anew_are_told_apart(reported, paths):
    full, since = reported
    gone, changed, resaved = (full.image(path) for path in paths[:3])
    other = changed.components | {"image_id": "f" * 32, "file_sha256": "1"}
    same = resaved.components | {"file_sha256": "2"}
    fresh = replace(changed, unit="n", key="n", components=other | {"relative_path": "new.jpg"})
    full.state.delete([gone])
    full.state.put(
        [
            replace(changed, key="c", components=other),
            replace(resaved, key="s", components=same),
            fresh,
        ]
    )
    full.commit()
    facts = facts_of(full, since).facts
    assert facts["days"]["rows"] == [
        {"date": "2024-01-02", "archive": "lab", "new": 1, "changed": 1, "gone": 1, "failed": 0}
    ]
    assert [row["file"] for row in facts["gone"]["rows"]] == [paths[0]]
    assert [row["file"] for row in facts["changed"]["rows"]] == [paths[1]]
    assert facts["saved_anew"] == 1
    assert not facts["nothing"]


def test_quarantine_is_told_as_new_mended_or_left(reported, paths, broken):
    full, since = reported
    (old,) = [action for action in full.state.stage(SCAN) if action.outcome == FAILED]
    mended = full.image(paths[3]).components | {"relative_path": broken}
    full.state.put([replace(old, key="m", outcome="ok", reason=None, components=mended)])
    full.quarantine(paths[0], "its pixels are gone")
    place = {"relative_path": "w.jpg", "image_id": None}
    waiting = Action(SCAN, "w", "w", "lab", outcome=DEFERRED, components=place, reason="growing")
    full.state.put([waiting])
    full.commit()
    facts = facts_of(full, since).facts
    assert [(r["file"], r["reason"]) for r in facts["failed"]["rows"]] == [
        (paths[0], "its pixels are gone")
    ]
    assert [row["file"] for row in facts["mended"]["rows"]] == [broken]
    assert [row["reason"] for row in facts["deferred"]["rows"]] == ["growing"]
    assert facts["left"]["total"] == 0
    assert facts["days"]["totals"]["new"] == 1


def test_what_is_solved_by_being_taken_away_is_no_failure(reported):
    full, _ = reported
    place = {"relative_path": "locked"}
    full.state.put([Action(LIST, "lab/locked", "k", "lab", outcome=FAILED, components=place)])
    full.commit()
    since = version(full)
    full.state.delete([full.state.get(LIST, "lab/locked")])
    full.commit()
    facts = facts_of(full, since).facts
    assert [row["file"] for row in facts["left"]["rows"]] == ["locked"]


def relabel(full, labels):
    """Annotate anew: path to label, in the place of all labels."""
    rows = [
        {**full._annotation(path, label, "pattern", None), "source_row": number}
        for number, (path, label) in enumerate(labels.items())
    ]
    full.annotate_rows("lab", rows)
    (done,) = full.state.stage(ANNOTATE)
    full.state.put([replace(done, key=f"labels {labels}")])
    full.commit()


def test_labels_that_are_new_that_changed_and_that_went(full, paths):
    relabel(full, {paths[0]: "homogeneous", paths[1]: "speckled", paths[3]: "speckled"})
    since = version(full)
    relabel(full, {paths[0]: "speckled", paths[1]: "speckled", paths[2]: "nucleolar"})
    found = facts_of(full, since).facts["labels"]
    assert (found["new"], found["changed"], found["lost"]) == (1, 1, 1)
    assert found["terms"] == [
        {"axis": "pattern", "label": "nucleolar", "gained": 1, "lost": 0, "first": True},
        {"axis": "pattern", "label": "speckled", "gained": 1, "lost": 1, "first": False},
        {"axis": "pattern", "label": "homogeneous", "gained": 0, "lost": 1, "first": False},
    ]
    assert {(row["file"], row["before"], row["now"]) for row in found["rows"]} == {
        (paths[0], "homogeneous", "speckled"),
        (paths[3], "speckled", "no label"),
    }


def test_a_label_of_another_date_is_not_seen_for_the_first_time(full, paths):
    full.commit()
    since = version(full)
    row = full._annotation(paths[3], "speckled", "pattern", None)
    full.annotate_rows("other", [row])
    full.commit()
    (term,) = facts_of(full, since).facts["labels"]["terms"]
    assert (term["label"], term["gained"], term["first"]) == ("speckled", 1, False)


def test_cells_that_were_cut_anew_are_counted_and_moved_ones_are_not(reported):
    full, since = reported
    first, second, *_ = full.state.stage(CELLS)
    full.state.put([replace(first, key="anew", rows=first.rows - 2)])
    full.state.put([replace(second, part="elsewhere", first_row=99)])
    full.store._ledger = full.store._ledger.commit([*full.state.pending().put], [], run="r")
    facts = facts_of(full, since).facts
    assert facts["cells"] == {"images": 1, "made": first.rows - 2, "gone": first.rows}


def test_a_generation_is_new_or_as_before(reported):
    full, since = reported
    model = next(a for a in full.state.stage(MODEL) if a.unit.startswith("kmeans/"))
    number = model.components | {"generation": 2}
    full.state.put([replace(model, unit="kmeans/archive/000002", key="2", components=number)])
    full.commit()
    assert facts_of(full, since).facts["models"] == [
        {"name": "embedding", "generation": 1, "new": ""},
        {"name": "clusters", "generation": 2, "new": "fitted"},
    ]


@pytest.mark.parametrize(("key", "new"), [("other", "fitted"), (None, "taken up again")])
def test_a_generation_of_a_known_number_is_the_same_or_another(reported, key, new):
    full, since = reported
    model = next(a for a in full.state.stage(MODEL) if a.unit.startswith("kmeans/"))
    sequence = full.state.next_sequence()
    full.state.put([replace(model, key=key or model.key, sequence=sequence)])
    full.commit()
    assert facts_of(full, since).facts["models"][1]["new"] == new


def test_long_lists_end_and_say_so(reported):
    full, since = reported
    place = {"relative_path": "x"}
    full.state.put(
        Action(SEGMENT, f"i{n}", "k", "lab", outcome=FAILED, reason="r", components=place)
        for n in range(70)
    )
    full.commit()
    failed = facts_of(full, since).facts["failed"]
    assert (failed["total"], len(failed["rows"]), failed["more"]) == (70, 50, 20)


def test_the_same_failure_is_not_new_and_another_reason_is():
    one = Action("s", "u", "k", outcome=FAILED, reason="a")
    assert compare([one], [replace(one, run="later")]) == []
    other = replace(one, reason="b")
    assert compare([one], [other]) == [Change(one, other)]
    assert compare([one], []) == [Change(one, None)]


def test_a_version_is_its_own_equal(reported):
    full, since = reported
    assert changes_since(full.store, since.version) == []


def test_what_is_put_off_stands_beside_the_quarantine(full):
    waiting = Action(SCAN, "w", "w", "lab", outcome=DEFERRED, reason="changing")
    full.state.put([replace(waiting, components={"relative_path": "a.jpg", "image_id": None})])
    facts = quarantine.section(Source(full.store, ReportConfig(), "run-1", (), {})).facts
    assert facts["waiting"] == 1
    assert [(r["file"], r["reason"]) for r in facts["waiting_rows"]] == [("a.jpg", "changing")]
    assert facts["total"] == 1

"""The labels, night after night: they are those of the exports that they claim to be made of."""

from __future__ import annotations

import contextlib
import os

import pytest
from anabatch.jobs import annotate, labels, scan
from edited import EditedArchive, picture
from running import make_config, run_jobs

import anabatch
from anabatch.errors import GuardError
from anabatch.store.actions import DEFERRED, FAILED
from anabatch.store.live import ANNOTATE

DAY, OTHER = "20211213", "20220103"
A, B = "[15] Mouchete", "[16] Nucleole"


class Both:
    """A job: images and labels, in one version of the ledger."""

    @staticmethod
    def run(context):
        context.commits = False
        scan.run(context)
        annotate.run(context)
        context.commit()


class Laboratory:
    """Two dates of one image each, with an export each, and their store."""

    def __init__(self, folder):
        self.archive = EditedArchive(folder / "DATA")
        self.store = folder / "store"
        for number, date in enumerate((DAY, OTHER)):
            self.archive.put(self.archive.image(date, 0), picture(number))
            self.archive.put_export(date, 10, "SCREEN", [(0, A)])

    def night(self, job=Both, accept=False, **scan):
        config = make_config(
            self.archive.root,
            self.store,
            scan={"rehash_share": 0.0} | scan,
            guards={"recompute_share": 1.0},
        )
        return run_jobs(config, job, accept=accept)

    @property
    def version(self):
        return anabatch.open_store(self.store).version

    @property
    def labels(self):
        rows = anabatch.open_store(self.store).table("annotations").to_pandas()
        rows = rows[rows.axis == "pattern"]
        return sorted(zip(rows.source_file.str[:8], rows.code.astype(int), strict=True))

    def actions(self, outcome):
        state = anabatch.open_store(self.store).state
        return [a for a in state.stage(ANNOTATE) if a.outcome == outcome]


@pytest.fixture
def lab(tmp_path):
    made = Laboratory(tmp_path)
    made.night()
    return made


@contextlib.contextmanager
def refused(path):
    """Let the system refuse to open a file."""
    opened = os.open

    def refuse(name, *arguments, **options):
        if str(name) == str(path):
            raise PermissionError(13, "Permission denied")
        return opened(name, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", refuse)
        yield


def rewrite(lab, date=DAY, pattern=B):
    """Save an export with another pattern, in as many bytes."""
    lab.archive.put_export(date, 10, "SCREEN", [(0, pattern)])


BEFORE, AFTER = [(DAY, 15), (OTHER, 15)], [(DAY, 16), (OTHER, 15)]


# an export that changes between the plan and the task


@pytest.fixture
def changes_after_plan(monkeypatch):
    """Return a function that has a change made once, after the next plan."""

    def set_up(change):
        planned = annotate.plan

        def then_change(context):
            found = planned(context)
            monkeypatch.setattr(annotate, "plan", planned)
            change()
            return found

        monkeypatch.setattr(annotate, "plan", then_change)

    return set_up


def test_labels_of_another_content_are_never_stored_under_the_planned_key(lab, changes_after_plan):
    rewrite(lab, pattern="[77] What")  # planned
    changes_after_plan(lambda: rewrite(lab))
    events = lab.night()
    assert lab.labels == BEFORE  # the older ones stay
    (waiting,) = lab.actions(DEFERRED)
    assert waiting.components["relative_path"].endswith("SCREEN.csv")
    assert "changed while it was read" in waiting.reason
    assert [e["event"] for e in events if e["event"] == "deferred"] == ["deferred"]
    lab.night()
    assert lab.labels == AFTER
    assert lab.actions(DEFERRED) == []
    rewrite(lab, pattern="[77] What")  # what was planned comes back
    lab.night()
    assert (DAY, 16) not in lab.labels


def test_a_change_that_its_times_hide_is_waited_for_once(lab, changes_after_plan):
    settings = {"ignore_ctime": True, "ignore_inode": True}
    first, _ = lab.archive.exports()
    rewrite(lab, pattern="[16] Nucleola")
    lab.archive.touch(first)

    def secretly():
        lab.archive.put_secretly(first, first.read_bytes().replace(b"Nucleola", b"Nucleole"))

    changes_after_plan(secretly)
    lab.night(**settings)
    assert lab.labels == BEFORE
    assert "other bytes" in lab.actions(DEFERRED)[0].reason
    lab.night(**settings)
    assert lab.labels == AFTER
    assert lab.actions(DEFERRED) == []


def test_an_export_that_never_holds_still_is_committed_once(lab, monkeypatch):
    rewrite(lab)
    plan = annotate.plan

    def then_touch(context):
        found = plan(context)
        path = lab.archive.exports()[0]
        os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 10**9))
        return found

    monkeypatch.setattr(annotate, "plan", then_touch)
    lab.night()
    version = lab.version
    lab.night()
    assert (lab.version, lab.labels) == (version, BEFORE)
    assert len(lab.actions(DEFERRED)) == 1


def test_an_export_that_has_not_settled_leaves_the_older_labels(lab):
    rewrite(lab)
    lab.night(settle_seconds=600.0)
    assert lab.labels == BEFORE
    assert "less than 600 s" in lab.actions(DEFERRED)[0].reason
    lab.night()
    assert lab.labels == AFTER
    assert lab.actions(DEFERRED) == []


@pytest.fixture
def shared(tmp_path):
    """Two dates that show one picture, positive on one and negative on the other."""
    made = Laboratory(tmp_path)
    made.archive.put(made.archive.image(OTHER, 0), picture(0))
    made.archive.exports()[1].unlink()
    made.archive.put_export(OTHER, 10, "NEGATIV", [(0, "")])
    made.night()
    return made


def flags(lab):
    rows = anabatch.open_store(lab.store).table("annotations").to_pandas()
    return set(zip(rows.source_file.str[:8], rows.flag, strict=True))


def test_a_date_waits_for_exports_of_the_dates_that_show_its_pictures(shared, monkeypatch):
    before = flags(shared)
    assert any(date == DAY and "conflict" in str(flag) for date, flag in before)
    first, second = shared.archive.exports()
    rewrite(shared)
    read = labels.read_exports

    def change_and_read(root, planned, dialect):
        path = second if any(e.path.startswith(OTHER) for e in planned) else first
        path.write_bytes(path.read_bytes() + b"9;;1:80;D:\\no.jpg;NEG\r\n")
        return read(root, planned, dialect)

    with monkeypatch.context() as patch:
        patch.setattr(labels, "read_exports", change_and_read)
        shared.night()
    assert flags(shared) == before
    waiting = shared.actions(DEFERRED)
    assert {str(action.date).replace("-", "") for action in waiting} == {DAY, OTHER}
    shared.night()
    assert shared.actions(DEFERRED) == []


# exports that are gone, or cannot be read


def test_labels_of_all_exports_are_not_taken_away_unasked(lab):
    for path in lab.archive.exports():
        path.unlink()
    version = lab.version
    with pytest.raises(GuardError, match="2 of the 2 known exports of archive sim are gone") as e:
        lab.night()
    assert "--accept-vanished" in e.value.remedy
    assert (lab.version, lab.labels) == (version, BEFORE)
    lab.night(accept=True)
    assert lab.labels == []


def test_three_exports_gone_are_too_many_and_two_are_not(lab):
    for hour in (11, 12, 13):
        lab.archive.put_export(DAY, hour, "SCREEN", [(0, A)])
    lab.night()
    for hour in (11, 12):
        next(lab.archive.root.rglob(f"*_{hour}1758_*")).unlink()
    lab.night()
    for hour in (11, 12, 14):
        lab.archive.put_export(DAY, hour, "SCREEN", [(0, A)])
    lab.night()
    for hour in (11, 12, 14):
        next(lab.archive.root.rglob(f"*_{hour}1758_*")).unlink()
    with pytest.raises(GuardError, match="3 of the 6 known exports"):
        lab.night()


def test_an_export_that_cannot_be_read_keeps_the_labels_and_is_in_quarantine(lab):
    first, _ = lab.archive.exports()
    rewrite(lab)
    with refused(first):
        lab.night()
        assert lab.labels == BEFORE
        (failure,) = lab.actions(FAILED)
        assert failure.reason == "the file cannot be read: Permission denied"
        assert failure.components["transient"]
        version = lab.version
        lab.night()
        assert (lab.version, lab.labels) == (version, BEFORE)
    lab.night()
    assert lab.labels == AFTER
    assert lab.actions(FAILED) == []


def test_an_export_that_never_could_be_read_does_not_hold_up_its_date(lab):
    lab.archive.put_export(DAY, 12, "SCREEN", [(0, "[77] What")])
    late = next(lab.archive.root.rglob("*_121758_*"))
    rewrite(lab)
    with refused(late):
        lab.night()
        assert lab.labels == AFTER
        assert len(lab.actions(FAILED)) == 1
    lab.night()
    assert lab.actions(FAILED) == []
    assert lab.labels != AFTER


def test_an_export_that_is_none_stays_in_quarantine_when_it_could_not_be_read_for_a_night(lab):
    bad = lab.archive.exports()[0].with_name("exp_pl_LIS_20211213_111758_SN9001_SCREEN.csv")
    bad.write_bytes(b"\x81")
    lab.night()
    bad.touch()
    with refused(bad):
        lab.night()
        assert len(lab.actions(FAILED)) == 2
    lab.night()
    (failure,) = lab.actions(FAILED)
    assert "no text" in failure.reason


def test_labels_that_are_adopted_bring_their_exports_failures_and_no_others(lab):
    bad = lab.archive.exports()[0].with_name("exp_pl_LIS_20211213_111758_SN9001_SCREEN.csv")
    contents = {b"\x81": "no text", b"WellPos;Pattern\r\n": "no header"}
    for data in contents:
        bad.write_bytes(data)
        lab.night()
    for data, words in contents.items():
        bad.write_bytes(data)
        events = lab.night()
        assert not [event for event in events if event["event"] == "start"]  # adopted
        (failure,) = lab.actions(FAILED)
        assert words in failure.reason
    bad.unlink()
    lab.night()
    assert lab.actions(FAILED) == []


def test_a_folder_of_exports_alone_that_cannot_be_looked_at_keeps_its_labels(lab, monkeypatch):
    export = lab.archive.exports()[0]
    hidden = export.parent.with_name("002_SN09001")
    lab.archive.rename(export, hidden / export.name)
    lab.night(accept=True)
    scandir = os.scandir

    def refuse(path):
        if str(path) == str(hidden):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        lab.night()
    assert lab.labels == BEFORE


def test_labels_of_a_date_without_images_stay_while_it_cannot_be_looked_at(lab, monkeypatch):
    lab.archive.put_export("20220201", 10, "SCREEN", [(0, A)])
    lab.night()
    labelled = lab.labels
    assert len(labelled) == 3
    scandir = os.scandir

    def refuse(path):
        if str(path) == str(lab.archive.root / "20220201"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        lab.night()
    assert lab.labels == labelled

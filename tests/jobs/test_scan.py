"""The scan, night after night: what it reads, what it believes, what it changes."""

from __future__ import annotations

import contextlib
import datetime as dt
import gc
import os
import shutil
import weakref
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from anabatch.jobs import scan as scan_job
from anabatch.jobs import stale
from PIL import Image
from running import make_config, run_jobs

import anabatch
from anabatch.archive.acquisition import acquire, acquisition_id
from anabatch.archive.reading import read_file
from anabatch.compute import Cluster
from anabatch.errors import GuardError
from anabatch.stages import scan as scan_stage
from anabatch.store.live import LIST, SCAN
from anabatch.store.recipes import RECIPE

DAY = "20211214/005_SN08030"


def draw(path, number):
    """Draw a picture that no other number has, always in as many bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((16, 20), np.uint8)
    pixels.reshape(-1)[:4] = [number // 256, number % 256, 7, 255]
    Image.fromarray(pixels).save(path, "BMP")


class Laboratory:
    """An archive of small pictures and its store, scanned night after night."""

    def __init__(self, folder, images=6):
        self.root, self.store = folder / "DATA", folder / "store"
        self.paths = [
            self.root / DAY / f"{n:04d}_0ae1_1_2{n:08d}_3_14_01.bmp" for n in range(images)
        ]
        for number, path in enumerate(self.paths):
            draw(path, number)

    def config(self, **sections):
        sizes = {"name": "sim", "path": str(self.root), "layout": "dated"}
        archives = [sizes | {"pixels_per_reference_pixel": {"20x16": 1.0}}]
        return make_config(self.root, self.store, archives=archives, **sections)

    def night(self, job=scan_job, only_date=None, **scan):
        """Scan, and return the events; by default no unchanged file is read again."""
        guards = {"recompute_share": 1.0} | scan.pop("guards", {})
        settings = {"rehash_share": 0.0} | scan
        return run_jobs(self.config(scan=settings, guards=guards), job, only_date=only_date)

    def scanned(self, **scan):
        """Scan, and return the facts of the event that tells how it went."""
        return next(event for event in self.night(**scan) if event["event"] == "scanned")

    @property
    def state(self):
        return anabatch.open_store(self.store).state

    @property
    def version(self):
        return anabatch.open_store(self.store).version

    def action(self, path):
        relative = path.relative_to(self.root).as_posix()
        return self.state.get(SCAN, acquisition_id("sim", relative))

    def rows(self):
        """Return what was done by acquisition: run, part and row."""
        return {a.unit: (a.run, a.part, a.first_row) for a in self.state.stage(SCAN)}

    def parts(self):
        return sorted((self.store / "parts" / "acquisitions").glob("*/*/*"))


@pytest.fixture
def lab(tmp_path):
    """Six pictures that were scanned once."""
    made = Laboratory(tmp_path)
    made.night()
    return made


@pytest.fixture
def reads(monkeypatch):
    """The relative paths of the files that are read."""
    paths = []

    def count(root, file, **options):
        paths.append(file.relative_path)
        return read_file(root, file, **options)

    monkeypatch.setattr(scan_stage, "read_file", count)
    return paths


def told(events, name):
    return [event for event in events if event["event"] == name]


def rewrite(path, number):
    """Write another picture of the same size, and set the time back."""
    status = path.stat()
    draw(path, number)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_an_unchanged_archive_is_not_read_and_nothing_is_done(lab, reads, monkeypatch):
    def start(_):
        pytest.fail("a cluster was started")

    monkeypatch.setattr(Cluster, "backend", property(start))
    before, version, runs = lab.rows(), lab.version, len(list((lab.store / "runs").iterdir()))
    found = lab.scanned()
    assert (found["read"], found["unchanged"], found["looked"], reads) == (0, 6, 0, [])
    assert (lab.rows(), lab.version) == (before, version)
    assert len(list((lab.store / "runs").iterdir())) == runs


def test_what_was_known_of_files_goes_with_the_scan(lab, monkeypatch):
    """At once: what hangs in a circle of references stays in memory for the rest of a night."""
    seen, load = [], stale.StatCache.load

    def remembered(*arguments):
        cache = load(*arguments)
        seen.append(weakref.ref(cache))
        return cache

    monkeypatch.setattr(stale.StatCache, "load", remembered)
    gc.disable()
    try:
        lab.night()
        assert [cache() for cache in seen] == [None]
    finally:
        gc.enable()


def test_a_share_is_read_every_night_and_all_in_turn_and_that_is_no_work_done(
    lab, reads, monkeypatch
):
    def start(_):
        pytest.fail("a cluster was started")

    monkeypatch.setattr(Cluster, "backend", property(start))
    before, version = lab.rows(), lab.version
    for night in range(1, 4):
        assert lab.scanned(rehash_share=0.3)["looked"] == 2
        assert len(set(reads)) == 2 * night
    lab.night(rehash_share=0.3)
    assert reads[6:] == reads[:2]
    assert (lab.rows(), lab.version) == (before, version)


def test_the_smallest_share_is_one_file_and_the_largest_all(lab, reads):
    assert lab.scanned(rehash_share=1e-9)["looked"] == 1
    assert lab.scanned(rehash_share=1.0)["looked"] == 6


def test_bytes_that_changed_under_the_same_name_supersede_the_old_image(lab):
    path = lab.paths[2]
    before, version = lab.action(path), lab.version
    rewrite(path, 900)
    lab.night()
    after = lab.action(path)
    assert after.components["image_id"] != before.components["image_id"]
    assert after.components["why"] == "INPUT time of the file's entry changed"
    assert sum(a.run == after.run for a in lab.state.stage(SCAN)) == 1
    old = anabatch.open_store(lab.store, at=version).state.get(SCAN, before.unit)
    assert old is not None
    assert old.components["image_id"] == before.components["image_id"]


def test_another_size_is_told_as_the_reason(lab):
    with lab.paths[0].open("ab") as file:
        file.write(b"!")
    lab.night()
    size = lab.paths[0].stat().st_size
    assert lab.action(lab.paths[0]).components["why"] == f"INPUT size {size - 1} -> {size}"


BLIND = {"ignore_ctime": True, "ignore_inode": True}


def test_bit_rot_is_found_when_it_is_the_files_turn_and_named(lab):
    path = lab.paths[4]
    before = lab.action(path)
    rewrite(path, 901)
    assert lab.scanned(**BLIND)["read"] == 0  # nothing shows
    assert lab.action(path) == before
    events = lab.night(rehash_share=1.0, **BLIND)
    (warning,) = told(events, "rot")
    assert warning["path"] == path.relative_to(lab.root).as_posix()
    assert "failing disk" in warning["message"]
    after = lab.action(path)
    assert after.components["image_id"] != before.components["image_id"]
    assert after.components["why"] == "INPUT other bytes under an unchanged time"
    assert not told(lab.night(rehash_share=1.0, **BLIND), "rot")


def test_a_write_within_one_tick_of_the_clock_after_reading_is_found(tmp_path, reads):
    """Git's problem: same size, same time, other bytes, and nothing that shows it."""
    lab = Laboratory(tmp_path)
    lab.night(**BLIND)
    path = lab.paths[0]
    cache = stale.StatCache.load(lab.store, "sim")
    relative = path.relative_to(lab.root).as_posix()
    entry = cache.entries[relative]
    status = path.stat()
    near = entry.hashed_ns - 5_000_000  # as if the file had been written 5 ms before it was read
    cache.entries[relative] = entry._replace(mtime_ns=near)
    cache.changed = True
    cache.save()
    draw(path, 902)  # 5 ms later, within the same tick
    os.utime(path, ns=(status.st_atime_ns, near))
    before = lab.action(path)
    lab.night(**BLIND)
    assert lab.action(path).components["image_id"] != before.components["image_id"]


def test_a_touched_file_is_read_once_and_changes_nothing(lab, reads):
    version = lab.version
    os.utime(lab.paths[0], (1_600_000_000, 1_600_000_000))
    lab.paths[1].chmod(0o600)
    found = lab.scanned()
    assert (found["read"], found["unchanged"], len(reads)) == (0, 6, 2)
    lab.night()
    lab.night()
    assert lab.version == version
    assert len(reads) <= 4  # once more where the clock had not ticked


def test_an_archive_that_was_copied_is_read_once_and_changes_nothing(lab, tmp_path, reads):
    """Other inodes and times of entries, as after a restore to another disk."""
    version = lab.version
    shutil.move(lab.root, tmp_path / "old")
    shutil.copytree(tmp_path / "old", lab.root)
    assert lab.scanned()["read"] == 0
    assert sorted(reads) == sorted(p.relative_to(lab.root).as_posix() for p in lab.paths)
    assert lab.version == version


def test_inodes_that_a_drive_makes_up_can_be_ignored(lab, tmp_path, reads):
    shutil.move(lab.root, tmp_path / "old")
    shutil.copytree(tmp_path / "old", lab.root)
    assert lab.scanned(**BLIND)["looked"] == 0
    assert reads == []


def test_many_files_that_may_have_changed_are_read_by_tasks(lab, monkeypatch):
    version = lab.version
    monkeypatch.setattr(scan_job, "_FILES_IN_THIS_PROCESS", 2)
    for path in lab.paths:
        path.chmod(0o600)
    events = lab.night()
    (start,) = told(events, "start")
    assert (start["batches"], start["message"]) == (1, "scan: 1 batch")
    (hint,) = told(events, "made_up")
    assert "scan.ignore_ctime" in hint["message"]
    assert told(events, "scanned")[0]["unchanged"] == 6
    assert lab.version == version


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_lost_cache_costs_one_slow_run_and_is_told_once(lab, reads, damage):
    path = lab.store / "cache" / "stat-sim.parquet"
    version = lab.version
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-30])
    events = lab.night()
    (warning,) = told(events, "stat_cache")
    assert f"is {damage}: every file is read once more" in warning["message"]
    assert len(reads) == 6
    assert not told(lab.night(), "stat_cache")
    assert lab.version == version


def test_a_first_scan_misses_no_cache(tmp_path):
    assert not told(Laboratory(tmp_path).night(), "stat_cache")


def test_the_cache_forgets_files_that_are_gone(lab):
    lab.paths[0].unlink()
    lab.night()
    assert len(pq.read_table(lab.store / "cache" / "stat-sim.parquet")) == 5


def test_a_bad_file_is_not_read_again_before_it_changes(lab, reads):
    lab.paths[0].write_bytes(b"no picture")
    lab.night()
    assert lab.action(lab.paths[0]).outcome == "failed"
    reads.clear()
    version = lab.version
    lab.night()
    assert (reads, lab.version) == ([], version)


@contextlib.contextmanager
def refused(*paths):
    """Let the system refuse to open files."""
    opened, names = os.open, {str(path) for path in paths}

    def refuse(name, *arguments, **options):
        if str(name) in names:
            raise PermissionError(13, "Permission denied")
        return opened(name, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", refuse)
        yield


DENIED = "the file cannot be read: Permission denied"


def test_a_new_file_without_permission_is_tried_every_night_and_told_once(lab):
    path, version = lab.root / DAY / "new.bmp", lab.version
    draw(path, 60)
    with refused(path):
        lab.night()
        failed = lab.action(path)
        assert (failed.outcome, failed.reason) == ("failed", DENIED)
        assert lab.version == version + 1
        lab.night()
        assert lab.action(path) == failed
        assert lab.version == version + 1
    lab.night()
    assert lab.action(path).outcome == "ok"
    assert lab.action(path).components["why"] == f"RETRY {DENIED}"


def test_files_that_cannot_be_read_keep_their_rows_and_are_in_quarantine_until_they_can(lab, reads):
    before, version = lab.rows(), lab.version
    for path in lab.paths:
        path.chmod(0o600)  # so that they are looked at
    with refused(*lab.paths):
        events = lab.night()
        (scanned,) = told(events, "scanned")
        assert (scanned["unread"], scanned["unchanged"]) == (6, 0)
        assert len(told(events, "problem")) == 6
        assert lab.rows() == before
        assert [(a.stage, a.reason) for a in lab.state.failures()] == [(LIST, DENIED)] * 6
        assert lab.version == version + 1
        lab.night()
        assert lab.version == version + 1
    lab.night(only_date=dt.date(2020, 1, 1))  # a night that does not get to them
    assert len(lab.state.failures()) == 6
    lab.night()
    assert (lab.rows(), lab.state.failures()) == (before, [])


@pytest.mark.parametrize("settings", [{}, {"max_pixels": 100_000}])
def test_an_unreadable_file_of_the_nights_share_stays_in_quarantine_on_other_nights(lab, settings):
    before = lab.action(lab.paths[0])
    with refused(lab.paths[0]):
        lab.night(rehash_share=1.0, **settings)
        assert lab.action(lab.paths[0]) == before
        lab.night(rehash_share=0.0, **settings)
        assert [a.reason for a in lab.state.failures()] == [DENIED]
    lab.night(rehash_share=0.0, **settings)
    assert lab.state.failures() == []
    assert lab.action(lab.paths[0]).outcome == "ok"


def test_many_images_that_turn_bad_are_refused_every_night_and_nothing_is_committed(lab):
    kept, version = {path: path.read_bytes() for path in lab.paths}, lab.version
    before = lab.rows()
    for path in lab.paths[:2]:
        path.write_bytes(b"")
    lab.paths[2].unlink()
    words = r"of the 6 images of archive sim that were whole, 2 are so no longer, and 1 are gone"
    for _ in range(2):  # then the finished rows of the first night are found again
        with pytest.raises(GuardError, match=words) as caught:
            lab.night()
        assert "the file is empty (2)" in caught.value.what
        assert "--accept-vanished" in caught.value.remedy
        assert (lab.rows(), lab.version) == (before, version)
    for path, data in kept.items():
        path.write_bytes(data)
    lab.night()
    assert lab.rows() == before


def test_all_images_turned_bad_are_refused_however_few_until_it_is_accepted(tmp_path):
    lab = Laboratory(tmp_path, images=2)
    lab.night()
    for path in lab.paths:
        path.write_bytes(b"no picture")
    with pytest.raises(GuardError, match="2 are so no longer"):
        lab.night()
    lab.night(job=SimpleNamespace(run=accepting))
    assert {action.outcome for action in lab.state.stage(SCAN)} == {"failed"}


def test_two_bad_images_of_six_go_to_quarantine(lab):
    for path in lab.paths[:2]:
        path.write_bytes(b"")
    lab.night()
    assert len(lab.state.failures()) == 2


def test_other_settings_make_all_rows_anew_and_say_which(lab):
    lab.night(max_pixels=100_000)
    assert {a.components["why"] for a in lab.state.stage(SCAN)} == {
        "PARAM max_pixels 400000000 -> 100000"
    }
    assert len(lab.state.stage(RECIPE)) == 2


def test_settings_put_back_adopt_the_rows_of_before(lab, reads):
    before = {unit: part for unit, (_, part, _) in lab.rows().items()}
    lab.night(max_pixels=100_000)
    lab.night()
    reads.clear()
    assert {unit: part for unit, (_, part, _) in lab.rows().items()} == before
    lab.night()
    assert reads == []


def test_a_part_that_is_gone_is_made_again(lab):
    (part,) = {a.part for a in lab.state.stage(SCAN)}
    shutil.rmtree(lab.store / part)
    lab.night()
    assert {a.components["why"] for a in lab.state.stage(SCAN)} == {f"MISSING {part}"}
    assert len(anabatch.open_store(lab.store).table("acquisitions").to_pandas()) == 6


class Killed(BaseException):
    """Ends a run at a point."""


def killed_before_its_commit(lab, monkeypatch):
    def kill(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("anabatch.jobs.context.Context.commit", kill)
        with pytest.raises(Killed):
            lab.night()


@pytest.mark.parametrize("cache", ["kept", "lost"])
def test_what_a_killed_run_had_finished_is_adopted(tmp_path, monkeypatch, reads, cache):
    lab = Laboratory(tmp_path)
    killed_before_its_commit(lab, monkeypatch)
    assert lab.state.stage(SCAN) == []
    parts = lab.parts()
    assert len(parts) == 1
    reads.clear()
    if cache == "lost":
        shutil.rmtree(lab.store / "cache")
    monkeypatch.setattr(scan_stage, "acquire", lambda *_, **__: pytest.fail("decoded again"))
    lab.night()
    assert len(lab.state.stage(SCAN)) == 6
    assert lab.parts() == parts
    assert len(anabatch.open_store(lab.store).table("acquisitions").to_pandas()) == 6


def test_what_changed_since_the_run_was_killed_is_not_adopted(tmp_path, monkeypatch):
    lab = Laboratory(tmp_path)
    killed_before_its_commit(lab, monkeypatch)
    rewrite(lab.paths[3], 903)
    lab.night()
    rows = anabatch.open_store(lab.store).table("acquisitions").to_pandas()
    assert rows.image_id.nunique() == 6
    (first, second) = sorted({a.part for a in lab.state.stage(SCAN)}, key=str)
    assert first != second


def test_the_same_bytes_in_two_places_are_two_acquisitions_of_one_image(lab):
    copy = lab.root / "20211215/001_SN08030" / lab.paths[0].name
    copy.parent.mkdir(parents=True)
    shutil.copy(lab.paths[0], copy)
    lab.night()
    first, second = lab.action(lab.paths[0]), lab.action(copy)
    assert first.unit != second.unit
    assert first.components["image_id"] == second.components["image_id"]


def test_a_new_decoder_does_not_name_known_pictures_anew(lab, monkeypatch):
    names = {a.unit: a.components["image_id"] for a in lab.state.stage(SCAN)}
    monkeypatch.setattr("anabatch.imaging.image_id", lambda _: "of another decoder")
    lab.night(max_pixels=100_000)
    assert {a.unit: a.components["image_id"] for a in lab.state.stage(SCAN)} == names


def test_a_plan_reads_nothing_and_says_why(lab, reads, tmp_path):
    draw(lab.root / DAY / "new.bmp", 50)
    lab.paths[0].chmod(0o600)
    with lab.paths[1].open("ab") as file:
        file.write(b"!")
    lab.paths[2].unlink()
    plans = []
    lab.night(job=SimpleNamespace(run=lambda context: plans.append(scan_job.plan(context))))
    (plan,) = plans
    reasons = {path.rpartition("/")[2]: str(why) for _, _, path, why in plan.reasons}
    size = lab.paths[1].stat().st_size
    assert reasons == {
        "new.bmp": "NEW",
        lab.paths[0].name: "INPUT time of the file's entry changed",
        lab.paths[1].name: f"INPUT size {size - 1} -> {size}",
    }
    assert [a.components["relative_path"] for a in plan.gone] == [
        lab.paths[2].relative_to(lab.root).as_posix()
    ]
    assert (plan.unchanged, reads) == (3, [])


@pytest.fixture(scope="module")
def forty(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forty")
    made = Laboratory(folder, images=40)
    made.night()
    return folder


@pytest.fixture
def many(forty, tmp_path):
    shutil.copytree(forty, tmp_path, dirs_exist_ok=True)
    lab = Laboratory.__new__(Laboratory)
    lab.root, lab.store = tmp_path / "DATA", tmp_path / "store"
    lab.paths = sorted(lab.root.rglob("*.bmp"))
    return lab


def accepting(context):
    context.accept_vanished = True
    scan_job.run(context)


def test_more_than_the_allowed_share_gone_is_refused_with_the_numbers(many):
    for path in many.paths[:10]:
        path.unlink()
    version = many.version
    with pytest.raises(GuardError, match=r"10 of the 40 known images of archive sim are gone") as e:
        many.night()
    assert "mounted" in e.value.remedy
    assert "--accept-vanished" in e.value.remedy
    assert (many.version, len(many.state.stage(SCAN))) == (version, 40)
    many.night(job=SimpleNamespace(run=accepting))
    assert len(many.state.stage(SCAN)) == 30


def test_as_many_as_the_share_allows_may_go(many):
    for path in many.paths[:10]:
        path.unlink()
    many.night(guards={"vanished_share": 0.25})
    assert len(many.state.stage(SCAN)) == 30


def test_two_may_go_from_a_small_archive_but_not_three_and_not_all(lab):
    for path in lab.paths[:2]:
        path.unlink()
    lab.night()
    assert len(lab.state.stage(SCAN)) == 4
    for path in lab.paths[2:5]:
        path.unlink()
    with pytest.raises(GuardError, match="3 of the 4 known images"):
        lab.night()
    lab.night(job=SimpleNamespace(run=accepting))
    assert len(lab.state.stage(SCAN)) == 1
    lab.paths[5].unlink()
    with pytest.raises(GuardError, match="none of the 1 known images"):
        lab.night()
    lab.night(job=SimpleNamespace(run=accepting))
    assert lab.state.stage(SCAN) == []


def test_what_cannot_be_looked_at_has_not_vanished(many, monkeypatch):
    hidden = many.root / "20211215" / "005_SN08030"
    hidden.mkdir(parents=True)
    many.night()
    for path in many.paths[5:]:
        path.rename(hidden / path.name)
    many.night(job=SimpleNamespace(run=accepting))
    scandir = os.scandir

    def refuse(path):
        if str(path) == str(hidden):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        many.night()
    assert len(many.state.stage(SCAN)) == 40
    (problem,) = many.state.failures()
    assert (problem.stage, problem.unit) == (LIST, "sim/20211215/005_SN08030")
    many.night()
    assert many.state.failures() == []


def test_a_file_that_breaks_its_batch_is_given_up_alone_and_not_tried_every_night(
    tmp_path, monkeypatch, reads
):
    lab = Laboratory(tmp_path)
    guilty = lab.paths[3].name

    def break_on_one(data, archive, layout, file, **options):
        if file.name == guilty:
            message = "a decoder that nobody knew"
            raise RuntimeError(message)
        return acquire(data, archive, layout, file, **options)

    monkeypatch.setattr(scan_stage, "acquire", break_on_one)
    lab.night()
    outcomes = {a.components["relative_path"]: a.outcome for a in lab.state.stage(SCAN)}
    assert sorted(outcomes.values()) == ["failed", *["ok"] * 5]
    (failure,) = lab.state.failures()
    assert failure.reason == "RuntimeError: a decoder that nobody knew"
    reads.clear()
    version = lab.version
    lab.night()
    assert (reads, lab.version) == ([], version)
    monkeypatch.undo()
    draw(lab.paths[3], 77)
    lab.night()
    assert lab.state.failures() == []


@pytest.mark.parametrize(("images", "many"), [(1, "1 image of "), (2, "2 images of ")])
def test_sizes_that_nobody_named_are_told(tmp_path, images, many):
    lab = Laboratory(tmp_path, images)
    events = run_jobs(make_config(lab.root, lab.store), scan_job)
    (size,) = told(events, "size")
    assert size["message"].startswith(f"archive sim: {many}20 x 16: size unknown, ")

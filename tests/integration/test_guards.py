"""What a run must not believe: an empty disk, a folder that it may not read, other weights."""

import dataclasses
import os
import shutil

import pytest
from anabatch.jobs import annotate as annotate_job
from anabatch.jobs import context as context_module
from anabatch.jobs import featurize as featurize_job
from anabatch.jobs import scan as scan_job
from anabatch.jobs import segment as segment_job
from running import make_config, run_jobs

import anabatch
from anabatch.archive.listing import list_archive
from anabatch.errors import GuardError, WeightsError
from anabatch.store.live import CELLS, SCAN
from anabatch.store.recipes import Recipe


def contents(config):
    store = anabatch.open_store(config.store)
    return {name: len(store.table(name).to_pandas()) for name in ("acquisitions", "annotations")}


def unreadable(monkeypatch, folder):
    """Make the listing meet a folder that it may not read; as root, no permission would do."""

    def listing(root, layout, **known):
        seen = list_archive(root, layout, **known)
        hidden = "" if folder == "." else f"{folder}/"
        return dataclasses.replace(
            seen,
            images=tuple(f for f in seen.images if not f.relative_path.startswith(hidden)),
            exports=tuple(f for f in seen.exports if not f.relative_path.startswith(hidden)),
            problems=((folder, "the folder cannot be read: Permission denied"),),
        )

    monkeypatch.setattr(context_module, "list_archive", listing)


def test_an_archive_whose_images_are_all_gone_is_refused(own_copy):
    before = contents(own_copy)
    root = own_copy.archives[0].path
    shutil.rmtree(root)
    root.mkdir()
    with pytest.raises(GuardError, match="none of the 6 known images"):
        run_jobs(own_copy)
    assert contents(own_copy) == before


def test_a_root_that_cannot_be_read_takes_nothing_away(own_copy, monkeypatch):
    before = contents(own_copy)
    unreadable(monkeypatch, ".")
    with pytest.raises(GuardError):
        run_jobs(own_copy, scan_job)
    assert contents(own_copy) == before


def test_a_run_folder_that_cannot_be_read_keeps_its_images_and_labels(own_copy, monkeypatch):
    before = contents(own_copy)
    folders = sorted({p.parent for p in own_copy.archives[0].path.rglob("*.jpg")})
    hidden = folders[-1].relative_to(own_copy.archives[0].path).as_posix()
    if len(folders) == 1:  # keep one image in sight, or it would look like an empty disk
        other = folders[0].parent / "009_SN08030"
        other.mkdir()
        shutil.copy(next(folders[0].glob("*.jpg")), other / "001_0ae1_1_277777777_3_14_01.jpg")
        run_jobs(own_copy, scan_job)
        run_jobs(own_copy, annotate_job)
        before = contents(own_copy)
    unreadable(monkeypatch, hidden)
    run_jobs(own_copy, scan_job)
    run_jobs(own_copy, annotate_job)
    assert contents(own_copy) == before
    (problem,) = anabatch.open_store(own_copy.store).state.failures()
    assert "Permission denied" in str(problem.reason)


def test_what_could_not_be_read_is_read_again(own_copy, monkeypatch):
    path = min(own_copy.archives[0].path.rglob("*.jpg"))
    original = os.open

    def denied(name, *arguments, **options):
        if str(name) == str(path):
            raise PermissionError(13, "Permission denied")
        return original(name, *arguments, **options)

    path.write_bytes(path.read_bytes() + b" ")  # looked at again, whatever it holds
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", denied)
        run_jobs(own_copy, scan_job)
    (failure,) = anabatch.open_store(own_copy.store).state.failures()
    assert "Permission denied" in str(failure.reason)
    run_jobs(own_copy, scan_job)
    assert anabatch.open_store(own_copy.store).state.failures() == []


def test_a_scan_alone_takes_the_cells_of_deleted_images_with_it(own_copy):
    path = min(own_copy.archives[0].path.rglob("*.jpg"))
    path.unlink()
    run_jobs(own_copy, scan_job)
    store = anabatch.open_store(own_copy.store)
    shown = {a.components["image_id"] for a in store.state.stage(SCAN)}
    assert {action.unit for action in store.state.stage(CELLS)} <= shown
    cells = store.table("cells").to_pandas()
    assert len(cells) == store.array("features").shape[0] == len(store.array("crops").compute())


def test_every_version_of_the_ledger_can_be_read(own_copy):
    """An image moves from one date to another while the other date gets a new image."""
    root = own_copy.archives[0].path
    first, second, *_ = sorted(root.rglob("*.jpg"))
    later = root / "20220101" / "001_SN08030"
    later.mkdir(parents=True)
    shutil.copy(first, later / first.name)
    run_jobs(own_copy)
    first.unlink()
    run_jobs(own_copy)
    (later / first.name).unlink()
    data = second.read_bytes()
    (later / "002_0ae1_1_266666666_3_14_02.jpg").write_bytes(data)
    run_jobs(own_copy)
    newest = anabatch.open_store(own_copy.store).version
    for version in range(2, newest + 1):
        store = anabatch.open_store(own_copy.store, at=version)
        assert store.table("cells").to_pandas().cell_id.is_unique, version


def test_a_worker_with_other_weights_than_planned_is_an_error(own_copy, tmp_path, monkeypatch):
    config = make_config(
        own_copy.archives[0].path, tmp_path / "other", segment={"cell_diameter": 130.0}
    )
    run_jobs(config, scan_job)
    monkeypatch.setattr(segment_job, "segmentation_digest", lambda _: "of other files")
    with pytest.raises(WeightsError, match="not those that the run was planned with"):
        run_jobs(config, segment_job)


def test_features_of_other_weights_than_planned_are_an_error(own_copy, monkeypatch):
    other = Recipe("featurize", 1, {}, {"weights": "of another file"})
    monkeypatch.setattr(featurize_job, "features_digest", lambda _: "of another file")
    monkeypatch.setattr(featurize_job, "featurize_recipe", lambda _: other)
    monkeypatch.setattr(featurize_job, "refuse_recompute", lambda *_: None)
    with pytest.raises(WeightsError, match="not those that the run was planned with"):
        run_jobs(own_copy, featurize_job)

"""One image that no stage can bear: it alone is given up, and its neighbours lose nothing."""

import pytest
import tiny
from anabatch.jobs import segment as segment_job
from cheap import cheap_networks
from contents import whole_contents
from running import run_jobs
from tiny import add_images, grey_levels, tiny_config

import anabatch
from anabatch.cells import cut_cells as cut
from anabatch.errors import DeviceError
from anabatch.segmentation.two_pass import TwoPassSegmenter
from anabatch.stages import cells as cells_stage
from anabatch.stages import scan as scan_stage
from anabatch.store.live import CELLS, SCAN, SEGMENT


@pytest.fixture
def archive(tmp_path):
    add_images(tmp_path / "DATA", range(9))
    return tmp_path / "DATA"


@pytest.fixture(autouse=True)
def _cheap():
    with cheap_networks():
        yield


def image_id(store, name):
    (found,) = (
        a for a in store.state.stage(SCAN) if str(a.components["relative_path"]).endswith(name)
    )
    return found.components["image_id"]


def broken_in_segmentation(monkeypatch, error, *, pictures):
    """Make the segmenter raise on every batch that holds one of the given signals."""
    original = TwoPassSegmenter.segment

    def segment(self, signals, pixels):
        if any(signal.sum() in pictures for signal in signals):
            raise error
        return original(self, signals, pixels)

    monkeypatch.setattr(TwoPassSegmenter, "segment", segment)


def test_the_guilty_image_alone_is_in_quarantine(archive, tmp_path, monkeypatch):
    guilty = sorted(archive.rglob("*.jpg"))[4]
    with monkeypatch.context() as patch:
        broken_in_segmentation(
            patch, MemoryError("cannot allocate"), pictures=[grey_levels(guilty)]
        )
        config = tiny_config(archive, tmp_path / "store")
        events = run_jobs(config, tiny)
    store = anabatch.open_store(config.store)
    (failure,) = store.state.failures()
    assert failure.stage == SEGMENT
    assert failure.unit == image_id(store, guilty.name)
    assert failure.reason == "MemoryError: cannot allocate"
    assert sum(event["event"] == "failed" for event in events) == 2
    before = whole_contents(store)

    guilty.rename(tmp_path / guilty.name)
    without = tiny_config(archive, tmp_path / "without")
    run_jobs(without, tiny)
    after = whole_contents(anabatch.open_store(without.store))
    for name in ("crops", "masks", "features", "label images", "cells"):
        assert before[name] == after[name], name


def test_many_images_that_fail_alike_block_nobody_and_are_tried_again(
    archive, tmp_path, monkeypatch
):
    config = tiny_config(archive, tmp_path / "store")
    late = add_images(archive, range(20, 32))
    with monkeypatch.context() as patch:
        levels = {grey_levels(path) for path in late}
        broken_in_segmentation(patch, ValueError("a bug"), pictures=levels)
        events = run_jobs(config, tiny)
    store = anabatch.open_store(config.store)
    assert {failure.reason for failure in store.state.failures()} == {"ValueError: a bug"}
    assert len(store.state.failures()) == 12
    assert len(store.state.stage(SCAN)) == 21
    assert len(store.state.stage(CELLS)) == 9
    assert store.array("embedding").shape[0] == 9 * 6
    (told,) = (event for event in events if event["event"] == "alike")
    assert told["items"] == 12

    run_jobs(config, tiny)
    store = anabatch.open_store(config.store)
    assert store.state.failures() == []
    assert len(store.state.stage(CELLS)) == 21


def test_many_files_that_fail_alike_are_scanned_again(archive, tmp_path, monkeypatch):
    config = tiny_config(archive, tmp_path / "store")
    add_images(archive, range(20, 23))

    def fail(*_, **__):
        message = "a bug"
        raise ValueError(message)

    with monkeypatch.context() as patch:
        patch.setattr(scan_stage, "acquire", fail)
        run_jobs(config, tiny)
    store = anabatch.open_store(config.store)
    assert len(store.state.failures()) == len(store.state.stage(SCAN)) == 12
    run_jobs(config, tiny)
    store = anabatch.open_store(config.store)
    assert store.state.failures() == []
    assert len(store.state.stage(CELLS)) == 12


def test_an_image_that_cannot_be_cut_keeps_its_label_images(archive, tmp_path, monkeypatch):
    config = tiny_config(archive, tmp_path / "store")
    run_jobs(config, tiny)
    store = anabatch.open_store(config.store)
    guilty = store.state.stage(CELLS)[3].unit

    def cut_or_fail(signal, nuclei, cells, *, image_id, crop):
        if image_id == guilty:
            message = "a bug"
            raise ZeroDivisionError(message)
        return cut(signal, nuclei, cells, image_id=image_id, crop=crop)

    monkeypatch.setattr(cells_stage, "cut_cells", cut_or_fail)
    run_jobs(tiny_config(archive, config.store, cells={"crop": 64}), segment_job, accept=True)
    store = anabatch.open_store(config.store)
    (failure,) = store.state.failures()
    assert (failure.stage, failure.unit) == (CELLS, guilty)
    assert failure.reason == "ZeroDivisionError: a bug"
    assert store.label_image(guilty)[1].any()
    cells = store.table("cells").to_pandas()
    assert guilty not in set(cells.image_id)
    assert len(cells) == store.array("crops").shape[0] == 8 * 6


def test_a_device_that_is_not_there_ends_the_run_and_quarantines_nobody(
    archive, tmp_path, monkeypatch
):
    sums = [grey_levels(path) for path in archive.rglob("*.jpg")]
    broken_in_segmentation(monkeypatch, DeviceError("there is no GPU"), pictures=sums)
    config = tiny_config(archive, tmp_path / "store")
    with pytest.raises(DeviceError):
        run_jobs(config, tiny)
    assert anabatch.open_store(config.store).state.failures() == []

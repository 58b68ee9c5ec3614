"""What a later run does when the archive has changed: what depends on the change, and no more."""

import io
import shutil
from collections import Counter

import numpy as np
import pytest
from anabatch.jobs import segment as segment_job
from PIL import Image
from running import make_config, run_jobs

import anabatch
from anabatch.store.live import ANNOTATE, CELLS, EMBED, FEATURIZE, SCAN, SEGMENT
from anabatch.store.recipes import RECIPE

FREE = {"recompute_share": 1.0}


def done_by_last_run(config):
    """Count the actions of the newest run, by stage."""
    store = anabatch.open_store(config.store)
    actions = [action for action in store.state.actions() if action.stage != RECIPE]
    newest = max(action.run for action in actions)
    return Counter(action.stage for action in actions if action.run == newest)


def images_of(config):
    return sorted(config.archives[0].path.rglob("*.jpg"))


def flipped(path):
    """Replace an image by its mirror image: other pixels, as many cells."""
    mirrored = Image.open(io.BytesIO(path.read_bytes())).transpose(Image.Transpose.ROTATE_180)
    mirrored.save(path, quality=95)


def crop_of_cell(store, row):
    """Cut a cell's box out of its label image, as a check that does not go through the crops."""
    _, labels = store.label_image(row.image_id)
    return labels[row.y0 : row.y1, row.x0 : row.x1] == row.label_id


def test_new_changed_and_deleted_images_keep_arrays_and_cells_aligned(own_copy):
    config = own_copy
    before = anabatch.open_store(config.store).table("cells").to_pandas()
    first, second, third, *_ = images_of(config)
    new = first.with_name("099_0ae00000001_1_299999999_3_14_11.jpg")
    shutil.copy(first, new)
    flipped(new)
    flipped(second)
    third.unlink()
    run_jobs(config)

    store = anabatch.open_store(config.store)
    cells = store.table("cells").to_pandas()
    crops, masks = store.array("crops").compute(), store.array("masks").compute()
    assert len(cells) == len(crops) == store.array("features").shape[0]
    assert (
        len(cells) == store.array("embedding").shape[0] == len(store.table("clusters").to_pandas())
    )
    assert cells.cell_id.is_unique
    live = store.table("acquisitions").to_pandas()
    assert set(cells.image_id) <= set(live.image_id)
    assert len(live) == 6
    kept = set(before.cell_id) & set(cells.cell_id)
    assert 0 < len(kept) < len(before)
    for row in cells.itertuples():
        assert crop_of_cell(store, row).sum() == row.area_px
    assert masks.any(axis=(1, 2)).all()
    areas = (masks > 0).mean(axis=(1, 2)) * 96**2 / cells.scale.to_numpy() ** 2
    assert areas == pytest.approx(cells.area_px.to_numpy(), rel=0.15, abs=30)
    old = anabatch.open_store(config.store, at=2)
    assert old.version == 2


def test_features_follow_their_cells_over_versions(own_copy):
    config = own_copy
    store = anabatch.open_store(config.store)
    ids = store.table("cells").to_pandas().cell_id
    before = dict(zip(ids, store.array("features").compute(), strict=True))
    images_of(config)[0].unlink()
    run_jobs(config)
    store = anabatch.open_store(config.store)
    ids = store.table("cells").to_pandas().cell_id
    after = dict(zip(ids, store.array("features").compute(), strict=True))
    assert 0 < len(after) < len(before)
    for cell, features in after.items():
        assert np.array_equal(features, before[cell])


def test_a_resaved_image_with_equal_pixels_computes_nothing_downstream(own_copy):
    config = own_copy
    path = images_of(config)[0]
    path.write_bytes(path.read_bytes() + b"\0trailing metadata")
    run_jobs(config)
    assert done_by_last_run(config) == {SCAN: 1}


def test_a_corrected_export_makes_labels_anew_and_no_image(own_copy):
    config = own_copy
    export = min(config.archives[0].path.rglob("*NEGATIV.csv"))
    export.write_bytes(export.read_bytes() + b"99;1;1:80;D:\\099_0a_1_12345678_3_14_01.jpg;NEG\r\n")
    run_jobs(config)
    assert done_by_last_run(config) == {ANNOTATE: 1}
    annotations = anabatch.open_store(config.store).table("annotations").to_pandas()
    added = annotations[annotations["sample"] == "12345678"]
    assert list(added.flag) == ["missing_image"]


def test_the_same_picture_twice_is_two_acquisitions_and_computed_once(own_copy):
    config = own_copy
    first = images_of(config)[0]
    other_date = config.archives[0].path / "20220101" / "001_SN08030"
    other_date.mkdir(parents=True)
    shutil.copy(first, other_date / "001_0ae00000009_1_288888888_3_14_01.jpg")
    before = len(anabatch.open_store(config.store).table("cells").to_pandas())
    run_jobs(config)
    store = anabatch.open_store(config.store)
    assert len(store.table("acquisitions").to_pandas()) == 7
    assert len(store.table("cells").to_pandas()) == before
    assert done_by_last_run(config)[SEGMENT] == 0
    groups = store.table("acquisitions").to_pandas().groupby("image_id").group.nunique()
    assert (groups == 1).all()


def test_a_bad_image_is_quarantined_and_the_rest_goes_on(own_copy):
    config = own_copy
    path = images_of(config)[0]
    path.write_bytes(path.read_bytes()[:500])
    run_jobs(config)
    store = anabatch.open_store(config.store)
    acquisitions = store.table("acquisitions").to_pandas()
    (bad,) = acquisitions[acquisitions.status == "quarantined"].itertuples()
    assert bad.file_name == path.name
    assert bad.reason
    assert len(store.state.failures()) == 1
    assert store.array("crops").shape[0] == len(store.table("cells").to_pandas()) > 0


def test_other_crops_need_no_new_segmentation(own_copy):
    config = own_copy
    other = make_config(config.archives[0].path, config.store, cells={"crop": 64}, guards=FREE)
    run_jobs(other, segment_job)
    assert set(done_by_last_run(other)) == {CELLS}
    assert anabatch.open_store(config.store).array("crops").shape[1:] == (64, 64)


def test_another_diameter_makes_everything_behind_it_anew(own_copy):
    config = own_copy
    other = make_config(
        config.archives[0].path, config.store, segment={"cell_diameter": 120.0}, guards=FREE
    )
    run_jobs(other)
    done = done_by_last_run(other)
    assert done[SEGMENT] == 6
    assert done[SCAN] == done[ANNOTATE] == 0
    assert done[FEATURIZE] == done[EMBED] > 0


def test_clusters_keep_their_numbers_over_a_refit(own_copy):
    config = own_copy
    before = anabatch.open_store(config.store).table("clusters").to_pandas()
    run_jobs(make_config(config.archives[0].path, config.store, embed={"seed": 5}))
    after = anabatch.open_store(config.store).table("clusters").to_pandas()
    assert set(after.generation) == {2}
    both = before.merge(after, on="cell_id", suffixes=("", "_after"))
    assert len(both) == len(before)
    assert (both.cluster == both.cluster_after).mean() > 0.8


def test_too_few_cells_for_clusters_are_waited_for_and_start_nothing(own_copy):
    config = make_config(own_copy.archives[0].path, own_copy.store, cluster={"k": 5000})
    for _ in range(2):
        events = run_jobs(config)
        told = {event["event"] for event in events}
        assert {"too_few", "nothing"} & told == {"too_few"}
        assert not told & {"dashboard", "start", "commit"}

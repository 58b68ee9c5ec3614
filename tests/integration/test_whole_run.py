"""The whole way of the data over a small simulated archive whose truth is known."""

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from running import run_jobs
from scipy import ndimage

import anabatch
from anabatch.imaging import decode, image_id
from anabatch.schema import table_schema
from anabatch.store.live import CELLS, SEGMENT


@pytest.fixture(scope="module")
def store(finished):
    return anabatch.open_store(finished[0].store)


def test_every_image_is_an_acquisition_with_its_content_identity(store, archive_of_six):
    acquisitions = store.table("acquisitions").to_pandas()
    on_disk = sorted(path for path in (archive_of_six / "DATA").rglob("*.jpg"))
    assert len(acquisitions) == len(on_disk) == 6
    by_path = acquisitions.set_index("relative_path").image_id
    for path in on_disk:
        pixels = decode(path.read_bytes(), max_pixels=10**6).pixels
        relative = path.relative_to(archive_of_six / "DATA").as_posix()
        assert by_path[relative] == image_id(pixels)


def test_annotations_are_those_that_the_simulator_wrote(store, archive_of_six):
    with (archive_of_six / "truth" / "annotations.csv").open(encoding="utf-8") as file:
        truth = list(csv.DictReader(file))
    names = ("label", "axis", "code", "flag", "source_file", "source_row")
    expected = sorted(tuple(row[name] for name in names) for row in truth)
    found = store.table("annotations").to_arrow().to_pylist()
    text = [["" if row[name] is None else str(row[name]) for name in names] for row in found]
    assert sorted(map(tuple, text)) == expected


def test_arrays_belong_to_the_rows_of_cells(store):
    cells = store.table("cells").to_pandas()
    crops, masks = store.array("crops").compute(), store.array("masks").compute()
    assert len(cells) == len(crops) == len(masks) > 20
    assert store.array("features").shape == (len(cells), 1152)
    assert store.array("features").dtype == np.float16
    assert store.array("embedding").shape[0] == len(cells)
    assert store.array("embedding").dtype == np.float32
    # a crop is black beyond the reach of cubic interpolation (two source pixels) from its mask
    for crop, mask, scale in zip(crops, masks, cells.scale, strict=True):
        reach = int(np.ceil(2 * max(scale, 1.0))) + 1
        near = ndimage.binary_dilation(mask > 0, np.ones((3, 3)), iterations=reach)
        assert not crop[~near].any()
    # and its mask is as large as the row says
    share = (masks > 0).mean(axis=(1, 2)) * 96**2 / cells.scale.to_numpy() ** 2
    assert np.allclose(share, cells.area_px, rtol=0.15, atol=30)


def test_label_images_hold_the_cells(store):
    cells = store.table("cells").to_pandas()
    for name, rows in cells.groupby("image_id"):
        nuclei, labels = store.label_image(name)
        assert nuclei.dtype == labels.dtype == np.int32
        assert nuclei.shape == labels.shape == (320, 420)
        assert set(np.unique(labels)) - {0} == set(rows.label_id)
        for row in rows.itertuples():
            inside = labels == row.label_id
            assert inside.sum() == row.area_px
            ys, xs = np.nonzero(inside)
            assert (ys.min(), xs.min(), ys.max() + 1, xs.max() + 1) == (
                row.y0,
                row.x0,
                row.y1,
                row.x1,
            )


def test_every_cell_is_in_a_cluster(store):
    cells, clusters = store.table("cells").to_pandas(), store.table("clusters").to_pandas()
    assert list(clusters.cell_id) == list(cells.cell_id)
    assert set(clusters.cluster) == {0, 1, 2}
    assert set(clusters.model) == {"archive"}
    assert set(clusters.generation) == {1}
    assert (clusters.distance >= 0).all()


def test_every_table_keeps_its_schema(store):
    for name in ("acquisitions", "annotations", "cells", "clusters"):
        assert store.table(name).to_arrow().schema.equals(table_schema(name))


def test_images_without_cells_say_so(store):
    for action in store.state.stage(CELLS):
        segmented = store.state.get(SEGMENT, action.unit)
        assert action.rows == segmented.components["cells"]
        assert (action.outcome == "no_cells") == (action.rows == 0)


def test_the_run_leaves_its_record(finished):
    config, events = finished
    (folder,) = (config.store / "runs").iterdir()
    assert (folder / "report.html").stat().st_size > 10_000
    lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    recorded = [json.loads(line) for line in lines]
    told = [event["event"] for event in recorded if event["level"] != "debug"]
    assert told == [event["event"] for event in events]
    assert {event["run"] for event in recorded} == {folder.name}
    assert json.loads((folder / "config.json").read_text())["cluster"]["k"] == 3
    assert pq.read_table(folder / "failures.parquet").num_rows == 0


def test_a_second_run_computes_nothing(finished):
    config, _ = finished
    before = anabatch.open_store(config.store).version
    events = run_jobs(config)
    assert {"start", "fit", "commit", "dashboard"}.isdisjoint(event["event"] for event in events)
    assert anabatch.open_store(config.store).version == before
    assert len(list((config.store / "runs").iterdir())) == 1

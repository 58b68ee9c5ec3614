"""A laboratory that nobody has thought of is added with a TOML file and a CSV, and no code."""

import json
from datetime import date

import numpy as np
import pytest
from anabatch.jobs import annotate, cli, scan
from PIL import Image
from running import make_config, run_jobs
from typer.testing import CliRunner

import anabatch
from anabatch.archive.layout import load_layout

LAYOUT = r"""
# LAB/2024-03-05/plate_7/A01_serum123.png, and beside the images one table of what was read
name = "north-wing"
path = '(?P<date>[0-9-]+)/plate_(?P<plate>[0-9]+)/[^/]+'
date_format = "%Y-%m-%d"
image_name = '(?P<well>[A-H][0-9]{2})_serum(?P<sample>[0-9]+)'
export_name = 'reading\.csv'
ignored = [".*"]

[pixels_per_reference_pixel]
60x48 = 0.5

[export]
separators = [","]
header_lines = 1
kind = "ALL"
term_separator = "/"
term = '(?P<code>[0-9]+)(?: *= *(?P<name>.*))?'
codes = "north_wing_codes.csv"

[export.columns]
image = ["Picture"]
pattern = ["Finding"]
sample = ["Patient No"]
"""

CODES = """code,alias_of,label
2,,negative
3,,positive
401,,centromere
402,,dense fine speckled
412,402,
"""

READING = """Picture,Patient No,Finding,Read by
A01_serum123.png,123,3 = pos / 401 = Centromere,"Smith, J."
A02_serum124.png,124,2 = neg,Smith
A03_serum125.png,125,3/412,Smith
A04_serum126.png,126,,Smith
"""


@pytest.fixture
def laboratory(tmp_path):
    """Two plates of one day and one of another; the TOML and the CSV lie in a folder of their own."""
    wells = {
        "2024-03-05/plate_7": ("A01_serum123", "A02_serum124", "A03_serum125"),
        "2024-03-05/plate_8": ("A01_serum123", "H12_serum99"),
        "2024-11-30/plate_7": ("B05_serum2024113001",),
    }
    rng = np.random.default_rng(4)
    for folder, names in wells.items():
        (tmp_path / "LAB" / folder).mkdir(parents=True)
        for name in names:
            pixels = rng.integers(0, 255, (48, 60), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "LAB" / folder / f"{name}.png")
    (tmp_path / "LAB/2024-03-05/plate_7/reading.csv").write_text(READING, encoding="utf-8")
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "north-wing.toml").write_text(LAYOUT, encoding="utf-8")
    (tmp_path / "ours" / "north_wing_codes.csv").write_text(CODES, encoding="utf-8")
    return tmp_path


def check(folder, *options):
    return CliRunner().invoke(
        cli.app,
        ["layout", "check", str(folder / "LAB"), *options],
    )


def annotated(store):
    opened = anabatch.open_store(store)
    paths = {
        row["acquisition_id"]: row["relative_path"]
        for row in opened.table("acquisitions").to_arrow().to_pylist()
    }
    return sorted(
        (
            row["source_row"],
            paths.get(row["acquisition_id"]),
            row["sample"],
            row["label"],
            row["code"],
            row["flag"],
        )
        for row in opened.table("annotations").to_arrow().to_pylist()
        if row["source_row"]
    )


def config_of(laboratory):
    entry = {
        "name": "north",
        "path": str(laboratory / "LAB"),
        "layout": str(laboratory / "ours" / "north-wing.toml"),
    }
    return make_config(laboratory / "LAB", laboratory / "store", archives=[entry])


def test_it_is_checked_before_anything_runs(laboratory):
    done = check(laboratory, "--layout", str(laboratory / "ours" / "north-wing.toml"), "--json")
    found = json.loads(done.stdout)["check"]
    assert (done.exit_code, found["unmatched"]) == (0, [])
    assert {one["pattern"]: (one["matched"], one["unmatched"]) for one in found["patterns"]} == {
        "path": (7, 0),
        "image_name": (6, 0),
        "export_name": (1, 0),
    }
    assert found["dates"]["first"] == "2024-03-05"
    assert found["dates"]["last"] == "2024-11-30"
    assert found["sizes"]["sizes"] == [["60x48", 6, 0.5]]
    exports = found["export_contents"]
    assert exports["columns"] == {
        "image": {"Picture": 1},
        "pattern": {"Finding": 1},
        "sample": {"Patient No": 1},
    }
    assert exports["separators"] == {",": 1}
    assert (exports["rows"], exports["rows_with_image"]) == (4, 3)
    assert {(code["code"], code["label"]) for code in exports["codes"]} == {
        (2, "negative"),
        (3, "positive"),
        (401, "centromere"),
        (402, "dense fine speckled"),
    }
    assert not (laboratory / "store").exists()


def test_no_shipped_layout_is_taken_for_it(laboratory):
    done = check(laboratory)
    assert type(done.exception).__name__ == "AmbiguousLayoutError"
    assert "dated" in done.stdout


def test_its_images_and_labels_are_read(laboratory):
    config = config_of(laboratory)
    run_jobs(config, scan, create=True)
    run_jobs(config, annotate)
    store = anabatch.open_store(config.store)
    acquisitions = store.table("acquisitions").to_arrow().to_pylist()
    keys = ("relative_path", "date", "plate", "well", "sample", "serum", "layout", "status")
    assert sorted(tuple(row[key] for key in keys)[:6] for row in acquisitions) == [
        ("2024-03-05/plate_7/A01_serum123.png", date(2024, 3, 5), "7", "A01", "123", "7/123"),
        ("2024-03-05/plate_7/A02_serum124.png", date(2024, 3, 5), "7", "A02", "124", "7/124"),
        ("2024-03-05/plate_7/A03_serum125.png", date(2024, 3, 5), "7", "A03", "125", "7/125"),
        ("2024-03-05/plate_8/A01_serum123.png", date(2024, 3, 5), "8", "A01", "123", "8/123"),
        ("2024-03-05/plate_8/H12_serum99.png", date(2024, 3, 5), "8", "H12", "99", "8/99"),
        (
            *("2024-11-30/plate_7/B05_serum2024113001.png", date(2024, 11, 30)),
            *("7", "B05", "2024113001", "2024113001"),
        ),
    ]
    assert {row["pixels_per_reference_pixel"] for row in acquisitions} == {0.5}
    assert {(row["layout"], row["status"]) for row in acquisitions} == {("north-wing", "ok")}
    plate = "2024-03-05/plate_7"
    assert annotated(config.store) == [
        (2, f"{plate}/A01_serum123.png", "123", "centromere", 401, None),
        (2, f"{plate}/A01_serum123.png", "123", "positive", 3, None),
        (3, f"{plate}/A02_serum124.png", "124", "negative", 2, None),
        (4, f"{plate}/A03_serum125.png", "125", "dense fine speckled", 402, None),
        (4, f"{plate}/A03_serum125.png", "125", "positive", 3, None),
        (5, None, "126", None, None, "missing_image"),
    ]


def test_a_corrected_code_table_makes_the_labels_anew_and_reads_no_image(laboratory):
    config = config_of(laboratory)
    run_jobs(config, scan, create=True)
    run_jobs(config, annotate)
    table = laboratory / "ours" / "north_wing_codes.csv"
    table.write_text(CODES.replace("402,,dense fine speckled", "402,,speckled"), encoding="utf-8")
    events = run_jobs(config, scan)
    assert not [event for event in events if event["event"] == "commit"]
    run_jobs(config, annotate, accept=True)
    assert "speckled" in {row[3] for row in annotated(config.store)}
    assert "dense fine speckled" not in {row[3] for row in annotated(config.store)}


def test_a_corrected_dialect_reads_no_image(laboratory):
    config = config_of(laboratory)
    layout = laboratory / "ours" / "north-wing.toml"
    before = load_layout(str(layout))
    run_jobs(config, scan, create=True)
    run_jobs(config, annotate)
    layout.write_text(LAYOUT.replace('"Finding"', '"Read by"'), encoding="utf-8")
    after = load_layout(str(layout))
    assert after.scan_digest == before.scan_digest
    assert after.labels_digest != before.labels_digest
    assert not [event for event in run_jobs(config, scan) if event["event"] == "commit"]
    run_jobs(config, annotate, accept=True)
    assert {row[5] for row in annotated(config.store)} == {"no_code", "missing_image"}

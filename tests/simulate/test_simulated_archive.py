import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from anabatch.errors import ConfigurationError
from anabatch.simulate.archive import simulate_archive
from anabatch.simulate.field import PATTERNS

SIZE = (150, 120)
RUN = r"\d{8}/\d{3}_SN\d{5}"
IMAGE = rf"{RUN}/\d{{3}}_[0-9a-z]+_1_\d+_3_14_\d\d\.jpg"
EXPORT = rf"{RUN}/exp_pl_LIS_\d{{8}}_\d{{6}}_SN\d{{4}}_(SCREEN|NEGATIV)\.csv"


@pytest.fixture(scope="module")
def dated(tmp_path_factory):
    out = tmp_path_factory.mktemp("dated")
    simulate_archive(out, images=24, seed=5, layout="dated", size=SIZE)
    return out


@pytest.fixture(scope="module")
def by_class(tmp_path_factory):
    out = tmp_path_factory.mktemp("by-class")
    simulate_archive(out, images=18, seed=5, layout="by-class", size=SIZE)
    return out


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory):
    out = tmp_path_factory.mktemp("unlabelled")
    simulate_archive(out, images=9, seed=5, layout="unlabelled", size=SIZE)
    return out


def truth(out, name):
    with (out / "truth" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def files(root):
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def content(root):
    return {name: (root / name).read_bytes() for name in files(root)}


def read_export(path):
    """Read an export by hand: the names of its columns, and its rows by physical line."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252")
    lines = text.splitlines()
    header = lines[1].split(";")
    rows = {
        number: dict(zip(header, line.split(";"), strict=True))
        for number, line in enumerate(lines[2:], 3)
    }
    return header, rows


def exports(out):
    return sorted((out / "DATA").rglob("*.csv"))


class TestDated:
    def test_paths_follow_the_layout(self, dated):
        found = files(dated / "DATA")
        images = {name for name in found if name.endswith(".jpg")}
        tables = {name for name in found if name.endswith(".csv")}
        assert len(images) == 24
        assert all(re.fullmatch(IMAGE, name) for name in images)
        assert all(re.fullmatch(EXPORT, name) for name in tables)
        rest = {name.rpartition("/")[2] for name in found - images - tables}
        assert rest == {"audit.log", "checksums.dat"}

    def test_four_dates_and_an_empty_one(self, dated):
        folders = [path for path in (dated / "DATA").iterdir() if path.is_dir()]
        assert len(folders) == 5
        assert sum(not any(folder.iterdir()) for folder in folders) == 1

    def test_some_runs_were_never_read(self, dated):
        runs = [path for path in (dated / "DATA").glob("*/*") if path.is_dir()]
        without = [run for run in runs if not list(run.glob("*.csv"))]
        assert without
        assert len(without) < len(runs)

    def test_exports_hold_a_preamble_then_the_header(self, dated):
        for path in exports(dated):
            header, rows = read_export(path)
            assert path.read_bytes().removeprefix(b"\xef\xbb\xbf").startswith(b"LIS export;")
            assert header[:4] == ["WellPos", "SampleId", "Dilution", "ImName"]
            assert rows
            assert all(row["ImName"].startswith("D:\\Data\\") for row in rows.values())

    def test_the_dialects_of_the_years_all_occur(self, dated):
        data = [path.read_bytes() for path in exports(dated)]
        assert any(each.startswith(b"\xef\xbb\xbf") for each in data)
        assert any(b"\r\n" in each for each in data)
        assert any(b"\r" not in each for each in data)
        assert any(b"ScreenPattern" in each for each in data)
        assert any(re.search(rb"[\xe8\xe9](?![\x80-\xbf])", each) for each in data)  # cp1252

    def test_every_flag_occurs(self, dated):
        assert {row["flag"] for row in truth(dated, "annotations")} == {
            "",
            "missing_image",
            "conflict",
            "sample_mismatch",
            "unknown_code",
            "no_code",
            "empty_pattern",
        }

    def test_annotations_agree_with_the_written_rows(self, dated):
        by_row: dict[tuple[str, int], list[dict[str, str]]] = {}
        for row in truth(dated, "annotations"):
            by_row.setdefault((row["source_file"], int(row["source_row"])), []).append(row)
        repeats = 0
        for path in exports(dated):
            header, rows = read_export(path)
            name = path.relative_to(dated / "DATA").as_posix()
            seen = []
            for line, row in rows.items():
                if row in seen:
                    repeats += 1
                    assert (name, line) not in by_row
                    continue
                seen.append(row)
                status, *terms = by_row.pop((name, line))
                positive = "SCREEN" in name
                assert (status["code"], status["axis"]) == ("3" if positive else "2", "status")
                file_name = row["ImName"].rpartition("\\")[2]
                assert {each["file_name"] for each in [status, *terms]} == {file_name}
                image = path.parent / file_name
                there = file_name != ".jpg" and image.is_file()
                expected = image.relative_to(dated / "DATA").as_posix() if there else ""
                assert {each["relative_path"] for each in [status, *terms]} == {expected}
                written = row[header[4]].split("+") if positive else []
                assert len(terms) == len(written)
        assert repeats == 2
        assert not by_row

    def test_aliases_are_resolved(self, dated):
        codes = {row["code"] for row in truth(dated, "annotations")}
        written = "".join(path.read_text("cp1252") for path in exports(dated))
        assert "[7]" in written
        assert not codes & {"6", "7", "8", "44"}

    def test_a_sample_has_one_truth_and_some_have_several_images(self, dated):
        samples: dict[tuple[str, str], list[dict[str, str]]] = {}
        for row in truth(dated, "labels"):
            assert f"_1_{row['sample']}_3_14_" in row["relative_path"]
            plate = row["relative_path"].split("_")[2] if len(row["sample"]) < 8 else ""
            samples.setdefault((row["sample"], plate), []).append(row)
        for rows in samples.values():
            assert len({row["patterns"] for row in rows}) == 1
        several = [rows for rows in samples.values() if len(rows) > 1]
        assert several
        assert any(len({row["relative_path"][:8] for row in rows}) > 1 for rows in several)

    def test_composite_labels_occur(self, dated):
        assert any("+" in row["patterns"] for row in truth(dated, "labels"))

    def test_half_a_year_of_images(self, tmp_path):
        root = simulate_archive(tmp_path, images=130, seed=1, layout="dated", size=(64, 64))
        dates = sorted(path.name for path in root.iterdir())
        assert len(dates) == 130 // 6 + 1
        assert len(list(root.rglob("*.jpg"))) == 130

    @pytest.mark.parametrize("images", [1, 2, 5, 7, 12])
    def test_small_archives(self, tmp_path, images):
        root = simulate_archive(tmp_path, images=images, seed=1, layout="dated", size=(64, 64))
        assert len(list(root.rglob("*.jpg"))) == images
        assert len(truth(tmp_path, "labels")) == images


class TestTruth:
    @pytest.fixture(params=["dated", "by_class", "unlabelled"])
    def out(self, request):
        return request.getfixturevalue(request.param)

    def test_every_image_has_its_row(self, out):
        images = {name for name in files(out / "DATA") if name.endswith(".jpg")}
        rows = truth(out, "labels")
        assert {row["relative_path"] for row in rows} == images
        assert len(rows) == len(images)

    def test_label_images_match_their_rows(self, out):
        for row in truth(out, "labels"):
            name = row["relative_path"].removesuffix(".jpg") + ".tif"
            nuclei = tifffile.imread(out / "truth" / "nuclei" / name)
            cells = tifffile.imread(out / "truth" / "cells" / name)
            assert nuclei.dtype == cells.dtype == np.uint16
            assert nuclei.shape == cells.shape == SIZE[::-1]
            assert nuclei.max() == cells.max() == int(row["n_cells"])
            assert np.array_equal(cells[nuclei > 0], nuclei[nuclei > 0])

    def test_patterns_and_status(self, out):
        for row in truth(out, "labels"):
            names = row["patterns"].split("+")
            assert set(names) <= set(PATTERNS)
            assert row["status"] == ("negative" if names == ["negative"] else "positive")

    def test_images_are_green(self, out):
        for row in truth(out, "labels")[:4]:
            with Image.open(out / "DATA" / row["relative_path"]) as image:
                assert image.format == "JPEG"
                assert image.size == SIZE
                red, green, blue = np.asarray(image).reshape(-1, 3).mean(0)
            assert green > 4 * max(red, blue)


def test_class_folders(by_class):
    rows = truth(by_class, "annotations")
    images = {row["relative_path"] for row in rows}
    assert images == {name for name in files(by_class / "DATA") if name.endswith(".jpg")}
    assert all(re.fullmatch(r"[^/]+/[^/]+/\d+\.jpg", name) for name in images)
    for image in images:
        axes = {row["axis"]: row["label"] for row in rows if row["relative_path"] == image}
        assert axes["class"] == image.split("/")[1]
        assert len(axes) > 1
    assert not any(row["code"] or row["source_row"] or row["flag"] for row in rows)


def test_unlabelled_folders_have_empty_masks(unlabelled):
    folders = sorted(path.name for path in (unlabelled / "DATA").iterdir())
    assert folders == ["pat_7", "pat_8"]
    for name in folders:
        folder = unlabelled / "DATA" / name
        assert (folder / "masks").is_dir()
        assert not any((folder / "masks").iterdir())
        assert {path.name for path in folder.glob("*.jpg")} >= {f"{name}_1.jpg", f"{name}_4.jpg"}
    assert truth(unlabelled, "annotations") == []


def test_same_arguments_give_the_same_bytes(by_class, tmp_path):
    simulate_archive(tmp_path, images=18, seed=5, layout="by-class", size=SIZE)
    assert content(tmp_path) == content(by_class)


def test_another_seed_gives_other_images(tmp_path):
    first = simulate_archive(tmp_path / "a", images=1, seed=1, layout="by-class", size=SIZE)
    other = simulate_archive(tmp_path / "b", images=1, seed=2, layout="by-class", size=SIZE)
    assert content(first).keys() == content(other).keys()
    assert content(first) != content(other)


def test_a_finished_archive_is_left_alone_and_an_unfinished_one_drawn_again(tmp_path):
    arguments: dict[str, Any] = {"images": 1, "seed": 1, "layout": "by-class", "size": SIZE}
    root = simulate_archive(tmp_path, **arguments)
    image = next(root.rglob("*.jpg"))
    whole = image.read_bytes()
    image.write_bytes(b"")
    simulate_archive(tmp_path, **arguments)
    assert image.read_bytes() == b""
    manifest = tmp_path / "truth" / "simulation.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "finished": False}))
    simulate_archive(tmp_path, **arguments)
    assert image.read_bytes() == whole


def test_what_is_not_ours_is_refused(tmp_path):
    (tmp_path / "DATA").mkdir()
    with pytest.raises(ConfigurationError, match="was not simulated"):
        simulate_archive(tmp_path, images=1, seed=1, layout="dated", size=SIZE)


def test_other_arguments_are_refused(by_class):
    with pytest.raises(ConfigurationError, match="simulated from"):
        simulate_archive(by_class, images=18, seed=6, layout="by-class", size=SIZE)


@pytest.mark.parametrize(
    "wrong", [{"layout": "flat"}, {"images": 0}, {"seed": -1}, {"size": (63, 500)}]
)
def test_arguments_that_cannot_be_drawn_are_refused(tmp_path, wrong):
    arguments: dict[str, Any] = {"images": 1, "seed": 1, "layout": "dated", "size": SIZE, **wrong}
    with pytest.raises(ConfigurationError):
        simulate_archive(tmp_path, **arguments)
    assert not any(tmp_path.iterdir())


def test_atypical_cells_are_bright_and_written_down(tmp_path):
    root = simulate_archive(
        tmp_path, images=5, seed=3, layout="by-class", size=(420, 320), atypical=0.3
    )
    with (tmp_path / "truth" / "atypical.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {Path(row["relative_path"]).parent.name for row in rows} == {"Cyto atypique MDA5"}
    assert len(list((root / "Cytoplasme/Cyto atypique MDA5").iterdir())) == 4
    for path in {row["relative_path"] for row in rows}:
        signal = np.asarray(Image.open(root / path))[..., 1]
        cells = tifffile.imread(tmp_path / "truth/cells" / Path(path).with_suffix(".tif"))
        bright = [int(row["label"]) for row in rows if row["relative_path"] == path]
        typical = (cells > 0) & ~np.isin(cells, bright)
        assert all(np.mean(signal[cells == label]) > 90 for label in bright)
        assert np.median(signal[typical]) < 80


@pytest.mark.parametrize(
    ("share", "layout"), [(0.1, "dated"), (1.0, "by-class"), (-0.1, "by-class")]
)
def test_atypical_cells_that_cannot_be_drawn_are_refused(tmp_path, share, layout):
    with pytest.raises(ConfigurationError, match="atypical"):
        simulate_archive(tmp_path, images=2, seed=0, layout=layout, size=(96, 80), atypical=share)

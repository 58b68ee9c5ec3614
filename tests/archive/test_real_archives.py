"""The real archives, against what a reader of the files by hand would write down.

The expected rows were written from the bytes of the exports before the reader was run on them.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest

from anabatch.annotations import Vocabulary, annotate_classes, annotate_exports
from anabatch.archive.acquisition import acquire
from anabatch.archive.exports import read_export
from anabatch.archive.layout import detect_layout, file_date, load_layout
from anabatch.archive.listing import list_archive
from anabatch.errors import AmbiguousLayoutError
from anabatch.schema import to_table

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def real():
    folder = os.environ.get("ANABATCH_REAL_DATA")
    if not folder:
        pytest.skip("ANABATCH_REAL_DATA names no folder of real images")
    return Path(folder)


class Row(NamedTuple):
    """An expected annotation: line, image, sample, label, axis, code, raw, flag."""

    line: int
    image: str | None
    sample: str
    label: str | None
    axis: str | None
    code: int | None
    raw: str | None
    flag: str | None


def positive(line, image, sample, flag=None):
    return Row(line, image, sample, "positive", "status", 3, None, flag)


def negative(line, image, sample, flag=None):
    return Row(line, image, sample, "negative", "status", 2, None, flag)


def pattern(line, image, sample, label, code, raw, flag=None):
    return Row(line, image, sample, label, "pattern", code, raw, flag)


I3 = "003_0096197_1_1_3_14_04.jpg"
I4 = "004_0096197_1_2_3_14_05.jpg"
I5 = "005_0096197_1_3_3_14_06.jpg"
I21 = "021_0ae00977857_1_211203400021_3_14_10.jpg"
I22 = "022_0ae00977857_1_211203400022_3_14_11.jpg"
I23 = "023_0ae00977857_1_211203400023_3_14_12.jpg"
I24 = "024_0ae00977857_1_211203400024_3_14_01.jpg"
I25 = "025_0ae00977857_1_211203400025_3_14_02.jpg"
I31 = "031_0ae00977857_1_211203410031_3_14_08.jpg"
I32 = "032_0ae00977857_1_211203410032_3_14_09.jpg"
I33 = "033_0ae00987379_1_211210500001_3_14_10.jpg"
I34 = "034_0ae00987379_1_211210500002_3_14_11.jpg"
I35 = "035_0ae00987379_1_211210500003_3_14_12.jpg"
I36 = "036_0ae00987379_1_211210500004_3_14_01.jpg"
I37 = "037_0ae00987379_1_211210500005_3_14_02.jpg"
I38 = "038_0ae00987379_1_211210500006_3_14_03.jpg"
I40 = "040_0ae00987379_1_211210500008_3_14_05.jpg"
I41 = "041_0ae00987379_1_211210500009_3_14_06.jpg"

EXPECTED = {
    "20140621/001_SN09001/exp_pl_LIS_20140622_091500_SN9001_SCREEN.csv": [
        positive(3, I3, "1"),
        pattern(3, I3, "1", "speckled", 15, "[7] Speckled"),
        positive(4, I5, "3"),
        pattern(4, I5, "3", "homogeneous", 14, "[6] Homogeneous"),
    ],
    "20140621/001_SN09001/exp_pl_LIS_20140622_091502_SN9001_NEGATIV.csv": [negative(3, I4, "2")],
    "20211207/003_SN08030/exp_pl_LIS_20211208_093015_SN8030_SCREEN.csv": [
        positive(3, I21, "211203400021"),
        pattern(3, I21, "211203400021", "centromere", 10, "[10] Centromere"),
        positive(4, I22, "211203400022"),
        pattern(4, I22, "211203400022", "centromere", 10, "[10] Centromere"),
        positive(5, I23, "211203400023"),
        pattern(5, I23, "211203400023", "nucleolar", 16, "[16] Nucleolaire"),
        positive(6, I24, "211203400024"),
        pattern(6, I24, "211203400024", "homogeneous", 14, "[14] Homogene"),
        positive(7, I25, "211203400025"),
        pattern(7, I25, "211203400025", "dots", 19, "[19] Dots"),
    ],
    "20211207/003_SN08030/exp_pl_LIS_20211208_093017_SN8030_NEGATIV.csv": [
        negative(3, I31, "211203410031"),
        negative(4, I32, "211203410032"),
    ],
    "20211214/005_SN08030/exp_pl_LIS_20211215_101758_SN8030_SCREEN.csv": [
        positive(3, I33, "211210500001"),
        pattern(3, I33, "211210500001", "speckled", 15, "[15] Mouchete"),
        pattern(3, I33, "211210500001", "nucleolar", 16, "[16] Nucleolaire"),
        pattern(3, I33, "211210500001", "type ssa", 24, "[24] Type SSA"),
        positive(4, I34, "211210500002"),
        pattern(4, I34, "211210500002", "cytoplasmic granular", 29, "[29] Cytoplasme granuleux"),
        pattern(4, I34, "211210500002", "cytoplasmic diffuse", 27, "[27] Cyto diffus"),
        positive(5, I35, "211210500003"),  # line 11 says the same again
        pattern(5, I35, "211210500003", "dots", 19, "[19] Dots"),
        positive(6, I36, "211210500004"),
        pattern(6, I36, "211210500004", "nucleolar", 16, "[8] Nucleolar"),
        positive(7, I37, "211210500005"),
        pattern(7, I37, "211210500005", "cytoplasmic filamentous", 31, "[31] Anti-filament"),
        Row(7, I37, "211210500005", None, None, 77, "[77] Inconnu", "unknown_code"),
        positive(8, I38, "211210500006"),
        Row(8, I38, "211210500006", None, None, None, "", "empty_pattern"),
        positive(9, None, "211210500007", "missing_image"),
        pattern(9, None, "211210500007", "homogeneous", 14, "[14] Homogene", "missing_image"),
        positive(10, I40, "211210500008"),
        Row(10, I40, "211210500008", None, None, None, "[] a revoir", "no_code"),
    ],
    "20211214/005_SN08030/exp_pl_LIS_20211215_101800_SN8030_NEGATIV.csv": [
        negative(3, I41, "211210500009"),
        negative(4, None, "211210500010", "missing_image"),
    ],
    "20211216/001_SN08030/exp_pl_LIS_20211217_080000_SN8030_SCREEN.csv": [
        positive(3, I35, "211210500003"),
        pattern(3, I35, "211210500003", "dots", 19, "[19] Dots"),
        pattern(3, I35, "211210500003", "speckled", 15, "[15] Mouchete"),
    ],
}


@pytest.fixture(scope="module")
def hard_drive(real):
    root = real / "hard-drive" / "DATA"
    layout = detect_layout(root)
    listing = list_archive(root, layout)
    acquisitions = [
        acquire(file.path(root).read_bytes(), "drive", layout, file, max_pixels=10**7)
        for file in listing.images
    ]
    return root, layout, listing, acquisitions


def test_the_hard_drives_files_are_all_found(hard_drive):
    _, layout, listing, acquisitions = hard_drive
    assert layout.name == "dated"
    assert len(listing.images) == 21
    assert [file.relative_path for file in listing.exports] == sorted(EXPECTED)
    assert listing.others == 2
    assert listing.problems == ()
    assert {row["status"] for row in acquisitions} == {"ok"}
    assert len({row["image_id"] for row in acquisitions}) == 19  # two pictures lie under two dates


def test_the_hard_drives_annotations_are_right_row_by_row(hard_drive):
    root, layout, listing, acquisitions = hard_drive
    names = {row["acquisition_id"]: row for row in acquisitions}
    exports = defaultdict(list)
    for file in listing.exports:
        data = file.path(root).read_bytes()
        exports[file_date(file.relative_path, layout)].append(read_export(data, file.relative_path))
    found = defaultdict(list)
    for date, read in exports.items():
        mine = [row for row in acquisitions if row["date"] == date]
        rows = annotate_exports(read, mine, Vocabulary.load(None), archive="drive", date=date)
        to_table("annotations", rows)
        for row in rows:
            acquisition = names.get(row["acquisition_id"])
            if acquisition is not None:
                # the image of the run folder that the export lies in, and no other
                place = row["source_file"].rpartition("/")[0]
                assert acquisition["relative_path"] == f"{place}/{acquisition['file_name']}"
                assert row["image_id"] == acquisition["image_id"]
            assert (row["archive"], row["date"]) == ("drive", date)
            found[row["source_file"]].append(
                Row(
                    row["source_row"],
                    acquisition["file_name"] if acquisition else None,
                    *(row[name] for name in ("sample", "label", "axis", "code", "raw", "flag")),
                )
            )
    assert dict(found) == EXPECTED


@pytest.mark.parametrize(
    ("path", "runs"),
    [
        ("20140621/001_SN09001/exp_pl_LIS_20140622_091500_SN9001_SCREEN.csv", "utf-8"),
        ("20211207/003_SN08030/exp_pl_LIS_20211208_093015_SN8030_SCREEN.csv", "utf-8-sig"),
    ],
)
def test_the_encodings_are_recorded(real, path, runs):
    data = (real / "hard-drive" / "DATA" / path).read_bytes()
    assert read_export(data, path).encoding == runs


CLASSES = {
    "Cyto Fibreux": (2, {"pattern": ["cytoplasmic", "cytoplasmic fibrillar"]}),
    "Cyto granuleux": (2, {"pattern": ["cytoplasmic", "cytoplasmic granular"]}),
    "mouchete fin": (2, {"pattern": ["fine speckled"]}),
    "nucleole fibrillarine": (3, {"pattern": ["nucleolar clumpy"], "antigen": ["fibrillarin"]}),
    "Controle Neg": (4, {"status": ["negative"]}),
    "Homogene": (3, {"pattern": ["homogeneous"]}),
    "Dot sp100": (2, {"pattern": ["multiple nuclear dots"], "antigen": ["sp100"]}),
    "Centromere": (3, {"pattern": ["centromere"], "antigen": ["cenp-a/b"]}),
}


def test_the_class_folders_annotations_are_right(real):
    root = real / "hep-annot"
    layout = detect_layout(root)
    assert layout.name == "by-class"
    listing = list_archive(root, layout)
    assert len(listing.images) == 21
    assert listing.problems == ()
    acquisitions = [
        acquire(file.path(root).read_bytes(), "hep", layout, file, max_pixels=10**7)
        for file in listing.images
    ]
    rows = annotate_classes(acquisitions, Vocabulary.load(None))
    to_table("annotations", rows)
    found = defaultdict(list)
    for row in rows:
        found[row["acquisition_id"]].append(row)
    images: dict[str, int] = defaultdict(int)
    for acquisition in acquisitions:
        name = acquisition["relative_path"].split("/")[-2]
        images[name] += 1
        labels = defaultdict(list)
        for row in found[acquisition["acquisition_id"]]:
            labels[row["axis"]].append(row["label"])
            assert row["image_id"] == acquisition["image_id"]
            assert (row["code"], row["source_row"], row["flag"], row["date"]) == (None,) * 4
            assert row["source_file"] == acquisition["relative_path"].rpartition("/")[0]
        assert dict(labels) == {"class": [name]} | CLASSES[name][1]
    assert images == {name: count for name, (count, _) in CLASSES.items()}


def test_the_patterns_are_unlabelled_and_their_masks_no_error(real):
    layout = detect_layout(real / "patterns")
    assert layout.name == "unlabelled"
    listing = list_archive(real / "patterns", layout)
    assert len(listing.images) == 4
    assert (listing.others, listing.problems) == (0, ())


def test_the_folder_above_the_hard_drives_data_is_refused_with_advice(real):
    with pytest.raises(AmbiguousLayoutError, match="folder DATA is an archive of layout dated"):
        detect_layout(real / "hard-drive")


def test_a_cut_copy_of_a_real_image_is_quarantined(real, tmp_path):
    data = (real / "patterns" / "pat_10" / "pat_10_1.jpg").read_bytes()
    (tmp_path / "pat_1").mkdir()
    for share in (0.1, 0.5, 0.9, 0.999):
        (tmp_path / "pat_1" / f"{share}.jpg").write_bytes(data[: int(len(data) * share)])
    layout = load_layout("unlabelled")
    for file in list_archive(tmp_path, layout).images:
        row = acquire(file.path(tmp_path).read_bytes(), "cut", layout, file, max_pixels=10**7)
        assert row["status"] == "quarantined"
        assert "truncated" in row["reason"]


def test_reading_leaves_every_file_as_it_was(real):
    root = real / "hard-drive" / "DATA"
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    layout = detect_layout(root)
    listing = list_archive(root, layout)
    file = listing.images[0]
    acquire(file.path(root).read_bytes(), "drive", layout, file, max_pixels=10**7)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before

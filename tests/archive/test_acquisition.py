"""Acquisitions: the row of a file, quarantine and its reasons, serum, groups, reading again."""

from __future__ import annotations

import datetime as dt
import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from anabatch.archive.acquisition import (
    acquire,
    acquisition_id,
    groups,
    read_signal,
    serum,
    unreadable,
)
from anabatch.archive.layout import load_layout
from anabatch.archive.listing import ListedFile, list_archive
from anabatch.errors import UnreadableImageError, UnsettledFileError, UnsupportedImageError
from anabatch.imaging import image_id
from anabatch.schema import table_schema, to_table

DATED = load_layout("dated")
PATH = "20211214/005_SN08030/033_0ae00987379_1_202524401_3_14_05.png"
PIXELS = np.dstack([np.full((18, 24), value, np.uint8) for value in (1, 200, 3)])


@pytest.fixture
def root(tmp_path):
    file = tmp_path / PATH
    file.parent.mkdir(parents=True)
    Image.fromarray(PIXELS).save(file)
    return tmp_path


def scan(root, layout=DATED, max_pixels=10_000, **options):
    (file,) = list_archive(root, layout).images
    data = file.path(root).read_bytes()
    return acquire(data, "drive", layout, file, max_pixels=max_pixels, **options)


def test_a_whole_row(root):
    data = (root / PATH).read_bytes()
    assert scan(root) == {
        "acquisition_id": acquisition_id("drive", PATH),
        "image_id": image_id(PIXELS),
        "archive": "drive",
        "layout": "dated",
        "date": dt.date(2021, 12, 14),
        "run": "005",
        "instrument": "SN08030",
        "file_name": "033_0ae00987379_1_202524401_3_14_05.png",
        "relative_path": PATH,
        "size_bytes": len(data),
        "file_sha256": hashlib.sha256(data).hexdigest(),
        "width": 24,
        "height": 18,
        "dtype": "uint8",
        "pixels_per_reference_pixel": 1.0,
        "plate": "0ae00987379",
        "well": "05",
        "sample": "202524401",
        "serum": "202524401",
        "status": "ok",
        "reason": None,
        "flags": [],
    }


def test_rows_keep_the_schema_in_its_order(root):
    row = scan(root)
    assert list(row) == table_schema("acquisitions", derived=False).names
    (root / PATH).write_bytes(b"")
    assert to_table("acquisitions", [row, scan(root)]).num_rows == 2


def test_the_users_table_of_sizes_goes_first(root):
    row = scan(root, pixels_per_reference_pixel={"24x18": 2.5})
    assert row["pixels_per_reference_pixel"] == 2.5


def test_an_image_that_is_only_called_jpeg_is_read_by_its_content(tmp_path):
    (tmp_path / "pat_1").mkdir()
    Image.fromarray(PIXELS).save(tmp_path / "pat_1" / "a.jpg", format="PNG")
    row = scan(tmp_path, load_layout("unlabelled"))
    assert row["image_id"] == image_id(PIXELS)
    assert row["flags"] == ["extension_differs"]
    assert row["serum"] == f"image:{row['image_id']}"
    assert (row["date"], row["run"], row["plate"], row["sample"]) == (None, None, None, None)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        pytest.param(lambda data: b"", "the file is empty", id="empty"),
        pytest.param(lambda data: data[:50], "broken image", id="truncated"),
        pytest.param(lambda data: b"WellPos;ImName", "not a JPEG, PNG, TIFF or BMP", id="text"),
        pytest.param(lambda data: bytes(len(data)), "nothing but zeros", id="zeros"),
    ],
)
def test_a_bad_file_is_quarantined_with_its_reason(root, damage, reason):
    data = damage((root / PATH).read_bytes())
    (root / PATH).write_bytes(data)
    row = scan(root)
    assert row["status"] == "quarantined"
    assert reason in row["reason"]
    assert row["file_sha256"] == hashlib.sha256(data).hexdigest()
    assert row["size_bytes"] == len(data)
    empty = ("image_id", "width", "height", "dtype", "pixels_per_reference_pixel")
    assert [row[name] for name in empty] == [None] * 5
    assert row["flags"] == []
    assert row["serum"] == "202524401"


def test_an_image_that_is_too_large_is_quarantined_with_the_numbers(root):
    row = scan(root, max_pixels=100)
    assert row["reason"].startswith("24 x 18 pixels are more than the limit of 100")


def test_a_file_that_could_not_be_read_has_a_row_of_what_its_path_tells():
    row = unreadable("drive", DATED, ListedFile(PATH, 5, 0), "permission denied")
    assert (row["status"], row["reason"]) == ("quarantined", "permission denied")
    assert (row["size_bytes"], row["file_sha256"], row["image_id"]) == (5, None, None)
    assert (row["date"], row["serum"]) == (dt.date(2021, 12, 14), "202524401")
    assert to_table("acquisitions", [row]).num_rows == 1


def test_a_quarantined_file_without_a_number_is_a_serum_of_its_own(tmp_path):
    (tmp_path / "pat_1").mkdir()
    (tmp_path / "pat_1" / "a.jpg").write_bytes(b"")
    row = scan(tmp_path, load_layout("unlabelled"))
    assert row["serum"] == f"image:{row['acquisition_id']}"


def test_the_acquisition_id_is_golden_and_tells_archive_and_path_apart():
    assert acquisition_id("drive", PATH) == "139c2932fbb1217bf37178bad05ca428"
    ids = {acquisition_id(a, p) for a, p in [("a", "b/c"), ("a/b", "c"), ("ab", "/c"), ("a", "c")]}
    assert len(ids) == 4


def test_reading_again_gives_the_signal(root):
    sha256 = scan(root)["file_sha256"]
    signal = read_signal(root, PATH, expected_sha256=sha256, max_pixels=10_000)
    np.testing.assert_array_equal(signal, PIXELS[..., 1])
    with pytest.raises(UnsupportedImageError):
        read_signal(root, PATH, expected_sha256=sha256, max_pixels=100)


def test_reading_again_refuses_other_bytes_and_a_missing_file(root):
    sha256 = scan(root)["file_sha256"]
    Image.fromarray(PIXELS + 1).save(root / PATH)
    with pytest.raises(UnsettledFileError, match="has changed since it was scanned"):
        read_signal(root, PATH, expected_sha256=sha256, max_pixels=10_000)
    (root / PATH).unlink()
    with pytest.raises(UnsettledFileError, match="is not there any more"):
        read_signal(root, PATH, expected_sha256=sha256, max_pixels=10_000)
    (root / PATH).mkdir()
    with pytest.raises(UnreadableImageError, match="cannot be read: Is a directory"):
        read_signal(root, PATH, expected_sha256=sha256, max_pixels=10_000)


@pytest.mark.parametrize(
    ("sample", "plate", "expected"),
    [
        ("202524401", "0ae00987379", "202524401"),
        ("211210500003", None, "211210500003"),
        ("12345678", "p", "12345678"),
        ("1234567", "p", "p/1234567"),
        ("1", "0096197", "0096197/1"),
        ("1", None, "image:abc"),
        (None, "0096197", "image:abc"),
        ("", "0096197", "image:abc"),
    ],
)
def test_the_serum(sample, plate, expected):
    assert serum(sample, plate, "abc") == expected


def grouped(*rows):
    return groups(pa.table({"serum": [s for s, _ in rows], "image_id": [i for _, i in rows]}))


def test_a_group_joins_a_serums_images_and_an_images_sera():
    assert grouped(("s1", "a"), ("s1", "b"), ("s2", "c")) == ["s1", "s1", "s2"]
    assert grouped(("s2", "a"), ("s1", "a")) == ["s1", "s1"]


def test_a_group_is_a_chain_named_by_its_smallest_serum():
    rows = [("s9", "a"), ("s5", "a"), ("s5", "b"), ("s1", "b"), ("s3", "c")]
    assert grouped(*rows) == ["s1", "s1", "s1", "s1", "s3"]


def test_quarantined_files_share_nothing_but_their_serum():
    assert grouped(("s2", None), ("s1", None), ("s1", "a"), ("s3", "a")) == ["s2", "s1", "s1", "s1"]
    assert grouped(("s1", None), ("s2", None)) == ["s1", "s2"]


def test_no_acquisitions_have_no_groups():
    assert (
        groups(pa.table({"serum": pa.array([], "string"), "image_id": pa.array([], "string")}))
        == []
    )


@settings(deadline=None)  # the machine may be busy
@given(
    st.lists(st.tuples(st.sampled_from("stuvw"), st.sampled_from([*"abcde", None])), max_size=12)
)
def test_groups_are_the_finest_partition_that_keeps_sera_and_images_whole(rows):
    expected = [serum for serum, _ in rows]
    changed = True
    while changed:  # let every row take the smallest name among the rows that it is tied to
        new = [
            min(
                name
                for name, (other_serum, other_image) in zip(expected, rows, strict=True)
                if other_serum == serum or (image is not None and other_image == image)
            )
            for serum, image in rows
        ]
        changed, expected = new != expected, new
    assert grouped(*rows) == expected

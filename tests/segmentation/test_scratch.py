import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from anabatch.segmentation.scratch import DiskImage, bands, largest


def test_windows_are_read_as_they_were_written():
    expected = np.zeros((30, 40), np.int32)
    image = DiskImage(expected.shape, np.int32)
    np.testing.assert_array_equal(image[0:30, 0:40], expected)
    for rows, columns in ((slice(3, 9), slice(0, 40)), (slice(20, 30), slice(17, 18))):
        values = np.random.default_rng(rows.start).integers(1, 99, expected[rows, columns].shape)
        image[rows, columns] = values
        expected[rows, columns] = values
    np.testing.assert_array_equal(image[:, 5:33], expected[:, 5:33])
    np.testing.assert_array_equal(image.as_array(), expected)


def test_what_was_read_is_a_copy_and_the_whole_cannot_be_written():
    image = DiskImage((4, 4), np.uint8)
    window = image[0:2, 0:2]
    window[:] = 9
    assert not image.as_array().any()
    with pytest.raises(ValueError, match="read-only"):
        image.as_array()[0, 0] = 1


def test_the_whole_outlives_the_image_and_leaves_no_file(tmp_path):
    image = DiskImage((64, 64), np.uint16, tmp_path)
    image[:, :] = 7
    whole = image.as_array()
    del image
    assert list(tmp_path.iterdir()) == []
    assert (whole == 7).all()


def test_an_image_without_pixels_is_no_error():
    image = DiskImage((0, 5), np.int32)
    image[0:0, 0:5] = 1
    assert image.as_array().shape == (0, 5)


def test_all_the_room_is_taken_at_once(tmp_path):
    room = os.statvfs(tmp_path)
    with pytest.raises(OSError, match="space") as refused:
        DiskImage((4 * room.f_blocks, room.f_frsize), np.uint8, tmp_path)
    assert refused.value.filename == str(tmp_path)  # what there is no room in
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        DiskImage((2, 2), np.uint8, tmp_path / "gone")


def test_without_a_folder_it_stands_with_the_systems_temporary_files(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError, match="gone"):
        DiskImage((2, 2), np.uint8)


def test_bands_are_all_rows_and_leave_nothing_mapped():
    image = DiskImage((3000, 4096), np.int32)
    image[2999:3000, 0:4096] = 5
    whole = image.as_array()

    def mapped():
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssFile"))

    before = mapped()
    assert sum(int(band.sum(dtype=np.int64)) for band in bands(whole)) == 5 * 4096
    assert mapped() - before < 20_000  # kB, of 48,000
    assert largest(whole) == 5
    assert largest(np.zeros((0, 3), np.int32)) == 0
    np.testing.assert_array_equal(np.concatenate(list(bands(whole[:, :7]))), whole[:, :7])

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from anabatch.errors import UnreadableImageError
from anabatch.training import dsb2018


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for number in range(40):
        labels = np.zeros((50, 60), np.uint16)
        labels[5:15, 5:15] = 1
        labels[20:40, 20:40] = 2
        labels[45:50, 50:60] = 3
        Image.fromarray((labels > 0).astype(np.uint8) * 200).save(
            tmp_path / "images" / f"id{number}.png"
        )
        tifffile.imwrite(tmp_path / "labels" / f"id{number}.tif", labels)
    return tmp_path


def test_every_image_is_on_one_side_and_the_side_hangs_on_its_id_alone(folder):
    test, training = dsb2018.names(folder, test=True), dsb2018.names(folder, test=False)
    assert sorted(test + training) == sorted(f"id{number}" for number in range(40))
    assert not set(test) & set(training)
    assert test
    for name in test:
        assert hashlib.blake2b(name.encode(), digest_size=8).digest()[0] % 5 == 0


def test_images_are_scaled_by_their_median_nucleus(folder):
    image = dsb2018.read(folder, "id0")
    diameter = 2 * np.sqrt(100 / np.pi)  # areas are 50, 100 and 400
    assert image.pixels_per_reference_pixel == pytest.approx(diameter / 70)
    assert image.labels.dtype == np.int32
    assert image.signal.shape == image.labels.shape == (50, 60)


def test_the_digest_follows_names_and_contents(folder):
    before = dsb2018.folder_digest(folder)
    assert dsb2018.folder_digest(folder) == before
    (folder / "images" / "id1.png").rename(folder / "images" / "other.png")
    assert dsb2018.folder_digest(folder) != before


def test_missing_files_are_named(folder, tmp_path):
    (folder / "labels" / "id3.tif").unlink()
    with pytest.raises(UnreadableImageError, match=r"id3\.tif"):
        dsb2018.read(folder, "id3")
    with pytest.raises(UnreadableImageError, match="no images"):
        dsb2018.names(tmp_path / "images", test=True)


@pytest.mark.real
def test_nuclei_of_held_out_real_images_reach_the_bar():
    if "ANABATCH_REAL_DATA" not in os.environ:
        pytest.skip("ANABATCH_REAL_DATA names no folder")
    from anabatch.config import SegmentConfig
    from anabatch.segmentation.two_pass import TwoPassSegmenter
    from anabatch.training.evaluate import evaluate_dsb2018, pooled

    folder = Path(os.environ["ANABATCH_REAL_DATA"]) / "dsb2018_fluo"
    scores = evaluate_dsb2018(TwoPassSegmenter(SegmentConfig()), folder)
    assert pooled(scores)[0] >= 0.75
    each = [image.scores.average_precision[0] for image in scores]
    assert np.mean(each) >= 0.75

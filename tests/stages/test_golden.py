"""What every stage gives for one small input, and the version under which it gave that.

A stage's version enters the keys of its actions. If its results change and its version does not,
every store goes on with results of two kinds. These tests then fail: raise the stage's VERSION, and
record what it gives now by `python tests/stages/test_golden.py`.

Figures of networks and of floating-point sums are compared within 2 %, since processors differ;
decoding, cutting and labelling are compared exactly.
"""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anabatch.annotations import Vocabulary, annotate_exports
from anabatch.archive.acquisition import acquire
from anabatch.archive.exports import read_export
from anabatch.archive.layout import load_layout
from anabatch.archive.walk import ListedFile
from anabatch.cells import cut_cells
from anabatch.clustering import BatchKMeans
from anabatch.config import FeaturizeConfig, SegmentConfig
from anabatch.embedding import NystroemKernelPCA
from anabatch.features.vgg16 import VGG16Features
from anabatch.segmentation.two_pass import TwoPassSegmenter
from anabatch.stages import annotate, cells, cluster, embed, featurize, scan, segment

GOLDEN = Path(__file__).with_name("golden.json")
VERSIONS = {
    "scan": scan.VERSION,
    "annotate": annotate.VERSION,
    "segment": segment.VERSION,
    "cells": cells.VERSION,
    "featurize": featurize.VERSION,
    "embed": embed.VERSION,
    "cluster": cluster.VERSION,
}


def digest(value):
    return hashlib.blake2b(json.dumps(value, default=str).encode(), digest_size=8).hexdigest()


def picture():
    """Four bright squares of two brightnesses with a darker rim, by whole numbers alone."""
    signal = np.full((240, 240), 12, np.uint8)
    for index, (y, x) in enumerate([(60, 60), (60, 180), (180, 60), (180, 180)]):
        signal[y - 40 : y + 40, x - 36 : x + 36] = 60 + 10 * index
        signal[y - 22 : y + 22, x - 20 : x + 20] = 170 + 15 * index
    return signal


def label_images():
    """The squares, and two small cells on either side of what counts as dividing."""
    signal = picture()
    nuclei, cells_ = np.zeros((2, 240, 240), np.int32)
    for index, (y, x) in enumerate([(60, 60), (60, 180), (180, 60), (180, 180)], start=1):
        cells_[y - 40 : y + 40, x - 36 : x + 36] = index
        nuclei[y - 22 : y + 22, x - 20 : x + 20] = index
    for index, (x, side) in enumerate([(30, 12), (150, 13)], start=5):
        cells_[104:136, x : x + 40] = index
        nuclei[110 : 110 + side, x + 10 : x + 10 + side] = index
    return signal, nuclei, cells_


def of_scan():
    out = io.BytesIO()
    Image.fromarray(np.stack([picture() // 4, picture(), picture() // 8], axis=-1)).save(out, "PNG")
    file = ListedFile("20211213/001_SN08030/033_0ae00987379_1_202524401_3_14_05.png", 9, 1)
    row = acquire(out.getvalue(), "a", load_layout("dated"), file, max_pixels=10**6)
    exact = {
        name: value for name, value in row.items() if name not in ("file_sha256", "size_bytes")
    }
    return {"exact": digest(sorted(exact.items()))}


def of_annotate():
    text = "preamble\r\nSampleID;ImName;ScreenPattern\r\n202524401;C:\\x\\a_1.jpg;1,9\r\n"
    name = "20211213/001_SN08030/exp_pl_LIS_20211215_101758_SN8030_SCREEN.csv"
    rows = annotate_exports(
        [read_export(text.encode(), name)],
        [],
        Vocabulary.load(None),
        archive="a",
        date=None,
        layout=load_layout("dated"),
    )
    return {"exact": digest([sorted(row.items()) for row in rows])}


def of_cells():
    found = cut_cells(*label_images(), image_id="0" * 32, crop=96)
    rows = [
        {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}
        for row in found.rows
    ]
    pixels = hashlib.blake2b(found.crops.tobytes() + found.masks.tobytes(), digest_size=8)
    return {"exact": digest([sorted(row.items()) for row in rows]) + pixels.hexdigest()}


def of_segment():
    y, x = np.mgrid[:320, :420]
    signal = np.full((320, 420), 10, np.uint8)
    for index in range(6):
        distance = (y - 85 - 150 * (index // 3)) ** 2 + (x - 75 - 135 * (index % 3)) ** 2
        signal[distance < 55**2] = 45
        signal[distance < (26 + 2 * index) ** 2] = 150 + 10 * index
    (found,) = TwoPassSegmenter(SegmentConfig()).segment([signal], [1.0])
    return {
        "near": [
            int(found.cells.max()),
            int((found.cells > 0).sum()),
            int((found.nuclei > 0).sum()),
            float(found.mean_nucleus_diameter),
        ]
    }


def of_featurize():
    crop = picture()[12:108, 12:108][None]
    features = VGG16Features(FeaturizeConfig()).extract(crop).astype(float)
    return {"near": [float(part.mean()) for part in np.array_split(features[0], 6)]}


def rows():
    rng = np.random.default_rng(0)
    centers = rng.integers(0, 9, (3, 5)).astype(float)
    return (centers[np.arange(90) % 3] + rng.random((90, 5))).astype(np.float32)


def of_embed():
    model = NystroemKernelPCA(4, n_landmarks=16, random_state=0).fit(rows())
    return {"near": [float(value) for value in model.eigenvalues_] + [float(model.gamma_)]}


def of_cluster():
    model = BatchKMeans(3, random_state=0).fit(rows())
    return {"near": [float(value) for value in np.sort(np.asarray(model.cluster_centers_).ravel())]}


MAKERS = {
    "scan": of_scan,
    "annotate": of_annotate,
    "segment": of_segment,
    "cells": of_cells,
    "featurize": of_featurize,
    "embed": of_embed,
    "cluster": of_cluster,
}


@pytest.mark.parametrize("stage", MAKERS)
def test_a_stage_gives_what_its_version_gave(stage):
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))[stage]
    found = MAKERS[stage]()
    assert VERSIONS[stage] == golden["version"], "record what the new version gives"
    assert found.get("exact") == golden.get("exact"), "raise the stage's VERSION"
    assert found.get("near", []) == pytest.approx(golden.get("near", []), rel=0.02)


if __name__ == "__main__":
    made = {stage: {"version": VERSIONS[stage], **make()} for stage, make in MAKERS.items()}
    GOLDEN.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")

import subprocess
import sys

import numpy as np
import pytest

from anabatch.config import SegmentConfig
from anabatch.metrics import compare
from anabatch.segmentation import conformance
from anabatch.segmentation.models import segmentation_digest, segmentation_weights
from anabatch.segmentation.two_pass import segmenter_for
from anabatch.segmentation.watershed import WatershedSegmenter
from anabatch.simulate.field import simulate_field

CONFIG = SegmentConfig(recipe="watershed")


@pytest.mark.parametrize("pattern", ["homogeneous", "centromere", "coarse speckled", "nucleolar"])
def test_nuclear_patterns_are_found(pattern):
    """Simulated fields; the bars lie well below what was measured, and far above chance."""
    field = simulate_field(78_000_000, [pattern], size=(700, 520))
    (found,) = WatershedSegmenter(CONFIG).segment([field.signal], [1.0])
    nuclei, cells = compare(field.nuclei, found.nuclei), compare(field.cells, found.cells)
    assert nuclei.scores.average_precision[0] > 0.6
    assert cells.dice > 0.7
    assert nuclei.count_error < 0.3


def test_dark_nuclei_in_bright_cells_are_nuclei():
    truth = conformance.FIELD
    inverted = truth.signal.astype(np.uint8).copy()
    inverted[truth.cells > 0] = 160
    inverted[truth.nuclei > 0] = 50
    (found,) = WatershedSegmenter(CONFIG).segment([inverted], [1.0])
    assert compare(truth.nuclei, found.nuclei).scores.average_precision[0] == 1


def test_a_cell_carries_the_label_of_its_nucleus():
    (found,) = WatershedSegmenter(CONFIG).segment([conformance.FIELD.signal], [1.0])
    within = found.nuclei > 0
    np.testing.assert_array_equal(found.cells[within], found.nuclei[within])
    assert found.nuclei.max() == found.cells.max() == 7
    assert found.mean_nucleus_diameter == pytest.approx(70, abs=5)


def test_noise_alone_has_no_cells():
    noise = np.random.default_rng(1).normal(8, 2, (400, 500)).clip(0, 255).astype(np.uint8)
    (found,) = WatershedSegmenter(CONFIG).segment([noise], [1.0])
    assert not found.cells.any()


def test_brightness_and_contrast_hardly_matter():
    truth = conformance.FIELD
    dim = (truth.signal * 0.2).astype(np.uint8) + 30
    (found,) = WatershedSegmenter(CONFIG).segment([dim], [1.0])
    assert compare(truth.nuclei, found.nuclei).scores.average_precision[0] == 1


def test_only_what_it_uses_enters_the_digest(tmp_path):
    digest = segmentation_digest(CONFIG)
    nowhere = str(tmp_path / "nowhere.npz")
    other = CONFIG.model_copy(update={"cell_model": nowhere, "tile": 320, "cell_diameter": 99.0})
    assert segmentation_weights(other) == {}
    assert segmentation_digest(other) == digest
    assert segmentation_digest(CONFIG.model_copy(update={"nucleus_diameter": 61.0})) != digest
    assert segmentation_digest(SegmentConfig()) != digest
    assert isinstance(segmenter_for(CONFIG), WatershedSegmenter)


def test_it_runs_where_there_is_no_network_library():
    code = (
        "import sys\n"
        "for name in ('torch', 'cellpose', 'tensorflow', 'keras'): sys.modules[name] = None\n"
        "from anabatch.config import SegmentConfig\n"
        "from anabatch.segmentation.conformance import TOUCHING\n"
        "from anabatch.segmentation.two_pass import segmenter_for\n"
        "segmenter = segmenter_for(SegmentConfig(recipe='watershed'))\n"
        "found, = segmenter.segment([TOUCHING.signal], [1.0])\n"
        "assert found.cells.max() == 2\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own interpreter

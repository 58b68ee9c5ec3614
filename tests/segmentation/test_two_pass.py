import pickle

import numpy as np
import pytest
import torch

from anabatch.config import SegmentConfig
from anabatch.errors import DeviceError
from anabatch.segmentation.models import segmentation_digest
from anabatch.segmentation.two_pass import TwoPassSegmenter, segmenter_for
from anabatch.simulate.field import simulate_field

CONFIG = SegmentConfig()


@pytest.fixture(scope="module")
def fields():
    # Of two sizes, so that tiles of one image share batches with another's.
    sizes = [(420, 340), (500, 300), (420, 340)]
    patterns = ["homogeneous", "cytoplasmic diffuse", "centromere"]
    return [
        simulate_field(2_000_000 + number, [pattern], size=size)
        for number, (pattern, size) in enumerate(zip(patterns, sizes, strict=True))
    ]


@pytest.fixture(scope="module")
def segmenter():
    return TwoPassSegmenter(CONFIG)


@pytest.fixture(scope="module")
def together(segmenter, fields):
    return segmenter.segment([field.signal for field in fields], [1.0] * 3)


def same(one, two):
    np.testing.assert_array_equal(one.nuclei, two.nuclei)
    np.testing.assert_array_equal(one.cells, two.cells)
    assert one.mean_nucleus_diameter == two.mean_nucleus_diameter
    assert one.dropped == two.dropped


def test_label_images_have_the_sources_shape_and_hold_masks(fields, together):
    for field, found in zip(fields, together, strict=True):
        for labels, truth in ((found.nuclei, field.nuclei), (found.cells, field.cells)):
            assert labels.shape == field.signal.shape
            assert labels.dtype == np.int32
            names = np.unique(labels)
            assert names.tolist() == list(range(names.size))
            assert names.size - 1 == pytest.approx(truth.max(), abs=0.4 * truth.max() + 2)


def test_results_depend_on_the_image_alone(segmenter, fields, together):
    """Bit for bit: not on neighbours, order, nor on the process's copy of the networks."""
    signals = [field.signal for field in fields]
    other = pickle.loads(pickle.dumps(segmenter))  # noqa: S301 - its own bytes
    assert other is not segmenter
    for found, again in zip(together[::-1], other.segment(signals[::-1], [1.0] * 3), strict=True):
        same(found, again)
    same(together[1], segmenter.segment(signals[1:2], [1.0])[0])


def test_images_twice_as_fine_give_label_images_twice_as_fine(segmenter, fields, together):
    fine = np.kron(fields[0].signal, np.ones((2, 2), np.uint8))
    found = segmenter.segment([fine], [2.0])[0]
    np.testing.assert_array_equal(found.cells[::2, ::2], together[0].cells)
    np.testing.assert_array_equal(found.cells[1::2, 1::2], together[0].cells)
    assert found.mean_nucleus_diameter == together[0].mean_nucleus_diameter


def test_sixteen_bits_are_segmented_too(segmenter, fields, together):
    found = segmenter.segment([fields[0].signal.astype(np.uint16) * 257], [1.0])[0]
    count = together[0].nuclei.max()
    assert found.nuclei.max() == pytest.approx(count, abs=0.3 * count)


@pytest.mark.parametrize("level", [0, 9, 255])
@pytest.mark.parametrize("recipe", ["two-pass", "one-pass"])
def test_an_empty_image_has_no_cells(level, recipe):
    config = SegmentConfig(recipe=recipe)
    found = segmenter_for(config).segment([np.full((90, 130), level, np.uint8)], [1.0])[0]
    assert not found.nuclei.any()
    assert not found.cells.any()
    assert np.isnan(found.mean_nucleus_diameter)
    assert sum(found.dropped.values()) == 0


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (17, 5)])
def test_tiny_images_are_no_error(segmenter, shape):
    signal = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    found = segmenter.segment([signal], [1.0])[0]
    assert found.cells.shape == shape


def test_one_pass_finds_cells_and_no_nuclei(fields):
    found = segmenter_for(SegmentConfig(recipe="one-pass")).segment([fields[1].signal], [1.0])[0]
    assert not found.nuclei.any()
    assert found.cells.max() > 0.3 * fields[1].cells.max()


def test_nothing_gives_nothing(segmenter):
    assert segmenter.segment([], []) == []


def test_the_digest_is_the_planners(segmenter):
    assert segmenter.digest == segmentation_digest(CONFIG)


def test_a_process_keeps_its_segmenter():
    assert segmenter_for(CONFIG) is segmenter_for(SegmentConfig())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_an_error(fields):
    with pytest.raises(DeviceError):
        TwoPassSegmenter(SegmentConfig(device="cuda")).segment([fields[0].signal], [1.0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_finds_the_same_cells(fields, together):
    from anabatch.metrics import score

    found = TwoPassSegmenter(SegmentConfig(device="cuda")).segment([fields[0].signal], [1.0])[0]
    assert (score(together[0].cells, found.cells, [0.9]).average_precision > 0.95).all()


def test_images_one_behind_the_other_for_a_gpu_give_the_same(segmenter, fields):
    """The pipeline of a GPU, around networks that are on the processor."""

    class OnOneThread:
        def __init__(self, network):
            self.network = network
            self.diameter = network.diameter

        def __call__(self, tiles):
            torch.set_num_threads(1)  # in PyTorch a matter of every thread
            return self.network(tiles)

    pooled = CONFIG.model_copy(update={"tiles_per_batch": 2})
    plain = TwoPassSegmenter(pooled)
    pipelined = TwoPassSegmenter(pooled.model_copy(update={"device": "cuda"}))
    for name in ("nucleus_network", "cell_network"):
        vars(plain)[name] = getattr(segmenter, name)
        vars(pipelined)[name] = OnOneThread(getattr(segmenter, name))
    signals = [field.signal for field in fields]
    expected = plain.segment(signals, [1.0] * 3)
    for found, again in zip(expected, pipelined.segment(signals, [1.0] * 3), strict=True):
        same(found, again)

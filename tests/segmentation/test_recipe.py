import cv2
import numpy as np
import pytest

from anabatch.config import SegmentConfig
from anabatch.imaging import equalize
from anabatch.segmentation import recipe
from anabatch.segmentation.cellpose import LOSSES
from anabatch.segmentation.tiling import NetworkOutput

CONFIG = SegmentConfig()
ONE_PASS = SegmentConfig(recipe="one-pass")


def noise(height=120, width=160, dtype=np.uint8, seed=0):
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, top, (height, width)).astype(dtype)


def boxes(*sides, shape=(300, 400)):
    labels = np.zeros(shape, np.int32)
    for label, (height, width) in enumerate(sides, 1):
        labels[10 : 10 + height, 100 * (label - 1) : 100 * (label - 1) + width] = label
    return labels


def nuclei_of(labels):
    return recipe.Nuclei(labels, recipe.mean_diameter(labels), dict.fromkeys(LOSSES, 0))


def test_reference_resolution_averages_areas_and_keeps_the_type():
    image = np.kron(noise(), np.ones((2, 2), np.uint8))
    np.testing.assert_array_equal(recipe.to_reference(image, 2), noise())
    same = noise(dtype=np.uint16)
    assert recipe.to_reference(same, 1) is same
    assert recipe.to_reference(same, 0.5).shape == (240, 320)
    assert recipe.to_reference(same, 1.6).dtype == np.uint16


def test_the_first_pass_sees_the_equalised_signal():
    first, second = recipe.nucleus_channels(noise(), CONFIG)
    np.testing.assert_array_equal(first, equalize(noise(), clip=10, grid=8))
    assert not second.any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_second_pass_sees_both_parts_equalised_apart(dtype):
    signal = noise(dtype=dtype)
    labels = boxes((60, 50), shape=signal.shape)
    cytoplasm, nuclei = recipe.cell_channels(signal, labels, CONFIG)
    outside = np.where(labels > 0, 0, signal).astype(dtype)
    inside = np.where(labels > 0, signal, 0).astype(dtype)
    np.testing.assert_array_equal(cytoplasm, equalize(outside, clip=10, grid=8))
    np.testing.assert_array_equal(nuclei, equalize(inside, clip=10, grid=8))


def test_the_one_pass_recipe_sees_the_untreated_signal():
    signal = noise()
    first, second = recipe.cell_channels(signal, np.zeros(signal.shape, int), ONE_PASS)
    np.testing.assert_array_equal(first, signal)
    assert not second.any()


def test_without_nuclei_the_second_channel_is_empty():
    signal = noise()
    assert not recipe.cell_channels(signal, np.zeros(signal.shape, int), CONFIG)[1].any()


def test_network_input_is_normalised_by_percentiles_as_in_cellpose():
    transforms = pytest.importorskip("cellpose.transforms")
    image = recipe.network_input(noise(), noise(seed=1), 1.0)
    both = np.stack([noise(), noise(seed=1)]).astype(np.float32)
    np.testing.assert_allclose(image, transforms.normalize_img(both, axis=0), atol=1e-5)


def test_network_input_is_scaled_by_areas():
    assert recipe.network_input(noise(120, 160), noise(120, 160), 0.5).shape == (2, 60, 80)
    whole = recipe.network_input(noise(), noise(), 1.0)
    half = recipe.network_input(noise(), noise(), 0.5)
    expected = whole.reshape(2, 60, 2, 80, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(half, expected, atol=1e-4)


def test_a_channel_without_contrast_is_zero():
    flat = np.full((30, 40), 17, np.uint8)
    assert not recipe.network_input(flat, flat, 0.5).any()


def test_nucleus_diameter_is_the_mean_longer_side():
    assert recipe.mean_diameter(boxes((60, 40), (80, 99), (30, 30))) == pytest.approx(63.0)
    assert np.isnan(recipe.mean_diameter(boxes()))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (boxes((90, 40), (90, 30), (60, 90)), 145.0),
        (boxes((99, 99), (99, 99), (99, 99)), 145.0),
        (boxes((45, 40), (30, 45), (45, 20)), 72.5),
        (boxes((45, 40), (30, 45)), 145.0),  # too few to tell
        (boxes(), 145.0),
    ],
)
def test_cells_are_looked_for_at_145_or_in_proportion_to_small_nuclei(labels, expected):
    assert recipe.cell_diameter(nuclei_of(labels), CONFIG) == pytest.approx(expected)
    assert recipe.cell_diameter(nuclei_of(labels), ONE_PASS) == 75.0


def perfect_output(labels):
    from cellpose.dynamics import masks_to_flows

    return NetworkOutput(
        flows=(5 * masks_to_flows(labels)).astype(np.float32),
        probability=np.where(labels > 0, 6, -6).astype(np.float32),
    )


def test_the_steps_bring_masks_back_to_the_source():
    """Through all five steps with a network that knows the answer."""
    source = np.zeros((480, 640), np.int32)
    for label, (y, x) in enumerate([(100, 110), (300, 150), (250, 420), (100, 500)], 1):
        cv2.ellipse(source, (x, y), (50, 70), 20 * label, 0, 360, label, -1)
    signal = (40 + 120 * (source > 0)).astype(np.uint8)
    fields, inputs = recipe.prepare([signal], [2.0], CONFIG, 30.0)
    assert fields[0].signal.shape == (240, 320)
    assert inputs[0].shape == (2, 120, 160)
    outputs = [perfect_output(np.ascontiguousarray(source[2::4, 2::4]))]
    nuclei = recipe.find_nuclei(fields, outputs, CONFIG)
    assert nuclei[0].mean_diameter == pytest.approx(67, abs=4)  # reference pixels
    inputs = recipe.recombine(fields, nuclei, CONFIG, 36.0)
    scale = 36 / (145 * nuclei[0].mean_diameter / 90)
    assert inputs[0].shape == (2, round(240 * scale), round(320 * scale))
    done = recipe.find_cells(fields, nuclei, outputs, CONFIG)[0]
    for found in (done.nuclei, done.cells):
        assert found.dtype == np.int32
        assert found.shape == source.shape
        assert set(np.unique(found)) == {0, 1, 2, 3, 4}
        assert np.mean((found > 0) == (source > 0)) > 0.98
    assert set(done.dropped) == {
        f"{kind}_{loss}" for kind in ("nuclei", "cells") for loss in LOSSES
    }


def test_the_one_pass_recipe_has_no_nuclei():
    fields, inputs = recipe.prepare([noise()], [1.0], ONE_PASS, 30.0)
    assert inputs == []
    nuclei = recipe.find_nuclei(fields, [], ONE_PASS)
    assert not nuclei[0].labels.any()
    assert np.isnan(nuclei[0].mean_diameter)
    assert recipe.recombine(fields, nuclei, ONE_PASS, 37.5)[0].shape == (2, 60, 80)


def test_every_image_needs_its_scale():
    with pytest.raises(ValueError, match="shorter"):
        recipe.prepare([noise(), noise()], [1.0], CONFIG, 30.0)

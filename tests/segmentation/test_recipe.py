import cv2
import numpy as np
import pytest

from anabatch.config import SegmentConfig
from anabatch.imaging import equalize
from anabatch.segmentation import recipe
from anabatch.segmentation.cellpose import LOSSES
from anabatch.segmentation.results import ON_SCALE_BAR, VANISHED
from anabatch.segmentation.tiling import NetworkOutput

CONFIG = SegmentConfig()
ONE_PASS = SegmentConfig(recipe="one-pass")
AUTO = SegmentConfig(diameter="auto")


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
    reasons = (*LOSSES, VANISHED, ON_SCALE_BAR)
    assert done.dropped == {f"{kind}_{why}": 0 for kind in ("nuclei", "cells") for why in reasons}
    assert done.proposed == {"nuclei": 4, "cells": 4}
    assert (done.nucleus_diameter, done.nucleus_diameter_from) == (60.0, "default")
    assert done.cell_diameter == pytest.approx(145 * nuclei[0].mean_diameter / 90)
    assert done.diameter_from == "nuclei"
    assert (done.scale_bar, done.reason) == (None, None)


@pytest.mark.parametrize(("few", "expected"), [(2, "default"), (3, "nuclei")])
def test_too_few_nuclei_leave_the_configured_diameter_and_say_so(few, expected):
    labels = boxes(*[(60, 60)] * few)
    nuclei = nuclei_of(labels)
    field = recipe.Field(noise(*labels.shape), labels.shape)
    output = perfect_output(np.ascontiguousarray(labels[1::2, 1::2]))
    (done,) = recipe.find_cells([field], [nuclei], [output], CONFIG)
    assert done.diameter_from == expected
    assert done.cell_diameter == recipe.cell_diameter(nuclei, CONFIG)
    assert (done.cell_diameter == CONFIG.cell_diameter) == (expected == "default")


def test_with_nuclei_sized_by_the_image_cells_grow_with_them():
    nuclei = nuclei_of(boxes((180, 90), (180, 80), (180, 70), shape=(300, 400)))
    assert recipe.cell_diameter(nuclei, CONFIG) == 145.0
    assert recipe.cell_diameter(nuclei, AUTO) == 290.0
    few = nuclei_of(boxes((180, 90)))
    assert recipe.cell_diameter(few, AUTO) == 145.0


def test_a_mask_that_another_one_grows_around_is_counted():
    """In network pixels they are two, and one holds the other in full."""
    labels = np.zeros((60, 60), np.int32)
    labels[10:50, 10:50] = 1
    labels[28:32, 28:32] = 2
    found = recipe.Nuclei(labels, 40.0, dict.fromkeys(LOSSES, 0), 2)
    field = recipe.Field(noise(60, 60), (60, 60))
    (done,) = recipe.find_cells([field], [found], [perfect_output(labels)], CONFIG)
    for kind in ("nuclei", "cells"):
        stored = getattr(done, kind).max()
        lost = sum(n for why, n in done.dropped.items() if why.startswith(kind))
        assert done.proposed[kind] == stored + lost


def test_networks_see_nothing_of_an_image_without_contrast():
    fields, inputs = recipe.prepare([np.full((90, 130), 9, np.uint8)], [1.0], CONFIG, 30.0)
    assert not fields[0].visible
    assert not inputs[0].any()


def test_the_scale_bar_is_not_seen_and_holds_no_mask():
    signal = noise(600, 800) // 8
    signal[26:50, 34:250] = 66
    signal[30:44, 120:150:3] = 255
    signal[49:51, 34:250] = 190
    signal[300:360, 400:460] += 100
    fields, _ = recipe.prepare([signal], [1.0], CONFIG, 30.0)
    box = fields[0].scale_bar
    assert box is not None
    top, left, bottom, right = box
    assert fields[0].signal[top:bottom, left:right].max() < 40
    labels = np.zeros(signal.shape, np.int32)
    labels[20:50, 40:70] = 1  # on the bar
    labels[300:360, 400:460] = 2
    found = recipe.Nuclei(labels, 60.0, dict.fromkeys(LOSSES, 0), 2)
    output = perfect_output(np.ascontiguousarray(labels[1::2, 1::2]))
    done = recipe.find_cells(fields, [found], [output], CONFIG)[0]
    for kind in ("nuclei", "cells"):
        assert getattr(done, kind).max() == 1
        assert done.dropped[f"{kind}_scale_bar"] == 1
        assert not getattr(done, kind)[top:bottom, left:right].any()
    assert done.scale_bar == (top, left, bottom, right)


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

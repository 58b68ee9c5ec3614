import cv2
import numpy as np
import pytest
from cellpose.dynamics import masks_to_flows

from anabatch.config import SegmentConfig
from anabatch.segmentation import conformance, diameter
from anabatch.segmentation.tiling import NetworkOutput
from anabatch.segmentation.two_pass import TwoPassSegmenter

CONFIG = SegmentConfig(diameter="auto")
NETWORK = 24.0  # network pixels of what is looked for


def nuclei(across, count=None, shape=(480, 640)):
    labels = np.zeros(shape, np.int32)
    step = round(1.25 * across)
    centres = [
        (x, y)
        for y in range(step // 2, shape[0] - step // 2, step)
        for x in range(step // 2, shape[1] - step // 2, step)
    ]
    for label, centre in enumerate(centres[:count], start=1):
        cv2.circle(labels, centre, across // 2, label, -1)
    return labels


def answers(labels, clear):
    """What a network says that sees clearly at some scales; elsewhere it wavers and falls apart."""
    outputs = []
    scale = NETWORK / CONFIG.nucleus_diameter
    for view, share in zip(
        diameter.views(labels.astype(np.uint8), CONFIG, NETWORK), diameter.SHARES, strict=True
    ):
        middle = diameter._middle(labels, min(1.0, share))
        shape = (view.shape[2], view.shape[1])
        small = cv2.resize(middle, shape, interpolation=cv2.INTER_NEAREST)
        assert small.shape[1] == pytest.approx(middle.shape[1] * scale / share, abs=1)
        flows = 5 * masks_to_flows(small) if small.any() else np.zeros((2, *small.shape))
        if share not in clear:
            flows = 0.4 * np.roll(flows, 3, axis=1)
        probability = np.where(small > 0, 5, -5)
        outputs.append(NetworkOutput(flows.astype(np.float32), probability.astype(np.float32)))
    return outputs


@pytest.mark.parametrize(("across", "clear"), [(40, 0.5), (70, 1.0), (130, 2.0), (180, 2.0)])
def test_the_clearest_look_tells_the_size(across, clear):
    found = diameter.estimate(answers(nuclei(across), {clear}), CONFIG, NETWORK)
    assert found == pytest.approx(diameter.LOOKED_FOR * across, rel=0.08)


def test_too_few_nuclei_tell_nothing():
    clear = set(diameter.SHARES)
    assert diameter.estimate(answers(nuclei(70, 1), clear), CONFIG, NETWORK) is None
    nothing = np.zeros((480, 640), np.int32)
    assert diameter.estimate(answers(nothing, clear), CONFIG, NETWORK) is None
    assert diameter.estimate(answers(nuclei(70, 2), {1.0, 2.0}), CONFIG, NETWORK) is not None


def test_no_look_is_larger_than_the_configured_pass():
    views = diameter.views(np.zeros((480, 640), np.uint8), CONFIG, NETWORK)
    assert max(view.size for view in views) == 2 * 192 * 256
    assert diameter.views(np.zeros((1, 1), np.uint8), CONFIG, NETWORK)[0].shape[0] == 2


@pytest.mark.parametrize("pixels", [0.6, 2.0])
def test_the_recipe_follows_the_magnification(pixels):
    """Of cells whose scale nobody tells; alone as among others."""
    drawing = conformance.FIELD
    shape = [round(side * pixels) for side in drawing.signal.shape]
    signal = cv2.resize(drawing.signal, shape[::-1], interpolation=cv2.INTER_LINEAR)
    segmenter = TwoPassSegmenter(CONFIG)
    found, _ = segmenter.segment([signal, conformance.ONE_CELL.signal], [1.0, 1.0])
    # The networks see nuclei of half to twice their size: a quarter off is near enough.
    assert found.nucleus_diameter == pytest.approx(diameter.LOOKED_FOR * 70 * pixels, rel=0.25)
    assert found.nucleus_diameter_from == "image"
    assert found.nuclei.max() == drawing.nuclei.max()
    assert found.cell_diameter == pytest.approx(145 * found.mean_nucleus_diameter / 90)
    assert found.diameter_from == "nuclei"
    (alone,) = segmenter.segment([signal], [1.0])
    assert alone.nucleus_diameter == found.nucleus_diameter
    np.testing.assert_array_equal(alone.cells, found.cells)


def test_an_image_that_shows_no_nuclei_leaves_the_configured_diameter():
    dot = np.full((120, 120), 10, np.uint8)
    cv2.circle(dot, (60, 60), 30, 120, -1)
    (found,) = TwoPassSegmenter(CONFIG).segment([dot], [1.0])
    assert found.nucleus_diameter == CONFIG.nucleus_diameter
    assert found.nucleus_diameter_from == "default"
    assert found.diameter_from == "default"


@pytest.mark.parametrize(
    "check",
    [conformance.one_cell_is_one, conformance.the_scale_is_followed, conformance.results_repeat],
    ids=lambda check: check.__name__,
)
def test_with_estimates_the_recipe_keeps_to_what_segmenters_promise(check):
    check(conformance.Subject(TwoPassSegmenter, CONFIG))

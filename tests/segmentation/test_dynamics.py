import logging

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from anabatch.config import SegmentConfig
from anabatch.metrics import score
from anabatch.segmentation import dynamics, kernels
from anabatch.segmentation.labels import consecutive, fill_and_filter, refine

CONFIG = SegmentConfig()


@pytest.fixture(autouse=True)
def cellpose_sorts_stably(monkeypatch):
    """Where peaks are equally high, Cellpose leaves the order to PyTorch, and that to the processor."""
    monkeypatch.setattr(
        torch.Tensor, "argsort", lambda tensor: torch.sort(tensor, stable=True).indices
    )


def same_masks(ours, theirs):
    """Whether two label images are equal up to the names of masks."""
    pairs = set(zip(ours.ravel().tolist(), theirs.ravel().tolist(), strict=True))
    return (
        np.array_equal(ours > 0, theirs > 0)
        and len(pairs) == len(np.unique(ours)) == len(np.unique(theirs))
    )  # fmt: skip


@pytest.fixture(scope="module")
def crowd():
    """A label image of discs, some overlapping, and the flows that a perfect network gives."""
    from cellpose.dynamics import masks_to_flows

    rng = np.random.default_rng(4)
    rows, columns = np.mgrid[:160, :200]
    labels = np.zeros((160, 200), np.int32)
    for label in range(1, 31):
        y, x = rng.integers(5, 155), rng.integers(5, 195)
        labels[(rows - y) ** 2 + (columns - x) ** 2 < rng.integers(7, 15) ** 2] = label
    labels = np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int32)
    flows = (5 * masks_to_flows(labels)).astype(np.float32)
    probability = np.where(labels > 0, 6, -6).astype(np.float32)
    return labels, flows, probability


def test_perfect_flows_give_the_masks_back(crowd):
    labels, flows, probability = crowd
    masks = dynamics.find_masks(flows, probability, CONFIG)
    assert score(labels, masks.labels).average_precision[0] > 0.85
    assert masks.labels.dtype == np.int32


@pytest.mark.parametrize("noise", [0.0, 0.7, 1.5])
def test_masks_are_cellposes(crowd, noise):
    from cellpose.dynamics import compute_masks

    _, flows, probability = crowd
    rng = np.random.default_rng(5)
    flows = flows + rng.normal(0, noise, flows.shape).astype(np.float32)
    with torch.sparse.check_sparse_tensor_invariants(enable=False):
        theirs = compute_masks(flows, probability, niter=200, flow_threshold=0.4, min_size=15)
    ours = dynamics.find_masks(flows, probability, CONFIG)
    assert same_masks(ours.labels, theirs)


def test_losses_are_counted(crowd):
    _, flows, probability = crowd
    flows = flows.copy()
    flows[:, :80] *= -0.2  # half of the picture flows the wrong way
    everything = dynamics.find_masks(
        flows, probability, CONFIG.model_copy(update={"flow_threshold": 0.0, "min_size": 0})
    )
    strict = dynamics.find_masks(flows, probability, CONFIG)
    assert sum(everything.dropped.values()) == 0
    assert strict.dropped["flow_error"] > 0
    assert everything.labels.max() == strict.labels.max() + sum(strict.dropped.values())


def test_a_mask_of_most_of_the_image_is_background():
    rows, columns = np.mgrid[:60, :60].astype(np.float32) - 30
    away = np.hypot(rows, columns) + 1e-6
    flows = (5 * np.stack([-rows, -columns]) / away).astype(np.float32)
    masks = dynamics.find_masks(flows, np.full((60, 60), 5, np.float32), CONFIG)
    assert not masks.labels.any()
    assert masks.dropped["too_large"] == 1


def test_nothing_inside_gives_no_masks_and_no_warning():
    shape = (40, 50)
    masks = dynamics.find_masks(np.zeros((2, *shape), np.float32), np.full(shape, -1.0), CONFIG)
    assert masks.labels.shape == shape
    assert not masks.labels.any()
    assert masks.dropped == dict.fromkeys(dynamics.LOSSES, 0)


CELLPOSES_CPU = torch.device("cpu")


def noisy(crowd, seed=6):
    _, flows, probability = crowd
    rng = np.random.default_rng(seed)
    return flows + rng.normal(0, 1.0, flows.shape).astype(np.float32), probability > 0


@pytest.mark.parametrize("steps", [0, 1, 7, 64, 65, 200, 333])
def test_pixels_end_where_cellposes_do_at_any_number_of_steps(crowd, steps):
    from cellpose.dynamics import follow_flows

    flows, inside = noisy(crowd)
    starts = np.argwhere(inside).astype(np.int32)
    ours = kernels.follow(dynamics.speed_of(flows, inside), starts, steps)
    theirs = follow_flows(flows * inside / 5.0, np.nonzero(inside), steps, device=CELLPOSES_CPU)
    np.testing.assert_array_equal(ours.T, theirs.astype(np.int32))


def test_flow_errors_are_cellposes(crowd):
    from cellpose.metrics import flow_error

    labels = consecutive(crowd[0])
    flows, _ = noisy(crowd)
    ours = kernels.flow_errors(
        labels, flows / np.float32(5), kernels.boxes_of(labels, labels.max())
    )
    np.testing.assert_allclose(ours, flow_error(labels, flows, CELLPOSES_CPU)[0], rtol=1e-12)


def test_boxes_are_scipys_and_zero_for_labels_that_are_not_there(crowd):
    from scipy import ndimage

    labels = consecutive(crowd[0])
    labels[labels == 2] = 0
    boxes = kernels.boxes_of(labels, labels.max() + 1)
    found = ndimage.find_objects(labels) + [None]
    expected = [
        (0, 0, 0, 0) if box is None else (box[0].start, box[0].stop, box[1].start, box[1].stop)
        for box in found
    ]
    np.testing.assert_array_equal(boxes, expected)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_discs_are_found_exactly(data):
    rows, columns = np.mgrid[:90, :110].astype(np.float32)
    truth = np.zeros((90, 110), np.int32)
    flows = np.zeros((2, 90, 110), np.float32)
    for label, (cell_y, cell_x) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)], 1):
        radius = data.draw(st.integers(4, 15))
        y = 20 + 40 * cell_y + data.draw(st.integers(-3, 3))
        x = 18 + 36 * cell_x + data.draw(st.integers(-2, 2))
        away = np.hypot(rows - y, columns - x)
        disc = away < radius
        truth[disc] = label
        for axis, step in enumerate((y - rows, x - columns)):
            flows[axis][disc] = (5 * step / np.maximum(away, 1))[disc]
    masks = dynamics.find_masks(flows, np.where(truth > 0, 5, -5).astype(np.float32), CONFIG)
    assert same_masks(masks.labels, truth)
    assert not any(masks.dropped.values())


anything = st.one_of(st.floats(-1e6, 1e6, width=32), st.sampled_from([np.nan, np.inf, -np.inf]))


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(np.float32, (2, 17, 23), elements=anything, fill=st.just(np.float32(0))),
    arrays.arrays(np.float32, (17, 23), elements=anything, fill=st.just(np.float32(3))),
    st.sampled_from([0.0, 0.4]),
)
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_any_flows_give_masks_of_what_is_inside_and_the_same_twice(flows, probability, strictness):
    config = CONFIG.model_copy(update={"flow_threshold": strictness, "min_size": 0})
    first = dynamics.find_masks(flows, probability, config)
    second = dynamics.find_masks(flows, probability, config)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert first.dropped == second.dropped
    outside = fill_and_filter((~(probability > 0)).astype(np.int32), 0) > 0
    assert not first.labels[outside & (fill_and_filter(first.labels, 0) == 0)].any()
    fine = refine(first.labels, flows, probability, (40, 50), 0.0)
    assert set(np.unique(fine)) <= set(np.unique(first.labels)) | {0}


def test_a_block_of_a_larger_image_may_be_one_mask():
    rows, columns = np.mgrid[:60, :60].astype(np.float32) - 30
    flows = (5 * np.stack([-rows, -columns])) / (np.hypot(rows, columns) + 1e-6)
    inside = np.full((60, 60), 5, np.float32)
    masks = dynamics.find_masks(flows, inside, CONFIG, image_pixels=100 * 60 * 60)
    assert masks.labels.any()
    assert masks.dropped["too_large"] == 0


def test_kernels_are_compiled_for_every_process_where_nothing_can_be_kept(monkeypatch, caplog):
    def unwritable(**options):
        if options.get("cache"):
            message = "cannot cache function: no locator available"
            raise RuntimeError(message)
        return lambda function: function

    monkeypatch.setattr(numba, "njit", unwritable)
    kernels._say_that_nothing_is_kept.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert kernels._compiled(abs) is abs
        assert kernels._compiled(max) is max
    (record,) = caplog.records  # once
    assert "NUMBA_CACHE_DIR" in record.message


@pytest.fixture(scope="module")
def outputs():
    """What the shipped networks say of a part of a simulated field; its shape."""
    from anabatch.segmentation import recipe
    from anabatch.segmentation.tiling import run_tiled
    from anabatch.segmentation.two_pass import TwoPassSegmenter
    from anabatch.simulate.field import simulate_field

    torch.set_num_threads(1)
    signal = simulate_field(1_000_007, ["homogeneous"], size=(520, 420)).signal
    segmenter = TwoPassSegmenter(CONFIG)
    nucleus, cell = segmenter.nucleus_network, segmenter.cell_network
    fields, inputs = recipe.prepare([signal], [1.0], CONFIG, nucleus.diameter)
    first = run_tiled(nucleus, inputs, CONFIG)
    nuclei = recipe.find_nuclei(fields, first, CONFIG)
    inputs = recipe.recombine(fields, nuclei, CONFIG, cell.diameter)
    return [*first, *run_tiled(cell, inputs, CONFIG)], signal.shape


def test_masks_of_the_shipped_networks_are_cellposes(outputs):
    from cellpose.dynamics import compute_masks

    for output in outputs[0]:
        ours = dynamics.find_masks(output.flows, output.probability, CONFIG)
        with torch.sparse.check_sparse_tensor_invariants(enable=False):
            theirs = compute_masks(output.flows, output.probability, niter=200, min_size=15)
        assert ours.labels.max() >= 5
        assert same_masks(ours.labels, theirs)


def test_refined_masks_are_those_that_cellpose_finds_at_full_resolution(outputs):
    from cellpose.dynamics import resize_and_compute_masks
    from cellpose.transforms import resize_image

    for output in outputs[0]:
        coarse = dynamics.find_masks(output.flows, output.probability, CONFIG)
        fine = refine(coarse.labels, output.flows, output.probability, outputs[1], 0.0)
        ours = fill_and_filter(fine, 1)
        stack = np.concatenate([output.flows, output.probability[np.newaxis]])
        large = resize_image(stack.transpose(1, 2, 0)[np.newaxis], *outputs[1])[0]
        steps = 200 * outputs[1][0] / output.probability.shape[0]
        with torch.sparse.check_sparse_tensor_invariants(enable=False):
            theirs = resize_and_compute_masks(
                np.ascontiguousarray(large[..., :2].transpose(2, 0, 1)), large[..., 2], niter=steps
            )
        agreement = score(theirs.astype(np.int32), ours, thresholds=(0.9,))
        assert agreement.true_positives[0] >= 10
        assert agreement.false_negatives[0] == 0
        # There the flow check gives up pieces of cells at the image's border that pass at ours.
        assert agreement.false_positives[0] <= 2

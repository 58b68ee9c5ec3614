from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabatch.config import SegmentConfig
from anabatch.segmentation import tiling

CONFIG = SegmentConfig(tile=64, tiles_per_batch=4)


def picture(seed, height, width):
    return np.random.default_rng(seed).random((2, height, width), dtype=np.float32)


class Echo:
    """A network that returns its input's channels and their sum, and remembers its batches."""

    def __init__(self):
        self.shapes = []

    def __call__(self, tiles):
        self.shapes.append(tiles.shape)
        return np.concatenate([tiles, tiles.sum(axis=1, keepdims=True)], axis=1)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200), st.integers(1, 200), st.sampled_from([0.0, 0.1, 0.3]))
def test_cutting_and_blending_returns_the_image(height, width, overlap):
    image = picture(height * 1000 + width, height, width)
    grid = tiling.plan_grid((height, width), 64, overlap)
    tiles = tiling.cut(image, grid)
    assert tiles.shape[1:] == (2, 64, 64)
    back = tiling.blend(np.concatenate([tiles, tiles[:, :1]], axis=1), grid)
    np.testing.assert_allclose(back.flows, image, atol=1e-5)
    np.testing.assert_allclose(back.probability, image[0], atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400))
def test_tiles_cover_the_image_and_neighbours_overlap(height, width):
    grid = tiling.plan_grid((height, width), 64, 0.1)
    for axis in range(2):
        starts = sorted({corner[axis] for corner in grid.corners})
        assert starts[0] == 0
        assert starts[-1] + 64 == grid.padded[axis]
        assert all(b - a <= 64 * 0.95 for a, b in pairwise(starts))
        assert grid.padded[axis] >= grid.before[axis] + grid.shape[axis]


def test_every_batch_has_the_same_shape_and_images_share_them():
    network = Echo()
    images = [picture(0, 60, 100), picture(1, 40, 40), picture(2, 130, 50)]
    outputs = tiling.run_tiled(network, images, CONFIG)
    assert set(network.shapes) == {(4, 2, 64, 64)}
    tiles = sum(len(tiling.plan_grid(i.shape[1:], 64, 0.1).corners) for i in images)
    assert len(network.shapes) == -(-tiles // 4)
    for image, output in zip(images, outputs, strict=True):
        np.testing.assert_allclose(output.flows, image, atol=1e-5)
        np.testing.assert_allclose(output.probability, image.sum(axis=0), atol=1e-5)


def test_an_empty_image_is_not_shown_to_the_network():
    network = Echo()
    images = [np.zeros((2, 30, 30), np.float32), picture(3, 30, 30)]
    outputs = tiling.run_tiled(network, images, CONFIG)
    assert len(network.shapes) == 1
    assert (outputs[0].probability < -5).all()
    assert not outputs[0].flows.any()


def test_no_images_need_no_network():
    assert tiling.run_tiled(Echo(), [], CONFIG) == []


# torch.utils.mkldnn, which Cellpose imports, uses its own deprecated decorator.
@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
@pytest.mark.parametrize("shape", [(300, 260), (224, 224), (500, 230)])
def test_tiled_runs_are_cellposes(shape):
    torch = pytest.importorskip("torch")
    from cellpose.core import run_net

    from anabatch.segmentation.cellpose import build_network

    torch.manual_seed(0)
    # Cellpose's own loop wants 256 style channels.
    net = build_network([2, 4, 8, 256], 30.0).eval()
    image = picture(7, *shape)
    expected = run_net(net, image.transpose(1, 2, 0)[np.newaxis], bsize=224, batch_size=8)[0][0]

    def network(tiles):
        with torch.inference_mode():
            return net(torch.from_numpy(tiles))[0].numpy()

    output = tiling.run_tiled(network, [image], SegmentConfig())[0]
    np.testing.assert_allclose(output.flows, expected[..., :2].transpose(2, 0, 1), atol=2e-4)
    np.testing.assert_allclose(output.probability, expected[..., 2], atol=2e-4)

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
    assert tiles.shape[1:] == (2, *grid.tile)
    back = tiling.blend(np.concatenate([tiles, tiles[:, :1]], axis=1), grid)
    np.testing.assert_allclose(back.flows, image, atol=1e-5)
    np.testing.assert_allclose(back.probability, image[0], atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 900), st.integers(1, 900), st.sampled_from([64, 112, 448]))
def test_tiles_cover_the_image_and_neighbours_overlap(height, width, side):
    grid = tiling.plan_grid((height, width), side, 0.15)
    for axis in range(2):
        starts = sorted({corner[axis] for corner in grid.corners})
        extent = grid.tile[axis]
        assert extent % 16 == 0
        assert extent <= side
        assert starts[0] == 0
        assert starts[-1] + extent == grid.padded[axis]
        assert all(b - a <= extent - 0.15 * side for a, b in pairwise(starts))
        assert grid.before[axis] >= 8
        assert grid.padded[axis] >= grid.before[axis] + grid.shape[axis] + 8
        if len(starts) > 1:  # one tile less would not reach
            assert grid.padded[axis] > side + (len(starts) - 2) * (side - np.ceil(0.15 * side))


@pytest.mark.parametrize("shape", [(416, 555), (258, 345), (308, 411), (400, 534), (205, 205)])
def test_fields_are_shown_to_the_network_little_more_than_once(shape):
    config = SegmentConfig()
    grid = tiling.plan_grid(shape, config.tile, config.tile_overlap)
    shown = len(grid.corners) * grid.tile[0] * grid.tile[1]
    assert shown < 1.45 * shape[0] * shape[1]


def test_images_of_one_tile_shape_share_batches_of_one_size():
    network = Echo()
    images = [picture(0, 60, 100), picture(1, 40, 40), picture(2, 60, 100), picture(3, 120, 50)]
    outputs = tiling.run_tiled(network, images, CONFIG)
    grids = [tiling.plan_grid(i.shape[1:], 64, CONFIG.tile_overlap) for i in images]
    expected = []
    for shape in dict.fromkeys(grid.tile for grid in grids):
        tiles = sum(len(grid.corners) for grid in grids if grid.tile == shape)
        expected += [(4, 2, *shape)] * -(-tiles // 4)
    assert network.shapes == expected
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
@pytest.mark.parametrize("shape", [(300, 260), (224, 224), (490, 30)])
def test_runs_of_one_tile_are_cellposes(shape):
    torch = pytest.importorskip("torch")
    from cellpose.core import run_net

    from anabatch.segmentation.cellpose import build_network

    torch.manual_seed(0)
    # Cellpose's own loop wants 256 style channels.
    net = build_network([2, 4, 8, 256], 30.0).eval()
    image = picture(7, *shape)
    expected = run_net(net, image.transpose(1, 2, 0)[np.newaxis], bsize=512, batch_size=8)[0][0]

    def network(tiles):
        with torch.inference_mode():
            return net(torch.from_numpy(tiles))[0].numpy()

    output = tiling.run_tiled(network, [image], SegmentConfig(tile=512))[0]
    np.testing.assert_allclose(output.flows, expected[..., :2].transpose(2, 0, 1), atol=2e-4)
    np.testing.assert_allclose(output.probability, expected[..., 2], atol=2e-4)

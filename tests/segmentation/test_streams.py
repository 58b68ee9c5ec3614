import numpy as np
import pytest

from anabatch.config import SegmentConfig
from anabatch.segmentation.scratch import DiskImage
from anabatch.segmentation.streams import run_network
from anabatch.segmentation.tiling import run_tiled


class Uneven:
    """A network whose answer depends on all of a tile, and that remembers its batches."""

    def __init__(self):
        self.shapes = []

    def __call__(self, tiles):
        self.shapes.append(tiles.shape)
        turned = tiles[:, :, ::-1].cumsum(axis=2)
        return np.concatenate([tiles, turned[:, :1]], axis=1)


@pytest.mark.parametrize("shape", [(64, 64), (1, 300), (301, 77), (200, 47)])
@pytest.mark.parametrize("overlap", [0.0, 0.1, 0.4])
def test_the_answer_is_that_of_an_image_held_whole(shape, overlap):
    """Bit for bit, with the same batches."""
    config = SegmentConfig(tile=64, tiles_per_batch=3, tile_overlap=overlap)
    image = np.random.default_rng(0).random((2, *shape), dtype=np.float32)
    held, streamed = Uneven(), Uneven()
    expected = run_tiled(held, [image], config)[0]
    output = DiskImage((3, *shape), np.float32)
    run_network(streamed, list(image), shape, config, output)
    np.testing.assert_array_equal(output[:2], expected.flows)
    np.testing.assert_array_equal(output[2], expected.probability)
    assert streamed.shapes == held.shapes


def test_a_channel_that_is_not_there_is_zero():
    config = SegmentConfig(tile=64, tiles_per_batch=3)
    image = np.random.default_rng(0).random((2, 80, 90), dtype=np.float32)
    image[1] = 0
    outputs = [DiskImage((3, 80, 90), np.float32) for _ in range(2)]
    run_network(Uneven(), [image[0], None], (80, 90), config, outputs[0])
    run_network(Uneven(), list(image), (80, 90), config, outputs[1])
    np.testing.assert_array_equal(outputs[0][:], outputs[1][:])

import numpy as np
import pytest
import torch

from anabatch.errors import DeviceError, WeightsError
from anabatch.segmentation import cellpose as adapter
from anabatch.weights import WeightsFile, file_digest


def weights_file(path, name="mine"):
    return WeightsFile(name=name, path=path, digest=file_digest(path))


@pytest.fixture
def net():
    torch.manual_seed(1)
    net = adapter.build_network([2, 4, 8, 8], 24.0)
    net.train()
    for _ in range(3):  # batch statistics other than those of a new network
        net(torch.randn(2, 2, 64, 64) * 3 + 1)
    return net.eval()


@pytest.fixture
def tiles():
    return np.random.default_rng(0).normal(size=(3, 2, 64, 64)).astype(np.float32)


def expected(net, tiles):
    with torch.inference_mode():
        return net(torch.from_numpy(tiles))[0].numpy()


def test_a_network_saved_by_us_answers_as_before_and_knows_its_diameter(net, tiles, tmp_path):
    path = tmp_path / "net.npz"
    adapter.save_network(net, path)
    loaded = adapter.CellposeNetwork(weights_file(path), device="cpu")
    assert loaded.diameter == 24.0
    answer = loaded(tiles)
    assert answer.shape == (3, 3, 64, 64)
    scale = np.abs(expected(net, tiles)).max()
    np.testing.assert_allclose(answer, expected(net, tiles), atol=0.01 * scale)  # half precision


def test_a_network_saved_by_cellpose_answers_as_before(net, tiles, tmp_path):
    path = tmp_path / "net"
    net.save_model(path)
    loaded = adapter.CellposeNetwork(weights_file(path), device="cpu")
    np.testing.assert_allclose(loaded(tiles), expected(net, tiles), atol=1e-4)


def test_cellposes_nucleus_model_works_at_17_pixels_whatever_its_file_says(net, tmp_path):
    path = tmp_path / "net"
    net.save_model(path)
    assert adapter.CellposeNetwork(weights_file(path, "nuclei"), device="cpu").diameter == 17.0


def test_a_tile_does_not_depend_on_its_neighbours(net, tiles, tmp_path):
    path = tmp_path / "net.npz"
    adapter.save_network(net, path)
    loaded = adapter.CellposeNetwork(weights_file(path), device="cpu")
    torch.set_num_threads(1)
    np.testing.assert_array_equal(loaded(tiles)[::-1], loaded(tiles[::-1].copy()))
    others = np.concatenate([tiles[:1], np.zeros_like(tiles[1:])])
    np.testing.assert_array_equal(loaded(tiles)[0], loaded(others)[0])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"no network"])
@pytest.mark.parametrize("name", ["net.npz", "net.pth"])
def test_a_file_that_is_no_network_is_refused(content, name, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="holds no Cellpose 3 network"):
        adapter.CellposeNetwork(weights_file(path), device="cpu")


def test_incomplete_and_foreign_weights_are_refused(net, tmp_path):
    state = net.state_dict()
    for change, message in (
        (lambda s: s.pop("output.2.weight"), "lacks 1 weights"),
        (lambda s: s.update(W2=torch.zeros(1)), "Cellpose 4"),
        (lambda s: s.update({"output.2.weight": torch.zeros(1, 1)}), "size mismatch"),
        (lambda s: s.clear(), "lacks the first level"),
    ):
        broken = dict(state)
        change(broken)
        path = tmp_path / "broken.pth"
        torch.save(broken, path)
        with pytest.raises(WeightsError, match=message):
            adapter.CellposeNetwork(weights_file(path), device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_an_error(net, tmp_path):
    path = tmp_path / "net.npz"
    adapter.save_network(net, path)
    with pytest.raises(DeviceError, match="no CUDA device"):
        adapter.CellposeNetwork(weights_file(path), device="cuda")

"""Training the quarter network: the folding, the command, the shipped result."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from anabatch.config import FeaturizeConfig
from anabatch.features.backend import start_keras
from anabatch.features.vgg16 import VGG16Features, build, preprocess
from anabatch.features.vgg16_weights import load_weights, read_npz, save_npz
from anabatch.simulate.field import PATTERNS
from anabatch.training.pattern_cells import PatternCells
from anabatch.training.vgg16 import (
    NAME,
    Training,
    flattened,
    fold,
    main,
    normalised_vgg16,
    train,
)
from anabatch.weights import shipped

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(5)


def trained_statistics(width: float) -> Any:
    """Build a network whose normalisation is far from the identity."""
    torch.manual_seed(1)
    net = normalised_vgg16(width)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            n = module.num_features
            module.weight.data = torch.from_numpy(RNG.uniform(-1, 2, n)).float()
            module.bias.data = torch.from_numpy(RNG.normal(0, 0.5, n)).float()
            module.running_mean = torch.from_numpy(RNG.normal(0, 1, n)).float()
            module.running_var = torch.from_numpy(RNG.uniform(0.2, 3, n)).float()
    return net.eval()


def test_the_folded_network_in_keras_is_the_trained_one_in_torch(tmp_path):
    net = trained_statistics(1 / 16)
    crops: Array = RNG.integers(0, 256, (4, 96, 96), dtype=np.uint8)
    inputs = preprocess(crops, "unit")
    with torch.no_grad():
        before = flattened(net(torch.from_numpy(inputs.transpose(0, 3, 1, 2)))).numpy()
    assert before.max() > 0

    start_keras()
    plain = build(1 / 16)
    for layer in plain.layers:
        if layer.weights:
            folded = fold(net)
            layer.set_weights([folded[f"{layer.name}/{part}"] for part in ("kernel", "bias")])
    after = np.asarray(plain.predict_on_batch(inputs))
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-4 * before.max())

    save_npz(tmp_path / "folded.npz", fold(net))
    load_weights(plain, str(tmp_path / "folded.npz"))
    after = np.asarray(plain.predict_on_batch(inputs))
    np.testing.assert_allclose(after, before, rtol=0, atol=0.02 * before.max())  # float16 weights


@pytest.mark.parametrize("channels", ["grey", "nucleus-cytoplasm-mask"])
def test_training_learns_what_it_is_shown(tmp_path, channels):
    """Discs with a hole against discs without, of any brightness."""
    n = 64
    rows, columns = np.mgrid[:96, :96]
    radius = np.hypot(rows - 47.5, columns - 47.5)
    crops: Array = np.zeros((n, 96, 96), dtype=np.uint8)
    crops[:, radius < 36] = np.random.default_rng(0).integers(60, 200, n)[:, None]
    holed = np.arange(n) % 2 == 0
    crops[holed] = np.where(radius < 16, 10, crops[holed])
    labels = np.stack([holed, ~holed], axis=1)
    masks = np.tile(radius < 36, (n, 1, 1)).astype(np.uint8)
    masks[holed] += radius < 16
    data = PatternCells(crops, masks, labels, np.arange(n))
    how = Training(steps=20, seed=0, batch=16, width=1 / 32, learning_rate=1e-2, channels=channels)
    losses = train(data, how, tmp_path / "w.npz")
    assert len(losses) == 20
    assert np.mean(losses[-3:]) < 0.7 * losses[0]
    assert read_npz(tmp_path / "w.npz")["block1_conv1/kernel"].shape == (3, 3, 3, 2)


def test_the_command_writes_weights_that_the_extractor_takes(tmp_path, monkeypatch):
    monkeypatch.setattr("anabatch.training.fields.SIZES", ((330, 250),))
    (tmp_path / "manifest.json").write_text("{}")
    out, cells = tmp_path / "w.npz", tmp_path / "cells.npz"
    options = ["--fields", "3", "--steps", "2", "--batch", "4", "--width", "0.03125"]
    main(["--out", str(out), "--cells", str(cells), *options])
    record = json.loads((tmp_path / "manifest.json").read_text())[NAME]
    with np.load(cells) as drawn:
        assert record["data"][0]["cells"] == len(drawn["crops"]) > 0
        assert drawn["labels"].shape[1] == len(PATTERNS)
    assert "--fields 3" in record["command"]
    assert "--channels grey" in record["command"]
    assert record["channels"] == "grey"
    assert "--cells" not in record["command"]
    assert shipped(NAME, tmp_path).path == out
    features = VGG16Features(FeaturizeConfig(weights=str(out), batch=2))
    assert features.n_features == 144

    first = read_npz(out)
    main(["--out", str(out), "--cells", str(cells), *options])  # from the cells that were kept
    np.testing.assert_array_equal(
        first["block5_conv3/kernel"], read_npz(out)["block5_conv3/kernel"]
    )


def test_the_shipped_network_is_a_quarter_of_vgg16():
    file = shipped(NAME)
    assert file.path.stat().st_size < 2_500_000
    features = VGG16Features(FeaturizeConfig(weights=NAME, batch=4))
    assert features.n_features == 1152
    extracted = features.extract(RNG.integers(0, 256, (3, 96, 96), dtype=np.uint8))
    assert np.isfinite(extracted).all()
    assert np.unique(extracted, axis=0).shape == (3, 1152)


@pytest.mark.parametrize("width", [0.25, 1 / 16])
def test_the_normalised_network_has_vgg16s_own_layers(width):
    names = {name for name, _ in normalised_vgg16(width).named_children()}
    start_keras()
    layers = {layer.name for layer in build(width).layers if layer.weights}
    assert layers == {name for name in names if f"{name}_norm" in names}

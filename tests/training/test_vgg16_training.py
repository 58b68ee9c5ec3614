"""Training the quarter network: its data, the folding, the measurement, the shipped result."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from typer.testing import CliRunner

from anabatch.config import FeaturizeConfig
from anabatch.features.backend import start_keras
from anabatch.features.vgg16 import VGG16Features, build, preprocess
from anabatch.features.vgg16_weights import load_weights, save_npz
from anabatch.simulate.field import PATTERNS
from anabatch.training.pattern_cells import PatternCells, augment, draw_patterns, simulate_cells
from anabatch.training.probe import Rows, probe, recalls
from anabatch.training.vgg16 import NAME, Training, fold, folding_error, main, save_random, train
from anabatch.weights import shipped

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def cells() -> PatternCells:
    return simulate_cells(seed=3, fields=3)


def test_simulated_cells_carry_their_fields_patterns(cells: PatternCells) -> None:
    assert cells.crops.shape[1:] == (96, 96)
    assert len(cells.crops) == len(cells.labels) == len(cells.fields)
    for number in range(3):
        own = cells.labels[cells.fields == number]
        assert len(own) > 5
        assert np.all(own == own[0])
        assert own[0, number]
    assert cells.crops.reshape(len(cells.crops), -1).max(axis=1).min() > 0


def test_the_same_seed_gives_the_same_cells(cells: PatternCells) -> None:
    again = simulate_cells(seed=3, fields=1)
    np.testing.assert_array_equal(again.crops, cells.crops[cells.fields == 0])
    other = simulate_cells(seed=4, fields=1)
    assert other.crops.shape != again.crops.shape or np.any(other.crops != again.crops)


@given(st.integers(0, 2**32 - 1), st.integers(0, 1000))
def test_drawn_patterns_can_be_told_apart(seed: int, number: int) -> None:
    drawn = draw_patterns(np.random.default_rng(seed), number)
    assert drawn[0] == PATTERNS[number % len(PATTERNS)]
    assert len(set(drawn)) == len(drawn) <= 2
    assert set(drawn) <= set(PATTERNS)
    if len(drawn) == 2:
        assert "negative" not in drawn
        assert not {"homogeneous", "fine speckled"} <= set(drawn)


def test_augmentation_keeps_the_black_outside_and_the_place() -> None:
    crops: Array = np.zeros((40, 96, 96), dtype=np.uint8)
    crops[:, 38:58, 38:58] = 100
    changed = augment(crops, np.random.default_rng(0))
    assert changed.shape == crops.shape
    assert changed.dtype == np.uint8
    assert np.all(changed[:, :20] == 0)
    assert np.all(changed[:, 44:52, 44:52] > 0)
    assert len({image.tobytes() for image in changed}) == 40


def test_augmentation_repeats_with_its_seed() -> None:
    crops = RNG.integers(0, 256, (3, 96, 96), dtype=np.uint8)
    first, second = (augment(crops, np.random.default_rng(8)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def trained_statistics(width: float) -> Any:
    """Build a network whose normalisation is far from the identity."""
    start_keras().utils.set_random_seed(1)
    model = build(width, normalized=True)
    for layer in model.layers:
        if layer.name.endswith("_norm"):
            n = layer.get_weights()[0].size
            gamma, beta = RNG.uniform(-1, 2, n), RNG.normal(0, 0.5, n)
            layer.set_weights([gamma, beta, RNG.normal(0, 1, n), RNG.uniform(0.2, 3, n)])
        elif layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, RNG.normal(0, 0.5, bias.shape)])
    return model


def test_folding_the_normalisation_changes_nothing(tmp_path: Path) -> None:
    model = trained_statistics(1 / 16)
    crops = RNG.integers(0, 256, (4, 96, 96), dtype=np.uint8)
    arrays = fold(model)
    assert folding_error(model, arrays, crops) < 1e-4

    save_npz(tmp_path / "folded.npz", arrays)
    plain = build(1 / 16)
    load_weights(plain, str(tmp_path / "folded.npz"))
    inputs = preprocess(crops, "unit")
    before, after = (np.asarray(net.predict_on_batch(inputs)) for net in (model, plain))
    assert before.max() > 0
    np.testing.assert_allclose(after, before, rtol=0, atol=0.02 * before.max())  # float16 weights


def test_a_wrong_folding_is_seen() -> None:
    model = trained_statistics(1 / 32)
    arrays = fold(model)
    arrays["block3_conv1/bias"] = arrays["block3_conv1/bias"] + 0.5
    crops = RNG.integers(0, 256, (2, 96, 96), dtype=np.uint8)
    assert folding_error(model, arrays, crops) > 1e-3


def test_recalls_are_the_share_of_each_class() -> None:
    truth, predicted = np.array([0, 0, 0, 1, 3]), np.array([0, 0, 1, 1, 0])
    np.testing.assert_allclose(recalls(truth, predicted, 4), [2 / 3, 1, np.nan, 0])


def rows(n: int, *, informative: bool) -> Rows:
    classes = np.arange(n) % 3
    labels = np.eye(3, dtype=bool)[classes]
    features = RNG.normal(0, 1, (n, 20))
    if informative:
        features[:, :3] += 12 * labels
    return Rows(features, labels, np.arange(n) // 10)


def test_probe_of_separable_features_and_of_noise() -> None:
    good = probe(rows(300, informative=True), rows(150, informative=True), ["a", "b", "c"])
    assert good["linear"] == good["nearest"] == 1.0
    assert good["auc"] > 0.999
    assert good["linear_per_pattern"] == {"a": 1.0, "b": 1.0, "c": 1.0}
    noise = probe(rows(300, informative=False), rows(150, informative=False), ["a", "b", "c"])
    assert noise["linear"] < 0.55
    assert 0.35 < noise["auc"] < 0.65


def test_training_learns_what_it_is_shown() -> None:
    """Discs with a hole against discs without, of any brightness."""
    n = 64
    crops: Array = np.zeros((n, 96, 96), dtype=np.uint8)
    crops[:, 20:76, 20:76] = np.random.default_rng(0).integers(60, 200, n)[:, None, None]
    holed = np.arange(n) % 2 == 0
    crops[holed, 36:60, 36:60] = 10
    data = PatternCells(crops, np.stack([holed, ~holed], axis=1), np.arange(n))
    how = Training(images=n, epochs=5, seed=0, batch=16, learning_rate=1e-2)
    with capture_logs() as logs:
        train(data, how, width=1 / 32)
    losses = [entry["loss"] for entry in logs if entry["event"] == "epoch"]
    assert len(losses) == 5
    assert losses[-1] < 0.5 * losses[0]


def test_random_weights_are_reproducible(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        save_random(tmp_path / name, seed=7, width=1 / 32)
    first, second = (
        VGG16Features(FeaturizeConfig(weights=str(tmp_path / name), batch=2)).extract(
            np.full((1, 96, 96), 90, dtype=np.uint8)
        )
        for name in ("a.npz", "b.npz")
    )
    np.testing.assert_array_equal(first, second)


@pytest.mark.slow
def test_the_command_writes_weights_and_their_quality(tmp_path: Path) -> None:
    import typer

    app = typer.Typer()
    app.command()(main)
    (tmp_path / "manifest.json").write_text("{}")
    out = tmp_path / "w.npz"
    options = ["--out", str(out), "--images", "14", "--epochs", "1", "--record"]
    result = CliRunner().invoke(app, options, catch_exceptions=False)
    assert result.exit_code == 0
    entry = json.loads((tmp_path / "manifest.json").read_text())[NAME]
    assert entry["quality"]["test_cells"] > 0
    assert shipped(NAME, tmp_path).path == out
    assert [path.name for path in tmp_path.glob("*.npz")] == ["w.npz"]


def test_the_shipped_network_is_a_quarter_of_vgg16() -> None:
    file = shipped(NAME)
    assert file.path.stat().st_size < 2_500_000
    features = VGG16Features(FeaturizeConfig(weights=NAME, batch=4))
    assert features.n_features == 1152
    extracted = features.extract(RNG.integers(0, 256, (3, 96, 96), dtype=np.uint8))
    assert np.isfinite(extracted).all()
    assert np.unique(extracted, axis=0).shape == (3, 1152)


def test_the_shipped_network_beats_random_weights_and_pixels() -> None:
    quality = shipped(NAME).record["quality"]
    for other in ("random", "pixels"):
        for measure in ("linear", "nearest", "auc"):
            assert quality["trained"][measure] > quality[other][measure]

import json

import numpy as np
import pytest

from anabatch.config import SegmentConfig
from anabatch.segmentation.cellpose import CellposeNetwork
from anabatch.training import cells, commands, nuclei
from anabatch.training.fields import TrainingField
from anabatch.training.unet import Sample, Schedule, train_network
from anabatch.weights import WeightsFile, file_digest, shipped

# torch.utils.mkldnn, which Cellpose's training imports, uses its own deprecated decorator.
pytestmark = pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")

CONFIG = SegmentConfig()


def discs(side=240, count=9):
    rows, columns = np.mgrid[:side, :side]
    labels = np.zeros((side, side), np.int32)
    for label in range(1, count + 1):
        y, x = 40 + 75 * ((label - 1) // 3), 40 + 75 * ((label - 1) % 3)
        labels[(rows - y) ** 2 + (columns - x) ** 2 < 30**2] = label
    return labels


def test_a_nucleus_sample_is_what_the_network_will_see():
    labels = discs()
    signal = (20 + 150 * (labels > 0)).astype(np.uint8)
    sample = nuclei.sample(signal, labels, CONFIG, 1.0)
    side = round(240 * nuclei.DIAMETER / CONFIG.nucleus_diameter)
    assert sample.channels.shape == (2, side, side)
    assert sample.labels.shape == (side, side)
    assert sample.labels.max() == 9
    assert not sample.channels[1].any()


def test_a_cell_sample_is_scaled_by_its_nuclei():
    labels = discs()
    field = TrainingField((20 + 150 * (labels > 0)).astype(np.uint8), labels, labels)
    rng = np.random.default_rng(3)
    two_pass = cells.sample(field, rng, CONFIG)
    one_pass = cells.sample(field, rng, SegmentConfig(recipe="one-pass"))
    assert one_pass.channels.shape[1] == round(240 * cells.DIAMETER / 75)
    assert not one_pass.channels[1].any()
    assert two_pass.channels[1].any()
    # Nuclei of 59 pixels, more or less: cells are looked for at 145 * 59 / 90 or about it.
    expected = 240 * cells.DIAMETER / (145 * 59 / 90)
    assert two_pass.channels.shape[1] == pytest.approx(expected, rel=0.15)


def test_perturbed_nuclei_stay_near_the_true_ones():
    truth = discs()
    changed = [cells.perturb(truth, np.random.default_rng(seed)) for seed in range(12)]
    assert any((image == truth).all() for image in changed)
    assert any((image != truth).any() for image in changed)
    for image in changed:
        assert image.dtype == np.int32
        assert set(np.unique(image)) <= set(range(10))
        shared = np.count_nonzero((image > 0) & (truth > 0))
        assert shared > 0.5 * np.count_nonzero(truth)


def test_training_lowers_the_loss_and_writes_a_network_that_loads(tmp_path):
    labels = discs()[::3, ::3].copy()
    picture = np.stack([(labels > 0).astype(np.float32), np.zeros(labels.shape, np.float32)])
    schedule = Schedule(
        widths=(4, 8), diameter=20.0, epochs=12, images_per_epoch=8, seed=0, batch=4, crop=48
    )
    losses = train_network([Sample(picture, labels)] * 3, schedule, tmp_path / "net.npz")
    assert len(losses) == 12
    assert losses[-1] < 0.9 * losses[0]
    path = tmp_path / "net.npz"
    network = CellposeNetwork(WeightsFile("net", path, file_digest(path)), device="cpu")
    assert network.diameter == 20.0
    assert network(np.zeros((1, 2, 48, 48), np.float32)).shape == (1, 3, 48, 48)


def test_the_command_enters_the_network_in_the_manifest(tmp_path, monkeypatch):
    monkeypatch.setattr("anabatch.training.fields.SIZES", ((300, 240),))
    (tmp_path / "manifest.json").write_text("{}")
    words = "--fields 3 --epochs 1 --images-per-epoch 2 --crop 64 --widths 4 8 --seed 5 --quiet"
    cells.main([*words.split(), "--out", str(tmp_path / "anabatch-cells.npz")])
    entry = shipped("anabatch-cells", tmp_path).record
    assert entry["seed"] == 5
    assert entry["command"].startswith("python -m anabatch.training.cells --crop 64 --epochs 1")
    assert "--widths 4 8" in entry["command"]
    assert str(tmp_path) not in json.dumps(entry)


def test_without_a_manifest_the_file_is_all(tmp_path):
    import argparse

    options = argparse.Namespace(out=tmp_path / "net.npz")
    commands.finish("anabatch-cells", options, [], [1.0])
    assert list(tmp_path.iterdir()) == []

import json
import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from anabatch.config import SegmentConfig
from anabatch.segmentation.cellpose import CellposeNetwork
from anabatch.training import cells, commands, nuclei
from anabatch.training.crops import sample_of
from anabatch.training.drawing import draw
from anabatch.training.fields import TrainingField
from anabatch.training.unet import Schedule, loss_of, train_network
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
    assert sample.layers.shape == (5, side, side)
    assert ndimage.label(sample.layers[4] > 0)[1] == 9
    assert sample.layers[0].any()
    assert not sample.layers[1].any()


def test_a_cell_sample_is_scaled_by_its_nuclei():
    labels = discs()
    field = TrainingField((20 + 150 * (labels > 0)).astype(np.uint8), labels, labels)
    rng = np.random.default_rng(3)
    two_pass = cells.sample(field, rng, CONFIG)
    one_pass = cells.sample(field, rng, SegmentConfig(recipe="one-pass"))
    assert one_pass.layers.shape[1] == round(240 * cells.DIAMETER / 75)
    assert not one_pass.layers[1].any()
    assert two_pass.layers[1].any()
    # Nuclei of 59 pixels, more or less: cells are looked for at 145 * 59 / 90 or about it.
    expected = 240 * cells.DIAMETER / (145 * 59 / 90)
    assert two_pass.layers.shape[1] == pytest.approx(expected, rel=0.15)


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
    schedule = Schedule(widths=(4, 8), diameter=20.0, steps=40, seed=0, batch=4, crop=48)
    losses = train_network([sample_of(picture, labels)] * 3, schedule, tmp_path / "net.npz")
    assert len(losses) == 20
    assert losses[-1] < 0.7 * losses[0]
    path = tmp_path / "net.npz"
    network = CellposeNetwork(WeightsFile("net", path, file_digest(path)), device="cpu")
    assert network.diameter == 20.0
    assert network(np.zeros((1, 2, 48, 48), np.float32)).shape == (1, 3, 48, 48)


def test_the_loss_is_cellposes_own():
    from cellpose.train import _loss_fn_seg

    random = torch.Generator().manual_seed(2)
    answer = torch.randn((2, 3, 8, 8), generator=random)
    inside = (torch.rand((2, 1, 8, 8), generator=random) > 0.5).float()
    flows = torch.randn((2, 2, 8, 8), generator=random)
    labelled = torch.cat([inside, flows], 1).numpy()
    theirs = _loss_fn_seg(labelled, answer, torch.device("cpu"))
    ours = loss_of(answer, torch.cat([flows, inside], 1))
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)


def test_draws_by_several_processes_are_those_of_one():
    assert list(draw(math.factorial, 9, 2)) == [math.factorial(index) for index in range(9)]


def test_the_command_enters_the_network_in_the_manifest(tmp_path, monkeypatch):
    monkeypatch.setattr("anabatch.training.fields.SIZES", ((300, 240),))
    (tmp_path / "manifest.json").write_text("{}")
    words = "--fields 3 --steps 2 --batch 2 --crop 64 --widths 4 8 --seed 5"
    cells.main([*words.split(), "--out", str(tmp_path / "anabatch-cells.npz")])
    entry = shipped("anabatch-cells", tmp_path).record
    assert entry["seed"] == 5
    assert entry["command"].startswith("python -m anabatch.training.cells --batch 2 --crop 64")
    assert "--widths 4 8" in entry["command"]
    assert str(tmp_path) not in json.dumps(entry)


def test_without_a_manifest_the_file_is_all(tmp_path):
    import argparse

    options = argparse.Namespace(out=tmp_path / "net.npz")
    commands.finish("anabatch-cells", options, [], [1.0], module="cells")
    assert list(tmp_path.iterdir()) == []

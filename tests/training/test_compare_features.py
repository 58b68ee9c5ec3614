"""Comparing features: readers against explicit refits, cells of pictures, the command."""

import json
from typing import Any

import numpy as np
import pytest
from narrow import save_random
from PIL import Image
from sklearn.kernel_ridge import KernelRidge

from anabatch.segmentation.conformance import FIELD
from anabatch.segmentation.two_pass import Segmentation
from anabatch.simulate.field import PATTERNS
from anabatch.training import compare_features, readers, textures
from anabatch.training.compare_features import (
    Contestant,
    compare,
    differences,
    main,
    quality,
    table,
)
from anabatch.training.compared_cells import ComparedCells, real_cells, simulated_cells

RNG = np.random.default_rng(4)
GROUPS = np.repeat(np.arange(6), 5)
CLASSES = GROUPS % 3


def test_what_a_fit_without_a_picture_says_is_what_an_explicit_fit_says():
    rows = RNG.normal(size=(30, 8))
    truth = np.eye(3)[CLASSES]
    kernel = rows @ rows.T
    (found,) = readers.left_out(kernel, truth, GROUPS, [0.7])
    for group in range(6):
        own = group == GROUPS
        peer = KernelRidge(alpha=0.7, kernel="precomputed").fit(
            kernel[np.ix_(~own, ~own)], truth[~own]
        )
        np.testing.assert_allclose(found[own], peer.predict(kernel[np.ix_(own, ~own)]), atol=1e-9)


@pytest.mark.parametrize("reader", [readers.nearest, readers.linear])
def test_readers_find_what_classes_share_and_not_what_pictures_share(reader):
    shared = np.eye(3)[CLASSES] * 5 + RNG.normal(0, 0.1, (30, 3))
    own = np.eye(6)[GROUPS] * 5 + RNG.normal(0, 0.1, (30, 6))
    assert (reader(readers.standardised(shared), CLASSES, GROUPS) == CLASSES).all()
    # A picture's own mark says nothing of any other picture.
    assert np.mean(reader(readers.standardised(own), CLASSES, GROUPS) == CLASSES) < 0.7


def test_neighbours_are_of_other_pictures():
    rows = np.repeat([[0.0], [10.0], [0.1], [10.1]], 5, axis=0)
    classes, groups = np.repeat([0, 1, 0, 1], 5), np.repeat([0, 1, 2, 3], 5)
    assert (readers.nearest(rows, classes, groups) == classes).all()
    alone = np.repeat([0, 1, 2, 1], 5)  # its class has no other picture
    assert (readers.nearest(rows, alone, groups)[:5] == 2).all()


def test_constant_features_do_no_harm():
    rows = readers.standardised(np.array([[1.0, 3.0], [1.0, 5.0]]))
    np.testing.assert_array_equal(rows, [[0, -1], [0, 1]])


def test_accuracy_counts_pictures_and_not_cells():
    groups = np.array([0, 0, 0, 0, 1, 2, 2])
    classes = np.array([1, 1, 1, 1, 0, 0, 0])
    predicted = np.array([1, 1, 1, 0, 0, 1, 1])
    found = readers.accuracy(predicted, classes, groups)
    assert found.shares == (0.75, 1.0, 0.0)
    assert found.cells == pytest.approx(1.75 / 3)
    assert found.pictures == pytest.approx(2 / 3)
    assert found.pictures_error == pytest.approx(np.std([1, 1, 0], ddof=1) / np.sqrt(3))
    better = readers.accuracy(classes, classes, groups)
    assert better.less(found)[0] == pytest.approx(1.25 / 3)


def test_textures_know_fine_from_coarse_inside_the_cell_alone():
    _, x = np.mgrid[:96, :96]
    crops = np.stack([np.where(x // step % 2, 200, 50) for step in (1, 8)]).astype(np.uint8)
    masks = np.zeros((2, 96, 96), np.uint8)
    masks[:, 20:70, 20:70] = 1
    found = textures.cooccurrence(crops, masks)
    assert found.shape == (2, 48)
    assert np.isfinite(found).all()
    assert found[0, 0] > 2 * found[1, 0]  # contrast one pixel apart
    crops[:, :10] = 255  # outside
    np.testing.assert_array_equal(found, textures.cooccurrence(crops, masks))
    assert textures.pixels(crops, masks).shape == (2, 576)
    assert textures.cooccurrence(crops[:0], masks[:0]).shape == (0, 48)


class Drawn:
    """A segmenter that knows the picture's truth."""

    def segment(self, signals, pixels_per_reference_pixel):
        assert pixels_per_reference_pixel == [1.0]
        return [Segmentation(FIELD.nuclei, FIELD.cells, 70.0, {}, {}) for _ in signals]


def test_a_picture_under_two_names_is_one(tmp_path):
    for name in ("Homogene/1.png", "Homogene/2.png", "Centromere/1.png"):
        path = tmp_path / "Nucleaire" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        signal = FIELD.signal if name.startswith("Homogene") else FIELD.signal // 2
        Image.fromarray(signal).save(path)
    (tmp_path / "notes.txt").write_text("no picture")
    drawn: Any = Drawn()
    found = real_cells(tmp_path, drawn)
    assert found.names.tolist() == ["Centromere", "Homogene"]
    assert found.groups.tolist() == [0] * 7 + [1] * 7
    assert len(found.answerable().crops) == 0  # one picture a pattern: nobody could know
    assert found.capped(3).groups.tolist() == [0] * 3 + [1] * 3
    with pytest.raises(ValueError, match="no pictures"):
        real_cells(tmp_path / "Nucleaire" / "nothing", drawn)


def test_simulated_cells_repeat_and_go_round_the_patterns(monkeypatch):
    monkeypatch.setattr("anabatch.training.compared_cells._SIZE", (330, 250))
    one, two = simulated_cells(2), simulated_cells(2)
    np.testing.assert_array_equal(one.crops, two.crops)
    assert one.names.tolist() == list(PATTERNS[:2])
    assert len(one.crops) == len(one.masks) == len(one.classes) > 2


def cells():
    crops = RNG.integers(0, 256, (30, 96, 96), dtype=np.uint8)
    return ComparedCells(crops, np.ones_like(crops), CLASSES, GROUPS, np.array(["a", "b", "c"]))


def test_the_table_says_who_knows_the_patterns():
    known = cells()
    knows = Contestant("knows", lambda *_: np.eye(3)[CLASSES], 40)
    guesses = Contestant("guesses", lambda *_: RNG.normal(size=(30, 3)), 40)
    results = {who.name: compare(who, {"some": known}) for who in (knows, guesses)}
    lines = table(results)
    assert lines[2].startswith("| some | knows | 100.0 ± 0.0 | 100.0 ± 0.0 |")
    (line,) = differences(results, "knows")
    assert line.startswith("some: knows less guesses: +")
    kept = quality(results, {"some": known})
    assert kept["compared_on"]["some"] == {"cells": 30, "pictures": 6, "patterns": 3}
    assert kept["accuracy"]["knows"]["some"]["linear"]["cells"] == 1.0
    assert "shares" not in kept["accuracy"]["knows"]["some"]["linear"]


def test_features_are_kept_for_the_next_time(tmp_path):
    calls = []

    def describe(crops, _):
        calls.append(len(crops))
        return np.eye(3)[CLASSES]

    who = Contestant("w", describe, 40, "digest")
    assert compare(who, {"s": cells()}, tmp_path) == compare(who, {"s": cells()}, tmp_path)
    assert calls == [30]


def test_the_command_compares_and_records(tmp_path, monkeypatch, capsys):
    save_random(tmp_path / "other.npz", 1 / 32)
    (tmp_path / "keep").mkdir()
    np.savez(tmp_path / "keep" / "simulated.npz", **vars(cells()))
    recorded = {}
    monkeypatch.setattr(compare_features, "SHIPPED", str(tmp_path / "other.npz"))
    monkeypatch.setattr(
        compare_features, "update_entry", lambda _, changes: recorded.update(changes)
    )
    options = ["--seeds", "0", "--full-cells", "0", "--cells", "2", "--record"]
    main([*options, "--keep", str(tmp_path / "keep"), "--weights", str(tmp_path / "other.npz")])
    assert "| simulated | co-occurrence |" in capsys.readouterr().out
    assert json.loads(json.dumps(recorded))["quality"]["compared_on"]["simulated"]["cells"] == 12

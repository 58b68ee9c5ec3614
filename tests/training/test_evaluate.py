import json

import numpy as np
import pytest

from anabatch.config import SegmentConfig
from anabatch.metrics import compare
from anabatch.segmentation.two_pass import Segmentation, TwoPassSegmenter
from anabatch.simulate.field import PATTERNS, simulate_field
from anabatch.training import evaluate
from anabatch.training.fields import EVALUATION_SEED


class Oracle(TwoPassSegmenter):
    """A segmenter that knows the truth of one field, and loses its first cell."""

    def __init__(self, field):
        super().__init__(SegmentConfig())
        self.field = field

    def segment(self, signals, pixels_per_reference_pixel):
        assert pixels_per_reference_pixel == [1]
        cells = np.where(self.field.cells == 1, 0, self.field.cells)
        return [Segmentation(self.field.nuclei, cells, 70.0, {}) for _ in signals]


def test_a_field_is_compared_with_its_own_truth(monkeypatch):
    monkeypatch.setattr(evaluate, "WIDTH", 400)
    monkeypatch.setattr(evaluate, "HEIGHT", 300)
    field = simulate_field(EVALUATION_SEED + 100, ["homogeneous"], size=(400, 300))
    measured = list(evaluate.evaluate_fields(Oracle(field), ["homogeneous"], 1, [1]))
    assert len(measured) == 1
    assert measured[0].nuclei.scores.false_negatives.tolist() == [0, 0, 0]
    assert measured[0].cells.scores.false_negatives.tolist() == [1, 1, 1]
    assert measured[0].pattern == "homogeneous"


class Deaf(Oracle):
    """Told of every field that its pixels are reference pixels."""

    def segment(self, signals, pixels_per_reference_pixel):
        assert signals[0].shape == (300, 400)
        return super().segment(signals, pixels_per_reference_pixel)


def test_magnified_fields_are_larger_than_the_segmenter_is_told(monkeypatch):
    monkeypatch.setattr(evaluate, "WIDTH", 400)
    monkeypatch.setattr(evaluate, "HEIGHT", 300)
    seed = EVALUATION_SEED + 100_000 + 150
    field = simulate_field(seed, ["golgi"], size=(400, 300), pixels_per_reference_pixel=1.5)
    measured = list(evaluate.evaluate_magnified(Deaf(field), ["golgi"], 1, [1.5]))
    assert measured[0].cells.scores.false_negatives.tolist() == [1, 1, 1]
    rows = evaluate.table(measured, evaluate._magnified_title)
    assert list(rows) == ["400x300 magnified 1.5"]


def test_the_table_shows_fixed_diameters_and_estimated_ones(monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "WIDTH", 200)
    monkeypatch.setattr(evaluate, "HEIGHT", 160)
    asked = []

    def segment(self, signals, pixels_per_reference_pixel):
        asked.append((self.config.diameter, *pixels_per_reference_pixel))
        nothing = np.zeros(signals[0].shape, np.int32)
        return [Segmentation(nothing, nothing, float("nan"), {})]

    monkeypatch.setattr(TwoPassSegmenter, "segment", segment)
    options = "--quick --patterns golgi --magnified 0.6 --diameter fixed auto"
    evaluate.main(options.split())
    assert asked == [("fixed", 1), ("fixed", 1.0), ("auto", 1), ("auto", 1.0)]
    printed = capsys.readouterr().out
    for title in ("200x160", "200x160 magnified 0.6"):
        for name in ("", ", auto", ", watershed"):
            assert f"{title}{name}\n" in printed


def field_scores(pattern, scale, right, wrong):
    truth = np.arange(1, right + wrong + 1, dtype=np.int32)[np.newaxis].repeat(4, axis=0)
    found = np.where(truth > right, 0, truth)
    return evaluate.FieldScores(pattern, scale, compare(truth, truth), compare(truth, found))


def test_the_table_pools_masks_and_leaves_negatives_out_of_all():
    table = evaluate.table(
        [
            field_scores("golgi", 1, 3, 1),
            field_scores("golgi", 1, 5, 1),
            field_scores("nucleolar", 1, 1, 1),
            field_scores("negative", 1, 0, 9),
            field_scores("golgi", 2, 1, 0),
        ]
    )
    small = table["1388x1040"]
    assert small["cells golgi"][:3] == [0.8] * 3
    assert small["cells negative"][:3] == [0.0] * 3
    assert small["cells all"][:3] == [0.75] * 3
    assert small["nuclei all"] == [1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0, 0]
    assert table["2776x2080"]["cells all"][:3] == [1.0] * 3
    assert "0.750" in evaluate.show(table)


def test_figures_are_recorded_with_the_network_that_they_belong_to(tmp_path, monkeypatch):
    (tmp_path / "manifest.json").write_text("{}")
    monkeypatch.setattr(evaluate, "FOLDER", tmp_path)
    rows = {"nuclei all": [0.9, 0.8, 0.7, 1.0, 0.1], "cells all": [0.8, 0.7, 0.6, 1.0, 0.2]}
    evaluate.record({"1388x1040": rows, "1388x1040, watershed": rows})
    written = json.loads((tmp_path / "manifest.json").read_text())
    figures = "AP@0.5, 0.75, 0.9"
    assert written["anabatch-nuclei"]["quality"][figures] == {
        "1388x1040": {"nuclei all": [0.9, 0.8, 0.7]}
    }
    assert written["anabatch-cells"]["quality"][figures] == {
        "1388x1040": {"cells all": [0.8, 0.7, 0.6]}
    }


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "size"), [(1, "1388x1040"), (2, "2776x2080")])
def test_simulated_fields_other_than_negatives_reach_the_bar(scale, size):
    patterns = [pattern for pattern in PATTERNS if pattern != evaluate.NEGATIVE]
    segmenter = TwoPassSegmenter(SegmentConfig())
    measured = list(evaluate.evaluate_fields(segmenter, patterns, 1, [scale]))
    rows = evaluate.table(measured)[size]
    assert rows["nuclei all"][0] >= 0.90
    assert rows["cells all"][0] >= 0.90

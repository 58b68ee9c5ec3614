import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anabatch.segmentation.scale_bar import clear_scale_bar, find_scale_bar, without_scale_bar
from anabatch.simulate import field as simulation
from anabatch.simulate.field import simulate_field
from anabatch.simulate.optics import BAR, draw_optics
from anabatch.training.fields import as_jpeg

PATTERNS = ("homogeneous", "cytoplasmic fibrillar", "negative")


@pytest.fixture
def draw(monkeypatch):
    """Draw fields that have a scale bar, or have none."""

    def field(seed, pattern, *, bar, pixels=1.0):
        monkeypatch.setattr(
            simulation, "draw_optics", lambda *a, **k: replace(draw_optics(*a, **k), bar=bar)
        )
        return simulate_field(
            seed, [pattern], size=(1296, 966), pixels_per_reference_pixel=pixels
        ).signal

    return field


def place(pixels=1.0):
    left, top, width, height = (round(part * pixels) for part in BAR)
    return top, left, top + height, left + width


def covers(box, drawn, by):
    """Whether a box covers what is drawn, and reaches beyond it by so many pixels at most."""
    out = np.array(drawn) * (1, 1, -1, -1) - np.array(box) * (1, 1, -1, -1)
    return (out >= 0).all() and (out <= by).all()


@pytest.mark.parametrize("pixels", [0.6, 1.0, 2.0, 2.5])
@pytest.mark.parametrize("quality", [75, 95])
def test_the_bar_of_simulated_fields_is_found(draw, pixels, quality):
    for seed, pattern in enumerate(PATTERNS):
        signal = draw(3_000_000 + seed, pattern, bar=True, pixels=pixels)
        box = find_scale_bar(as_jpeg(signal, quality))
        assert box is not None, pattern
        assert covers(box, place(pixels), by=6), (pattern, box)


@pytest.mark.parametrize("quality", [75, 95])
def test_without_a_bar_nothing_is_found(draw, quality):
    for seed, pattern in enumerate(PATTERNS):
        signal = draw(3_000_000 + seed, pattern, bar=False)
        assert find_scale_bar(as_jpeg(signal, quality)) is None, pattern


def test_sixteen_bits_are_searched_too(draw):
    signal = draw(3_000_001, "homogeneous", bar=True)
    twelve = signal.astype(np.uint16) * 16
    assert find_scale_bar(twelve) == find_scale_bar(signal)


def bright_cell(level=255):
    """A saturated cell in the upper left corner, with an edge as sharp as a line's."""
    y, x = np.mgrid[:600, :800]
    signal = np.full((600, 800), 12, np.uint8)
    signal[((y - 60) / 50) ** 2 + ((x - 120) / 110) ** 2 < 1] = level
    return signal


def panel(*, text=True, line=True):
    signal = np.full((600, 800), 12, np.uint8)
    signal[26:50, 34:250] = 66
    if text:
        signal[30:44, 120:150:3] = 255
    if line:
        signal[49:51, 34:250] = 190
    return signal


@pytest.mark.parametrize(
    "signal",
    [
        bright_cell(),
        bright_cell(90),
        panel(text=False),
        panel(line=False),
        np.zeros((600, 800), np.uint8),
        np.random.default_rng(0).integers(0, 255, (600, 800)).astype(np.uint8),
        np.zeros((16, 16), np.uint8),
        np.zeros((3, 2000), np.uint8),
    ],
    ids=["white cell", "dim cell", "no text", "no line", "black", "noise", "tiny", "flat"],
)
def test_what_only_looks_like_one_is_none(signal):
    assert find_scale_bar(signal) is None


def test_the_same_made_whole_is_one():
    assert covers(find_scale_bar(panel()), (26, 34, 51, 250), by=6)


def test_the_bar_is_filled_from_around_it():
    signal = panel()
    box = find_scale_bar(signal)
    before = signal.copy()
    filled = without_scale_bar(signal, box)
    np.testing.assert_array_equal(signal, before)  # the image itself stays
    assert filled.dtype == signal.dtype
    assert (filled == 12).all()
    assert without_scale_bar(signal, None) is signal


def test_the_filling_goes_from_what_is_above_to_what_is_below():
    signal = np.full((80, 90), 20, np.uint16)
    signal[30:] = 60
    filled = without_scale_bar(signal, (20, 10, 40, 70))
    column = filled[20:40, 30].astype(int)
    assert (np.diff(column) >= 0).all()
    assert column[0] == pytest.approx(21, abs=1)
    assert column[-1] == pytest.approx(59, abs=1)
    np.testing.assert_array_equal(filled[:, 70:], signal[:, 70:])


@pytest.mark.parametrize("box", [(0, 5, 12, 40), (70, 5, 80, 40), (0, 0, 80, 90)])
def test_a_bar_at_the_edge_is_filled_from_the_other_side(box):
    filled = without_scale_bar(np.full((80, 90), 20, np.uint8), box)
    assert (filled == 20).all()


def test_masks_are_taken_off_the_bar():
    labels = np.zeros((60, 60), np.int32)
    labels[0:30, 0:10] = 1  # a third of it on the bar, at its end
    labels[22:28, 20:30] = 2  # on the bar
    labels[10:50, 40:50] = 3  # parted by the bar: 10 rows above, 20 below
    labels[50:, 20:30] = 4  # elsewhere
    cleared, dropped = clear_scale_bar(labels, (20, 0, 30, 60))
    assert dropped == 2  # of the third, the larger piece is just half
    expected = np.zeros_like(labels)
    expected[0:20, 0:10] = 1
    expected[50:, 20:30] = 2
    np.testing.assert_array_equal(cleared, expected)
    labels[50:55, 40:50] = 3
    cleared, dropped = clear_scale_bar(labels, (20, 0, 30, 60))
    assert dropped == 1
    assert not cleared[:20, 40:50].any()  # the smaller piece
    assert (cleared[30:55, 40:50] == 2).all()


def test_without_a_bar_masks_stay():
    labels = np.arange(12, dtype=np.int32).reshape(3, 4)
    cleared, dropped = clear_scale_bar(labels, None)
    assert cleared is labels
    assert dropped == 0


@pytest.mark.real
@pytest.mark.skipif("ANABATCH_REAL_DATA" not in os.environ, reason="ANABATCH_REAL_DATA is not set")
def test_every_real_field_has_its_bar():
    """All but one, of another microscope, which has none."""
    places: dict[Any, list[Path]] = {}
    for path in sorted(Path(os.environ["ANABATCH_REAL_DATA"]).rglob("*.jpg")):
        with Image.open(path) as image:
            signal = np.ascontiguousarray(np.asarray(image)[..., 1])
        box = find_scale_bar(signal)
        places.setdefault((box, signal.shape), []).append(path)
    without = {shape for box, shape in places if box is None}
    assert without <= {(1536, 2048)}
    for box, _ in places:
        if box is not None:
            # 20 and 100 micrometres, drawn at one place
            assert covers(box, (24, 33, 50, 246), by=4) or covers(box, (24, 33, 50, 300), by=4)

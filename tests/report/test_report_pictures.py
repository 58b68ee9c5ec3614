"""Pictures: what is stretched, what is outlined, and that figures leave nothing behind."""

import base64
import io

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from anabatch.report.figures import figure_text, new_figure, style, to_plot
from anabatch.report.pictures import crop_uri, outlined_field, outlines, stretch


def decoded(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_stretch_is_linear_and_clipped():
    picture = np.array([[0, 100], [150, 300]], np.uint16)
    assert stretch(picture, 100, 200).tolist() == [[0, 0], [128, 255]]
    assert stretch(picture, 100, 100).tolist() == [[0, 0], [255, 255]]


def test_outlines_lie_within_masks_and_between_touching_ones():
    labels = np.array([[0, 0, 0, 0, 0], [0, 1, 1, 1, 2], [0, 1, 1, 1, 2], [0, 1, 1, 1, 2]])
    expected = [[0, 0, 0, 0, 0], [0, 1, 1, 1, 1], [0, 1, 0, 1, 1], [0, 1, 0, 1, 1]]
    assert outlines(labels).astype(int).tolist() == expected


def test_no_masks_have_no_outlines():
    assert not outlines(np.zeros((4, 4), np.int32)).any()


def test_field_shows_grey_signal_and_two_colours():
    signal = np.full((40, 60), 20, np.uint8)
    signal[10:30, 10:30] = 120
    cells = (signal == 120).astype(np.int32)
    nuclei = np.zeros_like(cells)
    nuclei[15:25, 15:25] = 7
    picture, zoom = outlined_field(signal, nuclei, cells)
    assert zoom == 1
    assert picture[10, 10].tolist() == [0xE6, 0x9F, 0x00]  # cell
    assert picture[15, 15].tolist() == [0x56, 0xB4, 0xE9]  # nucleus
    assert picture[20, 20].tolist() == [255, 255, 255]
    assert picture[5, 5].tolist() == [0, 0, 0]


def test_large_field_is_shrunk_with_its_outlines():
    signal = np.zeros((2000, 3000), np.uint16)
    cells = np.zeros((2000, 3000), np.int32)
    cells[900:1100, 1400:1600] = 1
    picture, zoom = outlined_field(signal, np.zeros_like(cells), cells)
    assert picture.shape == (667, 1000, 3)
    assert zoom == pytest.approx(1 / 3)
    rows, columns = np.nonzero(picture.any(axis=2))
    assert [rows.min(), rows.max()] == pytest.approx([300, 366], abs=1)
    assert [columns.min(), columns.max()] == pytest.approx([467, 533], abs=1)


def test_noise_of_an_empty_field_stays_dark():
    signal = np.random.default_rng(0).integers(5, 8, (50, 50), np.uint8)
    nothing = np.zeros((50, 50), np.int32)
    assert outlined_field(signal, nothing, nothing)[0].max() < 40


def test_crop_keeps_its_background_black_and_fills_the_range():
    crop = np.zeros((96, 96), np.uint16)
    crop[20:70, 20:70] = np.linspace(1000, 3000, 50).astype(np.uint16)
    shown = decoded(crop_uri(crop))
    assert shown.shape == (96, 96)
    assert shown[:12, :12].max() < 10
    assert shown.max() > 245


def test_empty_crop_is_black():
    assert decoded(crop_uri(np.zeros((96, 96), np.uint8))).max() == 0


def _draw(points: bool):
    with style():
        figure = new_figure(3, 2)
        axes = figure.add_subplot()
        axes.bar([figure_text("抗体 $x$ \n"), "b"], [1, 2])
        return to_plot(figure, alt="", caption="", points=points)


@pytest.mark.parametrize("points", [False, True])
def test_figures_are_the_same_every_time_and_leave_no_settings(points):
    before = dict(mpl.rcParams)
    first, second = _draw(points), _draw(points)
    assert first == second
    assert dict(mpl.rcParams) == before
    kind = "png" if points else "svg+xml"
    assert first.uri.startswith(f"data:image/{kind};base64,")


def test_figure_text_has_only_glyphs_of_the_font():
    assert figure_text("é") == "é"
    assert figure_text("抗") == "\\u6297"
    assert figure_text("x" * 50, 10) == "x" * 9 + "…"

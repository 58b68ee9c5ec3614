"""Pictures: what is stretched, and that figures leave nothing behind."""

import base64
import io

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from anabatch.report.figures import bar_names, figure_text, new_figure, style, to_plot
from anabatch.report.pictures import crop_uri, stretch


def decoded(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_stretch_is_linear_and_clipped():
    picture = np.array([[0, 100], [150, 300]], np.uint16)
    assert stretch(picture, 100, 200).tolist() == [[0, 0], [128, 255]]
    assert stretch(picture, 100, 100).tolist() == [[0, 0], [255, 255]]


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


def test_counts_behind_long_names_are_not_cut():
    with style():
        axes = new_figure(3, 2).add_subplot()
        bar_names(axes, ["golgi", "x" * 50], [12, 84])
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        "golgi (12)",
        "x" * 33 + "… (84)",
    ]

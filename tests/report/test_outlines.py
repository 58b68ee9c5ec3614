"""Outlines: where the truth's borders are, in the colours of the key; marks where they point."""

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from anabatch.report.outlines import (
    CELL_COLOUR,
    MARKS,
    MITOTIC,
    NO_CELL,
    NO_NUCLEUS,
    NUCLEUS_COLOUR,
    Mark,
    mitotic,
    outlined_field,
    outlines,
    rgb,
    unpaired,
)
from anabatch.simulate.field import simulate_field


def coloured(picture, colour):
    return (picture == rgb(colour)).all(axis=2)


def rims(labels, width):
    """Return the outermost pixels of every mask, mask by mask."""
    found = np.zeros(labels.shape, bool)
    for label in np.unique(labels[labels > 0]):
        mask = labels == label
        found |= mask & ~ndimage.binary_erosion(mask, iterations=width, border_value=1)
    return found


def test_outlines_lie_within_masks_and_between_touching_ones():
    labels = np.array([[0, 0, 0, 0, 0], [0, 1, 1, 1, 2], [0, 1, 1, 1, 2], [0, 1, 1, 1, 2]])
    expected = [[0, 0, 0, 0, 0], [0, 1, 1, 1, 1], [0, 1, 0, 1, 1], [0, 1, 0, 1, 1]]
    assert outlines(labels).astype(int).tolist() == expected


def test_no_masks_have_no_outlines():
    assert not outlines(np.zeros((4, 4), np.int32)).any()


def test_outlines_are_where_the_borders_of_the_truth_are():
    field = simulated()
    drawing = outlined_field(field.signal, field.nuclei, field.cells)
    nuclei = rims(field.nuclei, 2)
    assert nuclei.any()
    assert (coloured(drawing.picture, NUCLEUS_COLOUR) == nuclei).all()
    assert (coloured(drawing.picture, CELL_COLOUR) == rims(field.cells, 2) & ~nuclei).all()
    grey = drawing.picture[~nuclei & ~rims(field.cells, 2)]
    assert (grey == grey[:, :1]).all()


@pytest.mark.parametrize("zoom", [0.5, 3.0])
def test_outlines_stay_on_the_borders_of_the_truth_at_any_zoom(zoom):
    field = simulated()
    side = round(max(field.signal.shape) * zoom)
    drawing = outlined_field(field.signal, field.nuclei, field.cells, side=side, largest_zoom=4)
    assert drawing.zoom == pytest.approx(zoom, rel=0.01)
    for labels, colour in ((field.nuclei, NUCLEUS_COLOUR), (field.cells, CELL_COLOUR)):
        distance = ndimage.distance_transform_edt(~rims(labels, 1))
        y, x = np.nonzero(coloured(drawing.picture, colour))
        assert len(y) > 100
        scale = np.array(labels.shape) / drawing.picture.shape[:2]
        place = ((y + 0.5) * scale[0]).astype(int), ((x + 0.5) * scale[1]).astype(int)
        assert distance[place].max() <= 2 / zoom + 1


def simulated():
    return simulate_field(5, ["homogeneous"], size=(320, 240))


def test_field_shows_grey_signal_and_two_colours():
    signal = np.full((40, 60), 20, np.uint8)
    signal[10:30, 10:30] = 120
    cells = (signal == 120).astype(np.int32)
    nuclei = np.zeros_like(cells)
    nuclei[15:25, 15:25] = 7
    drawing = outlined_field(signal, nuclei, cells)
    assert (drawing.zoom, drawing.black, drawing.white) == (1, 20, 120)
    assert drawing.picture[10, 10].tolist() == [0xE6, 0x9F, 0x00]  # cell
    assert drawing.picture[15, 15].tolist() == [0x56, 0xB4, 0xE9]  # nucleus
    assert drawing.picture[20, 20].tolist() == [255, 255, 255]
    assert drawing.picture[5, 5].tolist() == [0, 0, 0]


def test_large_field_is_shrunk_with_its_outlines():
    signal = np.zeros((2000, 3000), np.uint16)
    cells = np.zeros((2000, 3000), np.int32)
    cells[900:1100, 1400:1600] = 1
    drawing = outlined_field(signal, np.zeros_like(cells), cells)
    assert drawing.picture.shape == (667, 1000, 3)
    assert drawing.zoom == pytest.approx(1 / 3)
    rows, columns = np.nonzero(drawing.picture.any(axis=2))
    assert [rows.min(), rows.max()] == pytest.approx([300, 366], abs=1)
    assert [columns.min(), columns.max()] == pytest.approx([467, 533], abs=1)


def test_noise_of_an_empty_field_stays_dark():
    signal = np.random.default_rng(0).integers(5, 8, (50, 50), np.uint8)
    nothing = np.zeros((50, 50), np.int32)
    assert outlined_field(signal, nothing, nothing).picture.max() < 40


@pytest.mark.parametrize("kind", MARKS)
@pytest.mark.parametrize("zoom", [1.0, 3.0])
def test_marks_stand_where_they_point(kind, zoom):
    signal = np.full((60, 90), 200, np.uint8)
    nothing = np.zeros((60, 90), np.int32)
    marks = [Mark(kind, 40.0, 20.0)]
    drawing = outlined_field(
        signal, nothing, nothing, side=round(90 * zoom), largest_zoom=4, marks=marks
    )
    y, x = np.nonzero(coloured(drawing.picture, MARKS[kind][0]))
    centre = [(y.min() + y.max()) / 2, (x.min() + x.max()) / 2]
    assert centre == pytest.approx([40.5 * zoom - 0.5, 20.5 * zoom - 0.5], abs=1)


def test_what_has_no_partner_is_pointed_at():
    nuclei, cells = np.zeros((20, 40), np.int32), np.zeros((20, 40), np.int32)
    cells[0:10, 0:10] = 1
    nuclei[2:6, 2:6] = 4  # whole in cell 1
    cells[0:10, 20:30] = 2
    nuclei[12:16, 2:6] = 9  # in no cell
    cells[12:20, 10:20] = 3
    nuclei[12:16, 18:24] = 5  # a third of it in cell 3: that is not its cell
    found = unpaired(nuclei, cells)
    assert found == [
        Mark(NO_NUCLEUS, 4.5, 24.5),
        Mark(NO_NUCLEUS, 15.5, 14.5),
        Mark(NO_CELL, 13.5, 20.5),
        Mark(NO_CELL, 13.5, 3.5),
    ]


def test_nothing_has_no_partner_where_nothing_is():
    nothing = np.zeros((5, 5), np.int32)
    assert unpaired(nothing, nothing) == []


def test_mitotic_cells_are_those_whose_rows_say_so():
    place: dict[str, Any] = {"centroid_y": 3.0, "centroid_x": 4.0}
    rows = [place | {MITOTIC: True}, place | {MITOTIC: False}, place | {MITOTIC: None}, place]
    assert mitotic(rows) == [Mark(MITOTIC, 3.0, 4.0)]

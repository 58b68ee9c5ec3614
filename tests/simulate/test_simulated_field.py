import itertools

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import pdist
from skimage.measure import find_contours, regionprops

from anabatch.simulate.field import PATTERNS, simulate_field
from anabatch.simulate.placement import CELL_COUNT

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module", params=SEEDS)
def field(request):
    return simulate_field(request.param, ["fine speckled"])


def feret(mask):
    outline = np.concatenate(find_contours(np.pad(mask, 1).astype(float), 0.5))
    return pdist(outline[::3]).max()


def inner_nuclei(field):
    """Interphase nuclei that the border does not cut."""
    height, width = field.nuclei.shape
    for region in regionprops(field.nuclei):
        y0, x0, y1, x1 = region.bbox
        inside = y0 > 0 and x0 > 0 and y1 < height and x1 < width
        if inside and region.label not in field.mitotic:
            yield region


def test_same_seed_gives_the_same_field_and_another_seed_another():
    first, again, other = (
        simulate_field(seed, ["nucleolar", "cytoplasmic granular"], size=(300, 240))
        for seed in (7, 7, 8)
    )
    assert np.array_equal(first.signal, again.signal)
    assert np.array_equal(first.nuclei, again.nuclei)
    assert np.array_equal(first.cells, again.cells)
    assert first.mitotic == again.mitotic
    assert not np.array_equal(first.signal, other.signal)


def test_size_is_width_by_height_and_types_are_as_promised(field):
    assert field.signal.shape == field.nuclei.shape == field.cells.shape == (1040, 1388)
    assert field.signal.dtype == np.uint8
    assert field.nuclei.dtype == field.cells.dtype == np.int32


def test_nucleus_lies_in_the_cell_of_its_label(field):
    inside = field.nuclei > 0
    assert np.array_equal(field.cells[inside], field.nuclei[inside])


def test_labels_are_consecutive_and_the_same_in_both_images(field):
    expected = np.arange(field.nuclei.max() + 1)
    assert np.array_equal(np.unique(field.nuclei), expected)
    assert np.array_equal(np.unique(field.cells), expected)
    assert set(field.mitotic) <= set(expected[1:])


def test_nuclei_and_cells_are_connected(field):
    for labels in (field.nuclei, field.cells):
        for region in regionprops(labels):
            assert ndimage.label(region.image)[1] == 1


def test_number_of_cells_is_in_range(field):
    assert CELL_COUNT[0] <= field.nuclei.max() <= CELL_COUNT[1]


def test_long_axes_of_interphase_nuclei_are_in_range(field):
    # a nucleus may lose an end to the neighbour that overlaps it, never gain
    lengths = np.array([feret(region.image) for region in inner_nuclei(field)])
    assert lengths.max() <= 122
    assert lengths.min() >= 45
    assert np.mean(lengths >= 55) > 0.9


def test_cell_count_follows_the_area():
    field = simulate_field(3, ["homogeneous"], size=(694, 520))
    assert CELL_COUNT[0] // 4 - 2 <= field.nuclei.max() <= CELL_COUNT[1] // 4 + 2


def test_double_resolution_doubles_sizes_and_keeps_the_count():
    once = simulate_field(11, ["homogeneous"], size=(694, 520))
    twice = simulate_field(11, ["homogeneous"], size=(1388, 1040), pixels_per_reference_pixel=2)
    single = np.median([region.area for region in inner_nuclei(once)])
    double = np.median([region.area for region in inner_nuclei(twice)])
    assert double / single == pytest.approx(4, rel=0.25)
    assert abs(int(once.nuclei.max()) - int(twice.nuclei.max())) <= 6


@pytest.mark.parametrize("names", [[], ["striped"], ["homogeneous", "striped"]])
def test_unknown_patterns_are_refused(names):
    with pytest.raises(ValueError, match="patterns are among homogeneous"):
        simulate_field(0, names)


def test_negative_fields_are_much_dimmer():
    def contrast(pattern):
        levels = []
        for seed in range(4):
            field = simulate_field(seed, [pattern], size=(500, 400))
            inside = field.cells > 0
            levels.append(field.signal[inside].mean() - np.median(field.signal[~inside]))
        return np.mean(levels)

    assert contrast("negative") < 0.25 * contrast("homogeneous")


def test_nuclei_differ_from_their_cytoplasm_outside_negative_fields():
    for seed, name in itertools.product((0, 1), PATTERNS):
        if name == "negative":
            continue
        field = simulate_field(seed, [name], size=(500, 400))
        nucleus = field.signal[field.nuclei > 0].astype(float)
        cytoplasm = field.signal[(field.cells > 0) & (field.nuclei == 0)].astype(float)
        difference = abs(nucleus.mean() - cytoplasm.mean())
        assert difference > 0.5, (seed, name)


def test_every_pattern_can_be_drawn_with_every_other():
    for pair in itertools.pairwise([*PATTERNS, PATTERNS[0]]):
        field = simulate_field(1, pair, size=(200, 160))
        assert field.patterns == pair

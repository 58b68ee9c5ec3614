"""Each pattern against its definition (https://www.anapatterns.org), without optics."""

import numpy as np
import pytest
from skimage.feature import peak_local_max

from anabatch.simulate.canvas import Canvas, Noise
from anabatch.simulate.geometry import CellShape, box_of, draw_mitosis, ellipse
from anabatch.simulate.texture import CATALOGUE, is_cytoplasmic

SIZE = (300, 300)


def canvas_of(kind, seed, scale=1.0):
    rng = np.random.default_rng(seed)
    long = 90.0 * scale
    if kind == "interphase":
        nucleus, cell = ellipse(long, long / 1.4, 0.6), ellipse(1.7 * long, 1.3 * long, 0.6)
        shape = CellShape(150 * scale, 150 * scale, nucleus, cell, 0.0, 0.6, kind)
    else:
        shape = draw_mitosis(rng, kind, long, 0.6)[0].moved(150 * scale, 150 * scale)
    size = (round(SIZE[0] * scale), round(SIZE[1] * scale))
    return Canvas(shape, box_of(shape, size), scale, rng, Noise(rng, scale, round(400 * scale)))


def painted(name, seed, kind="interphase", scale=1.0):
    canvas = canvas_of(kind, seed, scale)
    return canvas, CATALOGUE[name].draw(np.random.default_rng(seed)).paint(canvas)


def means(canvas, image):
    nucleus = canvas.reach[0] < 0.9
    cytoplasm = (canvas.reach[0] > 1.1) & (canvas.reach[1] < 0.8)
    return image[nucleus].mean(), image[cytoplasm].mean()


def dots(canvas, image):
    return len(peak_local_max(image, min_distance=1, threshold_abs=0.35 * image.max()))


@pytest.mark.parametrize("seed", range(5))
class TestDefinitions:
    def test_homogeneous_is_even(self, seed):
        canvas, image = painted("homogeneous", seed)
        inside = image[canvas.reach[0] < 0.85]
        assert inside.std() < 0.2 * inside.mean()
        assert means(canvas, image)[1] < 0.02

    @pytest.mark.parametrize("name", ["fine speckled", "coarse speckled", "dense fine speckled"])
    def test_speckled_is_uneven_within_the_nucleus(self, seed, name):
        canvas, image = painted(name, seed)
        inside = image[canvas.reach[0] < 0.85]
        assert inside.std() > 0.15 * inside.mean()
        assert means(canvas, image)[1] < 0.02

    def test_coarse_speckles_are_larger_than_fine_ones(self, seed):
        def correlation(name):
            canvas, image = painted(name, seed)
            pairs = (canvas.reach[0] < 0.8)[:, :-2] & (canvas.reach[0] < 0.8)[:, 2:]
            return np.corrcoef(image[:, :-2][pairs], image[:, 2:][pairs])[0, 1]

        # the nucleoli, which fine fields may leave out as well, correlate over longer distances
        assert correlation("coarse speckled") > correlation("fine speckled")

    def test_centromere_has_thirty_to_seventy_dots_in_the_nucleus(self, seed):
        canvas, image = painted("centromere", seed)
        image = image * (canvas.reach[0] < 1.05)
        assert 25 <= dots(canvas, image) <= 70

    def test_centromeres_gather_in_the_metaphase_plate(self, seed):
        canvas, image = painted("centromere", seed, "metaphase")
        bright = image > 0.5 * image.max()
        assert (canvas.reach[0][bright] < 1.1).mean() > 0.95

    def test_nucleoli_are_few_and_bright(self, seed):
        canvas, image = painted("nucleolar", seed)
        share = (image > 0.5)[canvas.reach[0] < 1].mean()
        assert 0.005 < share < 0.35
        assert means(canvas, image)[1] < 0.05

    def test_nuclear_dots_are_at_most_twenty(self, seed):
        canvas, image = painted("nuclear dots", seed)
        assert 1 <= dots(canvas, image) <= 20

    def test_nuclear_membrane_is_brighter_than_the_centre(self, seed):
        canvas, image = painted("nuclear membrane", seed)
        rim = image[np.abs(canvas.depth - 1) < 1].mean()
        centre = image[canvas.reach[0] < 0.6].mean()
        assert rim > 1.8 * centre

    @pytest.mark.parametrize("name", [name for name in CATALOGUE if is_cytoplasmic(name)])
    def test_cytoplasmic_patterns_leave_out_the_nucleus(self, seed, name):
        nucleus, cytoplasm = means(*painted(name, seed))
        assert cytoplasm > 1.2 * nucleus

    def test_golgi_lies_on_one_side(self, seed):
        canvas, image = painted("golgi", seed)
        dx, dy = canvas.offset
        bright = np.clip(image - 0.3, 0, None)
        resultant = np.abs((bright * np.exp(1j * np.arctan2(dy, dx))).sum()) / bright.sum()
        assert resultant > 0.6

    def test_negative_is_nothing(self, seed):
        assert not painted("negative", seed)[1].any()

    @pytest.mark.parametrize(
        ("name", "bright"),
        [
            ("homogeneous", True),
            ("dense fine speckled", True),
            ("fine speckled", False),
            ("coarse speckled", False),
            ("nuclear membrane", False),
        ],
    )
    def test_chromosomes_of_a_metaphase(self, seed, name, bright):
        canvas, image = painted(name, seed, "metaphase")
        plate = image[canvas.reach[0] < 0.8].mean()
        around = image[(canvas.reach[0] > 1.25) & (canvas.reach[1] < 0.9)].mean()
        assert plate > 2 * around if bright else plate < 0.7 * around


def test_anaphase_has_two_plates():
    canvas, image = painted("homogeneous", 0, "anaphase")
    _, across = canvas.offset
    inside = canvas.reach[0] < 0.95
    middle = image[inside & (np.abs(across) < 3)].mean()
    outer = image[inside & (np.abs(across) > 14)].mean()
    assert outer > 3 * middle


def test_telophase_gives_two_cells():
    shapes = draw_mitosis(np.random.default_rng(0), "telophase", 90.0, 0.0)
    assert len(shapes) == 2
    assert np.hypot(shapes[0].x - shapes[1].x, shapes[0].y - shapes[1].y) > 40


def test_double_scale_doubles_dots():
    def width(scale):
        canvas, image = painted("nuclear dots", 3, scale=scale)
        return (image > 0.5 * image.max()).sum() / max(dots(canvas, image), 1)

    assert width(2.0) / width(1.0) == pytest.approx(4, rel=0.5)

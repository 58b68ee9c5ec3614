import hashlib

import cv2
import numpy as np
import pytest

from anabatch.config import SegmentConfig
from anabatch.metrics import match, overlaps, score
from anabatch.segmentation import mosaic, visibility
from anabatch.segmentation.consistency import consistent
from anabatch.segmentation.finishing import make_consistent
from anabatch.segmentation.passes import Terms, fill_holes, find, number_by_place
from anabatch.segmentation.scratch import DiskImage
from anabatch.segmentation.two_pass import TwoPassSegmenter
from anabatch.simulate.field import simulate_field

TILES = (256, 512, 1024)


class Remembering:
    """A network that looks at every batch once, and counts those it has not seen."""

    def __init__(self, network):
        self._network = network
        self._answers = {}
        self.diameter = network.diameter

    @property
    def looks(self):
        return len(self._answers)

    def __call__(self, tiles):
        key = hashlib.blake2b(tiles.tobytes()).digest()
        if key not in self._answers:
            self._answers[key] = self._network(tiles)
        return self._answers[key]


class Patient(TwoPassSegmenter):
    """A segmenter whose networks remember."""

    def _network(self, name):
        return Remembering(super()._network(name))


@pytest.fixture(scope="module")
def segmenter():
    return Patient(SegmentConfig())


@pytest.fixture(scope="module")
def field():
    return simulate_field(2_000_321, ["fine speckled"], size=(900, 700))


@pytest.fixture(scope="module")
def whole(segmenter, field):
    return segmenter.segment([field.signal], [1.0])[0]


def agreement(one, two):
    return [
        float(score(a, b, [0.9]).average_precision[0])
        for a, b in ((one.nuclei, two.nuclei), (one.cells, two.cells))
    ]


def facts(found):
    """All but the label images, as text: there NaN equals NaN."""
    return {
        name: repr(getattr(found, name))
        for name in found.__dataclass_fields__
        if name not in ("nuclei", "cells")
    }


@pytest.mark.parametrize("block", TILES)
def test_masks_do_not_depend_on_the_tiles(segmenter, field, whole, block):
    """Nor on whether the image is taken for a mosaic."""
    looks = segmenter.nucleus_network.looks + segmenter.cell_network.looks
    found = mosaic.segment_mosaic(field.signal, 1.0, segmenter, block=block)
    assert min(agreement(whole, found)) >= 0.99
    assert facts(found) == facts(whole)
    # The networks were not shown anything that they had not seen.
    assert segmenter.nucleus_network.looks + segmenter.cell_network.looks == looks


def crossing(labels, block):
    """Masks with pixels on both sides of a seam."""
    on = [
        np.intersect1d(labels.take(at - 1, axis), labels.take(at, axis))
        for axis in (0, 1)
        for at in range(block, labels.shape[axis], block)
    ]
    return np.setdiff1d(np.concatenate(on), [0])


def test_cells_on_a_seam_are_one_cell(segmenter, field, whole):
    found = mosaic.segment_mosaic(field.signal, 1.0, segmenter, block=256)
    for one, other in ((whole.nuclei, found.nuclei), (whole.cells, found.cells)):
        matched = match(overlaps(one, other), 0.9)[:, 0]
        on_seams = crossing(one, 256)
        assert on_seams.size > 7
        assert np.isin(on_seams, matched).all()


@pytest.mark.slow
def test_a_mosaic_of_8000_by_8000_has_the_same_masks_by_all_tiles(segmenter, monkeypatch):
    drawn = simulate_field(2_000_322, ["fine speckled"], size=(8000, 8000))
    monkeypatch.setattr(mosaic, "LARGEST_FIELD", 100.0)
    whole = segmenter.segment([drawn.signal], [1.0])[0]
    assert score(drawn.cells, whole.cells, [0.5]).average_precision[0] > 0.8
    for block in TILES:
        found = mosaic.segment_mosaic(drawn.signal, 1.0, segmenter, block=block)
        assert min(agreement(whole, found)) >= 0.99
        for one, other in ((whole.nuclei, found.nuclei), (whole.cells, found.cells)):
            matched = match(overlaps(one, other), 0.9)[:, 0]
            assert np.isin(crossing(one, block), matched).mean() >= 0.99


def test_label_images_lie_on_disk_in_order(segmenter, field, tmp_path):
    found = mosaic.segment_mosaic(field.signal, 1.0, segmenter, block=512, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []  # their files have no names
    for labels in (found.nuclei, found.cells):
        assert isinstance(labels, np.memmap)
        assert not labels.flags.writeable
        assert labels.dtype == np.int32
        names = np.unique(labels)
        assert names.tolist() == list(range(names.size))
    again = mosaic.segment_mosaic(field.signal, 1.0, segmenter, block=512)
    np.testing.assert_array_equal(found.nuclei, again.nuclei)
    np.testing.assert_array_equal(found.cells, again.cells)


def test_no_room_is_an_error(segmenter, field, tmp_path):
    with pytest.raises(FileNotFoundError):
        mosaic.segment_mosaic(field.signal, 1.0, segmenter, folder=tmp_path / "gone")


VARIANTS = {
    "fine": (lambda signal: np.kron(signal, np.ones((2, 2), np.uint8)), 2.0, {}),
    "between": (lambda signal: signal, 1.3, {}),
    "sixteen bits": (lambda signal: signal.astype(np.uint16) * 257, 1.0, {}),
    "ten bits of sixteen": (lambda signal: signal.astype(np.uint16) * 4, 1.0, {}),
    "one pass": (lambda signal: signal, 1.0, {"recipe": "one-pass"}),
    "size from the image": (lambda signal: signal, 1.0, {"diameter": "auto"}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_other_images_and_recipes_give_the_same_by_both_roads(field, variant):
    change, pixels, parameters = VARIANTS[variant]
    signal = change(field.signal[100:450, 100:520])
    segmenter = Patient(SegmentConfig.model_validate(parameters))
    whole = segmenter.segment([signal], [pixels])[0]
    found = mosaic.segment_mosaic(signal, pixels, segmenter, block=200)
    assert found.cells.shape == signal.shape
    assert whole.cells.max() > 5
    assert np.nanmin(agreement(whole, found)) >= 0.99
    assert facts(found) == facts(whole)


def with_bar(signal):
    """Burn in a scale bar as acquisition programs do."""
    marked = signal.copy()
    marked[0:26, 0:110] = 40
    cv2.putText(marked, "20 um", (25, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 230, 1)
    marked[26:30, 0:110] = 230
    return marked


def test_a_scale_bar_is_no_cell(field):
    signal = with_bar(field.signal[:400, :500])
    segmenter = Patient(SegmentConfig())
    whole = segmenter.segment([signal], [1.0])[0]
    assert whole.scale_bar is not None
    found = mosaic.segment_mosaic(signal, 1.0, segmenter, block=150)
    assert min(agreement(whole, found)) >= 0.99
    assert facts(found) == facts(whole)
    top, left, bottom, right = whole.scale_bar
    assert not found.cells[top:bottom, left:right].any()


@pytest.mark.parametrize("kind", ["flat", "noise", "tiny"])
def test_where_nothing_is_to_be_seen_nothing_is_found(segmenter, kind):
    rng = np.random.default_rng(0)
    signal = {
        "flat": np.full((300, 400), 9, np.uint8),
        "noise": np.clip(rng.normal(20, 2, (400, 300)), 0, 255).astype(np.uint8),
        "tiny": np.full((1, 1), 3, np.uint8),
    }[kind]
    found = mosaic.segment_mosaic(signal, 1.0, segmenter, block=100)
    assert found.cells.shape == found.nuclei.shape == signal.shape
    assert not found.cells.any()
    assert facts(found) == facts(segmenter.segment([signal], [1.0])[0])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("block", [310, 5000])
def test_what_stands_out_of_a_mosaic_is_what_stands_out_of_a_field(dtype, block):
    """Around the faintest spot that still counts."""
    step = 1 if dtype == np.uint8 else 257
    y, x = np.mgrid[:420, :380]
    spot = np.exp(-((y - 200) ** 2 + (x - 150) ** 2) / (2 * 12**2))
    noise = np.random.default_rng(0).normal(0, 0.8, spot.shape)
    told = []
    for height in (0.5, 1.5, 2.5, 4, 8):
        signal = (np.rint(30 + noise + height * spot) * step).astype(dtype)
        told.append(mosaic.visible(signal, 60.0, block))
        assert told[-1] == visibility.visible(signal, 60.0)
    assert told[0] is False
    assert told[-1] is True


def test_only_images_beyond_arrays_are_mosaics():
    assert not mosaic.is_mosaic((2080, 2776), 2.0)
    assert not mosaic.is_mosaic((4000, 4000), 1.0)
    assert mosaic.is_mosaic((4000, 4001), 1.0)
    assert not mosaic.is_mosaic((8000, 8000), 2.0)
    assert mosaic.is_mosaic((20_000, 20_000), 2.0)


class Knowing:
    """A network that knows the answer, and gets the place it is asked about in the image itself."""

    diameter = 30.0

    def __init__(self, truth):
        y, x = np.mgrid[: truth.shape[0], : truth.shape[1]]
        self._answer = np.zeros((3, *truth.shape), np.float32)
        self._answer[2] = np.where(truth > 0, 6, -6)
        for label in range(1, truth.max() + 1):
            own = truth == label
            down, along = y[own].mean() - y[own], x[own].mean() - x[own]
            self._answer[:2, own] = 5 * np.stack([down, along]) / (np.hypot(down, along) + 1e-3)

    def __call__(self, tiles):
        answers = np.zeros((len(tiles), 3, *tiles.shape[2:]), np.float32)
        for answer, (place, _) in zip(answers, tiles, strict=True):
            at = np.rint(place * self._scale + self._start).astype(int)
            inside = at > 0
            answer[:, inside] = self._answer[:, *np.divmod(at[inside] - 1, self._answer.shape[2])]
        return answers

    def places(self):
        """An image whose every pixel says where it is, after its percentiles are taken."""
        shape = self._answer.shape[1:]
        image = np.arange(1, shape[0] * shape[1] + 1, dtype=np.uint16).reshape(shape)
        low, high = np.percentile(image, (1, 99))
        self._start, self._scale = low, high - low
        return image


def test_every_cell_is_found_once_wherever_the_seams_are():
    """By a network that knows them: at seams, at their corners, and next to each other there."""
    truth = np.zeros((230, 260), np.int32)
    centres = [(64, 64), (64, 96), (96, 64), (128, 128), (40, 200), (190, 64), (200, 222), (13, 13)]
    for label, (y, x) in enumerate(centres, 1):
        cv2.circle(truth, (x, y), 14, label, -1)
    network = Knowing(truth)
    config = SegmentConfig(tile=64)
    for block in (64, 96, 128, 1000):
        found = find([network.places()], network, 30.0, Terms(config, block, None))
        assert found.statistics.count == len(centres)
        assert score(truth, found.labels[:], [0.9]).average_precision[0] == 1.0
        assert sum(found.dropped.values()) == 0


def test_holes_are_filled_and_masks_numbered_on_disk():
    labels = DiskImage((40, 50), np.int32)
    ring = np.zeros((40, 50), np.int32)
    cv2.circle(ring, (30, 20), 12, 3, 3)
    ring[19:22, 29:32] = 5  # what lies in a hole goes to the mask around it
    ring[35:38, 3:7] = 1
    labels[:, :] = ring
    fill_holes(labels, 16)
    statistics = number_by_place(labels, 16)
    assert statistics.count == 2
    assert labels[20, 30] == 1
    assert labels[36, 4] == 2
    assert np.count_nonzero(labels[:] == 1) > 400


def test_nuclei_and_cells_are_made_to_fit_window_by_window():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 6, (2, 8, 9)).astype(np.int32)
    nuclei, cells = (np.kron(part, np.ones((5, 5), np.int32)) for part in coarse)
    cells = np.roll(cells, 2, axis=1)
    images = [DiskImage(nuclei.shape, np.int32) for _ in range(2)]
    for image, values in zip(images, (nuclei, cells), strict=True):
        image[:, :] = values
    make_consistent(images[0], images[1], 7)
    for image, expected in zip(images, consistent(nuclei, cells), strict=True):
        np.testing.assert_array_equal(image[:], expected)

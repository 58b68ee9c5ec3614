"""What any segmenter must keep to, as checks that anybody's tests can run over it.

    @pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
    def test_my_segmenter(check):
        check(conformance.Subject(MySegmenter, SegmentConfig()))

A check returns nothing, or raises :class:`~anabatch.conformance.ConformanceError` and says what was promised. Each makes its own
images. Segmenters whose weights are random find nothing that is there: for them the checks of what is
found leave that question out, and keep to the form of the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from anabatch.conformance import answer_of_a_worker, require, require_devices
from anabatch.metrics import score

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from anabatch.config import SegmentConfig
    from anabatch.segmentation.protocol import Segmenter
    from anabatch.segmentation.recipe import Segmentation

SIDES = (128, 224, 320)
"""Sides of tiles that results are compared between, in network pixels."""

_LEVELS = {"background": 12, "cytoplasm": 40, "nucleus": 150}  # of 255


@dataclass(frozen=True)
class Subject:
    """A segmenter that is checked.

    Attributes
    ----------
    make : callable
        Takes a configuration, gives a segmenter. Called anew by every check.
    config : SegmentConfig
    trained : bool
        Whether it can be expected to find cells.
    devices : tuple of str
        Devices that are there and of use to it. Any other must be refused.
    """

    make: Callable[[SegmentConfig], Segmenter]
    config: SegmentConfig
    trained: bool = True
    devices: tuple[str, ...] = ("cpu",)

    def segment(
        self, signal: NDArray[Any], pixels_per_reference_pixel: float = 1.0, **changes: Any
    ) -> Segmentation:
        """Segment one image with a fresh segmenter, and check the answer's form."""
        segmenter = self.make(self.config.model_copy(update=changes))
        found = segmenter.segment([signal], [pixels_per_reference_pixel])
        require(len(found) == 1, f"one image gives one answer, not {len(found)}")
        _check_form(found[0], signal)
        return found[0]


@dataclass(frozen=True)
class Drawing:
    """An image and its truth: `signal` uint8, `nuclei` and `cells` int32, all of shape (H, W)."""

    signal: NDArray[np.uint8]
    nuclei: NDArray[np.int32]
    cells: NDArray[np.int32]


def draw(*centres: tuple[int, int], shape: tuple[int, int] = (300, 420)) -> Drawing:
    """Draw round cells: nuclei of 70 pixels across in cells of 110.

    Parameters
    ----------
    *centres : (int, int)
        (row, column); where cells overlap, the nearer centre has the pixel.
    shape : (int, int)
    """
    y, x = np.mgrid[: shape[0], : shape[1]]
    nothing = np.full(shape, np.inf)
    squares = np.stack([nothing, *((y - row) ** 2 + (x - column) ** 2 for row, column in centres)])
    owner, nearest = squares.argmin(axis=0).astype(np.int32), squares.min(axis=0)
    cells = np.where(nearest < 55**2, owner, 0)
    nuclei = np.where(nearest < 35**2, owner, 0)
    signal = np.full(shape, _LEVELS["background"], float)
    signal[cells > 0] = _LEVELS["cytoplasm"]
    signal[nuclei > 0] = _LEVELS["nucleus"]
    signal = cv2.GaussianBlur(signal, (0, 0), 1.5)  # no microscope draws sharper
    signal += np.random.default_rng(0).normal(0, 2, shape)
    return Drawing(np.clip(signal, 0, 255).astype(np.uint8), nuclei, cells)


ONE_CELL = draw((150, 210))
TOUCHING = draw((150, 160), (150, 250))
FIELD = draw((70, 70), (80, 180), (85, 290), (200, 60), (210, 165), (205, 270), (180, 370))


def empty_images_have_no_cells(subject: Subject) -> None:
    """Find nothing, and raise nothing, in images without contrast: black, grey or white."""
    for kind in (np.uint8, np.uint16):
        for level in (0, 9, np.iinfo(kind).max):
            found = subject.segment(np.full((90, 130), level, kind))
            what = f"an image of nothing but {level} ({kind.__name__}) has masks"
            require(not found.nuclei.any() and not found.cells.any(), what)
            diameter = found.mean_nucleus_diameter
            require(bool(np.isnan(diameter)), f"the mean of no nuclei is NaN, not {diameter}")


def tiny_images_are_no_error(subject: Subject) -> None:
    """Answer in the image's shape even where it has a few pixels only."""
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (3, 200), (17, 5)):
        subject.segment(rng.integers(0, 255, shape).astype(np.uint8))


def no_images_have_no_answers(subject: Subject) -> None:
    """Answer an empty batch with nothing."""
    require(subject.make(subject.config).segment([], []) == [], "no images, yet an answer")


def one_cell_is_one(subject: Subject) -> None:
    """Find a lonely cell, once."""
    _require_all(subject, ONE_CELL, subject.segment(ONE_CELL.signal))


def touching_cells_are_two(subject: Subject) -> None:
    """Part two cells that touch."""
    _require_all(subject, TOUCHING, subject.segment(TOUCHING.signal))


def sixteen_bits_are_as_good(subject: Subject) -> None:
    """Find the same cells in the same picture of 16 bits, all of them used or the lower ones alone."""
    eight = subject.segment(FIELD.signal)
    for factor in (257, 4, 1):
        sixteen = subject.segment(FIELD.signal.astype(np.uint16) * factor)
        if subject.trained:
            _require_all(subject, FIELD, sixteen)
            _require_alike(eight, sixteen, f"8 bits and 16 of {factor} times the levels")


def the_scale_is_followed(subject: Subject) -> None:
    """Find the same cells in a picture twice as fine."""
    fine = np.kron(FIELD.signal, np.ones((2, 2), np.uint8))
    coarse, found = subject.segment(FIELD.signal), subject.segment(fine, 2.0)
    if subject.trained:
        halved = found.nuclei[::2, ::2], found.cells[::2, ::2]
        _require_alike(coarse, halved, "a picture and the same twice as fine")


def any_tile_will_do(subject: Subject) -> None:
    """Find the same cells with tiles of any side, smaller or larger than the image."""
    found = [subject.segment(FIELD.signal, tile=side) for side in SIDES]
    if subject.trained:
        for side, other in zip(SIDES[1:], found[1:], strict=True):
            _require_alike(found[0], other, f"tiles of {SIDES[0]} and of {side}")


def results_repeat(subject: Subject) -> None:
    """Repeat bit for bit: by another segmenter, beside other images, in another order."""
    drawings = [ONE_CELL.signal, draw((60, 60), shape=(200, 140)).signal, FIELD.signal]
    segmenter = subject.make(subject.config)
    scales = [1.0] * len(drawings)
    first = segmenter.segment(drawings, scales)
    again = segmenter.segment(drawings[::-1], scales)[::-1]
    for signal, one, two in zip(drawings, first, again, strict=True):
        _require_same(one, two, "again, and in another order")
        _require_same(one, subject.segment(signal), "by itself, by another segmenter")


def it_travels_to_a_worker(subject: Subject) -> None:
    """Stay small in a pickle after the first use, and find the same in another process."""
    segmenter = subject.make(subject.config)
    given = [ONE_CELL.signal], [1.0]
    (here,) = segmenter.segment(*given)
    (there,) = answer_of_a_worker(segmenter, "segment", *given)
    _require_same(here, there, "on a worker")


def devices_are_there_or_refused(subject: Subject) -> None:
    """Refuse a device that is not there: nothing falls back to another in silence."""
    require_devices(subject.devices, lambda device: subject.segment(ONE_CELL.signal, device=device))


def digests_tell_configurations_apart(subject: Subject) -> None:
    """Repeat the digest; follow what it is made of, and not the device."""
    one = subject.make(subject.config)
    require(one.digest == subject.make(subject.config).digest, "the digest does not repeat")
    other = subject.config.model_copy(update={"nucleus_diameter": 33.25})
    require(one.digest != subject.make(other).digest, "the digest ignores nucleus_diameter")
    elsewhere = subject.config.model_copy(update={"device": "cuda"})
    require(one.digest == subject.make(elsewhere).digest, "the digest follows the device")


CHECKS: tuple[Callable[[Subject], None], ...] = (
    empty_images_have_no_cells,
    tiny_images_are_no_error,
    no_images_have_no_answers,
    one_cell_is_one,
    touching_cells_are_two,
    sixteen_bits_are_as_good,
    the_scale_is_followed,
    any_tile_will_do,
    results_repeat,
    it_travels_to_a_worker,
    devices_are_there_or_refused,
    digests_tell_configurations_apart,
)
"""All checks."""


def _check_form(found: Segmentation, signal: NDArray[Any]) -> None:
    for name, labels in (("nuclei", found.nuclei), ("cells", found.cells)):
        require(labels.shape == signal.shape, f"{name} of shape {labels.shape}: {signal.shape}")
        require(labels.dtype == np.int32, f"{name} are {labels.dtype}, not int32")
        present = np.unique(labels[labels != 0])
        packed = np.arange(1, present.size + 1)
        require(np.array_equal(present, packed), f"{name} are not numbered 1 to n")


def _require_all(subject: Subject, truth: Drawing, found: Segmentation) -> None:
    if not subject.trained:
        return
    nuclei, cells = score(truth.nuclei, found.nuclei, [0.5]), score(truth.cells, found.cells, [0.5])
    for name, scores in (("nuclei", nuclei), ("cells", cells)):
        right, missed = int(scores.true_positives[0]), int(scores.false_negatives[0])
        invented = int(scores.false_positives[0])
        what = f"of {right + missed} {name} {missed} are missed, and {invented} are invented"
        require(not missed and not invented, what)


def _require_alike(
    one: Segmentation, two: Segmentation | tuple[NDArray[Any], NDArray[Any]], between: str
) -> None:
    """Require that both have the same masks but for their rims (IoU of at least 0.75)."""
    nuclei, cells = two if isinstance(two, tuple) else (two.nuclei, two.cells)
    for name, left, right in (("nuclei", one.nuclei, nuclei), ("cells", one.cells, cells)):
        precision = float(score(left, right, [0.75]).average_precision[0])
        require(not precision < 1, f"{name} differ between {between}: AP@0.75 {precision:.3f}")


def _require_same(one: Segmentation, two: Segmentation, when: str) -> None:
    same = (
        np.array_equal(one.nuclei, two.nuclei)
        and np.array_equal(one.cells, two.cells)
        and np.array_equal(one.mean_nucleus_diameter, two.mean_nucleus_diameter, equal_nan=True)
        and one.dropped == two.dropped
    )
    require(same, f"results differ {when}")

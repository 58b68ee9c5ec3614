"""What any feature extractor must keep to, as checks that anybody's tests can run over it.

    @pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
    def test_my_extractor(check):
        check(conformance.Subject(extractor_for, FeaturizeConfig(extractor="mine")))

`mine` is an entry point of the group `anabatch.feature_extractors` then, see
:class:`anabatch.features.protocol.ExtractorKind`. Without one, `Subject.make` is the extractor's class,
and `Subject.planned` what gives its digest.

A check returns nothing, or raises :class:`~anabatch.conformance.ConformanceError` and says what was promised. Each makes its
own crops.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.conformance import ConformanceError, answer_of_a_worker, require, require_devices
from anabatch.features.inputs import NUCLEUS, SIDE
from anabatch.features.recipe import features_digest
from anabatch.imaging import BYTE_STEP

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from anabatch.config import FeaturizeConfig
    from anabatch.features.protocol import FeatureExtractor

_CELLS = 7
_NEAR = 1e-2  # of the largest: between 16 bits and their 8-bit copies, and between machines
_BATCH = 64  # as many as any extractor is supposed to take at once


@dataclass(frozen=True)
class Subject:
    """An extractor that is checked.

    Attributes
    ----------
    make : callable
        Takes a configuration, gives an extractor. Called anew by every check.
    config : FeaturizeConfig
    others : mapping
        Parameters, and other values of theirs that must change the digest.
    devices : tuple of str
        Devices that are there and of use to it. Any other must be refused.
    planned : callable
        Takes a configuration, gives the digest by which a plan knows the extractor. It is told from
        outside: what the extractor says of itself is compared with it.
    recorded : mapping of str to sequence of float
        Digests, and what :func:`fingerprint` gave of the drawn cells' features under them: so it is
        seen when features change and their digest does not.
    """

    make: Callable[[FeaturizeConfig], FeatureExtractor]
    config: FeaturizeConfig
    others: Mapping[str, Any] = field(default_factory=dict)
    devices: tuple[str, ...] = ("cpu",)
    planned: Callable[[FeaturizeConfig], str] = features_digest
    recorded: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def with_(self, **changes: Any) -> FeatureExtractor:
        """Make an extractor with other parameters."""
        return self.make(self.config.model_copy(update=changes))


def draw(cells: int = _CELLS) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw cells that differ in size, brightness and texture.

    Parameters
    ----------
    cells : int

    Returns
    -------
    crops, masks : ndarray, shape (cells, 96, 96), uint8
    """
    rng = np.random.default_rng(cells)
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    radius = np.hypot(y, x)
    crops = np.zeros((cells, SIDE, SIDE), np.uint8)
    masks = np.zeros((cells, SIDE, SIDE), np.uint8)
    for index in range(cells):
        outer = rng.uniform(30, 47)
        masks[index] = np.where(radius < outer, 1, 0)
        masks[index][radius < outer * rng.uniform(0.4, 0.7)] = NUCLEUS
        waves = 1 + np.sin(x * rng.uniform(0.1, 1)) * np.cos(y * rng.uniform(0.1, 1))
        light = rng.uniform(20, 90) * waves * masks[index] * rng.uniform(0.8, 1.2, radius.shape)
        crops[index] = np.where(masks[index] > 0, np.clip(light, 1, 255), 0)
    return crops, masks


def fingerprint(features: NDArray[np.float16]) -> NDArray[np.float64]:
    """Return one number a row that other features, or features in another order, do not have.

    Parameters
    ----------
    features : ndarray, shape (n, d)

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    found: NDArray[np.float64] = features.astype(np.float64) @ np.cos(np.arange(features.shape[1]))
    return found


def features_have_the_promised_form(subject: Subject) -> None:
    """Give finite float16 of shape (n, d) for 8 and for 16 bits, with other features for other cells."""
    extractor = subject.make(subject.config)
    crops, masks = draw()
    for given in (crops, crops.astype(np.uint16) * BYTE_STEP):
        found = extractor.extract(given, masks)
        shape = (len(crops), extractor.n_features)
        require(found.shape == shape, f"features of shape {found.shape}, not {shape}")
        require(found.dtype == np.float16, f"features are {found.dtype}, not float16")
        require(bool(np.isfinite(found).all()), "there are features that are no numbers")
        different = len(np.unique(found, axis=0))
        require(different == len(crops), f"{len(crops)} cells have {different} features")


def no_cells_have_no_features(subject: Subject) -> None:
    """Answer no cells with no rows of the same length."""
    extractor = subject.make(subject.config)
    crops, masks = draw()
    found = extractor.extract(crops[:0], masks[:0])
    shape = (0, extractor.n_features)
    require(found.shape == shape, f"no cells have features of shape {found.shape}, not {shape}")
    require(found.dtype == np.float16, f"no cells have features of {found.dtype}, not float16")


def black_cells_are_no_error(subject: Subject) -> None:
    """Describe black and white crops by finite numbers."""
    extractor = subject.make(subject.config)
    for kind in (np.uint8, np.uint16):
        for level in (0, np.iinfo(kind).max):
            crops = np.full((2, SIDE, SIDE), level, kind)
            found = extractor.extract(crops, np.ones((2, SIDE, SIDE), np.uint8))
            what = (
                f"a crop of nothing but {level} ({kind.__name__}) has features that are no numbers"
            )
            require(bool(np.isfinite(found).all()), what)


def sixteen_bits_are_as_good(subject: Subject) -> None:
    """Describe the same picture of 16 bits alike, and do not stretch a dim one to its range."""
    extractor = subject.make(subject.config)
    crops, masks = draw()
    eight = extractor.extract(crops, masks).astype(np.float64)
    sixteen = extractor.extract(crops.astype(np.uint16) * BYTE_STEP, masks).astype(np.float64)
    apart = float(np.abs(eight - sixteen).max() / np.abs(eight).max())
    require(apart <= _NEAR, f"8 and 16 bits of one picture are {apart:.1%} apart")
    dim = extractor.extract(crops.astype(np.uint16), masks)
    require(not np.array_equal(dim, sixteen), "a picture 257 times as dark has the same features")


def other_shapes_and_types_are_refused(subject: Subject) -> None:
    """Raise `ValueError` for what is no crops, or no masks of them, whether masks are needed or not."""
    extractor = subject.make(subject.config)
    crops, masks = draw()
    for given in (crops[:, 1:], crops[0], crops[:0, 1:], *_other_types(crops, "float32", "int8")):
        _require_refused(extractor, given, masks[: len(given)], "crops", given)
    for given in (masks[:, 1:], masks[0], masks[:2], *_other_types(masks, "float64", "int64")):
        _require_refused(extractor, crops, given, "masks", given)


def masks_are_asked_for_where_needed(subject: Subject) -> None:
    """Say truly whether masks are needed: refuse to go without, or do."""
    extractor = subject.make(subject.config)
    crops, masks = draw()
    try:
        without = extractor.extract(crops)
    except ValueError:
        require(extractor.needs_masks, "masks are not needed, and it refuses to go without")
        return
    require(not extractor.needs_masks, "masks are needed, and it goes without them")
    same = np.array_equal(without, extractor.extract(crops, masks))
    require(same, "masks are not needed, and they change features")


def features_depend_on_their_cell_alone(subject: Subject) -> None:
    """Repeat bit for bit: in another order and neighbourhood, by another extractor."""
    extractor = subject.make(subject.config)
    crops, masks = draw()
    first = extractor.extract(crops, masks)
    _require_same(first, extractor.extract(crops, masks), "the second time")
    backwards = extractor.extract(crops[::-1], masks[::-1])[::-1]
    _require_same(first, backwards, "in another order")
    alone = [extractor.extract(crops[i : i + 1], masks[i : i + 1]) for i in range(len(crops))]
    _require_same(first, np.concatenate(alone), "one by one")
    _require_same(first, subject.make(subject.config).extract(crops, masks), "by another extractor")


def every_batch_is_as_the_first(subject: Subject) -> None:
    """Repeat bit for bit among many cells: three batches and more, of which the last is not full."""
    extractor = subject.with_(batch=min(subject.config.batch, _BATCH))
    crops, masks = draw()
    times = 2 * _BATCH // len(crops) + 1  # 133 cells: two batches, and 5 cells
    many = extractor.extract(np.tile(crops, (times, 1, 1)), np.tile(masks, (times, 1, 1)))
    expected = np.tile(extractor.extract(crops, masks), (times, 1))
    _require_same(expected, many, f"among {len(expected)} cells")


def crops_are_left_as_they_are(subject: Subject) -> None:
    """Take what cannot be written to, and leave it as it is."""
    crops, masks = draw()
    before = crops.copy()
    crops.flags.writeable = masks.flags.writeable = False
    subject.make(subject.config).extract(crops, masks)
    require(np.array_equal(before, crops), "crops change when they are described")


def it_travels_to_a_worker(subject: Subject) -> None:
    """Stay small in a pickle after the first use, and find the same in another process."""
    extractor = subject.make(subject.config)
    given = draw(2)
    here = extractor.extract(*given)
    _require_same(here, answer_of_a_worker(extractor, "extract", *given), "on a worker")


def devices_are_there_or_refused(subject: Subject) -> None:
    """Refuse a device that is not there: nothing falls back to another in silence."""
    given = draw(2)
    require_devices(subject.devices, lambda device: subject.with_(device=device).extract(*given))


def digests_say_what_determines_features(subject: Subject) -> None:
    """Repeat the digest; follow every parameter that changes features, and not the device."""
    one = subject.make(subject.config)
    require(one.digest == subject.make(subject.config).digest, "the digest does not repeat")
    planned = subject.planned(subject.config)
    require(one.digest == planned, "the digest is not the one that a plan knows it by")
    elsewhere = subject.planned(subject.config.model_copy(update={"device": "cuda"}))
    require(planned == elsewhere, "the digest follows the device")
    seen = {one.digest}
    for name, value in subject.others.items():
        digest = subject.with_(**{name: value}).digest
        require(digest not in seen, f"the digest ignores {name}")
        seen.add(digest)


def features_stand_under_their_digest(subject: Subject) -> None:
    """Find what was found before under the same digest, within a hundredth, where that was recorded."""
    if not subject.recorded:
        return
    extractor = subject.make(subject.config)
    found = fingerprint(extractor.extract(*draw()))
    said = np.array2string(found, separator=", ", precision=5, max_line_width=1000)
    before = subject.recorded.get(extractor.digest)
    if before is None:
        what = f"nothing was recorded under {extractor.digest}; it is {said}"
        raise ConformanceError(what)
    apart = float(np.abs(found - before).max() / np.abs(before).max())
    what = f"under the digest {extractor.digest} features have changed: {said}. Raise a version"
    require(apart <= _NEAR, what)


CHECKS: tuple[Callable[[Subject], None], ...] = (
    features_have_the_promised_form,
    no_cells_have_no_features,
    black_cells_are_no_error,
    sixteen_bits_are_as_good,
    other_shapes_and_types_are_refused,
    masks_are_asked_for_where_needed,
    features_depend_on_their_cell_alone,
    every_batch_is_as_the_first,
    crops_are_left_as_they_are,
    it_travels_to_a_worker,
    devices_are_there_or_refused,
    digests_say_what_determines_features,
    features_stand_under_their_digest,
)
"""All checks."""


def _require_same(one: NDArray[Any], two: NDArray[Any], when: str) -> None:
    require(np.array_equal(one, two), f"features differ {when}")


def _other_types(array: NDArray[Any], *names: str) -> tuple[NDArray[Any], ...]:
    return tuple(array.astype(name) for name in names)


def _require_refused(
    extractor: FeatureExtractor,
    crops: NDArray[Any],
    masks: NDArray[Any],
    what: str,
    wrong: NDArray[Any],
) -> None:
    try:
        extractor.extract(crops, masks)
    except ValueError:
        return
    message = f"{what} of shape {wrong.shape} and {wrong.dtype} are taken without a word"
    raise ConformanceError(message)

"""Every extractor that there is keeps to what all promise; and the checks see what does not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from narrow import save_random

from anabatch.config import FeaturizeConfig
from anabatch.conformance import ConformanceError
from anabatch.errors import DeviceError
from anabatch.features import conformance
from anabatch.features.conformance import Subject
from anabatch.features.extractors import extractor_for
from anabatch.features.lbp import LBPFeatures
from anabatch.features.recipe import features_digest

CHECKS = pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
LBP = Subject(
    extractor_for,
    FeaturizeConfig(extractor="lbp"),
    # the digest follows LBP_VERSION, and the numbers follow the algorithm
    recorded={
        "b9ecd5eb6576a828a665c375ecf1ba72": (
            -0.5182,
            -0.6227,
            -0.7048,
            -0.6984,
            -0.8183,
            -0.9118,
            -0.5123,
        ),
    },
)
PARAMETERS: dict[str, Any] = {
    "preprocessing": "keras",
    "channels": "nucleus-cytoplasm-mask",
    "pooling": "average",
    "precision": "mixed_bfloat16",
    "batch": 3,
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "narrow.npz"
    save_random(path, 1 / 32)
    return str(path)


def devices():
    import tensorflow as tf

    return ("cpu", "cuda") if tf.config.list_physical_devices("GPU") else ("cpu",)


@CHECKS
def test_local_binary_patterns(check):
    check(LBP)


@CHECKS
def test_vgg16(check, weights):
    config = FeaturizeConfig(weights=weights, batch=4)
    check(Subject(extractor_for, config, PARAMETERS, devices()))


@pytest.mark.parametrize(
    "check",
    [check for check in conformance.CHECKS if check is not conformance.it_travels_to_a_worker],
    ids=lambda check: check.__name__,
)
def test_vgg16_with_all_that_is_no_default(check, weights):
    config = FeaturizeConfig(weights=weights, **PARAMETERS)
    others = {name: FeaturizeConfig().model_dump()[name] for name in PARAMETERS}
    check(Subject(extractor_for, config, others, devices()))


class Broken(LBPFeatures):
    """Keeps to everything, until a test breaks it."""


class Doubles(Broken):
    def extract(self, crops, masks=None):
        return super().extract(crops, masks).astype(np.float32)


class Stretches(Broken):
    def extract(self, crops, masks=None):
        brightest = np.maximum(crops.max(axis=(1, 2), keepdims=True, initial=0), 1)
        return super().extract((crops / brightest * 255).astype(np.uint8), masks)


class LooksAround(Broken):
    def extract(self, crops, masks=None):
        found = super().extract(crops, masks)
        return found - found.mean(axis=0) if len(found) else found


class NeedsMasks(Broken):
    def extract(self, crops, masks=None):
        return super().extract(np.where(masks > 1, crops, 0), masks)


class SaysItNeedsMasks(Broken):
    needs_masks = True


class CarriesItsWeights(Broken):
    def __init__(self, config, **options):
        super().__init__(config, **options)
        self.weights = np.random.default_rng(0).random(20_000)

    def __reduce__(self):
        return (np.copy, (self.weights,))


class FallsBack(Broken):
    def __init__(self, config, **options):
        super().__init__(config.model_copy(update={"device": "cpu"}), **options)


class FollowsTheDevice(Broken):
    def __init__(self, config, **options):
        super().__init__(config, **options)
        self.digest = self.digest[::-1]


class TakesAnything(Broken):
    def extract(self, crops, masks=None):
        return np.zeros((len(crops), self.n_features), np.float16)


class Writes(Broken):
    def extract(self, crops, masks=None):
        crops[...] = crops // 2
        return super().extract(crops, masks)


class Forgets(Broken):
    def extract(self, crops, masks=None):
        return super().extract(crops, masks) if len(crops) else np.zeros((0, 3), np.float16)


class Divides(Broken):
    def extract(self, crops, masks=None):
        found = super().extract(crops, masks)
        with np.errstate(all="ignore"):
            return found / (crops.max(axis=(1, 2), initial=0) > 0)[:, None].astype(np.float16)


class IsDoubled(Broken):
    def extract(self, crops, masks=None):
        return super().extract(crops, masks) * np.float16(2)


class Tires(Broken):
    def extract(self, crops, masks=None):
        found = super().extract(crops, masks)
        found[64:] = 0
        return found


class TakesAnyMasks(Broken):
    def extract(self, crops, masks=None):
        return super().extract(crops)


class TakesAnythingOfNothing(Broken):
    def extract(self, crops, masks=None):
        return super().extract(crops, masks) if len(crops) else np.zeros((0, 88), np.float16)


@pytest.mark.parametrize(
    ("kind", "check", "says"),
    [
        (Doubles, conformance.features_have_the_promised_form, "float32, not float16"),
        (Forgets, conformance.no_cells_have_no_features, r"\(0, 3\)"),
        (Divides, conformance.black_cells_are_no_error, "no numbers"),
        (Stretches, conformance.sixteen_bits_are_as_good, "257 times as dark"),
        (TakesAnything, conformance.other_shapes_and_types_are_refused, "without a word"),
        (TakesAnyMasks, conformance.other_shapes_and_types_are_refused, "masks of shape"),
        (TakesAnythingOfNothing, conformance.other_shapes_and_types_are_refused, r"\(0, 95, 96\)"),
        (SaysItNeedsMasks, conformance.masks_are_asked_for_where_needed, "goes without"),
        (LooksAround, conformance.features_depend_on_their_cell_alone, "one by one"),
        (Tires, conformance.every_batch_is_as_the_first, "among 133 cells"),
        (IsDoubled, conformance.features_stand_under_their_digest, "Raise a version"),
        (CarriesItsWeights, conformance.it_travels_to_a_worker, "weights"),
        (FallsBack, conformance.devices_are_there_or_refused, "'cuda' is not there"),
        (FollowsTheDevice, conformance.digests_say_what_determines_features, "a plan knows"),
    ],
)
def test_the_checks_see_what_is_broken(kind, check, says):
    with pytest.raises(ConformanceError, match=says):
        check(replace(LBP, make=kind))


def test_a_digest_that_was_never_recorded_is_told_with_what_to_record():
    with pytest.raises(ConformanceError, match=r"nothing was recorded under b9ec.*\[-0\.518"):
        conformance.features_stand_under_their_digest(replace(LBP, recorded={"an older": (1.0,)}))


def test_the_checks_see_what_writes_to_crops():
    with pytest.raises(ValueError, match="read-only"):
        conformance.crops_are_left_as_they_are(Subject(Writes, FeaturizeConfig(extractor="lbp")))


def test_masks_that_change_what_needs_none_are_seen():
    class Uses(Broken):
        def extract(self, crops, masks=None):
            return super().extract(crops if masks is None else crops * (masks > 1), masks)

    with pytest.raises(ConformanceError, match="they change features"):
        conformance.masks_are_asked_for_where_needed(
            Subject(Uses, FeaturizeConfig(extractor="lbp"))
        )


def test_local_binary_patterns_on_a_gpu_are_refused():
    with pytest.raises(DeviceError, match="local binary patterns"):
        LBPFeatures(FeaturizeConfig(extractor="lbp", device="cuda"))


def test_every_histogram_of_local_binary_patterns_adds_up_to_one():
    crops, _ = conformance.draw()
    features = LBPFeatures(FeaturizeConfig(extractor="lbp")).extract(crops).astype(float)
    ends = np.cumsum([10, 18, 26, 18, 16])
    assert ends[-1] == features.shape[1] == 88
    for histogram in np.split(features, ends[:-1], axis=1):
        np.testing.assert_allclose(histogram.sum(axis=1), 1, atol=5e-3)


def test_local_binary_patterns_of_a_step_are_known():
    crop = np.full((96, 96), 100, np.uint8)
    crop[:, 48:] = 200
    features = LBPFeatures(FeaturizeConfig(extractor="lbp")).extract(crop[None])[0].astype(float)
    # All but the step and the frame: the neighbours are as bright as the middle, so all 8 count.
    assert features[8] > 0.9
    brightness = features[72:]
    assert brightness[100 // 16] == brightness[200 // 16] == 0.5


def test_what_a_network_would_need_is_no_part_of_local_binary_patterns():
    plain = FeaturizeConfig(extractor="lbp")
    other = FeaturizeConfig(extractor="lbp", weights="not/there.npz", pooling="average")
    assert features_digest(plain) == features_digest(other) != features_digest(FeaturizeConfig())
    assert not Path(other.weights).exists()

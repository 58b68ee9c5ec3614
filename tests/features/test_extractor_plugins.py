"""An extractor of another package: found by its name, checked by the suite, planned and run."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from own_extractor import Means

from anabatch.config import FeaturizeConfig, parse_config
from anabatch.conformance import ConformanceError
from anabatch.errors import ConfigurationError
from anabatch.features import conformance
from anabatch.features.conformance import Subject
from anabatch.features.extractors import extractor_for
from anabatch.features.recipe import features_digest, features_parameters, features_weights
from anabatch.stages.featurize import featurize_recipe


def install(folder, *, package="own", **names):
    """Write what an installer leaves of a package that brings extractors."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    points = "\n".join(f"{name} = {value}" for name, value in names.items())
    (info / "entry_points.txt").write_text(f"[anabatch.feature_extractors]\n{points}\n")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install `means` here and in the processes that are started."""
    install(tmp_path, means="own_extractor:Means")
    monkeypatch.syspath_prepend(tmp_path)
    paths = [str(tmp_path), str(Path(__file__).parents[1])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    return tmp_path


@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
def test_an_extractor_of_another_package_passes(check, installed):
    config = FeaturizeConfig(extractor="means")
    assert isinstance(extractor_for(config), Means)
    check(Subject(extractor_for, config, {"preprocessing": "keras"}))


def test_it_is_planned_by_its_own_parameters_and_under_its_name(installed, monkeypatch):
    config = FeaturizeConfig(extractor="means")
    expected = {"extractor": "means", "version": 3, "preprocessing": "unit"}
    assert features_parameters(config) == dict(featurize_recipe(config).parameters) == expected
    assert features_weights(config) == {}
    assert features_digest(config) == features_digest(config.model_copy(update={"batch": 2}))
    monkeypatch.setattr("own_extractor.VERSION", 4)
    assert features_parameters(config)["version"] == 4
    monkeypatch.setattr(Means, "weights", staticmethod(lambda _: {"weights": "a digest"}))
    assert featurize_recipe(config).models == {"weights": "a digest"}


def test_names_that_nobody_brings_are_refused_when_the_configuration_is_read(installed):
    misspelt, right = (
        {"store": "store", "featurize": {"extractor": name}} for name in ("menas", "means")
    )
    with pytest.raises(
        ConfigurationError, match=r"featurize\.extractor.*'menas'.*lbp, means, vgg16"
    ):
        parse_config(misspelt, "test")
    assert parse_config(right, "test").featurize.extractor == "means"


def test_a_worker_without_the_package_says_so(installed, monkeypatch):
    config = FeaturizeConfig(extractor="means")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(installed)])
    with pytest.raises(ConfigurationError, match="'means' is brought by no package"):
        extractor_for(config)


def test_names_that_two_packages_bring_are_refused(installed):
    config = FeaturizeConfig(extractor="means")
    install(installed, package="other", means="os:sep")
    with pytest.raises(ConfigurationError, match="os:sep, own_extractor:Means"):
        extractor_for(config)


@pytest.mark.parametrize("value", ["not_there:Means", "own_extractor:Medians"])
def test_what_cannot_be_imported_is_named(tmp_path, monkeypatch, value):
    install(tmp_path, broken=value)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match=f"{value}, which cannot be imported"):
        extractor_for(FeaturizeConfig(extractor="broken"))


def test_the_digest_is_compared_with_what_the_subject_says_a_plan_would_use():
    class Uninstalled(Means):  # type: ignore[misc]  # mypy does not find helpers of tests
        def __init__(self, config, **options):
            super().__init__(config, **options)
            self.digest = f"means {VERSION} {config.preprocessing}"

    VERSION = 1
    subject = Subject(Uninstalled, FeaturizeConfig(), {"preprocessing": "keras"})
    check = conformance.digests_say_what_determines_features
    with pytest.raises(ConformanceError, match="a plan knows it by"):
        check(subject)
    check(replace(subject, planned=lambda config: f"means 1 {config.preprocessing}"))
    with pytest.raises(ConformanceError, match="follows the device"):
        check(
            replace(subject, planned=lambda c: "means 1 unit" if c.device == "cpu" else "another")
        )


def test_rows_are_those_of_their_cells(installed):
    crops = np.zeros((1, 96, 96), np.uint8)
    masks = np.zeros_like(crops)
    masks[0, :48], masks[0, :24] = 1, 2
    crops[0, :24] = 255
    found = extractor_for(FeaturizeConfig(extractor="means")).extract(crops, masks)
    assert found.tolist() == [[0, 1, 0.25, 0.25]]

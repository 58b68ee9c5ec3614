"""Featurize: what a stage gives the extractor, and what its key follows."""

import numpy as np
from narrow import save_random

from anabatch.config import FeaturizeConfig
from anabatch.features import conformance
from anabatch.features.extractors import extractor_for
from anabatch.features.recipe import features_digest
from anabatch.stages.featurize import FeaturizeBatch, featurize, featurize_recipe
from anabatch.store.actions import Action
from anabatch.store.live import CELLS
from anabatch.store.parts import Part, PartWriter


def cell_part(store, crops, masks):
    with PartWriter(store, "cells", archive="a", date=None, keys=["k"]) as part:
        part.array("crops", crops)
        part.array("masks", masks)
        return part.finish([Action(CELLS, "unit", "k", rows=len(crops))])


def described(store, config, cells):
    batch = FeaturizeBatch(
        store=store,
        archive="a",
        date=None,
        config=config,
        extractor=features_digest(config),
        recipe=featurize_recipe(config).digest,
        threads=1,
        sequence=1,
        run="r",
    )
    written = featurize(batch, cells)
    part = Part(store, str(written.path))
    (rows, _), _ = part.array_info("features")
    return part.array("features", 0, rows)


def test_crops_and_masks_reach_the_extractor_row_by_row(tmp_path, monkeypatch):
    monkeypatch.setattr("anabatch.stages.featurize._ROWS", 3)  # 7 cells in three readings
    save_random(tmp_path / "w.npz", 1 / 32)
    crops, masks = conformance.draw()
    cells = cell_part(tmp_path, crops, masks)
    weights = {"weights": str(tmp_path / "w.npz"), "batch": 4}
    for parameters in (
        {"extractor": "lbp"},
        weights,
        {**weights, "channels": "nucleus-cytoplasm-mask", "pooling": "average"},
    ):
        config = FeaturizeConfig(**parameters)
        expected = extractor_for(config).extract(crops, masks)
        np.testing.assert_array_equal(described(tmp_path, config, cells), expected)


def test_the_recipe_follows_what_determines_features_alone():
    plain = featurize_recipe(FeaturizeConfig())
    assert dict(plain.parameters) == {"preprocessing": "unit", "batch": 64}
    assert set(plain.models) == {"weights"}
    assert featurize_recipe(FeaturizeConfig(device="cuda")).digest == plain.digest
    for other in (
        FeaturizeConfig(pooling="average"),
        FeaturizeConfig(precision="mixed_bfloat16"),
        FeaturizeConfig(extractor="lbp"),
    ):
        assert featurize_recipe(other).digest != plain.digest
    assert featurize_recipe(FeaturizeConfig(extractor="lbp")).models == {}

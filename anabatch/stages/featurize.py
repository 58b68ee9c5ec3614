"""Featurize: crops of a cell part → features, one row for every row of the cell part."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from anabatch.features.extractors import extractor_for
from anabatch.features.recipe import AS_BEFORE, features_parameters, features_weights
from anabatch.stages.planned import as_planned
from anabatch.store.actions import Action
from anabatch.store.keys import action_key
from anabatch.store.live import FEATURIZE
from anabatch.store.parts import Part, PartWriter, WrittenPart
from anabatch.store.recipes import Recipe

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from anabatch.config import FeaturizeConfig
    from anabatch.features.protocol import FeatureExtractor

VERSION = 1

# Crops that are in memory at once.
_ROWS = 512


@dataclass(frozen=True)
class FeaturizeBatch:
    """One cell part to be described.

    Attributes
    ----------
    store : Path
    archive : str
    date : datetime.date or None
    config : FeaturizeConfig
    extractor : str
        Digest of the extractor's parameters and weights, which workers check theirs against.
    recipe : str
        Digest of the recipe.
    threads : int
        Threads of the network.
    sequence : int
    run : str
    """

    store: Path
    archive: str
    date: dt.date | None
    config: FeaturizeConfig
    extractor: str
    recipe: str
    threads: int
    sequence: int
    run: str


def featurize_recipe(config: FeaturizeConfig) -> Recipe:
    """Return what determines features beside the crops; the weights are read for it."""
    parameters, weights = features_parameters(config), features_weights(config)
    return Recipe(FEATURIZE, VERSION, parameters, weights, unsaid=AS_BEFORE, subject="extractor")


def featurize_key(cells: str, recipe: str) -> str:
    """Return the key of describing a cell part by a recipe, both given by their digests."""
    return action_key(stage=FEATURIZE, cells=cells, recipe=recipe)


@lru_cache(maxsize=1)
def _loaded(config: FeaturizeConfig, threads: int) -> FeatureExtractor:
    """Load the network once a process."""
    return extractor_for(config, threads=threads)


def featurize(batch: FeaturizeBatch, cells: WrittenPart) -> WrittenPart:
    """Describe every crop of a cell part, live or not, and write the features as float16.

    Parameters
    ----------
    batch : FeaturizeBatch
    cells : WrittenPart
        What the cell stage returned. Without a path there is nothing to do.
    """
    if cells.path is None or cells.digest is None:
        return WrittenPart(None, None, ())
    source = Part(batch.store, cells.path)
    (rows, *_), _ = source.array_info("crops")
    config = batch.config
    extractor = as_planned(
        _loaded, config, batch.threads, digest=batch.extractor, names=config.weights
    )
    features = np.empty((rows, extractor.n_features), np.float16)
    for start in range(0, rows, _ROWS):
        stop = min(start + _ROWS, rows)
        masks = source.array("masks", start, stop) if extractor.needs_masks else None
        features[start:stop] = extractor.extract(source.array("crops", start, stop), masks)
    action = Action(
        stage=FEATURIZE,
        unit=cells.path,
        key=featurize_key(cells.digest, batch.recipe),
        archive=batch.archive,
        date=batch.date,
        components={"recipe": batch.recipe, "extractor": batch.extractor},
        rows=rows,
        sequence=batch.sequence,
        run=batch.run,
    )
    with PartWriter(
        batch.store, "features", archive=batch.archive, date=batch.date, keys=[action.key]
    ) as part:
        part.array("features", features)
        return part.finish([action])

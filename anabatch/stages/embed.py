"""Embed: features of the archive → a kernel PCA; features of a cell part → its embedding.

The fit is cut where workers can share it: landmarks from a pilot, sums over every part, their merger
in a fixed tree, the finish.
"""

from __future__ import annotations

import copy
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.embedding import GammaWarning, KernelStatistics, NystroemKernelPCA, merge
from anabatch.reduction import reduce_tree
from anabatch.stages.population import Application, Generation, Source, read_model
from anabatch.store.keys import action_key
from anabatch.store.live import EMBED
from anabatch.store.recipes import Recipe

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from anabatch.config import EmbedConfig
    from anabatch.store.parts import WrittenPart

VERSION = 1
KIND = "kpca"

_CHUNK_ROWS = 512

# A pilot of fewer rows a landmark places landmarks poorly (measured; see the kernel PCA's notes).
_PILOT_ROWS_PER_LANDMARK = 30


def embed_recipe(config: EmbedConfig, extractor: str) -> Recipe:
    """Return what determines a kernel PCA beside the features, by the digest of their recipe."""
    parameters = config.model_dump(mode="json", exclude={"refit_share"})
    return Recipe(EMBED, VERSION, parameters, {"features": extractor})


def pilot_rows(config: EmbedConfig) -> int:
    """Return how many rows landmarks are chosen from."""
    return max(config.pilot, _PILOT_ROWS_PER_LANDMARK * config.landmarks)


def fit_landmarks(pilot: NDArray[Any], config: EmbedConfig) -> NystroemKernelPCA:
    """Choose landmarks and kernel width from a pilot of all live rows."""
    model = NystroemKernelPCA(
        config.components,
        n_landmarks=config.landmarks,
        gamma=config.gamma,
        landmark_method=config.landmark_method,
        cutoff=config.cutoff,
        chunk_size=config.chunk,
        random_state=config.seed,
    )
    with warnings.catch_warnings():
        # the job tells it, by the generation's facts; from here it would end in a worker's log
        warnings.simplefilter("ignore", GammaWarning)
        return model.fit_landmarks(pilot)


def partial_statistics(
    store: Path, source: Source, model: NystroemKernelPCA, chunk: int
) -> KernelStatistics:
    """Return the sums over the live rows of one part, chunk by chunk."""
    sums = [model.partial_statistics(rows) for rows in source.chunks(store, chunk)]
    return reduce_tree(sums, merge)


def finish(
    generation: Generation, model: NystroemKernelPCA, statistics: KernelStatistics
) -> WrittenPart:
    """Finish the fit and write the generation."""
    fitted = copy.deepcopy(model).finish(statistics)
    facts = {
        "components": len(fitted.eigenvalues_),
        "gamma": float(fitted.gamma_),
        "gamma_median": float(fitted.gamma_median_),
    }
    return generation.write(fitted.to_arrays(), facts)


def embed_key(features: str, model: str) -> str:
    """Return the key of embedding features by a model, both given by their digests."""
    return action_key(stage=EMBED, version=VERSION, features=features, model=model)


@lru_cache(maxsize=2)
def _model(store: Path, path: str) -> NystroemKernelPCA:
    return NystroemKernelPCA.from_arrays(read_model(store, path))


def embed(batch: Application, generation: WrittenPart) -> WrittenPart:
    """Embed every row of a features part, live or not, and write it as float32.

    Parameters
    ----------
    batch : Application
        Over features.
    generation : WrittenPart
        The model's part.
    """
    model = _model(batch.store, str(generation.path))
    embedded = np.concatenate([model.transform(rows) for rows in batch.chunks()])
    key = embed_key(batch.digest, str(generation.digest))
    action = batch.action(EMBED, batch.cells, key, model=generation.path)
    with batch.part("embedding", action) as part:
        # few bytes a row: all clusters' passes read all rows, and small chunks take four times as long
        part.array("embedding", embedded.astype(np.float32, copy=False), chunk=_CHUNK_ROWS)
        return part.finish([action])

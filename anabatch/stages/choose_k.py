"""Choose k: for every number of clusters what a pilot and all rows say of it, kept with the models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.clustering.choice import KScores, KStudy, knee, score_rows, study_k, suggest
from anabatch.reduction import reduce_tree
from anabatch.stages.cluster_fit import new_model

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from anabatch.config import ClusterConfig
    from anabatch.stages.population import Generation, Source
    from anabatch.store.parts import WrittenPart

KIND = "choice"

_BOOTSTRAPS = 10
FEATURE_ROWS = 4_000
"""Rows of the features that are tried, at most: they are a hundred times wider than the embedding."""

_FEATURE_BOOTSTRAPS, _FEATURE_RESTARTS = 5, 3


def study(rows: NDArray[np.float32], config: ClusterConfig, k: int) -> KStudy:
    """Try one number of clusters on a pilot of the embedding."""
    return _study(rows, config, k, _BOOTSTRAPS)


def study_features(rows: NDArray[np.float32], config: ClusterConfig, k: int) -> KStudy:
    """Try one number of clusters on a pilot of the features."""
    restarts = min(config.restarts, _FEATURE_RESTARTS)
    return _study(rows, config.model_copy(update={"restarts": restarts}), k, _FEATURE_BOOTSTRAPS)


def _study(rows: NDArray[np.float32], config: ClusterConfig, k: int, bootstraps: int) -> KStudy:
    def fit(sample: NDArray[Any], restarts: int) -> Any:
        few = config.model_copy(update={"restarts": restarts}) if restarts else config
        return new_model(few, k).fit_pilot(sample)

    return study_k(rows, k, fit, bootstraps=bootstraps, seed=config.seed)


def score(store: Path, source: Source, studies: list[KStudy], config: ClusterConfig) -> KScores:
    """Score the live rows of one part for all numbers at once."""
    chunks = source.chunks(store, config.chunk)
    return reduce_tree(
        (score_rows(rows[:, : config.components], studies) for rows in chunks), merge
    )


def score_pilot(rows: NDArray[np.float32], studies: list[KStudy]) -> KScores:
    """Score a pilot itself."""
    return score_rows(rows, studies)


def merge(left: KScores, right: KScores) -> KScores:
    """Add the scores of disjoint sets of rows."""
    return left.merge(right)


def finish(
    generation: Generation,
    embedding: tuple[list[KStudy], KScores],
    features: tuple[list[KStudy], KScores],
) -> WrittenPart:
    """Write what was found.

    Parameters
    ----------
    generation : Generation
    embedding, features : (list of KStudy, KScores)
        On all rows of the embedding, and on a pilot of the features.

    Returns
    -------
    WrittenPart
        Arrays of one value a number, for the embedding, and with the prefix `features_`.
    """
    arrays = {"k": np.array([study.k for study in embedding[0]])}
    for prefix, (studies, scores) in (("", embedding), ("features_", features)):
        found = {
            "squares": scores.squares,
            "simplified": scores.mean_silhouettes,
            "simplified_error": scores.errors,
            "silhouette": [study.silhouette for study in studies],
            "silhouette_error": [study.silhouette_error for study in studies],
            "agreement": [study.agreement for study in studies],
            "agreement_error": [study.agreement_error for study in studies],
        }
        arrays |= {f"{prefix}{name}": np.asarray(value) for name, value in found.items()}
    squares = embedding[1].squares
    facts = {
        "knee": knee(arrays["k"].tolist(), squares.tolist()),
        "suggested": suggest(embedding[0]),
        "rises": bool((np.diff(squares) > 0).any()),
        "scored": embedding[1].rows,
        "scored_features": features[1].rows,
    }
    return generation.write(arrays, facts)

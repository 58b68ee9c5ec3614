"""Choose k: for every number of clusters what a pilot and all rows say of it, kept with the models."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.clustering.choice import STABLE, KStudy, SmallCluster, knee, study_k, suggest
from anabatch.clustering.scoring import KScores, score_rows
from anabatch.reduction import reduce_tree
from anabatch.stages.cluster_fit import new_model
from anabatch.store.parts import Part

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from anabatch.config import ClusterConfig
    from anabatch.stages.pilots import Pilot
    from anabatch.stages.population import Generation, Source
    from anabatch.store.parts import WrittenPart

KIND = "choice"

_BOOTSTRAPS = 30
"""Images differ more than cells: the mean of ten such fits is too rough to call a number stable by."""

FEATURE_ROWS = 4_000
"""Rows of the features that are tried, at most: they are a hundred times wider than the embedding."""

_FEATURE_BOOTSTRAPS, _FEATURE_RESTARTS = 5, 3


def study(pilot: Pilot, config: ClusterConfig, k: int) -> KStudy:
    """Try one number of clusters on a pilot of the embedding, with resamples of its images."""
    return _study(pilot, config, k, _BOOTSTRAPS)


def study_features(pilot: Pilot, config: ClusterConfig, k: int) -> KStudy:
    """Try one number of clusters on a pilot of the features, with resamples of its images."""
    restarts = min(config.restarts, _FEATURE_RESTARTS)
    few = config.model_copy(update={"restarts": restarts})
    return _study(pilot, few, k, _FEATURE_BOOTSTRAPS)


def _study(pilot: Pilot, config: ClusterConfig, k: int, bootstraps: int) -> KStudy:
    def fit(sample: NDArray[Any], restarts: int) -> Any:
        few = config.model_copy(update={"restarts": restarts}) if restarts else config
        return new_model(few, k).fit_pilot(sample)

    return study_k(pilot.rows, k, fit, groups=pilot.images, bootstraps=bootstraps, seed=config.seed)


def score(store: Path, source: Source, studies: list[KStudy], config: ClusterConfig) -> KScores:
    """Score the live rows of one part for all numbers at once, with errors from how images differ."""
    return reduce_tree(_chunk_scores(store, source, studies, config), merge)


def _chunk_scores(
    store: Path, source: Source, studies: list[KStudy], config: ClusterConfig
) -> Iterator[KScores]:
    cells = Part(store, source.live.path).rows("cells", ["image_id"]).column("image_id")
    _, images = np.unique(cells.to_numpy()[source.live.indices()], return_inverse=True)
    start = 0
    for rows in source.chunks(store, config.chunk):
        here = images[start : start + len(rows)]
        yield score_rows(rows[:, : config.components], studies, here)
        start += len(rows)


def score_pilot(pilot: Pilot, studies: list[KStudy]) -> KScores:
    """Score a pilot itself, with errors from how its images differ."""
    return score_rows(pilot.rows, studies, pilot.images)


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
        Arrays of one value a number, for the embedding, and with the prefix `features_`; NaN where a
        number was left out, and where it has no small cluster.

    Raises
    ------
    PopulationError
        All numbers were left out on the embedding.
    """
    suggested = suggest(embedding[0])
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
            **_small(studies),
        }
        arrays |= {f"{prefix}{name}": np.asarray(value) for name, value in found.items()}
    tried = [study for study in embedding[0] if not study.left_out]
    squares = embedding[1].squares[np.isfinite(embedding[1].squares)]
    facts = {
        "knee": knee([study.k for study in tried], squares.tolist()),
        "suggested": suggested,
        "rises": bool((np.diff(squares) > 0).any()),
        "scored": embedding[1].rows,
        "scored_features": features[1].rows,
        "images": embedding[0][0].groups,
        "images_features": features[0][0].groups,
        "stable": [study.k for study in tried if study.agreement >= STABLE],
        "small": [study.k for study in tried if study.shows_a_small_cluster],
        "left_out": [[study.k, study.left_out] for study in embedding[0] if study.left_out],
        "redrawn": [[study.k, study.redrawn] for study in embedding[0] if study.redrawn],
    }
    return generation.write(arrays, facts)


def _small(studies: list[KStudy]) -> dict[str, list[float]]:
    found = [study.small or SmallCluster(np.nan, np.nan, np.nan) for study in studies]
    return {
        f"small_{one.name}": [getattr(small, one.name) for small in found]
        for one in fields(SmallCluster)
    }

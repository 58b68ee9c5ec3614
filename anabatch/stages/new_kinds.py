"""New kinds of cells: those far from all that clusters were fitted on, put together.

Far is a cell whose distance to its cluster's centre is beyond nearly all fitted ones, or whose features
are farther from the kernel PCA's landmarks than nearly all fitted ones. The second sees what the first
cannot: a radial kernel maps whatever is unlike all landmarks to one and the same place, which need not be
far from a centre. It is the second landmark that counts: a fitted cell that is unlike all others may be a
landmark itself, and near to that one by its own making.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.clustering.novelty import QUANTILE, densest, is_new_kind
from anabatch.kernels import expm1_kernel
from anabatch.sampling import draw
from anabatch.stages.population import read_model
from anabatch.store.parts import Part

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from anabatch.stages.population import Generation, Source
    from anabatch.store.actions import Action
    from anabatch.store.parts import WrittenPart

KIND = "novelty"

_CHUNK = 1_024
REACH_ROWS = 10_000
"""Rows by which the features' reach is measured."""
_MOST_ROWS = 10_000
"""Far rows that are looked at, of all parts together: those with the smallest digests."""


@dataclass(frozen=True)
class Reach:
    """How far features may be from the landmarks, and where they lie.

    Attributes
    ----------
    kpca : str
        The part of the kernel PCA.
    features : str
        The part with the features of the rows in question.
    distance : float
        To the second landmark.
    """

    kpca: str
    features: str
    distance: float

    def beyond(self, store: Path, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether rows of the features are beyond it, shape (len(rows),)."""
        far = np.zeros(len(rows), dtype=np.bool_)
        part = Part(store, self.features)
        for start in range(0, len(rows), _CHUNK):
            features = part.take("features", rows[start : start + _CHUNK])
            distance = second_landmark(store, self.kpca, features)
            far[start : start + len(features)] = distance > self.distance
        return far


@dataclass(frozen=True)
class Far:
    """What is far.

    Attributes
    ----------
    quantile : float
        Distance to the cluster's centre.
    reach : Reach or None
        The same of the features, where it was measured.
    """

    quantile: float
    reach: Reach | None = None

    def rows(
        self, store: Path, distances: NDArray[np.float32], rows: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return whether rows are far, shape (n,).

        Parameters
        ----------
        store : Path
        distances : ndarray of float32, shape (n,)
            To their clusters' centres.
        rows : ndarray of int64, shape (n,)
            Their places in the part.
        """
        beyond: NDArray[np.bool_] = distances > self.quantile
        return beyond if self.reach is None else beyond | self.reach.beyond(store, rows)


@lru_cache(maxsize=2)
def _landmarks(store: Path, path: str) -> tuple[NDArray[Any], NDArray[Any], float]:
    arrays = read_model(store, path)
    return arrays["center_"], arrays["landmarks_"], float(arrays["gamma_"])


def second_landmark(store: Path, kpca: str, features: NDArray[Any]) -> NDArray[np.float64]:
    """Return the distances of features to their second nearest landmarks, shape (n,)."""
    center, landmarks, gamma = _landmarks(store, kpca)
    kernel = expm1_kernel(features, center, landmarks, gamma)
    place = max(-2, -kernel.shape[1])  # where there is one alone it has to do
    second = np.partition(kernel, place, axis=1)[:, place].astype(np.float64)
    # beyond what a float can tell of the kernel all is equally far
    return np.asarray(np.sqrt(-np.log1p(np.maximum(second, -1 + 1e-12)) / gamma))


def measure_reach(store: Path, kpca: str, pilot: NDArray[Any]) -> float:
    """Return the distance to the second landmark that 999 of 1,000 cells are within.

    Parameters
    ----------
    store : Path
    kpca : str
        The part of the kernel PCA.
    pilot : ndarray of float16, shape (p, d)
        Features of cells, drawn from all.
    """
    distances = [
        second_landmark(store, kpca, pilot[start : start + _CHUNK])
        for start in range(0, len(pilot), _CHUNK)
    ]
    return float(np.quantile(np.concatenate(distances), QUANTILE, method="higher"))


@dataclass(frozen=True, eq=False)
class FarRows:
    """Rows that are far from all that the clusters were fitted on, of one part or of many.

    Attributes
    ----------
    cell_ids, image_ids : ndarray of str, shape (n,)
    rows : ndarray of float32, shape (n, d)
        Their embedding.
    total : int
        How many there are, of which `n` were drawn: all are as likely to be, whatever part they lie in.
    """

    cell_ids: NDArray[np.str_]
    image_ids: NDArray[np.str_]
    rows: NDArray[np.float32]
    total: int

    def drawn(self) -> FarRows:
        """Return those with the smallest digests, in their order."""
        kept = draw(self.cell_ids, _MOST_ROWS, 0)
        return FarRows(self.cell_ids[kept], self.image_ids[kept], self.rows[kept], self.total)


def merge(left: FarRows, right: FarRows) -> FarRows:
    """Draw from the far rows of two disjoint sets of parts, which lie within the draws from each."""
    both = FarRows(
        np.concatenate([left.cell_ids, right.cell_ids]),
        np.concatenate([left.image_ids, right.image_ids]),
        np.concatenate([left.rows, right.rows]),
        left.total + right.total,
    )
    return both.drawn()


def far_rows(store: Path, source: Source, clusters: str, far: Far, components: int) -> FarRows:
    """Draw from the live rows of one part that are far from all that the clusters were fitted on.

    Parameters
    ----------
    store : Path
    source : Source
        The embedding.
    clusters : str
        The part with the rows' clusters.
    far : Far
    components : int
        Leading components of the embedding that count.
    """
    live = source.live.indices()
    column = Part(store, clusters).rows("clusters", ["distance"]).column("distance")
    rows = live[far.rows(store, column.to_numpy()[live], live)]
    cells = Part(store, source.live.path).rows("cells", ["cell_id", "image_id"]).take(rows)
    names, images = (
        np.asarray(cells.column(name).to_pylist(), dtype=np.str_) for name in cells.column_names
    )
    kept = np.sort(draw(names, _MOST_ROWS, 0))
    values = Part(store, source.part).take(source.array, rows[kept])[:, :components]
    return FarRows(names[kept], images[kept], np.asarray(values, np.float32), len(rows)).drawn()


@dataclass(frozen=True)
class Question:
    """What is asked of far rows.

    Attributes
    ----------
    model : str
        The part of the clusters' generation.
    quantile : float
        Distance to the clusters' centres that 999 of 1,000 fitted cells are within.
    criteria : int
        Quantiles of which far rows are beyond one: 2 where the features' reach was measured.
    new : int
        Live rows that the generation was not fitted on.
    least : int
        Rows without which there is no cluster.
    cells : str
        Digest of which rows of which cell parts are looked at.
    """

    model: str
    quantile: float
    criteria: int
    new: int
    least: int
    cells: str = ""

    def may_be(self, together: int) -> bool:
        """Return whether so many rows, if they lie together, are a new kind."""
        return is_new_kind(together, self.new, self.least, self.criteria)


def propose(generation: Generation, found: FarRows, question: Question) -> WrittenPart | None:
    """Write a proposal if the far rows make a cluster of their own.

    Parameters
    ----------
    generation : Generation
        Of the proposal; its rows are those of the parts that were looked at.
    found : FarRows
        Of all these parts.
    question : Question

    Returns
    -------
    WrittenPart or None
        Arrays `center`, and `cell_ids` of those nearest to it first.
    """
    if not found.total:
        return None
    center, inside = densest(found.rows, question.quantile)
    together = round(int(inside.sum()) * found.total / len(inside))
    if not question.may_be(together):
        return None
    near = np.argsort(np.linalg.norm(found.rows[inside] - center, axis=1), kind="stable")
    arrays = {"center": center, "cell_ids": found.cell_ids[inside][near]}
    facts = {
        "beyond": found.total,
        "together": together,
        "images": len(np.unique(found.image_ids[inside])),
    }
    return _write(generation, arrays, facts, question)


def propose_again(generation: Generation, before: Action, question: Question) -> WrittenPart | None:
    """Write what :func:`propose` does where another proposal was made of the same rows; none is read.

    Parameters
    ----------
    generation : Generation
    before : Action
        That proposal. Only how many cells are new, and how many it takes, may be other than then.
    question : Question

    Returns
    -------
    WrittenPart or None

    Raises
    ------
    PartCorruptError
        The other proposal's part is damaged.
    """
    if not question.may_be(int(before.components["together"])):
        return None
    arrays = read_model(generation.store, str(before.part))
    facts = {name: before.components[name] for name in ("beyond", "together", "images")}
    return _write(generation, arrays, facts, question)


def _write(
    generation: Generation,
    arrays: Mapping[str, NDArray[Any]],
    facts: Mapping[str, int],
    question: Question,
) -> WrittenPart:
    asked = {"model": question.model, "new": question.new, "cells": question.cells}
    return generation.write(arrays, {**facts, **asked})

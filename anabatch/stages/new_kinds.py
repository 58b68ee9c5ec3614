"""New kinds of cells: those far from all clusters, of parts that came after the fit, put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anabatch.clustering.novelty import densest, is_new_kind
from anabatch.sampling import draw
from anabatch.store.parts import Part

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from anabatch.stages.population import Generation, Source
    from anabatch.store.parts import WrittenPart

KIND = "novelty"

_MOST_ROWS = 2_000
"""Rows of one part that are looked at, of those beyond the quantile."""


@dataclass(frozen=True, eq=False)
class FarRows:
    """Rows of one part that lie far from all clusters.

    Attributes
    ----------
    cell_ids : ndarray of str, shape (n,)
    rows : ndarray of float32, shape (n, d)
        Their embedding.
    total : int
        How many there are, of which `n` are here.
    """

    cell_ids: NDArray[np.str_]
    rows: NDArray[np.float32]
    total: int


def far_rows(
    store: Path, source: Source, clusters: str, quantile: float, components: int
) -> FarRows:
    """Read the live rows of one part beyond a distance.

    Parameters
    ----------
    store : Path
    source : Source
        The embedding.
    clusters : str
        The part with the rows' clusters.
    quantile : float
        The distance.
    components : int
        Leading components of the embedding that count.
    """
    live = source.live.indices()
    distances = Part(store, clusters).rows("clusters", ["distance"]).column("distance").to_numpy()
    far = live[distances[live] > quantile]
    ids = Part(store, source.live.path).rows("cells", ["cell_id"]).column("cell_id")
    names = np.asarray(ids.to_pylist(), dtype=np.str_)
    kept = np.sort(far[draw(names[far], _MOST_ROWS, 0)])
    rows = Part(store, source.part).take(source.array, kept)[:, :components]
    return FarRows(names[kept], np.asarray(rows, np.float32), len(far))


def propose(
    generation: Generation,
    found: list[FarRows],
    model: str,
    quantile: float,
    new: int,
    least: int,
) -> WrittenPart | None:
    """Write a proposal if the rows far from all clusters make one of their own.

    Parameters
    ----------
    generation : Generation
        Of the proposal; its rows are those of the parts that were looked at.
    found : list of FarRows
    model : str
        The part of the clusters' generation.
    quantile : float
        The distance that they are beyond.
    new : int
        Live rows of those parts.
    least : int
        Rows without which there is no cluster.

    Returns
    -------
    WrittenPart or None
        Arrays `center`, and `cell_ids` of those nearest to it first.
    """
    names = np.concatenate([piece.cell_ids for piece in found])
    rows = np.concatenate([piece.rows for piece in found])
    if not len(rows):
        return None
    order = draw(names, len(names), 0)  # whatever parts they lie in
    names, rows = names[order], rows[order]
    center, inside = densest(rows, quantile)
    total = sum(piece.total for piece in found)
    together = round(int(inside.sum()) * total / len(rows))
    if not is_new_kind(together, new, least):
        return None
    near = np.argsort(np.linalg.norm(rows[inside] - center, axis=1), kind="stable")
    arrays = {"center": center, "cell_ids": names[inside][near].astype(np.str_)}
    facts = {"model": model, "beyond": total, "together": together, "new": new}
    return generation.write(arrays, facts)

"""Pilots: rows drawn from all parts by digest, cut where workers can share it.

Every part gives those of its rows that may be among the smallest digests of all; one task puts them in
order. It is the draw of :func:`anabatch.sampling.draw` over all ids, row by row, whatever parts they lie in.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.sampling import digests, in_order
from anabatch.stages.population import Source, live_ids
from anabatch.store.parts import Part

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_DIGESTS = 1 << 64
"""Values that the first half of a digest may have."""


@dataclass(frozen=True)
class Draw:
    """What is drawn.

    Attributes
    ----------
    rows : int
        Of the pilot.
    total : int
        Of all parts.
    seed : int
    columns : int or None
        Leading columns that are wanted; all by default.
    """

    rows: int
    total: int
    seed: int
    columns: int | None = None

    @property
    def bar(self) -> int:
        """What the first halves of the pilot's digests are below, all but surely.

        Digests are as good as random: of all rows, those below the bar are binomially many, and fewer
        than the pilot is to have are eight standard deviations away.
        """
        likely = self.rows + 8 * isqrt(self.rows) + 64
        return _DIGESTS if likely >= self.total else _DIGESTS * likely // self.total


@dataclass(frozen=True, eq=False)
class Candidates:
    """Rows of one part that may be in the pilot.

    Attributes
    ----------
    digests : ndarray of uint64, shape (n, 2)
    rows : ndarray, shape (n, d)
    """

    digests: NDArray[np.uint64]
    rows: NDArray[Any]


def candidates(store: Path, source: Source, draw: Draw) -> Candidates:
    """Read the live rows of one part whose digests are below the bar."""
    found = digests(live_ids(store, source), draw.seed)
    # a bar at the very end is one more than the type holds
    (here,) = np.nonzero(found[:, 0] <= np.uint64(draw.bar - 1))
    rows = Part(store, source.part).take(source.array, source.live.indices()[here])
    return Candidates(found[here], rows[:, : draw.columns])


def join(draw: Draw, found: list[Candidates]) -> NDArray[Any]:
    """Return the pilot.

    Parameters
    ----------
    draw : Draw
    found : list of Candidates
        Of every part.

    Returns
    -------
    ndarray, shape (min(rows, total), columns)
        In the order of the digests, and in the arrays' own type. Cells' ids are unique: that there are
        fewer below the bar than are to be drawn is too unlikely to be seen.
    """
    every = np.concatenate([piece.digests for piece in found])
    if not len(every):
        message = "there are no rows to draw from"
        raise ValueError(message)
    order = in_order(every)[: draw.rows]
    places = np.full(len(every), -1, dtype=np.intp)
    places[order] = np.arange(len(order))
    pilot = np.empty((len(order), found[0].rows.shape[1]), found[0].rows.dtype)
    start = 0
    for piece in found:  # piece by piece: the pilot is the largest thing in memory
        here = places[start : start + len(piece.rows)]
        pilot[here[here >= 0]] = piece.rows[here >= 0]
        start += len(piece.rows)
    return pilot

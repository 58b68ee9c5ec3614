"""Pilots: rows drawn from all parts by digest, cut where workers can share it.

Every part gives those of its rows that may be among the smallest digests of all; one task puts them in
order. It is the draw of :func:`anabatch.sampling.draw` over all ids, row by row, whatever parts they lie in.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from anabatch.sampling import digests, in_order
from anabatch.store.parts import Part

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from anabatch.stages.population import Source

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
    images : ndarray of uint64, shape (n,)
        A number for the image of each row: halves of digests, which no two images share.
    """

    digests: NDArray[np.uint64]
    rows: NDArray[Any]
    images: NDArray[np.uint64]


def candidates(store: Path, source: Source, draw: Draw) -> Candidates:
    """Read the live rows of one part whose digests are below the bar."""
    live = source.live.indices()
    cells = (
        Part(store, source.live.path).rows("cells", ["cell_id", "image_id"]).take(pa.array(live))
    )
    found = digests(cells.column("cell_id").to_pylist(), draw.seed)
    # a bar at the very end is one more than the type holds
    (here,) = np.nonzero(found[:, 0] <= np.uint64(draw.bar - 1))
    rows = Part(store, source.part).take(source.array, live[here])
    images = cells.column("image_id").take(pa.array(here)).combine_chunks().dictionary_encode()
    numbers = digests(images.dictionary.to_pylist(), 0)[:, 0]
    return Candidates(found[here], rows[:, : draw.columns], numbers[images.indices.to_numpy()])


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
    return _rows(_order(draw, found), found)


class Pilot(NamedTuple):
    """A pilot whose images are known: a tuple, whose size dask can tell.

    Attributes
    ----------
    rows : ndarray, shape (n, d)
        As :func:`join` gives them.
    images : ndarray of uint64, shape (n,)
        A number for the image of each row.
    """

    rows: NDArray[Any]
    images: NDArray[np.uint64]


def join_with_images(draw: Draw, found: list[Candidates]) -> Pilot:
    """Return the pilot that :func:`join` gives, and whose images its rows are of."""
    order = _order(draw, found)
    images: NDArray[np.uint64] = np.concatenate([piece.images for piece in found])
    return Pilot(_rows(order, found), images[order])


def _order(draw: Draw, found: list[Candidates]) -> NDArray[np.intp]:
    every = np.concatenate([piece.digests for piece in found])
    if not len(every):
        message = "there are no rows to draw from"
        raise ValueError(message)
    return in_order(every)[: draw.rows]


def _rows(order: NDArray[np.intp], found: list[Candidates]) -> NDArray[Any]:
    places = np.full(sum(len(piece.rows) for piece in found), -1, dtype=np.intp)
    places[order] = np.arange(len(order))
    pilot = np.empty((len(order), found[0].rows.shape[1]), found[0].rows.dtype)
    start = 0
    for piece in found:  # piece by piece: the pilot is the largest thing in memory
        here = places[start : start + len(piece.rows)]
        pilot[here[here >= 0]] = piece.rows[here >= 0]
        start += len(piece.rows)
    return pilot

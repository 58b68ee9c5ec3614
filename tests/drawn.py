"""Pilots as the tasks of a run draw them together, in one process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabatch.stages import pilots
from anabatch.stages.pilots import Draw

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from anabatch.stages.population import Source


def draw_pilot(store: Path, sources: tuple[Source, ...], rows: int, seed: int) -> NDArray[Any]:
    """Return so many live rows, shape (rows, d), or all where there are fewer."""
    draw = Draw(rows, sum(source.live.rows for source in sources), seed)
    return pilots.join(draw, [pilots.candidates(store, source, draw) for source in sources])

"""Ask whether features tell cells that are brighter and nothing else: `python -m anabatch.training.brightness`.

Half of the cells that :mod:`anabatch.training.compare_features` compares on are made brighter by one
factor. Their features, and the components of kernel PCA that clusters are made of, are taken against
the mean of their picture, and simple classifiers that have not seen the picture say which cells were
changed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.config import ClusterConfig
from anabatch.embedding import NystroemKernelPCA
from anabatch.training import readers
from anabatch.training.compare_features import Contestant, add_sets, contestants, drawn_sets

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from anabatch.training.compared_cells import ComparedCells

WHITE = 255
READERS = ("neighbours", "ridge")


@dataclass(frozen=True)
class Told:
    """What one reader tells.

    Attributes
    ----------
    rows : {'features', 'components'}
        What it reads.
    reader : str
        Of :data:`READERS`.
    right, error : float
        Share of the cells of which it says rightly whether they were changed, mean over the
        pictures, and its standard error.
    """

    rows: str
    reader: str
    right: float
    error: float


def brightened(
    cells: ComparedCells, gain: float, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Make every other cell brighter, drawn within its picture.

    Parameters
    ----------
    cells : ComparedCells
    gain : float
        Factor on grey levels; what is beyond white is white.
    seed : int

    Returns
    -------
    crops : ndarray, shape (n, 96, 96), uint8
    changed : ndarray, shape (n,), int64
        1 where the cell was changed, else 0.
    """
    rng = np.random.default_rng(seed)
    changed = np.zeros(len(cells.crops), dtype=np.int64)
    for group in np.unique(cells.groups):
        own = np.flatnonzero(cells.groups == group)
        changed[rng.permutation(own)[: len(own) // 2]] = 1
    crops = cells.crops.copy()
    brighter = np.minimum(np.rint(crops[changed > 0] * np.float32(gain)), WHITE)
    crops[changed > 0] = brighter.astype(np.uint8)
    return crops, changed


def against_picture(rows: NDArray[Any], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Take the mean of every picture's rows from them, shape (n, d)."""
    centred = rows.astype(np.float64)
    for group in np.unique(groups):
        centred[groups == group] -= centred[groups == group].mean(axis=0)
    return centred


def components(features: NDArray[Any]) -> NDArray[np.float32]:
    """Return the leading components of kernel PCA, as many as clusters are made of, shape (n, c)."""
    leading = ClusterConfig().components
    found: NDArray[np.float32] = NystroemKernelPCA().fit(features).transform(features)
    return found[:, :leading]


def told(
    rows: NDArray[Any], changed: NDArray[np.int64], groups: NDArray[np.int64], name: str
) -> Iterator[Told]:
    """Yield how well neighbours and ridge regression tell the changed cells of pictures left out.

    Neighbours are those that clusters see, on rows as they are; the ridge takes all columns alike.
    """
    centred = against_picture(rows, groups)
    seen = ((readers.nearest, centred), (readers.linear, readers.standardised(centred)))
    for reader, (read, shown) in zip(READERS, seen, strict=True):
        right = read(shown, changed, groups) == changed
        shares = [float(right[groups == group].mean()) for group in np.unique(groups)]
        error = float(np.std(shares, ddof=1) / np.sqrt(len(shares)))
        yield Told(name, reader, float(np.mean(shares)), error)


def tell(contestant: Contestant, cells: ComparedCells, gain: float) -> list[Told]:
    """Return how well one contestant's features, and their components, tell what was changed.

    Parameters
    ----------
    contestant : Contestant
    cells : ComparedCells
    gain : float
        As :func:`brightened` takes it.
    """
    few = cells.capped(contestant.most)
    crops, changed = brightened(few, gain)
    features = np.asarray(contestant.describe(crops, few.masks), dtype=np.float32)
    return [
        *told(features, changed, few.groups, "features"),
        *told(components(features), changed, few.groups, "components"),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table: share of the cells that are told rightly, in percent ± standard error."""
    parser = argparse.ArgumentParser(prog="python -m anabatch.training.brightness")
    add_sets(parser)
    parser.add_argument("--gain", type=float, default=1.5, help="factor of brightness")
    options = parser.parse_args(arguments)
    sets = drawn_sets(options)
    columns = [f"{rows}, {reader}" for rows in ("features", "components") for reader in READERS]
    sys.stdout.write(f"| cells | features | {' | '.join(columns)} |\n" + "| --- " * 6 + "|\n")
    with tempfile.TemporaryDirectory() as folder:
        for contestant in contestants(options, Path(folder)):
            for name, cells in sets.items():
                shown = [
                    f"{100 * one.right:.1f} ± {100 * one.error:.1f}"
                    for one in tell(contestant, cells, options.gain)
                ]
                line = " | ".join((name, contestant.name, *shown))
                sys.stdout.write(f"| {line} |\n")


if __name__ == "__main__":
    main()

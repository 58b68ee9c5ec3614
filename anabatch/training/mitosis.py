"""Measure the mitotic flag: `python -m anabatch.training.mitosis [--fields N] [--choose]`.

Precision and recall of `mitotic` in the cells table against the simulator's truth, pattern by pattern, on
true masks and on those that the segmentation finds. A flagged cell is right if the true cell that holds
most of its pixels divides; a dividing cell is recalled if more than half of its chromosomes' pixels
lie in flagged cells, so that those the segmentation missed count as missed. Both daughters
of a telophase count.

Fields are drawn with seeds that nothing was chosen or trained on. `--choose` draws others, and prints
the thresholds of the rule with the best mean F1 over patterns and masks.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass
from functools import reduce
from itertools import product
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.cell_flags import RULE, MitosisRule, is_mitotic, medians
from anabatch.cells import cut_cells
from anabatch.config import SegmentConfig
from anabatch.segmentation.two_pass import segmenter_for
from anabatch.simulate.field import PATTERNS, simulate_field
from anabatch.training.fields import EVALUATION_SEED, as_jpeg

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from anabatch.segmentation.protocol import Segmenter
    from anabatch.simulate.field import SimulatedField

TRUE, FOUND = "true masks", "found masks"

GRID = {
    "condensation": (0.4, 0.45, 0.5, 0.55, 0.6),
    "nucleus_share": (0.4, 0.45, 0.5),
    "elongation": (1.6, 1.8, 2.0),
}
"""The thresholds that are tried."""

_SIZE = 1388, 1040  # width and height of a field, in pixels
_QUALITY = 90  # of the JPEG files
# The first seed after those of the segmentation's own evaluation, and one that no evaluation draws.
_MEASURED, _CHOSEN_ON = EVALUATION_SEED + 100_000, 500_000


@dataclass(frozen=True)
class Tally:
    """Counts of flagged and of dividing cells; they add up over fields.

    Attributes
    ----------
    flagged, right : int
        Cells with the flag, and those of them that divide.
    dividing, recalled : int
        Cells that divide, and those of them that are covered by flagged cells.
    """

    flagged: int = 0
    right: int = 0
    dividing: int = 0
    recalled: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.flagged + other.flagged,
            self.right + other.right,
            self.dividing + other.dividing,
            self.recalled + other.recalled,
        )

    @property
    def precision(self) -> float:
        """Right ones among the flagged; NaN if nothing is flagged."""
        return self.right / self.flagged if self.flagged else float("nan")

    @property
    def recall(self) -> float:
        """Recalled ones among the dividing; NaN if nothing divides."""
        return self.recalled / self.dividing if self.dividing else float("nan")

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 if either is 0 or there is none."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both > 0 else 0.0


@dataclass(frozen=True)
class Matched:
    """The measured cells of one field, and what they are in truth.

    Attributes
    ----------
    rows : list of mapping
        Rows of the cells table.
    dividing : list of bool
        Of every row, whether it is a dividing cell.
    covered : ndarray of float64, shape (rows, dividing cells)
        What of each dividing cell's chromosomes lies in each row's cell.
    """

    rows: list[dict[str, Any]]
    dividing: list[bool]
    covered: NDArray[np.float64]

    def tally(self, rule: MitosisRule = RULE) -> Tally:
        """Return the counts under a rule."""
        image = medians(self.rows)
        flags = np.array([bool(is_mitotic(row, image, rule)) for row in self.rows], dtype=np.bool_)
        return Tally(
            flagged=int(flags.sum()),
            right=int(flags @ np.array(self.dividing, dtype=np.int64)) if self.rows else 0,
            dividing=self.covered.shape[1],
            recalled=int((self.covered[flags].sum(axis=0) > 0.5).sum()),
        )


def match(
    field: SimulatedField,
    signal: NDArray[np.uint8],
    nuclei: NDArray[np.int32],
    cells: NDArray[np.int32],
) -> Matched:
    """Measure the cells of label images, and say what they are in truth.

    Parameters
    ----------
    field : SimulatedField
    signal : ndarray of uint8, shape (H, W)
        The field as it comes from its file.
    nuclei, cells : ndarray of int32, shape (H, W)
        True or found.
    """
    rows = cut_cells(signal, nuclei, cells, image_id="0" * 32, crop=16).rows
    labels = np.array([row["label_id"] for row in rows], dtype=np.int64)
    shape = int(cells.max(initial=0)) + 1, int(field.cells.max(initial=0)) + 1
    shared = _pairs(cells, field.cells, shape)[labels]
    shared[:, 0] = 0
    of = shared.argmax(axis=1)
    mitotic = np.array(field.mitotic, dtype=np.int64)
    sizes = np.bincount(field.nuclei.ravel(), minlength=shape[1])[mitotic]
    covered = _pairs(cells, field.nuclei, shape)[labels][:, mitotic] / sizes
    return Matched(rows, np.isin(of, mitotic).tolist(), covered)


def _pairs(
    first: NDArray[np.int32], second: NDArray[np.int32], shape: tuple[int, int]
) -> NDArray[np.int64]:
    """Return how many pixels every pair of labels shares, of the given shape."""
    both = np.ravel_multi_index((first.ravel(), second.ravel()), shape)
    return np.bincount(both, minlength=shape[0] * shape[1]).reshape(shape)


def matched_fields(
    patterns: Sequence[str], count: int, seed: int, segmenter: Segmenter | None
) -> dict[str, dict[str, list[Matched]]]:
    """Draw fields and measure their cells.

    Parameters
    ----------
    patterns : sequence of str
    count : int
        Fields of every pattern.
    seed : int
        The first field's.
    segmenter : Segmenter or None
        None measures true masks alone.

    Returns
    -------
    dict
        By masks (:data:`TRUE`, :data:`FOUND`) and pattern, one item a field.
    """
    done: dict[str, dict[str, list[Matched]]] = defaultdict(lambda: defaultdict(list))
    for pattern in patterns:
        for index in range(count):
            number = seed + 1000 * PATTERNS.index(pattern) + index
            field = simulate_field(number, [pattern], size=_SIZE)
            signal = as_jpeg(field.signal, _QUALITY)
            done[TRUE][pattern].append(match(field, signal, field.nuclei, field.cells))
            if segmenter is not None:
                found = segmenter.segment([signal], [1.0])[0]
                done[FOUND][pattern].append(match(field, signal, found.nuclei, found.cells))
    return done


def choose(fields: Mapping[str, Mapping[str, list[Matched]]]) -> tuple[MitosisRule, float]:
    """Return the best rule of :data:`GRID` and its mean F1 over masks and patterns."""
    groups = [group for patterns in fields.values() for group in patterns.values()]

    def quality(rule: MitosisRule) -> float:
        return float(np.mean([_sum(field.tally(rule) for field in group).f1 for group in groups]))

    rules = [
        MitosisRule(**dict(zip(GRID, values, strict=True))) for values in product(*GRID.values())
    ]
    best = max(rules, key=quality)
    return best, quality(best)


def _sum(tallies: Iterable[Tally]) -> Tally:
    return reduce(add, tallies, Tally())


def show(fields: Mapping[str, Mapping[str, list[Matched]]], rule: MitosisRule = RULE) -> str:
    """Return precision and recall as text, one row a pattern."""
    lines = []
    for masks, patterns in fields.items():
        lines.append(f"{masks:24}{'precision':>10}{'recall':>10}{'flagged':>10}{'dividing':>10}")
        tallies = {
            name: _sum(field.tally(rule) for field in group) for name, group in patterns.items()
        }
        tallies["all"] = _sum(tallies.values())
        lines += [
            f"  {name:22}{tally.precision:10.2f}{tally.recall:10.2f}"
            f"{tally.flagged:10}{tally.dividing:10}"
            for name, tally in tallies.items()
        ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print, or choose thresholds and print them."""
    parser = argparse.ArgumentParser(
        prog="python -m anabatch.training.mitosis", description=__doc__
    )
    defaults = SegmentConfig()
    parser.add_argument("--nuclei", default=defaults.nuclei_model, help="model of the nuclei")
    parser.add_argument("--cells", default=defaults.cell_model, help="model of the cells")
    parser.add_argument("--fields", type=int, default=4, help="fields a pattern")
    parser.add_argument("--patterns", nargs="+", default=list(PATTERNS), choices=PATTERNS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only-true", action="store_true", help="leave the networks out")
    parser.add_argument("--choose", action="store_true", help="find the best thresholds")
    options = parser.parse_args(arguments)
    config = SegmentConfig(nuclei_model=options.nuclei, cell_model=options.cells)
    segmenter = None if options.only_true else segmenter_for(config, options.threads)
    seed = _CHOSEN_ON if options.choose else _MEASURED
    fields = matched_fields(options.patterns, options.fields, seed, segmenter)
    rule = RULE
    if options.choose:
        rule, quality = choose(fields)
        print(f"{rule}\nmean F1 {quality:.3f}")  # noqa: T201 - the command's answer
    print(show(fields, rule))  # noqa: T201 - the command's answer


if __name__ == "__main__":
    main()

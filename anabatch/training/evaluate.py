"""Measure the segmentation: `python -m anabatch.training.evaluate [--quick] [--dsb2018 DIR] [--record]`.

Simulated fields have seeds that no training draws; figures are pooled over the fields of a row. What
they are stands in `anabatch.metrics`. The networks are measured, with the configured diameters or
with those that they estimate from the images (`--diameter fixed auto`), and the watershed beside
them. `--magnified 0.6 1 1.5 2 2.5` measures fields drawn larger and smaller than anybody is told.
Images of the Data Science Bowl go through the nucleus pass alone, scaled
so that their median true nucleus has 70 reference pixels; there the mean over images is given as
well.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from anabatch.config import SegmentConfig
from anabatch.metrics import THRESHOLDS, Agreement, compare
from anabatch.segmentation import recipe
from anabatch.segmentation.labels import resize_nearest
from anabatch.segmentation.two_pass import TwoPassSegmenter, segmenter_for
from anabatch.simulate.field import PATTERNS, simulate_field
from anabatch.training import dsb2018
from anabatch.training.fields import EVALUATION_SEED, as_jpeg
from anabatch.training.manifest import update_entry
from anabatch.weights import FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from anabatch.segmentation.protocol import Segmenter
    from anabatch.simulate.field import SimulatedField

WIDTH, HEIGHT = 1388, 1040
"""Size of an evaluated field, in reference pixels."""

NEGATIVE = "negative"

WATERSHED: Final = "watershed"

COLUMNS = (
    *(f"AP@{threshold}" for threshold in THRESHOLDS),
    *("Dice", "count", "edge F1", "splits", "merges"),
)
"""The figures of a row: `count` is the error of the count over the true count."""

_QUALITY = 90  # of the JPEG files
_COUNTS = COLUMNS.index("splits")  # from here on figures are numbers of masks


@dataclass(frozen=True)
class FieldScores:
    """What was measured on one simulated field.

    Attributes
    ----------
    pattern : str
    pixels_per_reference_pixel : float
    nuclei, cells : Agreement
    """

    pattern: str
    pixels_per_reference_pixel: float
    nuclei: Agreement
    cells: Agreement


def evaluate_fields(
    segmenter: Segmenter, patterns: Sequence[str], count: int, scales: Sequence[int]
) -> Iterator[FieldScores]:
    """Segment simulated fields and compare them with their truth.

    Parameters
    ----------
    segmenter : Segmenter
    patterns : sequence of str
    count : int
        Fields of every pattern and scale.
    scales : sequence of int
        Pixels per reference pixel: 1 gives fields of 1388 x 1040, 2 of 2776 x 2080.

    Yields
    ------
    FieldScores
    """
    for number, pattern in enumerate(patterns):
        for scale in scales:
            for index in range(count):
                seed = EVALUATION_SEED + 1000 * number + 100 * scale + index
                size = (WIDTH * scale, HEIGHT * scale)
                field = simulate_field(seed, [pattern], size=size, pixels_per_reference_pixel=scale)
                yield _measure(segmenter, field, pattern, scale, told=scale)


def evaluate_magnified(
    segmenter: Segmenter, patterns: Sequence[str], count: int, magnifications: Sequence[float]
) -> Iterator[FieldScores]:
    """Segment fields of 1388 x 1040 pixels that are drawn larger or smaller than the segmenter is told.

    Parameters
    ----------
    segmenter : Segmenter
        It is told that a pixel is a reference pixel.
    patterns : sequence of str
    count : int
        Fields of every pattern and magnification.
    magnifications : sequence of float
        Pixels that make one reference pixel.

    Yields
    ------
    FieldScores
    """
    size = (WIDTH, HEIGHT)
    for number, pattern in enumerate(patterns):
        for factor in magnifications:
            for index in range(count):
                seed = EVALUATION_SEED + 100_000 + 1000 * number + round(100 * factor) + index
                field = simulate_field(
                    seed, [pattern], size=size, pixels_per_reference_pixel=factor
                )
                yield _measure(segmenter, field, pattern, factor, told=1.0)


def _measure(
    segmenter: Segmenter, field: SimulatedField, pattern: str, scale: float, *, told: float
) -> FieldScores:
    found = segmenter.segment([as_jpeg(field.signal, _QUALITY)], [told])[0]
    return FieldScores(
        pattern, scale, compare(field.nuclei, found.nuclei), compare(field.cells, found.cells)
    )


def evaluate_dsb2018(segmenter: TwoPassSegmenter, folder: Path) -> list[Agreement]:
    """Run the nucleus pass over the held-out images of the Data Science Bowl.

    Returns
    -------
    list of Agreement
        One an image, in the order of the ids.
    """
    done = []
    for name in dsb2018.names(folder, test=True):
        image = dsb2018.read(folder, name)
        fields = recipe.read_fields(
            [image.signal], [image.pixels_per_reference_pixel], segmenter.config
        )
        _, (found,) = segmenter.find_nuclei(fields)
        done.append(compare(image.labels, resize_nearest(found.labels, fields[0].source_shape)))
    return done


def pooled(images: Sequence[Agreement]) -> list[float]:
    """Return the figures of :data:`COLUMNS`, over all masks of all images, rounded to four digits."""
    total = reduce(add, images)
    figures = [
        *total.scores.average_precision,
        *(total.dice, total.count_error, total.boundary_f1, total.splits, total.merges),
    ]
    return [round(float(value), 4) for value in figures]


def _size_title(scale: float) -> str:
    return f"{round(WIDTH * scale)}x{round(HEIGHT * scale)}"


def _magnified_title(scale: float) -> str:
    return f"{WIDTH}x{HEIGHT} magnified {scale:g}"


def table(
    fields: Sequence[FieldScores], title: Callable[[float], str] = _size_title
) -> dict[str, dict[str, list[float]]]:
    """Return, by scale, `nuclei <pattern>` and `cells <pattern>` to the figures of :data:`COLUMNS`.

    The rows named `all` leave the negatives out. `title` names a scale.
    """
    answer: dict[str, dict[str, list[float]]] = {}
    for scale in sorted({field.pixels_per_reference_pixel for field in fields}):
        here = [field for field in fields if field.pixels_per_reference_pixel == scale]
        groups = {name: [f for f in here if f.pattern == name] for name in PATTERNS}
        groups["all"] = [field for field in here if field.pattern != NEGATIVE]
        rows: dict[str, list[float]] = {}
        for name, group in groups.items():
            if group:
                rows[f"nuclei {name}"] = pooled([field.nuclei for field in group])
                rows[f"cells {name}"] = pooled([field.cells for field in group])
        answer[title(scale)] = rows
    return answer


def show(result: dict[str, Any]) -> str:
    """Return the figures as text, one row a line."""
    lines = []
    for title, rows in result.items():
        lines += [title, f"  {'':32}" + "".join(f"{name:>8}" for name in COLUMNS)]
        for name, values in rows.items():
            figures = "".join(
                f"{value:8.{3 if at < _COUNTS else 0}f}" for at, value in enumerate(values)
            )
            lines.append(f"  {name:32}{figures}")
    return "\n".join(lines)


def record(result: dict[str, Any]) -> None:
    """Enter the AP of either network in the manifest of the shipped weights."""
    for network, starts in (("anabatch-nuclei", "nuclei"), ("anabatch-cells", "cells")):
        quality = {
            title: {
                name: values[: len(THRESHOLDS)]
                for name, values in rows.items()
                if name.startswith(starts)
            }
            for title, rows in result.items()
            if not title.endswith(WATERSHED)
        }
        quality = {title: rows for title, rows in quality.items() if rows}
        update_entry(network, {"quality": {"AP@0.5, 0.75, 0.9": quality}}, FOLDER)


def _measured(segmenter: Segmenter, options: argparse.Namespace, name: str) -> dict[str, Any]:
    """Return the rows of a segmenter, its name added to their titles."""
    asked = options.patterns, options.fields
    rows = table(list(evaluate_fields(segmenter, *asked, options.scales)))
    magnified = list(evaluate_magnified(segmenter, *asked, options.magnified))
    rows |= table(magnified, _magnified_title)
    return {f"{title}{name}": figures for title, figures in rows.items()}


def _of_dsb2018(segmenter: TwoPassSegmenter, folder: Path) -> dict[str, list[float]]:
    images = evaluate_dsb2018(segmenter, folder)
    each = np.array([image.scores.average_precision for image in images])
    return {
        f"nuclei pooled over {len(images)} images": pooled(images),
        "nuclei mean of images": [round(float(value), 4) for value in each.mean(axis=0)],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and record if asked to."""
    parser = argparse.ArgumentParser(
        prog="python -m anabatch.training.evaluate", description=__doc__
    )
    defaults = SegmentConfig()
    parser.add_argument("--nuclei", default=defaults.nuclei_model, help="model of the nuclei")
    parser.add_argument("--cells", default=defaults.cell_model, help="model of the cells")
    parser.add_argument("--fields", type=int, default=2, help="fields a pattern and scale")
    parser.add_argument("--scales", type=int, nargs="*", default=[1, 2])
    parser.add_argument(
        "--magnified", type=float, nargs="*", default=[], help="magnifications nobody is told"
    )
    parser.add_argument(
        "--diameter",
        nargs="+",
        choices=["fixed", "auto"],
        default=["fixed"],
        help="of the networks",
    )
    parser.add_argument("--patterns", nargs="+", default=list(PATTERNS))
    parser.add_argument("--dsb2018", type=Path, help="folder of images/ and labels/")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--record", action="store_true", help="write into the manifest")
    parser.add_argument("--quick", action="store_true", help="one small field a pattern")
    options = parser.parse_args(arguments)
    if options.quick:
        options.fields, options.scales = 1, [1]
    result: dict[str, Any] = {}
    for diameter in options.diameter:
        config = SegmentConfig(
            nuclei_model=options.nuclei, cell_model=options.cells, diameter=diameter
        )
        networks = TwoPassSegmenter(config, threads=options.threads)
        name = "" if diameter == "fixed" else f", {diameter}"
        result |= _measured(networks, options, name)
        if options.dsb2018:
            result[f"dsb2018, held out{name}"] = _of_dsb2018(networks, options.dsb2018)
    classical = segmenter_for(SegmentConfig(recipe=WATERSHED), options.threads)
    result |= _measured(classical, options, f", {WATERSHED}")
    print(show(result))  # noqa: T201 - the command's answer
    if options.record:
        record(result)


if __name__ == "__main__":
    main()

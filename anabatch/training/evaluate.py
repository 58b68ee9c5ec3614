"""Measure the segmentation: `python -m anabatch.training.evaluate [--dsb2018 DIR] [--record]`.

Simulated fields have seeds that no training draws; figures are pooled over the fields of a row,
AP = TP / (TP + FP + FN). Images of the Data Science Bowl go through the nucleus pass alone, scaled
so that their median true nucleus has 70 reference pixels; there the mean over images is given as
well.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.config import SegmentConfig
from anabatch.metrics import Scores, score
from anabatch.segmentation import recipe
from anabatch.segmentation.labels import resize_nearest
from anabatch.segmentation.tiling import run_tiled
from anabatch.segmentation.two_pass import TwoPassSegmenter
from anabatch.simulate.field import PATTERNS, simulate_field
from anabatch.training import dsb2018
from anabatch.training.fields import EVALUATION_SEED, as_jpeg
from anabatch.training.manifest import update_entry
from anabatch.weights import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WIDTH, HEIGHT = 1388, 1040
"""Size of an evaluated field, in reference pixels."""

NEGATIVE = "negative"
_QUALITY = 90  # of the JPEG files


@dataclass(frozen=True)
class FieldScores:
    """What was measured on one simulated field.

    Attributes
    ----------
    pattern : str
    pixels_per_reference_pixel : int
    nuclei, cells : Scores
    """

    pattern: str
    pixels_per_reference_pixel: int
    nuclei: Scores
    cells: Scores


def evaluate_fields(
    segmenter: TwoPassSegmenter, patterns: Sequence[str], count: int, scales: Sequence[int]
) -> Iterator[FieldScores]:
    """Segment simulated fields and compare them with their truth.

    Parameters
    ----------
    segmenter : TwoPassSegmenter
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
                found = segmenter.segment([as_jpeg(field.signal, _QUALITY)], [scale])[0]
                yield FieldScores(
                    pattern,
                    scale,
                    score(field.nuclei, found.nuclei),
                    score(field.cells, found.cells),
                )


def evaluate_dsb2018(segmenter: TwoPassSegmenter, folder: Path) -> list[Scores]:
    """Run the nucleus pass over the held-out images of the Data Science Bowl.

    Returns
    -------
    list of Scores
        One an image, in the order of the ids.
    """
    network = segmenter.nucleus_network
    done = []
    for name in dsb2018.names(folder, test=True):
        image = dsb2018.read(folder, name)
        fields, inputs = recipe.prepare(
            [image.signal], [image.pixels_per_reference_pixel], segmenter.config, network.diameter
        )
        outputs = run_tiled(network, inputs, segmenter.config)
        found = recipe.find_nuclei(fields, outputs, segmenter.config)[0]
        done.append(score(image.labels, resize_nearest(found.labels, fields[0].source_shape)))
    return done


def pooled(scores: Sequence[Scores]) -> list[float]:
    """Return AP at the thresholds, over all masks of all images, rounded to four digits."""
    return [round(float(value), 4) for value in reduce(add, scores).average_precision]


def table(fields: Sequence[FieldScores]) -> dict[str, dict[str, list[float]]]:
    """Return, by scale, `nuclei <pattern>` and `cells <pattern>` to AP at the thresholds.

    The rows named `all` leave the negatives out.
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
        answer[f"{WIDTH * scale}x{HEIGHT * scale}"] = rows
    return answer


def show(result: dict[str, Any]) -> str:
    """Return the figures as text, one row a line."""
    lines = []
    for title, rows in result.items():
        lines += [title, f"  {'':32} AP@0.5  AP@0.75  AP@0.9"]
        for name, values in rows.items():
            figures = "".join(f"{value:8.3f}" for value in values)
            lines.append(f"  {name:32}{figures}")
    return "\n".join(lines)


def record(result: dict[str, Any]) -> None:
    """Enter the figures of either network in the manifest of the shipped weights."""
    for network, starts in (("anabatch-nuclei", "nuclei"), ("anabatch-cells", "cells")):
        quality = {
            title: {name: values for name, values in rows.items() if name.startswith(starts)}
            for title, rows in result.items()
        }
        quality = {title: rows for title, rows in quality.items() if rows}
        update_entry(network, {"quality": {"AP@0.5, 0.75, 0.9": quality}}, FOLDER)


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
    parser.add_argument("--patterns", nargs="+", default=list(PATTERNS))
    parser.add_argument("--dsb2018", type=Path, help="folder of images/ and labels/")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--record", action="store_true", help="write into the manifest")
    options = parser.parse_args(arguments)
    config = SegmentConfig(nuclei_model=options.nuclei, cell_model=options.cells)
    segmenter = TwoPassSegmenter(config, threads=options.threads)
    fields = evaluate_fields(segmenter, options.patterns, options.fields, options.scales)
    result: dict[str, Any] = table(list(fields))
    if options.dsb2018:
        images = evaluate_dsb2018(segmenter, options.dsb2018)
        each = np.array([image.average_precision for image in images])
        result["dsb2018, held out"] = {
            f"nuclei pooled over {len(images)} images": pooled(images),
            "nuclei mean of images": [round(float(value), 4) for value in each.mean(axis=0)],
        }
    print(show(result))  # noqa: T201 - the command's answer
    if options.record:
        record(result)


if __name__ == "__main__":
    main()

"""Compare features by the patterns that simple classifiers read off them.

    python -m anabatch.training.compare_features --real DIR --fields 42 --weights NEW.npz

Cells of real pictures (a folder a pattern; found by the shipped networks) and of simulated fields that
no training draws (true masks) are described by the shipped network, by other weights, by networks with
random weights, and without networks. Nearest neighbours and ridge regression name the pattern of a
picture's cells from all other pictures. `--record` enters the shipped network's figures, and its
peers', in the manifest.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from anabatch.config import FeaturizeConfig
from anabatch.features.backend import start_keras
from anabatch.features.lbp import LBPFeatures
from anabatch.features.vgg16 import VGG16Features, build
from anabatch.features.vgg16_weights import GREY, PARTED, save_npz, weights_digest
from anabatch.training import readers, textures
from anabatch.training.compared_cells import (
    ComparedCells,
    kept,
    real_cells,
    shipped_segmenter,
    simulated_cells,
)
from anabatch.training.manifest import update_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from anabatch.training.readers import Accuracy

    Accuracies = dict[str, Accuracy]

log = structlog.get_logger(__name__)

SHIPPED = "anabatch-vgg16-quarter"
READERS = ("neighbours, cosine", "neighbours, standardised", "linear")


@dataclass(frozen=True)
class Contestant:
    """Features that are compared.

    Attributes
    ----------
    name : str
    describe : callable
        Takes crops and masks, gives rows of features.
    most : int
        Cells of a picture that it is tried on at most.
    digest : str
        What tells it from others of its name.
    """

    name: str
    describe: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]
    most: int
    digest: str = ""


def random_weights(path: Path, width: float, seed: int) -> str:
    """Draw a network's weights as they are before training, and write them.

    Parameters
    ----------
    path : Path
        The `.npz` to write.
    width : float
        Share of VGG16's own.
    seed : int

    Returns
    -------
    str
        The path.
    """
    start_keras()
    import keras

    keras.utils.set_random_seed(seed)
    arrays: dict[str, NDArray[Any]] = {}
    for layer in build(width).layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            arrays |= {f"{layer.name}/kernel": kernel, f"{layer.name}/bias": bias}
    save_npz(path, arrays)
    return str(path)


def network(weights: str, **parameters: Any) -> Callable[..., NDArray[Any]]:
    """Return what describes cells by VGG16 with weights, loaded when it is first called."""

    def describe(crops: NDArray[Any], masks: NDArray[Any]) -> NDArray[Any]:
        return VGG16Features(FeaturizeConfig(weights=weights, **parameters)).extract(crops, masks)

    return describe


def contestants(options: argparse.Namespace, folder: Path) -> Iterator[Contestant]:
    """Yield all features that are compared, the shipped network first.

    Parameters
    ----------
    options : argparse.Namespace
    folder : Path
        Where random weights are written.
    """
    most, digest = options.cells, weights_digest(SHIPPED)
    yield Contestant("shipped", network(SHIPPED), most, digest)
    for channels, paths in ((GREY, options.weights), (PARTED, options.parted)):
        for path in paths:
            describe = network(str(path), channels=channels)
            yield Contestant(path.name, describe, most, weights_digest(str(path)))
    yield Contestant("pixels 24 x 24", textures.pixels, most)
    lbp = LBPFeatures(FeaturizeConfig(extractor="lbp"))
    yield Contestant("local binary patterns", lbp.extract, most)
    yield Contestant("co-occurrence", textures.cooccurrence, most)
    for seed in range(1, options.seeds + 1):
        weights = random_weights(folder / f"quarter{seed}.npz", 0.25, seed)
        yield Contestant(f"random quarter, seed {seed}", network(weights), most)
    if options.full_cells:
        # The same few cells for the shipped network: fewer neighbours are a handicap.
        yield Contestant("shipped, fewer cells", network(SHIPPED), options.full_cells, digest)
        weights = random_weights(folder / "full.npz", 1.0, 1)
        yield Contestant("random full width, fewer cells", network(weights), options.full_cells)


def read_patterns(features: NDArray[Any], cells: ComparedCells) -> Accuracies:
    """Return how well each of :data:`READERS` names the patterns of pictures left out.

    Parameters
    ----------
    features : ndarray, shape (n, d), float
    cells : ComparedCells
        Of n cells.
    """
    rows = readers.standardised(features)
    classes, groups = cells.classes, cells.groups
    angles = readers.cosine(features.astype(np.float64))
    answers = (
        readers.nearest(angles, classes, groups),
        readers.nearest(rows, classes, groups),
        readers.linear(rows, classes, groups),
    )
    return {
        name: readers.accuracy(answer, classes, groups)
        for name, answer in zip(READERS, answers, strict=True)
    }


def compare(
    contestant: Contestant, sets: dict[str, ComparedCells], keep: Path | None = None
) -> dict[str, Accuracies]:
    """Return the accuracy of one contestant by set of cells and by reader.

    Parameters
    ----------
    contestant : Contestant
    sets : dict of str to ComparedCells
    keep : Path, optional
        Folder where features are looked for, and kept for the next time.
    """
    found = {}
    for name, cells in sets.items():
        few = cells.capped(contestant.most)
        file = keep and keep / f"{name}-{contestant.name}-{contestant.digest}-{len(few.crops)}.npy"
        if file is not None and file.exists():
            features = np.load(file, allow_pickle=False)
        else:
            features = np.asarray(contestant.describe(few.crops, few.masks))
            if file is not None:
                np.save(file, features)
        found[name] = read_patterns(features, few)
    return found


def table(results: dict[str, dict[str, Accuracies]]) -> list[str]:
    """Return the lines of a Markdown table: accuracy in percent ± standard error."""
    lines = [
        "| cells | features | " + " | ".join(f"{r}: cell | picture" for r in READERS) + " |",
        "| --- | --- |" + " --- |" * (2 * len(READERS)),
    ]
    for features, sets in results.items():
        for name, by_reader in sets.items():
            shown = [
                f"{100 * value:.1f} ± {100 * error:.1f}"
                for found in (by_reader[reader] for reader in READERS)
                for value, error in (
                    (found.cells, found.cells_error),
                    (found.pictures, found.pictures_error),
                )
            ]
            lines.append(f"| {name} | {features} | " + " | ".join(shown) + " |")
    # All features of one set of cells together, in the order in which they were tried.
    return lines[:2] + sorted(lines[2:], key=lambda line: line.split("|")[1])


def differences(results: dict[str, dict[str, Accuracies]], best: str) -> list[str]:
    """Say by how much one contestant names more of a picture's cells than every other, in percent.

    Parameters
    ----------
    results : dict
        Contestant to set of cells to accuracies.
    best : str
        A contestant.
    """
    lines = []
    for features, sets in results.items():
        for name, found in sets.items():
            if features == best:
                continue
            apart = [results[best][name][reader].less(found[reader]) for reader in READERS]
            shown = ", ".join(f"{100 * value:+.1f} ± {100 * error:.1f}" for value, error in apart)
            lines.append(f"{name}: {best} less {features}: {shown}")
    return sorted(lines)


def quality(
    results: dict[str, dict[str, Accuracies]], sets: dict[str, ComparedCells]
) -> dict[str, Any]:
    """Return the figures as the manifest keeps them."""
    rounded = {
        features: {
            name: {
                reader: {
                    key: round(value, 4) for key, value in asdict(found).items() if key != "shares"
                }
                for reader, found in by_reader.items()
            }
            for name, by_reader in by_set.items()
        }
        for features, by_set in results.items()
    }
    counts = {
        name: {
            "cells": len(cells.crops),
            "pictures": len(np.unique(cells.groups)),
            "patterns": len(np.unique(cells.classes)),
        }
        for name, cells in sets.items()
    }
    return {"compared_on": counts, "accuracy": rounded}


def drawn_sets(options: argparse.Namespace) -> dict[str, ComparedCells]:
    """Return the sets of cells that the options ask for, capped."""
    keep: Path | None = options.keep
    sets = {}
    if options.real is not None:
        file = keep and keep / "real.npz"
        sets["real"] = kept(file, lambda: real_cells(options.real, shipped_segmenter(1)))
    if options.fields:
        file = keep and keep / "simulated.npz"
        sets["simulated"] = kept(file, lambda: simulated_cells(options.fields))
    return {name: cells.answerable().capped(options.cells) for name, cells in sets.items()}


def add_sets(parser: argparse.ArgumentParser) -> None:
    """Add the options of what is compared, and on which cells."""
    parser.add_argument("--real", type=Path, help="pictures, a folder a pattern")
    parser.add_argument("--fields", type=int, default=42, help="simulated fields")
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="other weights files")
    parser.add_argument(
        "--parted", type=Path, nargs="*", default=[], help="those for nucleus, cytoplasm and mask"
    )
    parser.add_argument("--cells", type=int, default=40, help="cells of a picture at most")
    parser.add_argument("--seeds", type=int, default=3, help="random networks of a quarter's width")
    parser.add_argument(
        "--full-cells", type=int, default=10, help="cells of a picture at full width; 0: none"
    )
    parser.add_argument("--keep", type=Path, help="keep the cells in this folder for the next time")


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, print the table, and enter it in the manifest if that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m anabatch.training.compare_features")
    add_sets(parser)
    parser.add_argument("--record", action="store_true", help="enter it in the manifest")
    options = parser.parse_args(arguments)
    sets = drawn_sets(options)
    results: dict[str, dict[str, Accuracies]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for contestant in contestants(options, Path(folder)):
            results[contestant.name] = compare(contestant, sets, options.keep)
            log.info("compared", features=contestant.name)
    lines = table(results)
    for best in ("shipped", *(path.name for path in (*options.weights, *options.parted))):
        lines += ["", *differences(results, best)]
    sys.stdout.write("\n".join(lines) + "\n")
    if options.record:
        update_entry(SHIPPED, {"quality": quality(results, sets)})


if __name__ == "__main__":
    main()

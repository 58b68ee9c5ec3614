"""What describing cells costs beside the bare network, and what bfloat16 wins.

    python tests/benchmarks/bench_features.py --cells 4096 --repeats 3

Zarr to Zarr: the featurize stage over a part of random crops, against the same network's
`predict_on_batch` over the same batches in memory, which are made ready before the clock starts. Both
take turns in one process, and processor time is taken beside the clock, for other work of the machine is
in the clock alone. Through Dask: the same part twice, as the job's graph, on one worker of a local
cluster, in turns with the network in this process; by the clock alone, for the work is another
process's. Then the network alone in float32 and in mixed_bfloat16, also in turns.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.compute import Cluster, gather, task
from anabatch.config import ComputeConfig, FeaturizeConfig
from anabatch.features.inputs import preprocess
from anabatch.features.recipe import features_digest
from anabatch.features.vgg16 import VGG16Features
from anabatch.features.vgg16_weights import save_npz
from anabatch.stages.featurize import FeaturizeBatch, featurize, featurize_recipe
from anabatch.store.actions import Action
from anabatch.store.live import CELLS
from anabatch.store.parts import PartWriter, WrittenPart

sys.path.insert(0, str(Path(__file__).parents[1]))  # helpers of the tests

from wide import say

if TYPE_CHECKING:
    from collections.abc import Callable


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Return the seconds of the clock and of this process's processors."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


def in_turns(works: dict[str, Callable[[], Any]], repeats: int) -> dict[str, Any]:
    """Time works in turns after a first round that does not count: shape (repeats, 2) by name."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            taken = timed(work)
            if turn:
                times[name].append(taken)
    return {name: np.array(values) for name, values in times.items()}


def report(times: dict[str, Any], cells: int) -> None:
    """Print cells a second, and the first's rate as a share of each other's."""
    first = next(iter(times))
    for name, values in times.items():
        clock, processor = np.median(values, axis=0)
        share = np.median(values, axis=0) / np.median(times[first], axis=0)
        least = values.min(axis=0) / times[first].min(axis=0)
        say(
            f"{name:36s} {cells / clock:7.1f} cells/s by the clock, {cells / processor:7.1f} by the "
            f"processor; {first} runs at {share[0]:.2f} / {share[1]:.2f} of its rate (medians), "
            f"{least[0]:.2f} / {least[1]:.2f} (best)"
        )


def batch_of(store: Path, config: FeaturizeConfig, threads: int) -> FeaturizeBatch:
    """Return the parameters of describing a part."""
    return FeaturizeBatch(
        store=store,
        archive="a",
        date=None,
        config=config,
        extractor=features_digest(config),
        recipe=featurize_recipe(config).digest,
        threads=threads,
        sequence=1,
        run="r",
    )


def write_crops(store: Path, crops: Any) -> WrittenPart:
    """Write a cell part."""
    with PartWriter(store, "cells", archive="a", date=None, keys=["k"]) as part:
        part.array("crops", crops)
        part.array("masks", (crops > 0).astype(np.uint8))
        return part.finish([Action(CELLS, "unit", "k", rows=len(crops))])


def full_width(path: Path) -> str:
    """Write random weights of VGG16's own width."""
    from anabatch.features.backend import start_keras
    from anabatch.features.vgg16 import build

    start_keras()
    arrays: dict[str, Any] = {}
    for layer in build(1.0).layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            arrays |= {f"{layer.name}/kernel": kernel, f"{layer.name}/bias": bias}
    save_npz(path, arrays)
    return str(path)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cells", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--full", action="store_true", help="VGG16's own width too, random weights")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (options.cells, 96, 96), dtype=np.uint8)
    say(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {options.threads} threads")
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        cells = write_crops(store, crops)
        widths = {"quarter": FeaturizeConfig().weights}
        if options.full:
            widths["full"] = full_width(store / "full.npz")
        for width, weights in widths.items():
            config = FeaturizeConfig(weights=weights, device=options.device)
            measure(store, width, config, (crops, cells), options)


def measure(
    store: Path,
    width: str,
    config: FeaturizeConfig,
    given: tuple[Any, WrittenPart],
    options: argparse.Namespace,
) -> None:
    """Measure one width."""
    crops, cells = given
    single = VGG16Features(config, threads=options.threads)
    halved = config.model_copy(update={"precision": "mixed_bfloat16"})
    mixed = VGG16Features(halved, threads=options.threads)
    starts = range(0, len(crops) - config.batch + 1, config.batch)
    inputs = [preprocess(crops[start : start + config.batch], "unit") for start in starts]

    def bare(extractor: VGG16Features) -> Callable[[], Any]:
        return lambda: [extractor._model.predict_on_batch(batch) for batch in inputs]

    batch = batch_of(store, config, options.threads)
    works = {"Zarr to Zarr": lambda: featurize(batch, cells), "network": bare(single)}
    say(f"{width} width, {len(crops)} cells:")
    report(in_turns(works, options.repeats), len(crops))
    with Cluster(ComputeConfig(workers=1, threads=options.threads)) as cluster:

        def through_dask() -> Any:
            parts = [task(featurize, batch, cells, threads=options.threads) for _ in range(2)]
            return cluster.backend.compute(gather(parts))

        works = {
            "Through Dask": through_dask,
            "network": lambda: [bare(single)() for _ in range(2)],
        }
        report(in_turns(works, options.repeats), 2 * len(crops))
    works = {"float32": bare(single), "mixed_bfloat16": bare(mixed)}
    report(in_turns(works, options.repeats), len(crops))


if __name__ == "__main__":
    main()

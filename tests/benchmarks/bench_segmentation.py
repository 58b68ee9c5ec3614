"""What the segmentation costs, against Cellpose itself, and at scale.

    python tests/benchmarks/bench_segmentation.py --fields 40
    python tests/benchmarks/bench_segmentation.py --fields 40 --device cuda --tiles-per-batch 4
    python tests/benchmarks/bench_segmentation.py --scale 1000

The first two compare, on the same fields with the same weights in one run: the two-pass recipe as it
stands here; the same recipe by `CellposeModel.eval` on a list for each pass; and the nucleus pass
alone by `python -m cellpose --dir`, for that takes one diameter for a whole folder. Cellpose takes
fields one by one, at the same time each, so that it may be given fewer of them. They say how well the
masks agree, which step takes how much of the time, and what share of it the networks alone take.

The third segments many fields of 512 x 512, in one process and in two, and says whether memory and
the time of a field grow.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from anabatch.config import SegmentConfig
    from anabatch.segmentation.two_pass import TwoPassSegmenter
    from anabatch.simulate.field import SimulatedField

SEED = 1_000_300  # of the first field; networks are trained on smaller seeds
DRAWN = 20  # distinct fields at scale; the rest are these with other noise
BLOCK = 100  # fields at scale between two looks at clock and memory

STEPS = {
    "read": ("recipe", "read_fields"),
    "contrast and input of nuclei": ("recipe", "nucleus_inputs"),
    "input of cells": ("recipe", "recombine"),
    "follow flows, check masks": ("recipe", "find_masks"),
    "refine masks": ("recipe", "refine"),
    "fill holes": ("recipe", "fill_and_filter"),
    "bring masks to the source": ("recipe", "to_source"),
    "cut tiles": ("tiling", "cut"),
    "blend tiles": ("tiling", "blend"),
}


def say(line: str = "") -> None:
    """Print a line."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Clock:
    """Seconds by step, summed over threads."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with a clock."""

        @functools.wraps(function)
        def run(*given: Any, **more: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*given, **more)
            finally:
                with self._lock:
                    self.seconds[name] += time.perf_counter() - start

        return run

    def watch_steps(self) -> None:
        """Put clocks into the modules of the recipe."""
        from anabatch.segmentation import recipe, tiling

        modules = {"recipe": recipe, "tiling": tiling}
        for name, (module, attribute) in STEPS.items():
            function = getattr(modules[module], attribute)
            setattr(modules[module], attribute, self.timed(name, function))


class Watched:
    """A network that remembers the shapes of its batches, with a clock."""

    def __init__(self, network: Any, name: str, clock: Clock) -> None:
        self.network = network
        self.diameter = network.diameter
        self.shapes: list[tuple[int, ...]] = []
        self._run = clock.timed(name, network)

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network."""
        self.shapes.append(tiles.shape)
        return np.asarray(self._run(tiles))

    def alone(self) -> float:
        """Return the seconds of the same batches one after another, with nothing beside them."""
        rng = np.random.default_rng(0)
        batches = {shape: rng.random(shape, dtype=np.float32) for shape in set(self.shapes)}
        for batch in batches.values():
            self.network(batch)
        start = time.perf_counter()
        for shape in self.shapes:
            self.network(batches[shape])
        return time.perf_counter() - start


def draw_fields(count: int, size: tuple[int, int]) -> list[SimulatedField]:
    """Draw fields of all patterns in turn."""
    from anabatch.simulate.field import PATTERNS, simulate_field

    return [
        simulate_field(SEED + number, [PATTERNS[number % len(PATTERNS)]], size=size)
        for number in range(count)
    ]


def configuration(options: argparse.Namespace) -> SegmentConfig:
    """Return the recipe's parameters."""
    from anabatch.config import SegmentConfig

    given = {
        "device": options.device,
        "precision": options.precision,
        "tile": options.tile,
        "tiles_per_batch": options.tiles_per_batch,
    }
    return SegmentConfig(**{name: value for name, value in given.items() if value is not None})


def watched_segmenter(
    config: SegmentConfig, threads: int, clock: Clock
) -> tuple[TwoPassSegmenter, list[Watched]]:
    """Return a segmenter whose steps are on a clock, and its networks."""
    from anabatch.segmentation.two_pass import TwoPassSegmenter

    segmenter = TwoPassSegmenter(config, threads=threads)
    networks = []
    for name in ("nucleus_network", "cell_network"):
        network = Watched(getattr(segmenter, name), name.replace("_", " "), clock)
        vars(segmenter)[name] = network
        networks.append(network)
    clock.watch_steps()
    return segmenter, networks


def compare(options: argparse.Namespace) -> None:
    """Measure ours and Cellpose on the same fields."""
    import torch

    torch.set_num_threads(options.threads)
    config = configuration(options)
    drawn = draw_fields(options.fields, options.size)
    signals = [field.signal for field in drawn]
    clock = Clock()
    segmenter, networks = watched_segmenter(config, options.threads, clock)
    segmenter.segment(signals[:1], [1.0])  # compiles, allocates
    clock.seconds.clear()
    for network in networks:
        network.shapes.clear()
    start = time.perf_counter()
    ours = segmenter.segment(signals, [1.0] * len(signals))
    wall = time.perf_counter() - start
    alone = sum(network.alone() for network in networks)
    width, height = options.size
    say(f"{len(signals)} fields of {width} x {height}, {config.device}, {config.precision},")
    say(f"{options.threads} threads, tiles up to {config.tile}, {config.tiles_at_once} a batch")
    say(f"ours: {wall / len(signals):.3f} s a field")
    say_shares(clock, wall, [shape for network in networks for shape in network.shapes], signals)
    say(f"  the networks' batches alone, one after another: {alone / wall:.0%} of our time")
    with tempfile.TemporaryDirectory() as folder:
        weights = [Path(folder) / "nuclei.pth", Path(folder) / "cells.pth"]
        against_eval(options, drawn, ours, weights, wall / len(signals))
        if options.cli_fields:
            against_cli(options, signals, ours, weights[0])


def say_shares(
    clock: Clock, wall: float, shapes: list[tuple[int, ...]], signals: list[NDArray[np.uint8]]
) -> None:
    """Say what the steps take, and what the networks are shown."""
    for name, seconds in sorted(clock.seconds.items(), key=lambda item: -item[1]):
        each = seconds / len(signals) * 1000
        say(f"  {name}: {each:.0f} ms a field, {seconds / wall:.1%} of the time")
    shown = sum(shape[0] * shape[2] * shape[3] for shape in shapes)
    say(f"  {len(shapes)} batches, {shown / len(signals) / 1e6:.3f} megapixels a field")


def against_eval(
    options: argparse.Namespace,
    drawn: list[SimulatedField],
    ours: list[Any],
    weights: list[Path],
    our_seconds: float,
) -> None:
    """Measure `CellposeModel.eval` in the same recipe."""
    import cellpose_peer as peer  # type: ignore[import-not-found]  # beside this file

    config = configuration(options)
    from anabatch.segmentation.two_pass import TwoPassSegmenter

    plain = TwoPassSegmenter(config.model_copy(update={"device": "cpu"}))
    names = (config.nuclei_model, config.cell_model)
    diameters = (plain.nucleus_network.diameter, plain.cell_network.diameter)
    for name, diameter, path in zip(names, diameters, weights, strict=True):
        peer.write_weights(name, diameter, path)
    models = [peer.load_model(path, device=config.device) for path in weights]
    fields = drawn[: options.eval_fields or len(drawn)]
    some = [field.signal for field in fields]
    peer.segment(some[:1], config, *models)
    start = time.perf_counter()
    nuclei, cells = peer.segment(some, config, *models)
    seconds = (time.perf_counter() - start) / len(some)
    say(
        f"CellposeModel.eval on a list, the same recipe, {len(some)} fields: {seconds:.3f} s a field"
    )
    say(f"  eval ÷ ours: {seconds / our_seconds:.2f}")
    compared = {
        "nuclei": (nuclei, [found.nuclei for found in ours], [field.nuclei for field in fields]),
        "cells": (cells, [found.cells for found in ours], [field.cells for field in fields]),
    }
    for what, (theirs, own, truth) in compared.items():
        agreement(f"{what}, theirs against ours", theirs, own)
        agreement(f"{what}, truth against theirs", truth, theirs)
        agreement(f"{what}, truth against ours", truth, own)


def agreement(what: str, theirs: list[NDArray[np.int32]], ours: list[NDArray[np.int32]]) -> None:
    """Say how well masks agree, of as many fields as the first have."""
    from anabatch.metrics import THRESHOLDS, Scores, score

    scores: list[Scores] = [score(a, b) for a, b in zip(theirs, ours[: len(theirs)], strict=True)]
    total = functools.reduce(lambda one, other: one + other, scores)
    figures = ", ".join(
        f"AP@{threshold:g} {value:.3f}"
        for threshold, value in zip(THRESHOLDS, total.average_precision, strict=True)
    )
    say(f"  {what}: {figures}")


def against_cli(
    options: argparse.Namespace, signals: list[NDArray[np.uint8]], ours: list[Any], weights: Path
) -> None:
    """Measure `python -m cellpose --dir` in the nucleus pass."""
    from anabatch.segmentation import recipe

    config = configuration(options)
    some = signals[: options.cli_fields]
    fields = recipe.read_fields(some, [1.0] * len(some), config)
    with tempfile.TemporaryDirectory() as folder:
        for number, field in enumerate(fields):
            equalised = recipe.nucleus_channels(field.signal, config)[0]
            cv2.imwrite(str(Path(folder) / f"{number:03}.png"), equalised)
        program = [
            sys.executable,
            "-W",
            "ignore",
            str(Path(__file__).with_name("cellpose_peer.py")),
        ]
        given = [
            "--dir",
            folder,
            "--diameter",
            str(config.nucleus_diameter),
            "--save_png",
            "--no_npy",
        ]
        given += ["--use_gpu"] if config.device == "cuda" else []
        environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
        start = time.perf_counter()
        command = [*program, str(weights), *given]
        subprocess.run(command, check=True, env=environment)  # noqa: S603 -- all of it from here
        seconds = time.perf_counter() - start
        masks = [
            cv2.imread(str(Path(folder) / f"{number:03}_cp_masks.png"), cv2.IMREAD_UNCHANGED)
            for number in range(len(some))
        ]
    say(f"python -m cellpose --dir, the nucleus pass alone: {seconds / len(some):.3f} s a field")
    say(f"  of {len(some)} fields, start included")
    theirs = [np.asarray(mask, np.int32) for mask in masks]
    agreement("nuclei, theirs against ours", theirs, [found.nuclei for found in ours])


def many_fields(drawn: list[NDArray[np.uint8]], count: int, seed: int) -> Iterator[NDArray[Any]]:
    """Yield the drawn fields again and again, with noise of their own."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        signal = drawn[number % len(drawn)]
        noise = rng.normal(0, 1.0, signal.shape)
        yield np.clip(np.rint(signal + noise), 0, 255).astype(np.uint8)


def work(
    options: argparse.Namespace, count: int, threads: int, seed: int, start: Any, answers: Any
) -> None:
    """Segment fields in a process of its own; answer with the processor's time and memory after every block."""
    import torch

    from anabatch.segmentation.two_pass import TwoPassSegmenter

    torch.set_num_threads(threads)
    segmenter = TwoPassSegmenter(configuration(options), threads=threads)
    drawn = [field.signal for field in draw_fields(DRAWN, (512, 512))]
    segmenter.segment(drawn[:2], [1.0] * 2)
    start.wait()
    log = []
    begun, used = time.perf_counter(), time.process_time()
    for number, signal in enumerate(many_fields(drawn, count, seed), start=1):
        segmenter.segment([signal], [1.0])
        if number % min(BLOCK, count) == 0:
            log.append((time.process_time() - used, memory()))
    answers.put((time.perf_counter() - begun, log))


def memory() -> float:
    """Return the memory that this process holds, in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def run_workers(
    options: argparse.Namespace, count: int, workers: int, threads: int
) -> tuple[float, list[list[tuple[float, float]]]]:
    """Share fields out to processes; return the time of the slowest, and every one's log."""
    context = multiprocessing.get_context("spawn")
    start, answers = context.Barrier(workers), context.SimpleQueue()
    shares = [count // workers] * workers
    processes = [
        context.Process(target=work, args=(options, share, threads, number, start, answers))
        for number, share in enumerate(shares)
    ]
    for process in processes:
        process.start()
    told = [answers.get() for _ in processes]
    for process in processes:
        process.join()
    return max(seconds for seconds, _ in told), [log for _, log in told]


def scale(options: argparse.Namespace) -> None:
    """Segment many small fields: does memory grow, does the time of a field, do workers add up?"""
    count = options.scale
    seconds, (log,) = run_workers(options, count, 1, 1)
    ends = [0.0, *(end for end, _ in log)]
    blocks = np.diff(ends) / min(BLOCK, count)
    held = [size for _, size in log]
    say(f"{count} fields of 512 x 512, one worker of one thread: {seconds / count:.3f} s a field")
    figures = ", ".join(f"{block:.3f}" for block in blocks)
    say(f"  blocks of {min(BLOCK, count)}: {figures} seconds of a processor a field")
    say(f"  memory after each, MiB: {', '.join(f'{size:.0f}' for size in held)}")
    half = max(1, len(blocks) // 2)
    say(f"  second half ÷ first half, time: {blocks[-half:].mean() / blocks[:half].mean():.3f}")
    say(f"  largest block ÷ median block: {blocks.max() / np.median(blocks):.3f}")
    say(f"  memory, last ÷ first: {held[-1] / held[0]:.3f}")
    for workers, threads in ((1, 1), (2, 1), (1, 2), (1, 1), (2, 1)):
        some = max(2 * workers, count // 5)
        took, _ = run_workers(options, some, workers, threads)
        say(f"  {workers} workers of {threads} threads, {some} fields: {took / some:.3f} s a field")


def _size(text: str) -> tuple[int, int]:
    width, height = (int(side) for side in text.split("x"))
    return width, height


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fields", type=int, default=40)
    parser.add_argument("--size", type=_size, default=(1388, 1040))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["float32", "bfloat16"])
    parser.add_argument("--tile", type=int)
    parser.add_argument("--tiles-per-batch", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--eval-fields", type=int, default=0, help="fields for eval; 0: all")
    parser.add_argument("--cli-fields", type=int, default=2, help="fields for the command line")
    parser.add_argument("--scale", type=int, default=0, help="this many fields of 512 x 512")
    options = parser.parse_args()
    if options.scale:
        scale(options)
    else:
        compare(options)


if __name__ == "__main__":
    main()

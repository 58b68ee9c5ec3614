"""Mosaics: whether masks depend on the tiles, what a megapixel takes, and what memory is held.

    python tests/benchmarks/bench_mosaic.py agree --side 8000 --tiles 256 512 1024 --folder DIR
    python tests/benchmarks/bench_mosaic.py memory --sides 4000 8000 12000 20000

`agree` draws one field of that size and segments it with every tile size and, held in arrays, whole; every
run is a process of its own. Networks look at every batch once, and their answers are kept in the folder:
what the second run and those after it take is without them, and says how many batches were new to it.
`memory` segments a drawn field that is mirrored to the size, so that cells at its seams are whole, with
stand-ins for the networks: a network holds one batch whatever the image.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from anabatch.config import SegmentConfig
from anabatch.metrics import match, overlaps, score
from anabatch.segmentation import mosaic
from anabatch.segmentation.two_pass import TwoPassSegmenter
from anabatch.simulate.field import simulate_field

if TYPE_CHECKING:
    from numpy.typing import NDArray

WHOLE = 0
"""The tile size that stands for an image held in arrays."""


class Remembering:
    """A network whose answers are kept in a folder."""

    def __init__(self, network: Any, folder: Path) -> None:
        self._network = network
        self._folder = folder
        self.diameter = network.diameter
        self.batches = self.new = 0
        self.seconds = 0.0

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the network's answer."""
        self.batches += 1
        path = self._folder / f"{hashlib.blake2b(tiles.tobytes(), digest_size=16).hexdigest()}.npy"
        if path.exists():
            return np.asarray(np.load(path))
        start = time.perf_counter()
        answer = self._network(tiles)
        self.seconds += time.perf_counter() - start
        self.new += 1
        np.save(path, answer)
        return np.asarray(answer)


class StandIn:
    """Flows up the slope of the blurred picture, where that is bright."""

    def __init__(self, diameter: float) -> None:
        self.diameter = diameter
        self.batches = self.new = 0
        self.seconds = 0.0

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return flows and logits."""
        start = time.perf_counter()
        answers = np.empty((len(tiles), 3, *tiles.shape[2:]), np.float32)
        for answer, (first, second) in zip(answers, tiles, strict=True):
            smooth = cv2.GaussianBlur(first + second, (0, 0), self.diameter / 5)
            slope = np.gradient(smooth)
            answer[:2] = 5 * np.stack(slope) / (np.hypot(*slope) + 1e-6)
            answer[2] = 8 * (smooth - 0.4)
        self.seconds += time.perf_counter() - start
        return answers


class Segmenter(TwoPassSegmenter):
    """The product's own, its networks wrapped."""

    folder: Path | None = None

    def _network(self, name: str) -> Any:
        network = super()._network(name)
        return Remembering(network, self.folder) if self.folder else StandIn(network.diameter)


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def mirrored(side: int, seed: int) -> NDArray[np.uint8]:
    """Draw a field and mirror it until it fills a square."""
    part = simulate_field(seed, ["fine speckled"], size=(2000, 2000)).signal
    pair = np.concatenate([part, part[::-1]])
    tile = np.concatenate([pair, pair[:, ::-1]], axis=1)
    image = np.empty((side, side), np.uint8)
    for row in range(0, side, 4000):
        for column in range(0, side, 4000):
            window = image[row : row + 4000, column : column + 4000]
            window[:] = tile[: window.shape[0], : window.shape[1]]
    return image


def memory() -> dict[str, int]:
    """Return what the process holds now, and its peak, in MB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    names = {"VmRSS": "now", "VmHWM": "peak"}
    pairs = (line.split(":") for line in lines)
    return {names[key]: int(text.split()[0]) // 1024 for key, text in pairs if key in names}


def run_one(signal: NDArray[Any], tile: int, folder: Path | None, out: Path | None) -> None:
    """Segment an image in this process, and print what it took as JSON."""
    import torch

    torch.set_num_threads(1)
    segmenter = Segmenter(SegmentConfig())
    if folder:
        segmenter.folder = folder / segmenter.digest  # answers are those of some weights
        segmenter.folder.mkdir(parents=True, exist_ok=True)
    networks: list[Any] = [segmenter.nucleus_network, segmenter.cell_network]
    mosaic.segment_mosaic(signal[:600, :600], 1.0, segmenter)  # libraries, compiled loops
    seconds = sum(network.seconds for network in networks)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    before, start = memory()["now"], time.perf_counter()
    if tile == WHOLE:
        mosaic.LARGEST_FIELD = float("inf")
        found = segmenter.segment([signal], [1.0])[0]
    else:
        found = mosaic.segment_mosaic(signal, 1.0, segmenter, block=tile)
    wall = time.perf_counter() - start
    facts = {
        "tile": tile,
        "megapixels": signal.size / 1e6,
        "seconds": wall,
        "network seconds": sum(network.seconds for network in networks) - seconds,
        "batches": sum(network.batches for network in networks),
        "new": sum(network.new for network in networks),
        "peak MB": memory()["peak"] - before,
        "nuclei": int(found.proposed["nuclei"]),
        "cells": int(found.proposed["cells"]),
        "dropped": found.dropped,
    }
    if out:
        np.save(out, np.stack([found.nuclei, found.cells]))
    say(json.dumps(facts))


def spawn(*words: object) -> dict[str, Any]:
    """Run this file in a process of its own, and return what it says."""
    command = [sys.executable, __file__, *(str(word) for word in words)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - itself
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def crossing(labels: NDArray[np.int32], tile: int) -> NDArray[np.int32]:
    """Return the masks that lie on both sides of a seam."""
    on = [
        np.intersect1d(labels.take(at - 1, axis), labels.take(at, axis))
        for axis in (0, 1)
        for at in range(tile, labels.shape[axis], tile)
    ]
    return np.setdiff1d(np.concatenate(on), [0])


def agree(side: int, tiles: list[int], folder: Path, seed: int) -> None:
    """Segment one field with all tile sizes and compare."""
    field = folder / f"field-{side}-{seed}.npz"
    if not field.exists():
        drawn = simulate_field(seed, ["fine speckled"], size=(side, side))
        np.savez(field, signal=drawn.signal, nuclei=drawn.nuclei, cells=drawn.cells)
    answers = folder / "answers"
    for tile in [*tiles, WHOLE]:
        out = folder / f"labels-{tile}.npy"
        say(
            json.dumps(
                spawn("one", "--field", field, "--tile", tile, "--folder", answers, "--out", out)
            )
        )
    whole = np.load(folder / f"labels-{WHOLE}.npy")
    with np.load(field) as stored:
        truth = np.stack([stored["nuclei"], stored["cells"]])
    for tile in tiles:
        found = np.load(folder / f"labels-{tile}.npy")
        for kind, one, other, true in zip(("nuclei", "cells"), whole, found, truth, strict=True):
            seams = crossing(one, tile)
            same = match(overlaps(one, other), 0.9)
            facts = {
                "tile": tile,
                "kind": kind,
                "AP@0.9 against whole": float(score(one, other, [0.9]).average_precision[0]),
                "pixels that differ": int(np.count_nonzero((one > 0) != (other > 0))),
                "masks on a seam": int(seams.size),
                "of them found once": int(np.isin(seams, same[:, 0]).sum()),
                "AP@0.5 against truth": float(score(true, other, [0.5]).average_precision[0]),
            }
            say(json.dumps(facts))


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["agree", "memory", "one"])
    parser.add_argument("--side", type=int, default=8000)
    parser.add_argument("--sides", type=int, nargs="+", default=[4000, 8000])
    parser.add_argument("--tiles", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--tile", type=int, default=mosaic.BLOCK)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--field", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.what == "one" and given.field:
        with np.load(given.field) as stored:
            signal = stored["signal"]
        run_one(signal, given.tile, given.folder, given.out)
    elif given.what == "one":
        run_one(mirrored(given.side, given.seed), given.tile, None, None)
    elif given.what == "memory":
        for side in given.sides:
            say(json.dumps({"side": side} | spawn("one", "--side", side, "--tile", given.tile)))
    else:
        with tempfile.TemporaryDirectory() as made:
            agree(given.side, given.tiles, given.folder or Path(made), given.seed)


if __name__ == "__main__":
    main()

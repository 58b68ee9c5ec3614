"""A million rows in bounded memory: growth in rows and landmarks, where the time goes, and ten million.

    python tests/benchmarks/bench_embedding_scale.py --rows 100000 1000000 --landmarks 128 256 512

Rows are written to parts of a store (9 KB each, half of it after compression) and deleted at the end;
`--folder` says where. Times are the processor's, of one thread.
"""

from __future__ import annotations

import argparse
import pickle
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from anabatch.embedding import NystroemKernelPCA, merge, reduce_tree
from anabatch.kernels import expm1_kernel

sys.path.insert(0, str(Path(__file__).parents[1]))  # helpers of the tests

from drawn import draw_pilot
from wide import PART_ROWS, WIDTH, WideStore, in_fresh_process, in_turns, say, seconds, write_wide

if TYPE_CHECKING:
    from numpy.typing import NDArray

PILOT_PER_LANDMARK = 30
LEAST_PILOT = 20_000
ON_PAPER = 10_000_000
WORKERS = (1, 8, 64)
LIMIT_ROWS = 2_048  # side of the square product that shows the machine's rate


def place(store: WideStore, landmarks: int) -> tuple[NystroemKernelPCA, float]:
    """Choose landmarks as a run does; return the model and its processor seconds."""
    model = NystroemKernelPCA(n_landmarks=landmarks)
    rows = max(LEAST_PILOT, PILOT_PER_LANDMARK * landmarks)
    taken: float = seconds(
        lambda: model.fit_landmarks(draw_pilot(store.folder, store.sources, rows, seed=0))
    )
    return model, taken


def add_up(store: WideStore, model: NystroemKernelPCA) -> tuple[float, float]:
    """Stream all rows; return processor seconds and seconds."""
    start = time.perf_counter()
    parts = (model.partial_statistics(chunk) for chunk in store.chunks())
    taken: float = seconds(lambda: model.finish(reduce_tree(parts, merge)))
    return taken, time.perf_counter() - start


def grow(store: WideStore, rows: list[int], landmarks: list[int]) -> None:
    """Print a table of times and memory: all landmarks at the fewest rows, the last at all rows."""
    say("| rows | landmarks | placing | peak | adding up | a row | elapsed | peak |")
    say("|---:|---:|---:|---:|---:|---:|---:|---:|")
    cases = [(min(rows), m) for m in landmarks[:-1]] + [(n, landmarks[-1]) for n in rows]
    for n, m in cases:
        some = store.first(n)
        (model, first), before = in_fresh_process(place, some, m)
        (second, elapsed), after = in_fresh_process(add_up, some, model)
        say(
            f"| {some.rows:,} | {m} | {first:.0f} s | {before:.2f} GiB | {second:.0f} s | "
            f"{1e6 * second / some.rows:.0f} us | {elapsed:.0f} s | {after:.2f} GiB |"
        )


def spend(store: WideStore, landmarks: int, repeats: int) -> tuple[float, int]:
    """Print where the time of a chunk goes, against the machine's limits.

    Returns
    -------
    seconds : float
        Of the processor, for a row.
    size : int
        Bytes of the statistics.
    """
    half = next(store.chunks())
    model = NystroemKernelPCA(n_landmarks=landmarks).fit_landmarks(half)
    single = half.astype(np.float32)
    kernel = expm1_kernel(half, model.center_, model.landmarks_, model.gamma_)
    weights = model.W_.astype(np.float32)
    right = np.ascontiguousarray(model.landmarks_.T)
    square = np.ones((LIMIT_ROWS, LIMIT_ROWS), dtype=np.float32)
    some = store.first(PART_ROWS)
    path = next((some.folder / some.sources[0].part / "features").rglob("c/*"))
    files = [file for file in path.parent.rglob("*") if file.is_file()]
    found = in_turns(
        repeats,
        read=lambda: list(some.chunks()),
        raw=lambda: [file.read_bytes() for file in files],
        widen=lambda: half.astype(np.float32),
        copy=single.copy,
        product=lambda: single @ right,
        limit=lambda: square @ square,
        kernel=lambda: expm1_kernel(half, model.center_, model.landmarks_, model.gamma_),
        exp=lambda: np.expm1(kernel),
        coordinates=lambda: kernel @ weights,
        update=lambda: model.partial_statistics(half),
    )
    _print_spent(found, landmarks, 2 * WIDTH * landmarks * PART_ROWS, half)
    row = (found["read"] + found["update"]) / PART_ROWS
    return row, len(pickle.dumps(model.partial_statistics(half)))


def _print_spent(
    found: dict[str, float], landmarks: int, operations: int, half: NDArray[np.float16]
) -> None:
    rate, limit = operations / found["product"], 2 * LIMIT_ROWS**3 / found["limit"]
    rest = found["kernel"] - found["product"] - found["exp"]
    sums = found["update"] - found["kernel"] - found["coordinates"]
    total = found["read"] + found["update"]
    say(f"\na chunk of {PART_ROWS} rows, {landmarks} landmarks: {1e3 * total:.0f} ms")
    say("| step | ms | share | against the machine |")
    say("| --- | ---: | ---: | --- |")
    steps = {
        "read, check, decompress": (
            found["read"],
            f"{found['read'] / found['raw']:.0f} x raw read",
        ),
        "widen, centre, norms": (
            rest,
            f"numpy's widening {found['widen'] / found['copy']:.1f} copies",
        ),
        "product": (
            found["product"],
            f"{rate / 1e9:.0f} of {limit / 1e9:.0f} GFLOP/s of a square one",
        ),
        "exp": (found["exp"], f"{1e9 * found['exp'] / (len(half) * landmarks):.1f} ns each"),
        "coordinates": (found["coordinates"], ""),
        "sums in float64": (sums, ""),
    }
    for name, (taken, remark) in steps.items():
        say(f"| {name} | {1e3 * taken:.0f} | {100 * taken / total:.0f} % | {remark} |")


def on_paper(row: float, statistics: int, model: int) -> None:
    """Print what ten million rows would take, and the bytes that cross the network."""
    parts = ON_PAPER // PART_ROWS
    say(f"\n{ON_PAPER:,} rows in {parts:,} parts, {row * 1e6:.0f} us a row, on paper:")
    say("| workers | adding up | model sent | sums sent, at most |")
    say("|---:|---:|---:|---:|")
    for workers in WORKERS:
        # every merge has at least one of its two sums on its own worker; one worker sends nothing
        sent = (parts - 1) * statistics if workers > 1 else 0
        say(
            f"| {workers} | {ON_PAPER * row / workers / 60:.1f} min | "
            f"{(workers - 1) * model / 1e6:.0f} MB | {sent / 1e9:.1f} GB |"
        )


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000])
    parser.add_argument("--landmarks", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the store is made, and deleted")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, threadpool_limits(limits=1):
        start = time.perf_counter()
        store = write_wide(Path(folder), max(options.rows))
        say(f"{store.rows:,} rows written in {time.perf_counter() - start:.0f} s")
        row, statistics = spend(store, options.landmarks[-1], options.repeats)
        model = options.landmarks[-1] * (4 * WIDTH + 8 * options.landmarks[-1])
        on_paper(row, statistics, model)
        say("")
        grow(store, sorted(options.rows), options.landmarks)


if __name__ == "__main__":
    main()

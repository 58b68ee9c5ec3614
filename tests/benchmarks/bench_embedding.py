"""What the embedding costs, against a bare product and against scikit-learn, in one run.

Only ratios mean something on a machine that others use too: what is compared runs in turns, and times
are the processor's but for the workers. The rows lie in parts of a store, as features do.

    python tests/benchmarks/bench_embedding.py --rows 10000 50000 --landmarks 256

The last of several `--rows` is compared with the first: memory (bar 7), time a row (bar 11). Workers
(bar 13) take the most rows: 13 parts do not fall evenly on two.

With `--check` it ends with code 1 where a bar of what was measured is missed, and says which. Bars 11 and
13 are those of 50,000 and 300,000 rows, and of an idle machine.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.decomposition import IncrementalPCA
from sklearn.kernel_approximation import Nystroem
from threadpoolctl import threadpool_limits

from anabatch.compute import Cluster, task, tree
from anabatch.config import ComputeConfig
from anabatch.embedding import KernelStatistics, NystroemKernelPCA, merge, reduce_tree
from anabatch.stages.embed import partial_statistics

sys.path.insert(0, str(Path(__file__).parents[1]))  # helpers of the tests

from bars import Bar, missed
from drawn import draw_pilot
from wide import PART_ROWS, WIDTH, WideStore, in_fresh_process, in_turns, say, seconds, write_wide

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

COMPONENTS = 150
PILOT = 20_000  # as many as a run draws
PRODUCTS = 60  # of a bare product that is repeated: some seconds


def stream(store: WideStore, model: NystroemKernelPCA) -> NystroemKernelPCA:
    """Stream the rows through our model, whose landmarks are there."""
    parts = (model.partial_statistics(chunk) for chunk in store.chunks())
    return model.finish(reduce_tree(parts, merge))


def peer(store: WideStore, features: Nystroem) -> IncrementalPCA:
    """Stream the rows through scikit-learn's estimators, whose landmarks are there."""
    components = IncrementalPCA(COMPONENTS)
    for chunk in store.chunks():
        components.partial_fit(features.transform(chunk.astype(np.float32)))
    return components


def compare_times(store: WideStore, landmarks: int, repeats: int) -> list[Bar]:
    """Print what an update and a stream cost (bar 6)."""
    half = next(store.chunks())
    single = half.astype(np.float32)
    pilot = draw_pilot(store.folder, store.sources, PILOT // 4, seed=0)
    model = NystroemKernelPCA(COMPONENTS, n_landmarks=landmarks).fit_landmarks(pilot)
    features = Nystroem(gamma=model.gamma_, n_components=landmarks, random_state=0).fit(pilot)
    right = np.ascontiguousarray(model.landmarks_.T)
    components = IncrementalPCA(COMPONENTS).partial_fit(features.transform(single))
    update = in_turns(
        repeats,
        product=lambda: single @ right,
        single=lambda: model.partial_statistics(single),
        half=lambda: model.partial_statistics(half),
        cast=lambda: half.astype(np.float32),
        peer=lambda: components.partial_fit(features.transform(single)),
    )
    say(f"a chunk of {PART_ROWS} x {WIDTH}, {landmarks} landmarks; the bare product is 1.00:")
    for name in ("single", "half", "cast", "peer"):
        say(f"  {name:8} {update[name] / update['product']:.2f}")
    streams = in_turns(
        2,
        ours=lambda: stream(store, model),
        peer=lambda: peer(store, features),
        reading=lambda: sum(len(chunk) for chunk in store.chunks()),
    )
    say(f"a stream of {store.rows} rows from the store; ours is 1.00:")
    for name in ("peer", "reading"):
        say(f"  {name:8} {streams[name] / streams['ours']:.2f}")
    return update_bars(update, streams)


def update_bars(update: dict[str, float], streams: dict[str, float]) -> list[Bar]:
    """Return bar 6 from seconds by name."""
    bars = [
        Bar(6, f"update of a {name} chunk / bare product", update[short] / update["product"], 1.5)
        for short, name in (("single", "float32"), ("half", "float16"))
    ]
    stream = Bar(6, "scikit-learn's stream / ours", streams["peer"] / streams["ours"], at_least=2)
    return [*bars, stream]


def place(store: WideStore, landmarks: int) -> tuple[NystroemKernelPCA, float]:
    """Choose landmarks as a run does; return the model, and the seconds that it took."""
    model = NystroemKernelPCA(COMPONENTS, n_landmarks=landmarks)
    return model, seconds(
        lambda: model.fit_landmarks(draw_pilot(store.folder, store.sources, PILOT, seed=0))
    )


def add_up(store: WideStore, model: NystroemKernelPCA) -> float:
    """Stream the rows through a model; return the seconds that it took."""
    taken: float = seconds(lambda: stream(store, model))
    return taken


def compare_sizes(store: WideStore, sizes: list[int], landmarks: int) -> list[Bar]:
    """Print how memory and the time of a row grow with the rows (bars 7 and 11).

    Landmarks and sums are tasks of their own in a job, and so processes of their own here.
    """
    found = []
    for rows in sizes:
        some = store.first(rows)
        (model, first), pilot = in_fresh_process(place, some, landmarks)
        second, peak = in_fresh_process(add_up, some, model)
        found.append((1e6 * second / some.rows, peak))
        say(
            f"{some.rows} rows: landmarks {first:.1f} s, peak memory {pilot:.2f} GiB; "
            f"sums {found[-1][0]:.0f} us a row, peak memory {peak:.2f} GiB"
        )
    (time_before, before), (time_after, after) = found[0], found[-1]
    say(f"  peak memory of the sums {100 * (after / before - 1):+.1f} %")
    say(f"  time of a row {100 * (time_after / time_before - 1):+.1f} %")
    return growth_bars(found)


def growth_bars(found: list[tuple[float, float]]) -> list[Bar]:
    """Return bars 7 and 11 from the time of a row and the peak memory in GiB, of few rows to many."""
    (time_before, before), (time_after, after) = found[0], found[-1]
    growth = [
        Bar(7, "growth of the peak memory of the sums", after / before - 1, 0.1),
        Bar(11, "growth of the time of a row", time_after / time_before - 1, 0.25),
    ]
    peak = Bar(11, "peak memory of the sums, GB", after * 2**30 / 1e9, 0.5)
    return [*growth, peak] if len(found) > 1 else [peak]


def _multiply(ready: Barrier, landmarks: int) -> None:
    with threadpool_limits(limits=1):
        left = np.ones((PART_ROWS, WIDTH), dtype=np.float32)
        right = np.ones((WIDTH, landmarks), dtype=np.float32)
        left @ right
        ready.wait()
        for _ in range(PRODUCTS):
            left @ right
        ready.wait()


def product_rate(processes: int, landmarks: int) -> float:
    """Return how many bare products a second so many processes make together."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(processes + 1)
    workers = [context.Process(target=_multiply, args=(ready, landmarks)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    ready.wait()
    start = time.perf_counter()
    ready.wait()
    taken = time.perf_counter() - start
    for worker in workers:
        worker.join()
    return processes * PRODUCTS / taken


def worker_rate(store: WideStore, landmarks: int, workers: int) -> float:
    """Return the rows a second that so many Dask workers add up, as the job's graph does."""
    pilot = draw_pilot(store.folder, store.sources, PILOT // 4, seed=0)
    model = NystroemKernelPCA(COMPONENTS, n_landmarks=landmarks).fit_landmarks(pilot)
    config = ComputeConfig(scheduler="local", workers=workers, threads=1)

    def compute(some: WideStore) -> KernelStatistics:
        landmarks_there = task(_same, model, threads=1)
        sums = [
            task(partial_statistics, some.folder, source, landmarks_there, PART_ROWS, threads=1)
            for source in some.sources
        ]
        total: KernelStatistics = cluster.backend.compute(tree(sums, merge, threads=1))
        return total

    with Cluster(config) as cluster:
        compute(store.first(2 * PART_ROWS))  # imports
        start = time.perf_counter()
        compute(store)
        taken = time.perf_counter() - start
    return float(store.rows / taken)


def _same(model: NystroemKernelPCA) -> NystroemKernelPCA:
    return model


def compare_workers(store: WideStore, landmarks: int, repeats: int) -> list[Bar]:
    """Print what a second worker brings, against a second process of bare products (bar 13)."""
    gains: dict[str, list[float]] = {"workers": [], "products": []}
    for _ in range(repeats):
        gains["products"].append(product_rate(2, landmarks) / product_rate(1, landmarks))
        gains["workers"].append(worker_rate(store, landmarks, 2) / worker_rate(store, landmarks, 1))
    found = {name: float(np.median(gain)) for name, gain in gains.items()}
    say(
        f"two instead of one: {found['products']:.2f} of bare products, {found['workers']:.2f} of rows"
    )
    say(f"  the one over the other {found['workers'] / found['products']:.2f}")
    gain = found["workers"] / found["products"]
    return [Bar(13, "a second worker's gain / a second process of products", gain, at_least=0.8)]


def main() -> None:
    """Run the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 50_000])
    parser.add_argument("--landmarks", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=["times", "sizes", "workers"],
        default=["times", "sizes", "workers"],
    )
    parser.add_argument("--check", action="store_true", help="end with code 1 on a missed bar")
    options = parser.parse_args()
    bars: list[Bar] = []
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(limits=1):
        store = write_wide(Path(folder), max(options.rows))
        if "times" in options.only:
            bars += compare_times(store.first(50_000), options.landmarks, options.repeats)
        if "sizes" in options.only:
            bars += compare_sizes(store, options.rows, options.landmarks)
        if "workers" in options.only:
            bars += compare_workers(store, options.landmarks, 3)
    if options.check and (lines := missed(bars)):
        sys.exit(lines)  # to standard error, and the code is 1


if __name__ == "__main__":
    main()

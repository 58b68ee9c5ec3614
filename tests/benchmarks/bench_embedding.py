"""What the embedding costs, against a bare product and against scikit-learn, in one run.

Only ratios mean something on a machine that others use too: what is compared runs in turns.

    python tests/benchmarks/bench_embedding.py --rows 50000 --landmarks 256
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from sklearn.decomposition import IncrementalPCA
from sklearn.kernel_approximation import Nystroem
from threadpoolctl import threadpool_limits

from anabatch.embedding import NystroemKernelPCA, merge, reduce_tree
from anabatch.sampling import draw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

WIDTH = 4608  # VGG16's block5, flattened
CHUNK = 4096
PILOT = 8_000
COMPONENTS = 150


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def write_features(path: Path, rows: int) -> None:
    """Write rectified, correlated features as the store keeps them: float16, sharded, zstd."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(60, WIDTH)).astype(np.float32) * 0.1
    array = zarr.create_array(
        path, shape=(rows, WIDTH), dtype=np.float16, chunks=(256, WIDTH), shards=(2048, WIDTH)
    )
    for start in range(0, rows, 2048):
        hidden = rng.normal(size=(min(2048, rows - start), 60)).astype(np.float32)
        array[start : start + 2048] = np.maximum(hidden @ mixing, 0).astype(np.float16)


def open_features(path: Path) -> Any:
    """Open the features for reading."""
    return zarr.open_array(path, mode="r")


def pilot_of(array: Any, rows: int) -> NDArray[Any]:
    """Draw a pilot from the first rows."""
    drawn = draw(np.arange(rows), PILOT, seed=0)
    pilot = np.empty((len(drawn), WIDTH), dtype=np.float16)
    for start in range(0, rows, CHUNK):  # zarr's own indexing by rows takes gigabytes
        (here,) = np.nonzero((start <= drawn) & (drawn < start + CHUNK))
        pilot[here] = np.asarray(array[start : start + CHUNK])[drawn[here] - start]
    return pilot


def chunks_of(array: Any, rows: int) -> Iterator[NDArray[Any]]:
    """Read the first rows in chunks."""
    for start in range(0, rows, CHUNK):
        yield np.asarray(array[start : min(start + CHUNK, rows)])


def ours(array: Any, rows: int, model: NystroemKernelPCA) -> NystroemKernelPCA:
    """Stream the rows through our model, whose landmarks are there."""
    parts = (model.partial_statistics(chunk) for chunk in chunks_of(array, rows))
    return model.finish(reduce_tree(parts, merge))


def theirs(array: Any, rows: int, features: Nystroem) -> IncrementalPCA:
    """Stream the rows through scikit-learn's estimators, whose landmarks are there."""
    components = IncrementalPCA(COMPONENTS)
    for chunk in chunks_of(array, rows):
        if len(chunk) >= COMPONENTS:  # scikit-learn refuses smaller ones
            components.partial_fit(features.transform(chunk.astype(np.float32)))
    return components


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turns(repeats: int, **works: Callable[[], object]) -> dict[str, float]:
    """Time calls in turns and return the median of each, in seconds."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            times[name].append(seconds(work))
    return {name: statistics.median(taken) for name, taken in times.items()}


def peak(path: Path, rows: int, landmarks: int) -> int:
    """Fit on some rows and return this process's peak memory, in KiB (Linux)."""
    array = open_features(path)
    model = NystroemKernelPCA(COMPONENTS, n_landmarks=landmarks)
    ours(array, rows, model.fit_landmarks(pilot_of(array, rows)))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def compare_times(path: Path, rows: int, landmarks: int, repeats: int) -> None:
    """Print what an update and a stream cost."""
    array = open_features(path)
    half = np.asarray(array[:CHUNK])
    single = half.astype(np.float32)
    pilot = pilot_of(array, rows)
    model = NystroemKernelPCA(COMPONENTS, n_landmarks=landmarks)
    say(
        f"landmarks from a pilot of {len(pilot)}: {seconds(lambda: model.fit_landmarks(pilot)):.1f} s"
    )
    features = Nystroem(gamma=model.gamma_, n_components=landmarks, random_state=0)
    features.fit(pilot.astype(np.float32))
    right = np.ascontiguousarray(model.landmarks_.T)
    components = IncrementalPCA(COMPONENTS).partial_fit(features.transform(single))

    update = in_turns(
        repeats,
        product=lambda: single @ right,
        single=lambda: model.partial_statistics(single),
        half=lambda: model.partial_statistics(half),
        cast=lambda: half.astype(np.float32),
        sklearn=lambda: components.partial_fit(features.transform(single)),
    )
    say(f"one chunk of {CHUNK} x {WIDTH}, {landmarks} landmarks; bare product 1.00:")
    for name in ("single", "half", "cast", "sklearn"):
        say(f"  {name:8} {update[name] / update['product']:.2f}")

    stream = in_turns(
        2,
        ours=lambda: ours(array, rows, model),
        sklearn=lambda: theirs(array, rows, features),
        reading=lambda: sum(len(chunk) for chunk in chunks_of(array, rows)),
    )
    say(f"stream of {rows} rows from Zarr, ours 1.00:")
    for name in ("sklearn", "reading"):
        say(f"  {name:8} {stream[name] / stream['ours']:.2f}")


def compare_memory(path: Path, rows: int, landmarks: int) -> None:
    """Print how the peak memory grows with the rows."""
    context = multiprocessing.get_context("spawn")  # a fresh process has its own peak
    peaks = []
    for count in (rows // 5, rows):
        with context.Pool(1) as pool:
            peaks.append(pool.apply(peak, (path, count, landmarks)))
        say(f"peak memory of {count} rows: {peaks[-1] / 2**20:.2f} GiB")
    say(f"  growth {100 * (peaks[1] / peaks[0] - 1):+.1f} %")


def main() -> None:
    """Run the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--landmarks", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(limits=1):
        path = Path(folder) / "features.zarr"
        write_features(path, arguments.rows)
        compare_times(path, arguments.rows, arguments.landmarks, arguments.repeats)
        compare_memory(path, arguments.rows, arguments.landmarks)


if __name__ == "__main__":
    main()

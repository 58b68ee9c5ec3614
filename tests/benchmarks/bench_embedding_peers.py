"""Kernel PCA of wide rows from a store by ours and by what scikit-learn has, in one run.

    python tests/benchmarks/bench_embedding_peers.py --rows 10000 50000 --out peers.md

Every fit is a process of its own with one thread: processor seconds (pilot, landmarks and one pass over
all rows), peak memory, and what the first components capture: the energy of other rows' exact
kernel matrix in the space of their scores, over the most that as many components can capture.
scikit-learn's exact kernel PCA needs all rows and their kernel matrix in memory: up to 10,000 rows.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from sklearn.decomposition import IncrementalPCA, KernelPCA
from sklearn.kernel_approximation import Nystroem, RBFSampler
from sklearn.metrics.pairwise import rbf_kernel
from threadpoolctl import threadpool_limits

from anabatch.embedding import NystroemKernelPCA, merge, reduce_tree

sys.path.insert(0, str(Path(__file__).parents[1]))  # helpers of the tests

from drawn import draw_pilot
from wide import WIDTH, WideStore, draw_features, in_fresh_process, say, write_wide

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

COMPONENTS = 150
CAPTURED = (10, 35, 150)
PILOT = 20_000
EXACT_ROWS = 12_288  # three parts
UNSEEN = 10_000_000  # number of a part that no store has
UNSEEN_ROWS = 3_000


class Transformer(Protocol):
    """What every peer becomes."""

    def transform(self, X: NDArray[Any]) -> NDArray[Any]:
        """Return scores."""


class Chain:
    """A feature map and a linear PCA of what it gives, fitted chunk by chunk."""

    def __init__(self, features: Any) -> None:
        self.features = features
        width = features.transform(np.zeros((1, WIDTH), np.float32)).shape[1]
        self.components = IncrementalPCA(min(COMPONENTS, width))

    def stream(self, store: WideStore) -> Chain:
        """Fit the PCA on all rows."""
        for chunk in store.chunks():
            self.components.partial_fit(self.features.transform(chunk.astype(np.float32)))
        return self

    def transform(self, X: NDArray[Any]) -> NDArray[Any]:
        """Return scores."""
        scores: NDArray[Any] = self.components.transform(self.features.transform(X))
        return scores


def _ours(store: WideStore, landmarks: int, gamma: float, method: Any) -> Transformer:
    model = NystroemKernelPCA(
        COMPONENTS, n_landmarks=landmarks, gamma=gamma, landmark_method=method
    )
    model.fit_landmarks(draw_pilot(store.folder, store.sources, PILOT, seed=0))
    parts = (model.partial_statistics(chunk) for chunk in store.chunks())
    return model.finish(reduce_tree(parts, merge))


def ours(store: WideStore, landmarks: int, gamma: float) -> Transformer:
    """Fit as a run does."""
    return _ours(store, landmarks, gamma, "kmeans")


def ours_uniform(store: WideStore, landmarks: int, gamma: float) -> Transformer:
    """Fit with rows as landmarks."""
    return _ours(store, landmarks, gamma, "uniform")


def nystroem(store: WideStore, landmarks: int, gamma: float) -> Transformer:
    """Fit scikit-learn's Nystroem on rows drawn uniformly, and IncrementalPCA on all."""
    pilot = draw_pilot(store.folder, store.sources, landmarks, seed=0).astype(np.float32)
    features = Nystroem(gamma=gamma, n_components=landmarks, random_state=0)
    return Chain(features.fit(pilot)).stream(store)


def fourier(store: WideStore, landmarks: int, gamma: float) -> Transformer:
    """Fit scikit-learn's RBFSampler, as many features as landmarks, and IncrementalPCA."""
    features = RBFSampler(gamma=gamma, n_components=landmarks, random_state=0)
    return Chain(features.fit(np.zeros((1, WIDTH), np.float32))).stream(store)


def exact(store: WideStore, landmarks: int, gamma: float) -> Transformer:
    """Fit scikit-learn's KernelPCA, by Lanczos iteration."""
    del landmarks
    rows = np.concatenate(list(store.chunks())).astype(np.float32)
    model = KernelPCA(COMPONENTS, kernel="rbf", gamma=gamma, eigen_solver="arpack", copy_X=False)
    fitted: Transformer = model.fit(rows)
    return fitted


PEERS: dict[str, Callable[[WideStore, int, float], Transformer]] = {
    "ours": ours,
    "ours, uniform landmarks": ours_uniform,
    "Nystroem + IncrementalPCA": nystroem,
    "RBFSampler + IncrementalPCA": fourier,
    "KernelPCA": exact,
}


def fit(
    name: str, store: WideStore, landmarks: int, gamma: float
) -> tuple[float, NDArray[np.float64]]:
    """Fit a peer; return its processor seconds, and scores of rows that no store has."""
    start = time.process_time()
    model = PEERS[name](store, landmarks, gamma)
    taken = time.process_time() - start
    unseen = draw_features(UNSEEN, UNSEEN_ROWS).astype(np.float32)
    return taken, np.asarray(model.transform(unseen), dtype=np.float64)


class Yardstick:
    """The exact kernel matrix of the unseen rows, and the most that components can capture of it."""

    def __init__(self, gamma: float) -> None:
        rows = draw_features(UNSEEN, UNSEEN_ROWS).astype(np.float64)
        kernel = rbf_kernel(rows, gamma=gamma)
        kernel += kernel.mean() - kernel.mean(axis=0) - kernel.mean(axis=1)[:, None]
        self.kernel = kernel
        self.most = np.linalg.eigvalsh(kernel)[::-1].cumsum()

    def captured(self, scores: NDArray[np.float64]) -> list[float]:
        """Return what the first components capture of the variance, over the most."""
        shares = []
        for components in CAPTURED:
            few = scores[:, :components]
            space, _ = np.linalg.qr(few - few.mean(axis=0))
            energy = np.einsum("ij,ij->", space, self.kernel @ space)
            shares.append(float(energy / self.most[components - 1]))
        return shares


def compare(store: WideStore, rows: int, landmarks: int) -> list[str]:
    """Return the rows of the table for one size."""
    some = store.first(rows)
    gamma = NystroemKernelPCA(n_landmarks=2).fit_landmarks(next(some.chunks())).gamma_
    yardstick = Yardstick(gamma)
    lines = []
    base = None
    for name in PEERS:
        if name == "KernelPCA" and some.rows > EXACT_ROWS:
            continue
        (taken, scores), peak = in_fresh_process(fit, name, some, landmarks, gamma)
        base = base or taken
        shares = " | ".join(f"{share:.4f}" for share in yardstick.captured(scores))
        lines.append(
            f"| {some.rows:,} | {name} | {taken:.0f} s | {taken / base:.2f} | {peak:.2f} GiB | {shares} |"
        )
        say(lines[-1])
    return lines


def main() -> None:
    """Compare at several sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 50_000])
    parser.add_argument("--landmarks", type=int, default=512)
    parser.add_argument("--out", type=Path, help="Markdown file for the table")
    options = parser.parse_args()
    heads = ["rows", "what", "fit", "÷ ours", "peak memory", *(f"captured {c}" for c in CAPTURED)]
    lines = ["| " + " | ".join(heads) + " |", "| " + " | ".join(["---"] * len(heads)) + " |"]
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(limits=1):
        store = write_wide(Path(folder), max(options.rows))
        for rows in options.rows:
            lines += compare(store, rows, options.landmarks)
    if options.out:
        options.out.write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()

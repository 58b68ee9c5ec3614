"""The eigenvalue study: how much of the cells' variance do how many components hold?

Plain pixels and features, each by exact kernel PCA (scikit-learn's) and by Nyström kernel PCA with
several numbers of landmarks; half of the images is fitted on, the other half held out. Every share is
one of the true whole variance, the mean of `1 - k` over all pairs of rows. A table and a figure are
written, which judge the claim that nothing is lost above 35 components, or 35 landmarks.

    python tests/benchmarks/study_eigenvalues.py --out study --simulated 160 --store STORE

`--simulated` draws fields and cuts their cells along the true outlines; `--store` takes the cells and
features of a store, and may be given again. Exact kernel PCA bounds the number of cells.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.decomposition import KernelPCA
from threadpoolctl import threadpool_limits

from anabatch import open_store
from anabatch.config import FeaturizeConfig
from anabatch.embedding import NystroemKernelPCA
from anabatch.features.vgg16 import VGG16Features
from anabatch.sampling import draw
from anabatch.simulate.field import PATTERNS
from anabatch.training.pattern_cells import simulate_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

SEED = 35  # no network was trained on it
COMPONENTS = 150
CLAIMED = 35
LANDMARKS = (35, 60, 128, 256, 512)
SHOWN = (5, 15, CLAIMED, 60, COMPONENTS)
NEIGHBOURS = 5
EXACT = "exact"


@dataclass(frozen=True)
class Cells:
    """Cells of several images.

    Attributes
    ----------
    name : str
    crops : ndarray of uint8 or uint16, shape (n, 96, 96)
    features : ndarray of float16, shape (n, d)
    labels : ndarray of str, shape (n,)
        Patterns and status of the cell's image, joined; empty where they are not known.
    images : ndarray of str, shape (n,)
    """

    name: str
    crops: NDArray[Any]
    features: NDArray[np.float16]
    labels: NDArray[np.str_]
    images: NDArray[np.str_]

    def representations(self) -> dict[str, NDArray[np.float32]]:
        """Return what kernel PCA is made of, by name, shape (n, ...)."""
        levels = np.iinfo(self.crops.dtype).max
        pixels = self.crops.reshape(len(self.crops), -1).astype(np.float32) / np.float32(levels)
        return {"pixels": pixels, "features": self.features.astype(np.float32)}


@dataclass(frozen=True)
class Spectrum:
    """What one kernel PCA holds of the variance.

    Attributes
    ----------
    name : str
    fitted, held_out : ndarray of float64, shape (c,)
        Shares of the whole variance of the rows that it was fitted on, and of the others, by component.
    scores : ndarray of float32, shape (n, c)
        Of all rows.
    """

    name: str
    fitted: NDArray[np.float64]
    held_out: NDArray[np.float64]
    scores: NDArray[np.float32]

    def until(self, components: int) -> tuple[float, float]:
        """Return what the first components hold, of fitted and held out rows."""
        return float(self.fitted[:components].sum()), float(self.held_out[:components].sum())


def simulated(fields: int, rows: int) -> Cells:
    """Draw fields, cut the cells and describe them by the shipped network."""
    cells = simulate_cells(SEED, fields)
    kept = np.sort(draw(np.arange(len(cells.crops)), rows, SEED))
    names = np.array(["+".join(np.array(PATTERNS)[shown]) for shown in cells.labels[kept]])
    crops = cells.crops[kept]
    features = VGG16Features(FeaturizeConfig()).extract(crops)
    images = cells.fields[kept].astype(str)
    return Cells(f"{fields} simulated fields", crops, features, names, images)


def from_store(path: Path, rows: int) -> Cells:
    """Take cells of a store, with the features that it holds."""
    store = open_store(path)
    table = store.table("cells").to_pandas()
    kept = np.sort(draw(table.cell_id.to_numpy(), rows, SEED))
    terms = store.table("annotations").to_pandas().query("axis in ('pattern', 'status')")
    joined = terms.groupby("image_id").label.agg(lambda found: "+".join(sorted(set(found))))
    images = table.image_id.to_numpy()[kept]
    labels = np.array([joined.get(image, "") for image in images])
    crops, features = (
        np.asarray(store.array(name)[kept].compute(scheduler="sync"))
        for name in ("crops", "features")
    )
    return Cells(f"store {path.name}", crops, features, labels, images.astype(str))


def halves(images: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Choose the images of one half, about; shape of `images`."""
    names = np.unique(images)
    return np.isin(images, names[draw(names, len(names) // 2, SEED)])


def spectra(
    X: NDArray[np.float32], fit: NDArray[np.bool_], gamma: float | Literal["auto"]
) -> Iterator[Spectrum]:
    """Yield exact kernel PCA of some rows, then Nyström's with more and more landmarks."""
    fewest = min(int(fit.sum()) - 1, COMPONENTS)
    whole = NystroemKernelPCA(gamma=gamma, n_landmarks=2).fit_landmarks(X[fit])
    exact = KernelPCA(fewest, kernel="rbf", gamma=whole.gamma_, eigen_solver="dense")
    exact.fit(X[fit].astype(np.float64))
    yield _spectrum(EXACT, X, fit, whole.gamma_, exact.transform)
    for method in ("kmeans", "uniform"):
        for landmarks in LANDMARKS:
            if landmarks < fit.sum():
                model = NystroemKernelPCA(
                    COMPONENTS, n_landmarks=landmarks, gamma=gamma, landmark_method=method
                )
                model.fit(X[fit])
                yield _spectrum(f"{method} {landmarks}", X, fit, whole.gamma_, model.transform)


def _spectrum(
    name: str,
    X: NDArray[np.float32],
    fit: NDArray[np.bool_],
    gamma: float,
    transform: Callable[[NDArray[Any]], NDArray[Any]],
) -> Spectrum:
    scores = np.asarray(transform(X.astype(np.float64)))
    fitted, held_out = (
        scores[part].var(axis=0) / _whole_variance(X[part], gamma) for part in (fit, ~fit)
    )
    return Spectrum(name, fitted, held_out, scores.astype(np.float32))


def _whole_variance(X: NDArray[np.float32], gamma: float) -> float:
    return float(-np.expm1(-gamma * _squared_distances(X)).mean())


def _squared_distances(X: NDArray[Any]) -> NDArray[np.float64]:
    rows = X.astype(np.float64)
    norms = np.einsum("ij,ij->i", rows, rows)
    squared: NDArray[np.float64] = norms[:, None] + norms - 2 * (rows @ rows.T)
    return np.maximum(squared, 0, out=squared)


def recognised(scores: NDArray[Any], cells: Cells) -> float:
    """Return how often the nearest cells of other images have the label, as a mean over labels."""
    distances = _squared_distances(scores)
    distances[cells.images[:, None] == cells.images] = np.inf
    nearest = np.argpartition(distances, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    names, numbers = np.unique(cells.labels, return_inverse=True)
    votes = np.zeros((len(scores), len(names)))
    for column in nearest.T:
        votes[np.arange(len(scores)), numbers[column]] += 1
    right = votes.argmax(axis=1) == numbers
    asked = [i for i, name in enumerate(names) if name and len(set(cells.images[numbers == i])) > 1]
    return float(np.mean([right[numbers == i].mean() for i in asked]))


def table(cells: Cells, name: str, found: Sequence[Spectrum]) -> list[str]:
    """Return the rows of the table for one representation of some cells."""
    exact = found[0]
    lines = []
    for one in found:
        kept = [f"{share:.3f}" for shown in SHOWN[2:] for share in one.until(shown)]
        loss = 1 - one.until(CLAIMED)[1] / exact.until(CLAIMED)[1]
        error = np.abs(one.fitted[:10] / exact.fitted[:10] - 1).max()
        among = one.until(CLAIMED)[0] / one.until(COMPONENTS)[0]
        ends = [f"{among:.3f}", f"{100 * error:.1f} %", f"{100 * loss:.1f} %"]
        ends += [f"{recognised(one.scores[:, :CLAIMED], cells):.3f}"]
        lines.append("| " + " | ".join([cells.name, name, one.name, *kept, *ends]) + " |")
    return lines


def judgement(cells: Cells, name: str, X: NDArray[np.float32], found: Sequence[Spectrum]) -> str:
    """Say in words what becomes of the claim."""
    exact, best = found[0], found[len([n for n in LANDMARKS if n < len(found[0].scores)])]
    fitted, held_out = exact.until(CLAIMED)
    among = fitted / exact.until(COMPONENTS)[0]
    labels = ", ".join(f"{k}: {recognised(best.scores[:, :k], cells):.3f}" for k in SHOWN)
    enough = [
        f"{method} {next(names, 'none')}"
        for method in ("kmeans", "uniform")
        for names in [
            iter(
                one.name.split()[1]
                for one in found[1:]
                if one.name.startswith(method)
                and one.until(CLAIMED)[1] >= 0.99 * exact.until(CLAIMED)[1]
            )
        ]
    ]
    return (
        f"- {cells.name}, {name}: {CLAIMED} exact components hold {fitted:.3f} of the variance "
        f"({held_out:.3f} held out), and {among:.3f} of what {COMPONENTS} hold. Landmarks for 99 % "
        f"of the exact {CLAIMED} components, held out: {', '.join(enough)}. Labels of the nearest "
        f"cells by components of {best.name}: {labels}, without kernel PCA: "
        f"{recognised(X, cells):.3f}."
    )


def draw_figure(path: Path, panels: dict[str, dict[str, list[Spectrum]]]) -> None:
    """Draw eigenvalues and cumulative shares, a row a set of cells."""
    figure = Figure(figsize=(11, 3.6 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), 2, squeeze=False)
    shown = {EXACT, *(f"kmeans {n}" for n in LANDMARKS)}
    for (left, right), (name, by_kind) in zip(axes, panels.items(), strict=True):
        for kind, found in by_kind.items():
            for one in found:
                if one.name not in shown or (kind == "pixels" and one.name != EXACT):
                    continue
                style = {
                    "linewidth": 2.2 if one.name == EXACT else 1,
                    "label": f"{kind}, {one.name}",
                }
                numbers = np.arange(1, len(one.fitted) + 1)
                left.semilogy(numbers, one.fitted, **style)
                right.plot(numbers, one.held_out.cumsum(), **style)
        left.set(title=name, ylabel="share of the whole variance")
        right.set(title="together, held out", ylabel="share of the whole variance", ylim=(0, 1))
        for axis in (left, right):
            axis.set_xlabel("component")
            axis.axvline(CLAIMED, color="0.6", linestyle=":")
        right.legend(fontsize=7, frameon=False)
    figure.savefig(path, dpi=150)


def study(sets: Sequence[Cells], gamma: float | Literal["auto"], out: Path) -> None:
    """Write the table, the judgement and the figure."""
    heads = [f"{kind} {k}" for k in SHOWN[2:] for kind in ("fitted", "held out")]
    heads = ["cells", "of", "kernel PCA", *heads, f"{CLAIMED} of {COMPONENTS} shown"]
    heads += ["first ten eigenvalues' error", f"loss at {CLAIMED}, held out", "label found"]
    lines = ["| " + " | ".join(heads) + " |", "| " + " | ".join(["---"] * len(heads)) + " |"]
    said: list[str] = []
    panels: dict[str, dict[str, list[Spectrum]]] = {}
    for cells in sets:
        fit = halves(cells.images)
        panels[f"{cells.name}, {len(fit)} cells"] = by_kind = {}
        for kind, X in cells.representations().items():
            by_kind[kind] = found = list(spectra(X, fit, gamma))
            lines += table(cells, kind, found)
            said.append(judgement(cells, kind, X, found))
            sys.stdout.write(said[-1] + "\n")
            sys.stdout.flush()
    out.mkdir(parents=True, exist_ok=True)
    (out / "eigenvalues.md").write_text("\n".join([*lines, "", *said, ""]), encoding="utf-8")
    draw_figure(out / "eigenvalues.png", panels)


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the table and the figure"
    )
    parser.add_argument("--simulated", type=int, default=0, help="fields to draw")
    parser.add_argument("--store", type=Path, action="append", default=[])
    parser.add_argument("--rows", type=int, default=4_000, help="cells of each set, at most")
    parser.add_argument("--gamma", type=lambda word: word if word == "auto" else float(word))
    parser.set_defaults(gamma="auto")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="gamma times the median", category=UserWarning)
    with threadpool_limits(limits=1):
        sets = [simulated(options.simulated, options.rows)] if options.simulated else []
        sets += [from_store(path, options.rows) for path in options.store]
        study(sets, options.gamma, options.out)


if __name__ == "__main__":
    main()

"""Clusters of many cells: what every command costs, where the time goes, peers, and ten million on paper.

    python tests/benchmarks/bench_clusters.py --rows 100000 1000000 --parts 2442

Stores are generated in place (3 MB for 4,096 cells) and deleted at the end, unless --folder says where to
keep them; what is there is used again. Every command runs in a process of its own. Times are the
processor's, of one thread; peaks include what is imported.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from anabatch.jobs.generations import sources
from sklearn.cluster import KMeans, MiniBatchKMeans
from threadpoolctl import threadpool_limits

from anabatch.clustering import BatchKMeans
from anabatch.clustering.choice import KStudy
from anabatch.clustering.scoring import score_rows
from anabatch.compute import task, tree
from anabatch.config import ClusterConfig, ReportConfig
from anabatch.report.build import build_part_report
from anabatch.stages import cluster_fit, pilots
from anabatch.store.root import open_store
from anabatch.store.selection import select_cells

sys.path.insert(0, str(Path(__file__).parents[1]))  # helpers of the tests

from commands import command
from drawn import draw_pilot
from populous import PART_ROWS, RARE, write_populous
from wide import in_fresh_process, in_turns, say, seconds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anabatch.stages.population import Source

COMPONENTS = 150
ON_PAPER = 10_000_000
WORKERS = (1, 8, 64)
FEW_ROWS = 64  # of a part of the store that is to have many parts
SEEDS = 4
CONFIG = ClusterConfig()
HALF = "area_px % 2 = 0"
"""Selects every other cell, as scattered as can be."""
COMMANDS = {
    "fit and assign": ("cluster",),
    "again: nothing to do": ("cluster",),
    "8 clusters of one label, and their report": (
        *("cluster", "--name", "rare"),
        *("--where", f"label = '{RARE}'"),
    ),
    "a mixture of all, and its report": (
        *("cluster", "--name", "all", "--method", "mixture"),
        *("--where", "area_px > 0"),
    ),
    "every other cell, and its report": ("cluster", "--name", "half", "--where", HALF),
    "choose k": ("cluster", "--choose-k", "2..12"),
}


def prepare(folder: Path, rows: int, part_rows: int = PART_ROWS) -> Path:
    """Write a store and its configuration, or use what is there; return the configuration."""
    config = folder / "anabatch.toml"
    if not config.exists():
        (folder / "DATA").mkdir(parents=True, exist_ok=True)
        arguments = (folder / "store", rows, COMPONENTS, part_rows)
        start = time.perf_counter()
        in_fresh_process(write_populous, *arguments)
        say(f"{rows:,} cells written in {time.perf_counter() - start:.0f} s")
        config.write_text(
            'store = "store"\n[[archives]]\nname = "hard-drive"\npath = "DATA"\nlayout = "dated"\n'
            '[compute]\nscheduler = "sync"\n',
            encoding="utf-8",
        )
    return config


def report(store: Path) -> float:
    """Write the clusters' sections of the report; return seconds of the processor."""
    out = store.parent / "report.html"
    taken: float = seconds(
        lambda: build_part_report(open_store(store), out, name="archive", config=ReportConfig())
    )
    return taken


def run_commands(config: Path, rows: int, names: list[str]) -> dict[str, float]:
    """Print what commands cost over one store; return processor seconds."""
    found = {}
    for name in names:
        _, busy, peak = command(*COMMANDS[name], "-c", str(config))
        _tell(rows, name, busy, peak)
        found[name] = busy
    busy, peak = in_fresh_process(report, config.parent / "store")
    _tell(rows, "report: map, clusters, labels, drift", busy, 1024 * peak)
    return found


def _tell(rows: int, name: str, busy: float, peak: float) -> None:
    say(f"| {rows:,} | {name} | {busy:.1f} s | {1e6 * busy / rows:.1f} us | {peak:.0f} MiB |")


def choose(store: Path, where: str) -> tuple[float, int, int]:
    """Select cells; return processor seconds, cells, and ranges of rows."""
    found: list[Any] = []
    taken: float = seconds(lambda: found.extend(select_cells(open_store(store).collections, where)))
    return taken, sum(live.rows for live in found), sum(len(live.ranges) for live in found)


def select(config: Path, rows: int) -> None:
    """Print what conditions cost."""
    for where in (f"label = '{RARE}'", "area_px > 0", HALF):
        (busy, cells, ranges), peak = in_fresh_process(choose, config.parent / "store", where)
        what = f'`--where "{where}"`: {cells:,} cells in {ranges:,} ranges'
        _tell(rows, what, busy, 1024 * peak)


def embedding_of(store: Path) -> tuple[Source, ...]:
    """Return the embedding, part by part."""
    found: tuple[Source, ...] = sources(open_store(store).state, "embedding")
    return found


def read_all(store: Path) -> NDArray[np.float32]:
    """Read the leading components of all rows."""
    rows = [
        chunk[:, : CONFIG.components].copy()
        for source in embedding_of(store)
        for chunk in source.chunks(store, CONFIG.chunk)
    ]
    return np.concatenate(rows)


def spend(store: Path, repeats: int) -> dict[str, float]:
    """Time the steps on one part; return processor seconds of each."""
    every = embedding_of(store)
    source, k = every[0], CONFIG.k
    chunk = next(source.chunks(store, CONFIG.chunk))[:, : CONFIG.components]
    model = BatchKMeans(k).fit_pilot(chunk)
    draw = pilots.Draw(CONFIG.pilot, ON_PAPER, CONFIG.seed, CONFIG.components)
    studies = [_study(chunk[:500], number) for number in range(2, 13)]
    nodes = [task(_nothing, number, threads=1) for number in range(len(every))]
    graph = tree(nodes, _add, threads=1)
    found: dict[str, float] = in_turns(
        repeats,
        read=lambda: list(source.chunks(store, CONFIG.chunk)),
        sums=lambda: model.partial_sums(chunk),
        assign=lambda: model.distances(chunk),
        census=lambda: cluster_fit.take_census(store, source, model, CONFIG.components),
        pilot=lambda: pilots.candidates(store, source, draw),
        score=lambda: score_rows(chunk, studies),
        tasks=lambda: graph.compute(scheduler="sync"),
        build=lambda: tree([task(_nothing, 0, threads=1) for _ in every], _add, threads=1),
    )
    for name in ("tasks", "build"):
        found[name] /= len(every)
    return found


def _study(rows: NDArray[np.float32], k: int) -> KStudy:
    centers = BatchKMeans(k).fit_pilot(rows).cluster_centers_
    return KStudy(k, centers, 0.0, 0.0, 0.0, 0.0)


def _nothing(number: int) -> int:
    return number


def _add(left: int, right: int) -> int:
    return left + right


def print_spent(found: dict[str, float], fixed: float) -> None:
    """Print where the time goes."""
    say(f"\nrestarts on the pilot: {fixed:.1f} s\n\n| step | us a row |\n| --- | ---: |")
    for name, taken in found.items():
        say(f"| {name} | {1e6 * taken / PART_ROWS:.2f} |")


def on_paper(busy: dict[str, float], rows: int) -> None:
    """Print what ten million rows would take, from what these took beyond doing nothing."""
    row = (busy["fit and assign"] - busy["again: nothing to do"]) / rows
    say(f"\n{ON_PAPER:,} rows at {1e6 * row:.0f} us, fit and assign, on paper:")
    for workers in WORKERS:
        say(f"| {workers} | {ON_PAPER * row / workers / 60:.1f} min |")


def fit_pilot(store: Path) -> float:
    """Return the processor seconds of restarts on the pilot: they do not grow with the rows."""
    pilot = draw_pilot(store, embedding_of(store), CONFIG.pilot, CONFIG.seed)
    taken: float = seconds(
        lambda: cluster_fit.fit_pilot(pilot[:, : CONFIG.components], CONFIG, CONFIG.k)
    )
    return taken


def ours(store: Path, k: int, seed: int) -> tuple[float, float]:
    """Fit as a run does, without files; return processor seconds and inertia."""
    rows = read_all(store)
    model = BatchKMeans(k, random_state=seed)
    taken: float = seconds(lambda: model.fit(rows))
    return taken, model.inertia_


def theirs(store: Path, k: int, seed: int, *, small: bool) -> tuple[float, float]:
    """Fit scikit-learn's; return processor seconds and inertia."""
    rows = read_all(store)
    if small:
        model: Any = MiniBatchKMeans(k, random_state=seed, batch_size=CONFIG.chunk, n_init=10)
    else:
        model = KMeans(k, n_init=10, random_state=seed)
    taken: float = seconds(lambda: model.fit(rows))
    return taken, float(model.inertia_)


def _mini(store: Path, k: int, seed: int) -> tuple[float, float]:
    return theirs(store, k, seed, small=True)


def _full(store: Path, k: int, seed: int) -> tuple[float, float]:
    return theirs(store, k, seed, small=False)


def compare(store: Path, ks: list[int]) -> None:
    """Print inertias and times against scikit-learn's."""
    say("\n| k | what | fit, median | inertia / ours, least to most | peak |")
    say("| ---: | --- | ---: | ---: | ---: |")
    for k in ks:
        base: list[float] = []
        for name, fit in (("ours", ours), ("MiniBatchKMeans", _mini), ("KMeans", _full)):
            found = [in_fresh_process(fit, store, k, seed) for seed in range(SEEDS)]
            inertias = [inertia for (_, inertia), _ in found]
            base = base or inertias
            ratios = np.array(inertias) / base
            taken = np.median([taken for (taken, _), _ in found])
            peak = max(peak for _, peak in found)
            say(
                f"| {k} | {name} | {taken:.1f} s | {ratios.min():.4f} to {ratios.max():.4f} | "
                f"{peak:.2f} GiB |"
            )


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000])
    parser.add_argument("--parts", type=int, default=0, help="also a store of so many tiny parts")
    parser.add_argument("--k", type=int, nargs="*", default=[8, 30], help="for the peers")
    parser.add_argument("--without", nargs="*", default=[], choices=[*COMMANDS][2:])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--folder", type=Path, help="where stores are made, and kept")
    options = parser.parse_args()
    names = [name for name in COMMANDS if name not in options.without]
    with tempfile.TemporaryDirectory() as temporary, threadpool_limits(limits=1):
        folder = options.folder or Path(temporary)
        configs = {rows: prepare(folder / f"{rows}", rows) for rows in sorted(options.rows)}
        least = configs[min(configs)].parent / "store"
        found, _ = in_fresh_process(spend, least, options.repeats)
        fixed, _ = in_fresh_process(fit_pilot, least)
        print_spent(found, fixed)
        say("\n| rows | what | processor | a row | peak |\n| ---: | --- | ---: | ---: | ---: |")
        for rows, config in configs.items():
            select(config, rows)
            busy = run_commands(config, rows, names)
        on_paper(busy, max(configs))
        if options.parts:
            rows = options.parts * FEW_ROWS
            config = prepare(folder / f"{options.parts}-parts", rows, FEW_ROWS)
            run_commands(config, rows, names[:3])
        compare(least, options.k)


if __name__ == "__main__":
    main()

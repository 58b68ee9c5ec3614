"""What a night without a change costs, against a plain walk, and what durability costs, in one run.

An archive of tiny images, a folder a date and 40 images and two exports in each, is drawn and scanned,
and all that follows is made by stand-ins for the networks: the store is a real one, and complete. Then
the command line is run over it again and again, each time in a process of its own.

    python tests/benchmarks/bench_nights.py --files 10000 30000 100000 --images 24

With --folder the archives and stores are kept there, and used again.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
from anabatch.jobs import report
from PIL import Image

from anabatch.config import load_config
from anabatch.simulate.archive import simulate_archive
from anabatch.store import parts

sys.path.insert(0, str(Path(__file__).parents[1]))  # helpers of the tests

from cheap import cheap_networks
from commands import command
from edited import export_text
from running import make_config, run_jobs
from wide import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PER_DATE = 40
SIDE = 24  # of an image, in pixels
FIRST_DAY = np.datetime64("2010-01-01")
COMMANDS = ("scan", "plan", "run")


def draw_archive(root: Path, files: int) -> None:
    """Draw images of one bright square on noise, no two alike, and exports that name them all."""
    rng = np.random.default_rng(0)
    for first in range(0, files, PER_DATE):
        day = str(FIRST_DAY + first // PER_DATE).replace("-", "")
        folder = root / day / "001_SN09001"
        folder.mkdir(parents=True)
        names = []
        for number in range(first, min(first + PER_DATE, files)):
            name = f"{number - first:03d}_0ae00987379_1_{2_000_000_000 + number}_3_14_05.jpg"
            (folder / name).write_bytes(_image(rng))
            names.append(name)
        half = len(names) // 2
        for kind, last, rows in (
            ("SCREEN", "Pattern", [(name, "[15] Mouchete") for name in names[:half]]),
            ("NEGATIV", "Result", [(name, "NEG") for name in names[half:]]),
        ):
            path = folder / f"exp_pl_LIS_{day}_101758_SN9001_{kind}.csv"
            path.write_text(export_text(rows, last), encoding="cp1252", newline="")


def _image(rng: np.random.Generator) -> bytes:
    pixels = rng.integers(0, 60, (SIDE, SIDE), np.uint8)
    pixels[8:17, 8:17] += 180
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def write_config(folder: Path) -> Path:
    """Write the configuration of an archive and its store below a folder."""
    path = folder / "anabatch.toml"
    path.write_text(
        f"""
store = "store"

[[archives]]
name = "tiny"
path = "DATA"
layout = "dated"
pixels_per_reference_pixel = {{ "{SIDE}x{SIDE}" = 1.0 }}

[embed]
landmarks = 24
components = 8

[cluster]
k = 3
components = 8

[compute]
scheduler = "sync"
""",
        encoding="utf-8",
    )
    return path


def walk(root: Path) -> int:
    """Look at every file, and do no more: what nobody can do without."""
    return sum(
        os.stat(os.path.join(folder, name)).st_size > 0  # noqa: PTH116, PTH118 (the plain walk)
        for folder, _, names in os.walk(root)
        for name in names
    )


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextmanager
def without_syncs() -> Iterator[None]:
    """Leave it to the operating system when bytes reach the disk."""
    with patch("os.fsync", lambda _: None):
        yield


@contextmanager
def without_report() -> Iterator[None]:
    """Write no report."""

    def nothing(_store: Any, out: Path, **_: Any) -> Path:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("", encoding="utf-8")
        return out

    with patch.object(report, "build_report", nothing):
        yield


@contextmanager
def quick_arrays() -> Iterator[None]:
    """Write and read arrays as plain files; a night without a change opens none."""

    def write(path: Path, array: Any, **_: Any) -> None:
        path.mkdir()
        (path / "zarr.json").write_text("{}", encoding="utf-8")
        np.save(path / "array.npy", array)

    def read(path: Path, start: int, stop: int) -> Any:
        return np.load(path / "array.npy")[start:stop]

    def take(path: Path, rows: Any) -> Any:
        return np.load(path / "array.npy")[rows]

    def info(path: Path) -> Any:
        array = np.load(path / "array.npy", mmap_mode="r")
        return array.shape, array.dtype

    with patch.multiple(
        parts, write_array=write, read_array=read, take_array=take, array_info=info
    ):
        yield


def complete(config: Path) -> float:
    """Do all that follows the scan, by stand-ins for the networks; return seconds."""
    with cheap_networks(), without_syncs(), without_report(), quick_arrays():
        return seconds(lambda: run_jobs(load_config(config), accept=True))


def prepare(folder: Path, files: int) -> Path:
    """Make an archive and its finished store, or finish what is there; return the configuration."""
    config = folder / "anabatch.toml"
    if not config.exists():
        folder.mkdir(parents=True, exist_ok=True)
        taken = seconds(lambda: draw_archive(folder / "DATA", files))
        say(f"{files} files: drawn in {taken:.0f} s")
        config = write_config(folder)
        taken, _, memory = command("scan", "-c", str(config))
        say(
            f"  scan of new files: {taken:.0f} s, {files / taken:.0f} files/s, peak {memory:.0f} MiB"
        )
    say(f"  all that follows: {complete(config):.0f} s")
    return config


def compare_nights(folder: Path, files: int, repeats: int) -> None:
    """Print what a night without a change costs, in turns with a plain walk."""
    config = prepare(folder, files)
    walks: list[float] = []
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    busy: dict[str, list[float]] = {name: [] for name in COMMANDS}
    peaks: dict[str, float] = {}
    for _ in range(repeats):
        walks.append(seconds(lambda: walk(folder / "DATA")))
        for name in COMMANDS:
            taken, worked, memory = command(name, "-c", str(config))
            times[name].append(taken)
            busy[name].append(worked)
            peaks[name] = max(peaks.get(name, 0), memory)
    plain = statistics.median(walks)
    say(f"{files} files, nothing changed; a plain walk {plain:.2f} s, {files / plain:.0f} files/s:")
    for name in COMMANDS:
        taken = statistics.median(times[name])
        say(
            f"  {name:5} {taken:6.2f} s ({min(times[name]):.2f} at best), {files / taken:7.0f} "
            f"files/s, {taken / plain:5.1f} walks, {min(busy[name]):.1f} s of processors, "
            f"peak {peaks[name]:.0f} MiB"
        )


def compare_syncs(folder: Path, images: int, repeats: int, *, networks: bool) -> None:
    """Print what a run costs with syncs and without, in turns."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"simulated-{images}"
    if not archive.exists():
        simulate_archive(archive, images=images, seed=1, layout="dated", size=(420, 320))
    times: dict[str, list[float]] = {"with": [], "without": []}
    for number in range(repeats + 1):
        # whoever goes second finds the disk busier, or the processor warmer
        for name in sorted(times, reverse=bool(number % 2)):
            with ExitStack() as stack:
                stack.enter_context(without_report())
                if not networks:
                    stack.enter_context(cheap_networks())
                if name == "without":
                    stack.enter_context(without_syncs())
                config = make_config(archive / "DATA", folder / "synced")
                taken = seconds(lambda config=config: run_jobs(config))  # type: ignore[misc]
            shutil.rmtree(folder / "synced")
            os.sync()  # nobody pays for another's writes
            if number:  # the first two load what is imported and read but once
                times[name].append(taken)
    ratios = [a / b for a, b in zip(times["with"], times["without"], strict=True)]
    kind = "the networks" if networks else "stand-ins for the networks"
    say(
        f"a run over {images} new images of 420 x 320, {kind}: with syncs ÷ without "
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--files", type=int, nargs="*", default=[10_000])
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        for files in given.files:
            compare_nights(folder / str(files), files, given.repeats)
        if given.images:
            compare_syncs(folder, given.images, given.repeats, networks=False)
            compare_syncs(folder, given.images, given.repeats, networks=True)


if __name__ == "__main__":
    main()

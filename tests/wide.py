"""Features of many cells in a store's own parts, generated in place, for benchmarks of the embedding.

The rows look like those of a network: 4,608 rectified numbers in float16, more than half of them zero,
of a few kinds of cells, with a spectrum that falls off slowly.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from anabatch.schema import table_schema
from anabatch.stages.population import Source
from anabatch.store.live import LivePart
from anabatch.store.parts import PartWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

T = TypeVar("T")

WIDTH = 4608  # VGG16's block5, flattened
PART_ROWS = 4096  # cells of some 40 fields
_KINDS = 40
_HIDDEN = 256
_SEED = 20211214


@dataclass(frozen=True)
class WideStore:
    """A folder with parts that hold cell ids and features.

    Attributes
    ----------
    folder : Path
    sources : tuple of Source
        One a part.
    """

    folder: Path
    sources: tuple[Source, ...]

    def first(self, rows: int) -> WideStore:
        """Return the parts that hold the first rows; `rows` is taken up to whole parts."""
        return WideStore(self.folder, self.sources[: -(-rows // PART_ROWS)])

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(source.live.rows for source in self.sources)

    def chunks(self) -> Iterator[NDArray[np.float16]]:
        """Read the features, part by part."""
        for source in self.sources:
            yield from source.chunks(self.folder, PART_ROWS)


def write_wide(folder: Path, rows: int) -> WideStore:
    """Write features; the first rows do not depend on how many there are.

    Parameters
    ----------
    folder : Path
        A new one.
    rows : int
        Taken up to whole parts of 4,096; 38 MB each, less what zstd saves.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return WideStore(
        folder, tuple(_write_part(folder, number) for number in range(-(-rows // PART_ROWS)))
    )


def draw_features(number: int, rows: int = PART_ROWS) -> NDArray[np.float16]:
    """Draw the features of one part, shape (rows, 4608)."""
    shared = np.random.default_rng(_SEED)
    mixing = shared.standard_normal((_HIDDEN, WIDTH), dtype=np.float32)
    scales = (1 + np.arange(_HIDDEN, dtype=np.float32)) ** -0.6
    centers = shared.standard_normal((_KINDS, _HIDDEN), dtype=np.float32) * scales
    rng = np.random.default_rng([_SEED, number])
    hidden = rng.standard_normal((rows, _HIDDEN), dtype=np.float32) * scales
    hidden += centers[rng.integers(_KINDS, size=rows)]
    return np.maximum(0.1 * (hidden @ mixing) - 0.05, 0).astype(np.float16)


def _write_part(folder: Path, number: int) -> Source:
    with PartWriter(folder, "features", keys=[f"wide{number}"]) as part:
        part.rows("cells", _cells(number))
        part.array("features", draw_features(number))
        path = part.finish([]).path
    assert path is not None
    return Source(LivePart(path, ((0, PART_ROWS),), ()), path, "features")


def _cells(number: int) -> pa.Table:
    """Return rows that have ids, and nothing else to tell."""
    schema = table_schema("cells", derived=False)
    values: dict[str, Any] = {"string": "", "bool": False}
    columns = [
        pa.array(
            [values.get(str(field.type), 0 if pa.types.is_primitive(field.type) else [])],
            field.type,
        )
        for field in schema
    ]
    table = pa.Table.from_arrays(columns, schema=schema).take(np.zeros(PART_ROWS, np.int64))
    ids = pa.array([f"{number:08x}{row:024x}" for row in range(PART_ROWS)])
    return table.set_column(schema.get_field_index("cell_id"), schema.field("cell_id"), ids)


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def seconds(work: Callable[[], object]) -> float:
    """Time one call by the processor: waiting for others on a shared machine does not count."""
    start = time.process_time()
    work()
    return time.process_time() - start


def in_turns(repeats: int, **works: Callable[[], object]) -> dict[str, float]:
    """Time calls in turns, the first turn left out, and return the median of each, in processor
    seconds."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            taken = seconds(work)
            if turn:
                times[name].append(taken)
    return {name: statistics.median(taken) for name, taken in times.items()}


def in_fresh_process(function: Callable[..., T], *arguments: Any) -> tuple[T, float]:
    """Call a function of a module in a process of its own, with one thread (Linux).

    Returns
    -------
    result
        What the function returned.
    peak : float
        The process's peak memory in GiB, imports included.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_with_peak, (function, arguments))


def _with_peak(function: Callable[..., T], arguments: tuple[Any, ...]) -> tuple[T, float]:
    with threadpool_limits(limits=1):
        result = function(*arguments)
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123  # no file
        peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    return result, int(peak) / 2**20

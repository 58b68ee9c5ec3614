"""Cells with one pattern each, of real and of simulated fields, to compare features on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from anabatch.archive.layout import load_layout
from anabatch.archive.walk import IMAGE_SUFFIXES
from anabatch.cells import cut_cells
from anabatch.config import SegmentConfig
from anabatch.imaging import decode, eight_bits, image_id
from anabatch.imaging import signal as signal_of
from anabatch.simulate.field import PATTERNS, simulate_field
from anabatch.training.fields import EVALUATION_SEED, degrade
from anabatch.training.pattern_cells import no_scraps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from anabatch.segmentation.protocol import Segmenter

log = structlog.get_logger(__name__)

# Simulated fields, (width, height) in reference pixels: more fields rather than larger ones, for no
# two cells of a field count twice.
_SIZE = (972, 724)
_MAX_PIXELS = 100_000_000


@dataclass(frozen=True)
class ComparedCells:
    """Cells whose pattern is known.

    Attributes
    ----------
    crops : ndarray, shape (n, 96, 96), uint8
    masks : ndarray, shape (n, 96, 96), uint8
        As :class:`anabatch.cells.CutCells` has them.
    classes : ndarray, shape (n,), int64
        Place of the cell's pattern in `names`.
    groups : ndarray, shape (n,), int64
        Number of the cell's picture: what no split may divide.
    names : ndarray of str
        The patterns.
    """

    crops: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    classes: NDArray[np.int64]
    groups: NDArray[np.int64]
    names: NDArray[np.str_]

    def capped(self, most: int) -> ComparedCells:
        """Return at most so many cells of every picture, spread evenly over it.

        Parameters
        ----------
        most : int

        Returns
        -------
        ComparedCells
        """
        kept: list[int] = []
        for group in np.unique(self.groups):
            rows = np.flatnonzero(self.groups == group)
            chosen = np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)
            kept += rows[chosen].tolist()
        return self.rows(np.array(kept, dtype=np.int64))

    def rows(self, kept: NDArray[Any]) -> ComparedCells:
        """Return some of the cells, by their numbers or by a mask."""
        arrays = (self.crops[kept], self.masks[kept], self.classes[kept], self.groups[kept])
        return ComparedCells(*arrays, self.names)

    def answerable(self) -> ComparedCells:
        """Leave out cells of patterns that one picture alone shows: nobody could know them."""
        shown = [len(np.unique(self.groups[self.classes == i])) for i in range(len(self.names))]
        return self.rows(np.array(shown)[self.classes] > 1)


def kept(path: Path | None, draw: Callable[[], ComparedCells]) -> ComparedCells:
    """Return cells out of a file, or draw them and keep them there.

    Parameters
    ----------
    path : Path or None
        A `.npz` file; None keeps nothing.
    draw : callable
        Takes nothing, gives cells.
    """
    if path is not None and path.exists():
        with np.load(path, allow_pickle=False) as file:
            return ComparedCells(**file)
    cells = draw()
    if path is not None:
        np.savez(path, **vars(cells))
    return cells


def real_cells(folder: Path, segmenter: Segmenter) -> ComparedCells:
    """Find and cut the cells of pictures that lie in a folder a pattern.

    Parameters
    ----------
    folder : Path
        In the layout `by-class`; the pattern is the name of the folder that holds the picture.
    segmenter : Segmenter

    Returns
    -------
    ComparedCells
        A picture that lies there twice, under whatever names, is taken once.

    Raises
    ------
    ValueError
        There are no pictures in it.
    InputError
        A picture cannot be read.
    """
    return _joined(_of_pictures(folder, segmenter))


def _of_pictures(folder: Path, segmenter: Segmenter) -> Iterator[_Picture]:
    layout, seen = load_layout("by-class"), set()
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        pixels = decode(path.read_bytes(), max_pixels=_MAX_PIXELS).pixels
        identity = image_id(pixels)
        if identity in seen:
            continue
        seen.add(identity)
        signal = signal_of(pixels)
        scale, _ = layout.reference_pixels(signal.shape[1], signal.shape[0])
        (found,) = segmenter.segment([signal], [scale])
        log.info("segmented", picture=path.name, cells=int(found.cells.max(initial=0)))
        yield _Picture(path.parent.name, signal, found.nuclei, found.cells, identity)


def simulated_cells(fields: int) -> ComparedCells:
    """Draw fields of one pattern each that no training draws, and cut their cells by the truth.

    Parameters
    ----------
    fields : int
        Patterns go round.

    Returns
    -------
    ComparedCells

    Raises
    ------
    ValueError
        No field is asked for.
    """
    return _joined(_simulated(index) for index in range(fields))


def _simulated(index: int) -> _Picture:
    pattern = PATTERNS[index % len(PATTERNS)]
    seed = EVALUATION_SEED + index
    field = simulate_field(seed, [pattern], size=_SIZE)
    signal = degrade(field.signal, np.random.default_rng([seed, 3]))
    return _Picture(pattern, signal, field.nuclei, field.cells, image_id(signal))


@dataclass(frozen=True)
class _Picture:
    """A picture with the outlines of its cells."""

    pattern: str
    signal: NDArray[Any]
    nuclei: NDArray[np.int32]
    cells: NDArray[np.int32]
    identity: str


def _joined(pictures: Iterator[_Picture]) -> ComparedCells:
    names: list[str] = []
    columns: list[tuple[NDArray[Any], ...]] = []
    for number, picture in enumerate(pictures):
        if picture.pattern not in names:
            names.append(picture.pattern)
        cut = cut_cells(
            picture.signal, picture.nuclei, picture.cells, image_id=picture.identity, crop=96
        )
        large = no_scraps(cut.rows)
        count = int(large.sum())
        of_picture = np.full((2, count), [[names.index(picture.pattern)], [number]], np.int64)
        columns.append((eight_bits(cut.crops[large]), cut.masks[large], *of_picture))
    if not columns:
        message = "there are no pictures to take cells from"
        raise ValueError(message)
    crops, masks, classes, groups = (
        np.concatenate(column) for column in zip(*columns, strict=True)
    )
    return ComparedCells(crops, masks, classes, groups, np.array(names))


def shipped_segmenter(threads: int) -> Segmenter:
    """Return the recipe of the shipped networks."""
    from anabatch.segmentation.two_pass import segmenter_for

    return segmenter_for(SegmentConfig(), threads)

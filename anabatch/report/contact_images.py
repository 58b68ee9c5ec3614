"""Cards of a contact sheet off folders of images, which are segmented on the way; no store is needed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch import imaging
from anabatch.archive.walk import ListedFile, Problem, is_image, walk
from anabatch.cells import cut_cells
from anabatch.errors import ConfigurationError, InputError, UnreadableImageError
from anabatch.report.contact import Card, Found, draw
from anabatch.report.contact_store import has_nuclei, recipe_line
from anabatch.segmentation.labels import count
from anabatch.segmentation.two_pass import segmenter_for
from anabatch.stages.segment import segment_recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from anabatch.config import SegmentConfig
    from anabatch.segmentation.recipe import Segmentation
    from anabatch.store.recipes import Recipe

_TOGETHER, _PIXELS_TOGETHER = 4, 8_000_000
"""Images, and pixels, that are segmented at once at most: the networks' batches are full with few."""

IGNORED = (".*", "@eaDir", "$RECYCLE.BIN", "System Volume Information")
"""Folders that systems make."""


@dataclass(frozen=True)
class ImagePath:
    """An image file.

    Attributes
    ----------
    folder : Path
        The folder that was named.
    file : ListedFile
        The file below it.
    """

    folder: Path
    file: ListedFile

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.file.path(self.folder)


@dataclass(frozen=True)
class ChosenImages:
    """What the sheet shows, and what it does not.

    Attributes
    ----------
    images : tuple of ImagePath
    left_out : int
        Images that the limit leaves out.
    problems : tuple of Problem
        Places that cannot be read.
    """

    images: tuple[ImagePath, ...]
    left_out: int
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class How:
    """How to segment.

    Attributes
    ----------
    config : SegmentConfig
    threads : int
        Threads of the numerical libraries.
    max_pixels : int
        Larger images are not opened.
    scale : callable
        From an image's path, width and height to the source pixels that make one reference pixel,
        and whether that is known.
    """

    config: SegmentConfig
    threads: int
    max_pixels: int
    scale: Callable[[Path, int, int], tuple[float, bool]]


@dataclass(frozen=True)
class _Read:
    """An image in memory."""

    image: ImagePath
    pixels: NDArray[Any]
    flags: tuple[str, ...]
    scale: float
    known: bool

    @property
    def signal(self) -> NDArray[Any]:
        return imaging.signal(self.pixels)


def choose_images(folders: Sequence[Path], *, limit: int, sample: bool) -> ChosenImages:
    """Return the images below some folders, in the order of their paths.

    Parameters
    ----------
    folders : sequence of Path
    limit : int
        At most so many; 0 for all.
    sample : bool
        Draw them by digests of their paths. Otherwise the files that changed last are taken.

    Returns
    -------
    ChosenImages

    Raises
    ------
    ConfigurationError
        A folder is not there, or there is no image in any.
    """
    for folder in folders:
        if not folder.is_dir():
            what = f"there is no folder {folder}"
            raise ConfigurationError(what, "Is the disk mounted?")
    every: list[ImagePath] = []
    problems: list[Problem] = []
    for folder in folders:
        for file in walk(folder, IGNORED):
            if isinstance(file, Problem):
                problems.append(file)
            elif is_image(file.name):
                every.append(ImagePath(folder, file))
    if not every:
        what = f"there are no images in {', '.join(map(str, folders))}"
        raise ConfigurationError(what, "Images are JPEG, PNG, TIFF and BMP files.")
    order = sorted(range(len(every)), key=lambda i: _rank(every[i], sample=sample))
    kept = sorted(order[:limit] if limit else order)
    return ChosenImages(tuple(every[i] for i in kept), len(every) - len(kept), tuple(problems))


def _rank(image: ImagePath, *, sample: bool) -> tuple[int, str]:
    path = image.file.relative_path
    if sample:
        encoded = path.encode("utf-8", "surrogateescape")
        return 0, hashlib.blake2b(encoded, digest_size=16).hexdigest()
    return -image.file.mtime_ns, path


def cards(images: Iterable[ImagePath], how: How) -> Iterator[Card]:
    """Segment images, a few at once, and yield their cards in order.

    Raises
    ------
    DeviceError
        The device that the configuration names is not there.
    WeightsError
        Weights are missing or unusable.
    """
    recipe = segment_recipe(how.config)
    waiting: list[_Read | Card] = []
    for image in images:
        waiting.append(_read(image, how))
        sizes = [item.signal.size for item in waiting if isinstance(item, _Read)]
        if len(sizes) == _TOGETHER or sum(sizes) > _PIXELS_TOGETHER:
            yield from _segmented(waiting, how, recipe)
            waiting = []
    yield from _segmented(waiting, how, recipe)


def _read(image: ImagePath, how: How) -> _Read | Card:
    """Read an image, or make the card that says why it cannot be read."""
    try:
        try:
            data = image.path.read_bytes()
        except OSError as error:
            what = f"it cannot be read: {error.strerror or error}"
            raise UnreadableImageError(what) from error
        decoded = imaging.decode(data, max_pixels=how.max_pixels)
    except InputError as error:
        return Card(image.file.relative_path, str(image.folder), missing=str(error))
    height, width = decoded.pixels.shape[:2]
    scale, known = how.scale(image.path, width, height)
    return _Read(image, decoded.pixels, decoded.flags, scale, known)


def _segmented(waiting: Sequence[_Read | Card], how: How, recipe: Recipe) -> Iterator[Card]:
    reads = [item for item in waiting if isinstance(item, _Read)]
    found: Iterator[Segmentation] = iter(())
    if reads:
        segmenter = segmenter_for(how.config, how.threads)
        signals, scales = [read.signal for read in reads], [read.scale for read in reads]
        found = iter(segmenter.segment(signals, scales))
    for item in waiting:
        yield item if isinstance(item, Card) else _card(item, next(found), how, recipe)


def _card(read: _Read, result: Segmentation, how: How, recipe: Recipe) -> Card:
    said = Found.of(_components(read, result), f"{recipe_line(recipe)}, on {how.config.device}")
    rows = cut_cells(
        read.signal, result.nuclei, result.cells, image_id=imaging.image_id(read.pixels)
    ).rows
    drawing, marks = draw(read.signal, result.nuclei, result.cells, rows, pairs=has_nuclei(recipe))
    unknown = () if read.known else ("scale not known, taken for the reference's",)
    return Card(
        path=read.image.file.relative_path,
        place=str(read.image.folder),
        found=said,
        flags=(*read.flags, *unknown),
        drawing=drawing,
        marks=marks,
        missing=result.reason or "",
    )


def _components(read: _Read, result: Segmentation) -> dict[str, Any]:
    """Return what the segmentation's action would hold."""
    said = {
        "nuclei": count(result.nuclei),
        "cells": count(result.cells),
        "pixels": read.scale,
        "dropped": result.dropped,
        "nucleus_diameter_from": result.nucleus_diameter_from,
        "diameter_from": result.diameter_from,
        "scale_bar": result.scale_bar,
    }
    for name in ("mean_nucleus_diameter", "nucleus_diameter", "cell_diameter"):
        value = getattr(result, name)
        said[name] = None if np.isnan(value) else value
    return said

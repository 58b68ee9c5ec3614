"""Views of an image too large for arrays: every window of a view is computed when it is asked for.

A view has a shape and a dtype, and `view[rows, columns]` is what that window of the whole result
would be: windows agree with each other and with the whole, wherever they begin. So steps that look
beyond a pixel (resizing) or at the whole image (contrast, percentiles) chain like array functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from anabatch.segmentation.scratch import Window

# What OpenCV's area resizing takes for no overlap of two pixels.
_HARDLY = 1e-3


class Image(Protocol):
    """What windows are read from: an array, a file's image, or a view of one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W)."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the windows."""
        ...

    def __getitem__(self, window: Any, /) -> NDArray[Any]:
        """Return a window, given by two slices with ends."""
        ...


@dataclass(frozen=True)
class Pointwise:
    """A view of images of one shape, pixel by pixel.

    Attributes
    ----------
    change : callable
        From the sources' windows and the window's slices to the view's window.
    sources : tuple of Image
    dtype : dtype
    """

    change: Callable[..., NDArray[Any]]
    sources: tuple[Image, ...]
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W)."""
        return self.sources[0].shape

    def __getitem__(self, window: Window) -> NDArray[Any]:
        """Compute a window."""
        return self.change(*(source[window] for source in self.sources), window)


@dataclass(frozen=True)
class Patched:
    """A view of an image of which one window is another.

    Attributes
    ----------
    source : Image
    patch : ndarray
    corner : tuple of int
        First row and column of the patch.
    """

    source: Image
    patch: NDArray[Any]
    corner: tuple[int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W)."""
        return self.source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The source's."""
        return self.source.dtype

    def __getitem__(self, window: Window) -> NDArray[Any]:
        """Compute a window."""
        image = self.source[window]
        there = [
            (max(part.start, first), min(part.stop, first + length))
            for part, first, length in zip(window, self.corner, self.patch.shape, strict=True)
        ]
        if any(start >= stop for start, stop in there):
            return image
        to, of = (
            tuple(
                slice(start - origin, stop - origin)
                for (start, stop), origin in zip(there, origins, strict=True)
            )
            for origins in ([part.start for part in window], self.corner)
        )
        image = image.copy()
        image[to] = self.patch[of]
        return image


@dataclass(frozen=True)
class _Axis:
    """How the pixels of one axis come from another resolution's: (n, taps) places and weights."""

    places: NDArray[np.intp]
    weights: NDArray[np.float32]


class Resized:
    """A view of an image at another resolution, as OpenCV's area (shrinking) or linear resizing.

    Parameters
    ----------
    source : Image
    shape : tuple of int
        (h, w).
    """

    def __init__(self, source: Image, shape: tuple[int, int]) -> None:
        self.source = source
        self.shape = shape
        self.dtype = source.dtype
        # OpenCV's means of two by two pixels round halves up, and all its others to even.
        self._halved = source.shape == (2 * shape[0], 2 * shape[1])
        axis = _area_axis if shape[0] < source.shape[0] else _linear_axis
        self._axes = [axis(of, to) for of, to in zip(source.shape, shape, strict=True)]

    def __getitem__(self, window: Window) -> NDArray[Any]:
        """Compute a window."""
        chosen = [
            _Axis(axis.places[part], axis.weights[part])
            for axis, part in zip(self._axes, window, strict=True)
        ]
        if any(axis.places.size == 0 for axis in chosen):
            return np.zeros([axis.places.shape[0] for axis in chosen], self.dtype)
        first = [int(axis.places.min()) for axis in chosen]
        needed = tuple(
            slice(start, int(axis.places.max()) + 1)
            for start, axis in zip(first, chosen, strict=True)
        )
        image = self.source[needed].astype(np.float32)
        rows, columns = chosen
        image = _gather(image.T, columns, first[1]).T
        image = _gather(image, rows, first[0])
        if self.dtype.kind == "f":
            return image.astype(self.dtype)
        image = np.floor(image + np.float32(0.5)) if self._halved else np.rint(image)
        return np.clip(image, 0, np.iinfo(self.dtype).max).astype(self.dtype)


def resized(source: Image, shape: tuple[int, int]) -> Image:
    """Return a view at another resolution, or the source itself if it has it."""
    return source if source.shape == shape else Resized(source, shape)


def _gather(image: NDArray[np.float32], axis: _Axis, first: int) -> NDArray[np.float32]:
    """Make new rows of an image's rows."""
    total = np.zeros((axis.places.shape[0], image.shape[1]), np.float32)
    for tap in range(axis.places.shape[1]):
        total += image[axis.places[:, tap] - first] * axis.weights[:, tap, np.newaxis]
    return total


def _area_axis(length: int, shorter: int) -> _Axis:
    """Every new pixel is the mean of the old pixels that it covers."""
    scale = length / shorter
    start = np.arange(shorter) * scale
    width = np.minimum(scale, length - start)
    # Of neighbouring taps of no weight only the place matters: it must be in the image.
    places = np.floor(start + _HARDLY).astype(np.intp)[:, np.newaxis]
    places = places + np.arange(int(np.ceil(scale)) + 1)
    ends = np.minimum(places + 1, (start + width)[:, np.newaxis])
    share = ends - np.maximum(places, start[:, np.newaxis])
    share[share <= _HARDLY] = 0
    weights = share / width[:, np.newaxis]
    return _Axis(np.minimum(places, length - 1), weights.astype(np.float32))


def _linear_axis(length: int, longer: int) -> _Axis:
    """Every new pixel lies between two old ones."""
    at = np.clip((np.arange(longer) + 0.5) * (length / longer) - 0.5, 0, length - 1)
    low = np.floor(at).astype(np.intp)
    share = at - low
    places = np.stack([low, np.minimum(low + 1, length - 1)], axis=1)
    return _Axis(places, np.stack([1 - share, share], axis=1).astype(np.float32))


def windows(shape: tuple[int, ...], side: int) -> Iterator[Window]:
    """Cut an image into windows of at most `side` by `side` pixels, row by row."""
    for row in range(0, shape[0], side):
        for column in range(0, shape[1], side):
            yield (
                slice(row, min(row + side, shape[0])),
                slice(column, min(column + side, shape[1])),
            )


def level_counts(image: Image, side: int) -> NDArray[np.int64]:
    """Return how many pixels of an image of integers have every level of its type.

    Parameters
    ----------
    image : Image of uint8 or uint16
    side : int
        Windows of so many pixels a side are held at once.
    """
    levels = int(np.iinfo(image.dtype).max) + 1
    counts = np.zeros(levels, np.int64)
    for window in windows(image.shape, side):
        counts += np.bincount(image[window].ravel(), minlength=levels)
    return counts


def percentile_of(counts: NDArray[np.int64], share: float) -> float:
    """Return a percentile of all pixels, as NumPy's own are, from the counts of levels 0, 1 and on.

    Parameters
    ----------
    counts : ndarray of int64, shape (levels,)
    share : float
        In percent.
    """
    below = np.cumsum(counts)
    place = share / 100 * (below[-1] - 1)
    low, high = (
        float(np.searchsorted(below, int(rank), side="right"))
        for rank in (np.floor(place), np.ceil(place))
    )
    return float(low + (high - low) * (place - np.floor(place)))

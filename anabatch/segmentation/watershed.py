"""A classical segmenter without networks: a baseline, and for machines without PyTorch.

Nuclei are the regions, above or below thresholds of the logarithmic signal, that are most like
ellipses of the expected size with a steep rim (after the extremal regions of Matas et al. 2002 and
their choice by Arteta et al. 2012). Touching nuclei are parted by a watershed of the distance to
the rim. Cells are what a second watershed reaches from the nuclei within the foreground.

Nuclei may be bright in dark cells or dark in bright ones; a field is of the one kind or the other.
Where the antibody shows no nucleus at all (fibres, a Golgi apparatus), nothing here can find one.

References
----------
Matas J., Chum O., Urban M., Pajdla T. (2002). Robust wide baseline stereo from maximally stable
extremal regions. BMVC, 384-393.
Arteta C., Lempitsky V., Noble J. A., Zisserman A. (2012). Learning to detect cells using
non-overlapping extremal regions. MICCAI, LNCS 7510, 348-356.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from anabatch.errors import DeviceError
from anabatch.segmentation.channels import to_reference
from anabatch.segmentation.depth import filled, unused_bits
from anabatch.segmentation.labels import count
from anabatch.segmentation.models import segmentation_digest
from anabatch.segmentation.recipe import mean_diameter
from anabatch.segmentation.results import (
    VANISHED,
    Proposal,
    Segmentation,
    nothing_seen,
    to_source,
)
from anabatch.segmentation.scale_bar import find_scale_bar, without_scale_bar
from anabatch.segmentation.visibility import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from anabatch.config import SegmentConfig

DIAMETER = 30.0
"""What the configured nucleus measures in the pixels that the work is done in."""

# The faintest thing that is looked at, in 8-bit grey levels above the background.
_FAINTEST = 4.0
_LEVELS = 14  # thresholds of either kind
# Of what may be a nucleus: area over the squared diameter, likeness to the ellipse of the same
# moments (1 is one), and the shorter axis over the longer.
_AREAS, _ELLIPTIC, _LONGEST = (0.2, 4.5), 0.9, 0.38
_SPREAD = 0.4  # of the logarithm of diameters
# Of the score of the eight best: what scores less is no nucleus.
_LEAST_SCORE, _BEST = 0.15, 8
_COVERED = 0.1  # a nucleus that overlaps better ones by more than this share is none
_REACH = 1.1  # how far the cell reaches from its nucleus, in diameters


@dataclass(frozen=True)
class _View:
    """One field in work pixels, all arrays of shape (h, w).

    `level` is the logarithmic signal, `local` its difference from the surroundings, `rim` its slope.
    """

    level: NDArray[np.float32]
    local: NDArray[np.float32]
    rim: NDArray[np.float32]
    smooth: NDArray[np.float32]
    foreground: NDArray[np.bool_]


@dataclass(frozen=True)
class _Candidate:
    score: float
    box: tuple[slice, slice]
    mask: NDArray[np.bool_]


class WatershedSegmenter:
    """Segments images by regions and watersheds. See the module.

    Of the configuration it uses the nucleus's diameter alone.

    Parameters
    ----------
    config : SegmentConfig
    threads : int
        Threads that OpenCV may use. Results do not depend on them.
    """

    def __init__(self, config: SegmentConfig, *, threads: int = 1) -> None:
        self.config = config
        self.threads = threads

    def __reduce__(self) -> tuple[Any, ...]:
        return _remake, (self.config, self.threads)

    @cached_property
    def digest(self) -> str:
        """What the parameters that are used come down to: 32 hex digits."""
        return segmentation_digest(self.config)

    def segment(
        self, signals: Sequence[NDArray[Any]], pixels_per_reference_pixel: Sequence[float]
    ) -> list[Segmentation]:
        """Segment a batch of images, one after the other.

        Parameters
        ----------
        signals : sequence of ndarray of uint8 or uint16, shape (H, W)
        pixels_per_reference_pixel : sequence of float
            Source pixels that make one reference pixel, for every image.

        Returns
        -------
        list of Segmentation
            Every cell has grown from a nucleus.

        Raises
        ------
        DeviceError
            A device other than the processor is configured.
        """
        if self.config.device != "cpu":
            what = f"segment.device is {self.config.device!r}, and the watershed runs on processors"
            raise DeviceError(what, "Set segment.device to 'cpu', or name another recipe.")
        cv2.setNumThreads(self.threads)
        return [
            _segment(signal, scale, self.config.nucleus_diameter)
            for signal, scale in zip(signals, pixels_per_reference_pixel, strict=True)
        ]


def _remake(config: SegmentConfig, threads: int) -> WatershedSegmenter:
    return WatershedSegmenter(config, threads=threads)


def _segment(signal: NDArray[Any], scale: float, diameter: float) -> Segmentation:
    signal = filled(signal, unused_bits(signal))
    bar = find_scale_bar(signal)
    shape = (signal.shape[0], signal.shape[1])
    grey = to_reference(without_scale_bar(signal, bar), scale * diameter / DIAMETER)
    if not visible(grey, DIAMETER):
        return nothing_seen(shape, bar)
    view = _look(grey.astype(np.float32) * np.float32(255 / np.iinfo(signal.dtype).max))
    if view is None:
        return nothing_seen(shape, bar)
    nuclei = _nuclei(view)
    cells = _cells(view, nuclei)
    number = int(nuclei.max(initial=0))
    own, whole, proposed, dropped = to_source(
        Proposal(nuclei, number, {VANISHED: number - count(nuclei)}),
        Proposal(cells, number, {VANISHED: number - count(cells)}),
        shape,
        bar,
    )
    return Segmentation(
        nuclei=own,
        cells=whole,
        mean_nucleus_diameter=mean_diameter(nuclei) * diameter / DIAMETER,
        dropped=dropped,
        proposed=proposed,
        nucleus_diameter=diameter,
        scale_bar=bar,
    )


def _look(grey: NDArray[np.float32]) -> _View | None:
    """Prepare one field; None where nothing stands out."""
    fine = _blur(grey, 1.0)
    dark, bright = np.percentile(fine, (2.0, 99.5))
    if _blur(grey, DIAMETER / 6).max() - dark < _FAINTEST:
        return None
    # Logarithms, so that a dim cell has as much contrast as a bright one, down to the noise.
    noise = max(0.02 * float(bright - dark), 0.5)
    signal = np.log1p(np.clip(fine - dark, 0, None) / noise).astype(np.float32)
    smooth = _blur(signal, DIAMETER / 14)
    foreground = _opened(smooth > _threshold(smooth), DIAMETER / 8)
    foreground = _filled(foreground, DIAMETER)
    if not foreground.any():
        return None
    # Dots and gaps between speckles close, and a nucleus is one region.
    closed = cv2.morphologyEx(signal, cv2.MORPH_CLOSE, _disc(DIAMETER / 12))
    level = _blur(closed, DIAMETER / 20)
    weight = foreground.astype(np.float32) + np.float32(1e-3)
    around = _blur(level * weight, 0.8 * DIAMETER) / _blur(weight, 0.8 * DIAMETER)
    rim = np.hypot(cv2.Sobel(level, cv2.CV_32F, 1, 0), cv2.Sobel(level, cv2.CV_32F, 0, 1))
    return _View(level, level - around, rim, smooth, foreground)


def _threshold(smooth: NDArray[np.float32]) -> float:
    """Return what parts cells from the background.

    Otsu's threshold parts bright from dim, and, of the dim, a second one what is dim from nothing.
    """
    upper = float(threshold_otsu(smooth))
    dim = smooth[smooth < upper]
    lower = float(threshold_otsu(dim)) if dim.size else upper
    return lower + 0.6 * (upper - lower)


def _nuclei(view: _View) -> NDArray[np.int32]:
    """Take the nuclei to be bright, then dark, and return what looks more like nuclei."""
    bright, dark = (_choose(list(_candidates(view, sign)), view.level.shape) for sign in (1, -1))
    return bright[0] if bright[1] >= dark[1] else dark[0]


def _candidates(view: _View, sign: int) -> Iterator[_Candidate]:
    """Yield all regions that may be bright (sign 1) or dark (-1) nuclei."""
    within = view.foreground
    for level in np.unique(np.quantile(view.level[within], np.linspace(0.03, 0.985, _LEVELS))):
        mask = _opened((sign * (view.level - np.float32(level)) > 0) & within, DIAMETER / 9)
        if sign > 0:
            mask = _filled(mask, 0.8 * DIAMETER)
        yield from _rate(ndimage.label(mask)[0], view.rim)
    spread = float(view.local[within].std())
    for share in (0.0, 0.3):
        mask = _opened((sign * view.local > share * spread) & within, DIAMETER / 7)
        yield from _rate(_parted(_filled(mask, 0.7 * DIAMETER)), view.rim)


def _parted(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Part touching nuclei where the mask is narrow; label image."""
    depth = _blur(ndimage.distance_transform_edt(mask).astype(np.float32), DIAMETER / 20)
    peaks = peak_local_max(
        depth,
        min_distance=int(0.3 * DIAMETER),
        labels=ndimage.label(mask)[0],
        exclude_border=False,
        threshold_abs=0.12 * DIAMETER,
    )
    markers = np.zeros(mask.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return np.asarray(watershed(-depth, markers, mask=mask), dtype=np.int32)


def _rate(labels: NDArray[Any], rim: NDArray[np.float32]) -> Iterator[_Candidate]:
    """Yield the regions of a label image that may be nuclei, with how much they are like one."""
    regions = int(labels.max(initial=0))
    if not regions:
        return
    area, elliptic, axes = _moments(labels, regions)
    low, high = (share * DIAMETER**2 for share in _AREAS)
    likely = (area > low) & (area < high) & (elliptic > _ELLIPTIC) & (axes > _LONGEST)
    size = np.log(np.sqrt(area * 4 / np.pi) / DIAMETER) / _SPREAD
    score = (elliptic - _ELLIPTIC + 0.02) * np.exp(-0.5 * size**2) * _steepness(labels, rim)
    boxes = ndimage.find_objects(labels)
    for index in np.flatnonzero(likely):
        box = boxes[index]
        yield _Candidate(float(score[index]), box, labels[box] == index + 1)


def _moments(labels: NDArray[Any], regions: int) -> tuple[NDArray[np.float64], ...]:
    """Return of every region its area, likeness to an ellipse, and shorter over longer axis."""
    at = np.flatnonzero(labels)
    of = labels.ravel()[at] - 1
    y, x = np.divmod(at, labels.shape[1])
    area = np.maximum(np.bincount(of, minlength=regions), 1).astype(np.float64)

    def mean(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.bincount(of, weights=values, minlength=regions) / area

    dy, dx = y - mean(y)[of], x - mean(x)[of]
    vy, vx, both = mean(dy * dy) + 1 / 12, mean(dx * dx) + 1 / 12, mean(dy * dx)
    root = np.sqrt(vy * vx - both * both)  # never 0, thanks to the pixels' own twelfths
    half = np.sqrt((vy - vx) ** 2 / 4 + both * both)
    middle = (vy + vx) / 2
    return area, area / (4 * np.pi * root), np.sqrt((middle - half) / (middle + half))


def _steepness(labels: NDArray[Any], rim: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean slope along the rim of every region."""
    names = labels.astype(np.float32)  # exact below 2**24
    inner = cv2.erode(names, np.ones((3, 3), np.uint8))
    edge = (labels > 0) & (inner != names)
    of, regions = labels[edge] - 1, int(labels.max())
    total = np.bincount(of, weights=rim[edge], minlength=regions)
    return np.asarray(total / np.maximum(np.bincount(of, minlength=regions), 1))


def _choose(
    candidates: list[_Candidate], shape: tuple[int, ...]
) -> tuple[NDArray[np.int32], float]:
    """Take the best candidates that do not overlap; label image, and the sum of their scores."""
    taken = np.zeros(shape, np.int32)
    scores: list[float] = []
    for candidate in sorted(candidates, key=lambda item: -item.score):  # stable: ties keep order
        best = np.median(scores[:_BEST]) if len(scores) >= _BEST else 0.0
        if candidate.score < _LEAST_SCORE * best:
            break
        view = taken[candidate.box]
        if np.mean(view[candidate.mask] > 0) > _COVERED:
            continue
        scores.append(candidate.score)
        view[candidate.mask & (view == 0)] = len(scores)
    return taken, sum(scores)


def _cells(view: _View, nuclei: NDArray[np.int32]) -> NDArray[np.int32]:
    """Give the foreground to the nuclei: to the near, and along what is bright."""
    far = ndimage.distance_transform_edt(nuclei == 0) / DIAMETER
    height = far - 0.5 * view.smooth / max(float(view.smooth.max()), 1e-6)
    mask = (view.foreground | (nuclei > 0)) & (far < _REACH)
    return np.asarray(watershed(height, nuclei, mask=mask), dtype=np.int32)


def _blur(image: NDArray[Any], sigma: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.float32)


def _disc(radius: float) -> NDArray[np.uint8]:
    side = 2 * max(1, round(radius)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), dtype=np.uint8)


def _opened(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, _disc(radius)) > 0)


def _filled(mask: NDArray[np.bool_], diameter: float) -> NDArray[np.bool_]:
    """Fill the holes that are smaller than one and a half squared diameters."""
    holes, _ = ndimage.label(ndimage.binary_fill_holes(mask) & ~mask)
    small = np.bincount(holes.ravel()) < 1.5 * diameter**2
    small[0] = False
    return np.asarray(mask | small[holes])

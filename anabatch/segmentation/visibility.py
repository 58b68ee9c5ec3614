"""Whether anything is to be seen in an image: equalised, noise alone looks like cells.

Contrast-limited equalisation stretches whatever differences there are, and an empty slide's noise
with them. So it is asked first, of the untreated signal, whether anything as large as a cell's
parts stands out of what is around it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from anabatch.imaging import BYTE_STEP

if TYPE_CHECKING:
    from numpy.typing import NDArray

FAINTEST = 2.0
"""Least difference from the surroundings that counts as something, in steps of the camera's 8 bits, or
of what finer steps there are. The dimmest real negatives show 5; noise under JPEG shows less than 2."""

# The difference must also be so many standard deviations of what noise alone would leave of itself.
DEVIATIONS = 8.0
# What is averaged over, and what is around it, in nucleus diameters.
INNER, OUTER = 1 / 8, 1.0
COARSE = 4  # the work is done on every so many pixels' mean


def visible(signal: NDArray[Any], nucleus_diameter: float) -> bool:
    """Tell whether an image shows anything but noise.

    Parameters
    ----------
    signal : ndarray of uint8 or uint16, shape (h, w)
        At reference resolution, without its scale bar.
    nucleus_diameter : float
        In pixels.

    Returns
    -------
    bool
        Whether any place differs from its surroundings by :data:`FAINTEST` steps and by several
        times what the image's own noise explains.
    """
    largest, noise = stands_out(signal, nucleus_diameter)
    return exceeds(largest, noise, _step(signal))


def exceeds(largest: float, noise: float, step: int) -> bool:
    """Tell the same from what :func:`stands_out` returns, and the least difference of two levels."""
    return largest >= max(FAINTEST * step, DEVIATIONS * noise)


def stands_out(signal: NDArray[Any], nucleus_diameter: float) -> tuple[float, float]:
    """Return how much the most conspicuous place stands out, and what noise alone leaves.

    Both are in the signal's own levels: the largest difference of two Gaussian averages, one over a
    part of a nucleus and one over what is around it; and the standard deviation of the first over
    white noise of the strength that the image has (median absolute deviation of its second
    differences).
    """
    grey = signal.astype(np.float32)
    shape = tuple(max(1, side // COARSE) for side in grey.shape)
    small = cv2.resize(grey, shape[::-1], interpolation=cv2.INTER_AREA)
    fine, around = (
        cv2.GaussianBlur(small, (0, 0), max(0.5, share * nucleus_diameter / COARSE))
        for share in (INNER, OUTER)
    )
    averaged = 2 * float(np.sqrt(np.pi)) * INNER * nucleus_diameter
    return float(np.abs(fine - around).max()), _noise(grey) / averaged


def _step(signal: NDArray[Any]) -> int:
    """Return the least difference of two grey levels that an image could show, and does."""
    if signal.dtype == np.uint8:
        return 1
    return step_between(np.flatnonzero(np.bincount(signal.ravel())))


def step_between(levels: NDArray[np.intp]) -> int:
    """Return the least difference of the levels that a picture of 16 bits shows, sorted."""
    return int(np.diff(levels).min(initial=BYTE_STEP))  # 8 bits as 16 go by 256 or 257


def _noise(grey: NDArray[np.float32]) -> float:
    """Return the standard deviation of white noise, robust against what is drawn in it."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6  # of norm 1
    rough = cv2.filter2D(grey, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT_101)
    return 1.4826 * float(np.median(np.abs(rough)))

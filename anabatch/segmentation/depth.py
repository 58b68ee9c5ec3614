"""How many bits a camera filled: 10 or 12 of 16 are common, and contrast is equalised in 8."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROWS = 1024  # looked at together
_BYTE = 8
# Levels of 8 bits that were written as 16: times 257, or shifted.
_COPIES = (256, 257)


def unused_bits(signal: NDArray[Any]) -> int:
    """Return how many of the upper bits no pixel uses.

    Parameters
    ----------
    signal : ndarray of uint8 or uint16, shape (H, W)

    Returns
    -------
    int
        0 to 8 for uint16. 0 for uint8, and for 8 bits that were spread over 16, which are as dark
        as they are.
    """
    if signal.dtype != np.uint16:
        return 0
    seen = np.zeros(2**16, np.bool_)
    for row in range(0, signal.shape[0], _ROWS):
        seen[np.unique(signal[row : row + _ROWS])] = True
    levels = np.flatnonzero(seen)
    if any(not (levels % step).any() for step in _COPIES):
        return 0
    return 16 - max(_BYTE, int(levels[-1]).bit_length())


def filled(signal: NDArray[Any], unused: int) -> NDArray[Any]:
    """Return the signal with its bits moved up, so that none is lost where 8 of 16 are kept."""
    return signal << np.uint16(unused) if unused else signal

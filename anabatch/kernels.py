"""The RBF kernel less one, of chunks of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A block of 128 rows of 4,608 features in float32 is 2.4 MB and stays in the processor's cache while
# it is widened, centred, squared and multiplied; whole chunks took 1.4 times as long.
_BLOCK = 128
# Rows of float16 that are widened at once: their 0.6 MB stay in the nearer cache for four passes.
_PIECE = 32

_BEYOND = 2.0**16  # float16's next power of two
# Where float16's bits come to lie in float32: the sign, five of the exponent, ten of the mantissa.
_PLACES = np.int32(-0x70002000)
_SCALE = np.float32(2.0**112)


def expm1_kernel(
    rows: NDArray[Any], center: NDArray[Any], landmarks: NDArray[Any], gamma: float
) -> NDArray[np.floating[Any]]:
    """Return `exp(-gamma |x - c - l|^2) - 1`.

    Parameters
    ----------
    rows : ndarray of float16, float32 or float64, shape (n, d)
        float16 is computed in float32, the others in their own type.
    center : ndarray of float, shape (d,)
        c, near the rows: distances are differences of squares.
    landmarks : ndarray of float, shape (m, d)
        l, less the centre.
    gamma : float

    Returns
    -------
    ndarray of float32 or float64, shape (n, m)
        Never above 0.

    Raises
    ------
    ValueError
        A row is not finite, or too large for its type.
    """
    dtype = working_type(rows)
    origin, scale = center.astype(dtype), dtype(gamma)
    weights = np.multiply(landmarks.T, 2 * scale, dtype=dtype)
    kernel: NDArray[np.floating[Any]] = np.empty((len(rows), len(landmarks)), dtype=dtype)
    buffer: NDArray[Any] = np.empty((min(_BLOCK, len(rows)), rows.shape[1]), dtype=dtype)
    suspicious = _suspicious_norm(rows, origin)
    for start in range(0, len(rows), _BLOCK):
        source = rows[start : start + _BLOCK]
        block, exponent = buffer[: len(source)], kernel[start : start + _BLOCK]
        _subtract(source, origin, out=block)
        norms = np.einsum("ij,ij->i", block, block)
        if not norms.max() < suspicious and not _all_finite(source, norms):
            message = "Input X contains NaN, infinity or a value too large for its type"
            raise ValueError(message)
        np.matmul(block, weights, out=exponent)
        exponent -= (scale * norms)[:, None]
    kernel -= scale * np.einsum("ij,ij->i", landmarks, landmarks).astype(dtype)
    np.minimum(kernel, 0, out=kernel)
    np.expm1(kernel, out=kernel)
    return kernel


def working_type(rows: NDArray[Any]) -> type[np.float32 | np.float64]:
    """Return the type that rows are computed in: float64 for float64, else float32."""
    return np.float64 if rows.dtype == np.float64 else np.float32


def _suspicious_norm(rows: NDArray[Any], origin: NDArray[Any]) -> float:
    """Return the squared norm below which no value of a row can be other than finite."""
    if rows.dtype != np.float16:
        return float("inf")
    return 0.5 * max(_BEYOND - float(np.abs(origin).max(initial=0)), 0.0) ** 2


def _all_finite(rows: NDArray[Any], norms: NDArray[Any]) -> bool:
    return bool(np.isfinite(norms).all() and np.isfinite(rows).all())


def _subtract(rows: NDArray[Any], origin: NDArray[Any], out: NDArray[Any]) -> None:
    if rows.dtype != np.float16:
        np.subtract(rows, origin, out=out)
        return
    for start in range(0, len(rows), _PIECE):
        piece = out[start : start + _PIECE]
        _widen(rows[start : start + _PIECE], out=piece)
        piece -= origin


def _widen(half: NDArray[np.float16], out: NDArray[np.float32]) -> None:
    """Turn float16 into float32, exactly, in a tenth of the time that numpy takes.

    Moved to where float32 has them, sign, exponent and mantissa are the number times 2^-112, and
    numbers below the normal ones are no exception. What is infinite or no number becomes 65,536 or
    more, which no float16 is.
    """
    moved = out.view(np.int32)
    np.copyto(moved, half.view(np.int16))  # the sign is in all upper bits now
    np.left_shift(moved, 13, out=moved)
    np.bitwise_and(moved, _PLACES, out=moved)
    np.multiply(out, _SCALE, out=out)

"""The RBF kernel less one, of chunks of rows."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def expm1_kernel(
    rows: NDArray[Any], landmarks: NDArray[Any], gamma: float
) -> NDArray[np.floating[Any]]:
    """Return `exp(-gamma |x - l|^2) - 1`.

    Parameters
    ----------
    rows : ndarray of float32 or float64, shape (n, d)
        Near the origin: the distances are differences of squares.
    landmarks : ndarray of the same type, shape (m, d)
    gamma : float

    Returns
    -------
    ndarray of the same type, shape (n, m)
        Never above 0.

    Raises
    ------
    ValueError
        A row is not finite, or too large for its type.
    """
    scale = rows.dtype.type(gamma)
    norms = np.einsum("ij,ij->i", rows, rows)
    if not np.isfinite(norms).all():
        message = "Input X contains NaN, infinity or a value too large for its type"
        raise ValueError(message)
    exponent = rows @ (landmarks.T * (2 * scale))
    exponent -= (scale * norms)[:, None]
    exponent -= scale * np.einsum("ij,ij->i", landmarks, landmarks)
    np.minimum(exponent, 0, out=exponent)
    kernel: NDArray[np.floating[Any]] = np.expm1(exponent, out=exponent)
    return kernel


def working_type(rows: NDArray[Any]) -> type[np.float32 | np.float64]:
    """Return the type that rows are computed in: float64 for float64, else float32."""
    return np.float64 if rows.dtype == np.float64 else np.float32


def widen(rows: NDArray[Any]) -> NDArray[Any]:
    """Return float16 rows as float32, and others as they are."""
    if rows.dtype != np.float16:
        return rows
    # One look-up a value: four times as fast as numpy's conversion, which costs as much as the
    # product with 256 landmarks
    return _float16_values().take(rows.view(np.uint16))


@functools.cache
def _float16_values() -> NDArray[np.float32]:
    return np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)

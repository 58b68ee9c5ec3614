"""Whether a width of the kernel makes sense for the rows that it is used on."""

from __future__ import annotations

# Outside of these, gamma times the median squared distance makes kernel PCA linear PCA, or all rows
# equally far from each other.
_GAMMA_MEDIAN_RANGE = (0.02, 3.0)


class GammaWarning(UserWarning):
    """gamma makes kernel PCA linear PCA, or all rows equally far from each other."""


def gamma_warning(gamma: float, gamma_median: float) -> str:
    """Say what is wrong with a width of the kernel.

    Parameters
    ----------
    gamma : float
    gamma_median : float
        gamma times the median squared distance, above 0.

    Returns
    -------
    str
        A sentence or two; empty where nothing is wrong: `gamma_median` is 0.02 to 3.
    """
    low, high = _GAMMA_MEDIAN_RANGE
    if low <= gamma_median <= high:
        return ""
    consequence = "linear PCA" if gamma_median < low else "rows all equally far apart"
    return (
        f"gamma times the median squared distance is {gamma_median:.3g}, outside of {low} to {high}: "
        f"this gives {consequence}. 'auto' would be {gamma / gamma_median:.3g}."
    )

"""Bars of benchmarks: what a figure may be, and which figures miss it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bar:
    """A figure that was measured, and the limit that it is held against.

    Attributes
    ----------
    number : int
        The bar's, in `RESULTS.md`.
    what : str
    figure : float
    at_most, at_least : float or None
        One of them, or both; the limit itself holds.
    """

    number: int
    what: str
    figure: float
    at_most: float | None = None
    at_least: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the figure is within its limits; what is no number is not."""
        low = self.at_least if self.at_least is not None else -float("inf")
        high = self.at_most if self.at_most is not None else float("inf")
        return low <= self.figure <= high

    def __str__(self) -> str:
        limits = [
            f"{word} {limit:g}"
            for word, limit in (("at least", self.at_least), ("at most", self.at_most))
            if limit is not None
        ]
        return f"bar {self.number}, {self.what}: {self.figure:.3g}, {' and '.join(limits)}"


def missed(bars: list[Bar]) -> str:
    """Return a line a bar that is missed, for :func:`sys.exit`; empty where all hold.

    Parameters
    ----------
    bars : list of Bar

    Raises
    ------
    ValueError
        There are none: a check of nothing would pass.
    """
    if not bars:
        message = "no bar was measured"
        raise ValueError(message)
    return "\n".join(f"missed: {bar}" for bar in bars if not bar.holds)

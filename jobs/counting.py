"""Counts in words, as commands print them."""

from __future__ import annotations


def counted(number: int, one: str, many: str) -> str:
    """Return a number with the noun that agrees with it.

    Examples
    --------
    >>> counted(1, "image is", "images are"), counted(1419, "cell", "cells")
    ('1 image is', '1,419 cells')
    """
    return f"{number:,} {one if number == 1 else many}"

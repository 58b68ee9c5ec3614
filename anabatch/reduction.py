"""Reduction in a fixed tree: floating-point sums that do not depend on who computed them, or when."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


def reduce_tree(items: Sequence[T], merge: Callable[[T, T], T]) -> T:
    """Merge neighbours pairwise until one is left.

    The tree depends on the positions alone, so the result is the same to the last bit whichever
    worker made which item, and in which order they finished.

    Parameters
    ----------
    items : sequence, length N >= 1
        By chunk number.
    merge : callable
        Takes (left, right).

    Returns
    -------
    item
        The only item when there is one.

    Raises
    ------
    ValueError
        There is nothing to reduce.

    Examples
    --------
    >>> reduce_tree(["a", "b", "c", "d", "e"], lambda left, right: f"({left}{right})")
    '(((ab)(cd))e)'
    """
    if not items:
        message = "nothing to reduce: a tree needs at least one item"
        raise ValueError(message)
    level = list(items)
    while len(level) > 1:
        pairs = zip(level[0::2], level[1::2], strict=False)  # an odd one out moves up as it is
        level = [merge(left, right) for left, right in pairs] + level[len(level) & ~1 :]
    return level[0]

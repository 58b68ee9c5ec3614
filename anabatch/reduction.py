"""Reduction in a fixed tree: floating-point sums that do not depend on who computed them, or when."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")


def reduce_tree(items: Iterable[T], merge: Callable[[T, T], T]) -> T:
    """Merge neighbours pairwise, level by level, until one is left.

    The tree depends on the positions alone, so the result is the same to the last bit whichever
    worker made which item, and in which order they finished.

    Parameters
    ----------
    items : iterable, length N >= 1
        By chunk number. Of an iterator's items, at most `log2(N) + 1` are held at once.
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
    done: list[tuple[int, T]] = []  # (height, subtree), from left to right; heights decrease
    for item in items:
        height = 0
        while done and done[-1][0] == height:
            item = merge(done.pop()[1], item)  # noqa: PLW2901  # the item's subtree grows
            height += 1
        done.append((height, item))
    if not done:
        message = "nothing to reduce: a tree needs at least one item"
        raise ValueError(message)
    _, right = done.pop()
    while done:
        right = merge(done.pop()[1], right)
    return right

import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabatch.reduction import reduce_tree


@given(st.lists(st.text(max_size=3), min_size=1, max_size=70))
def test_items_keep_their_order(items):
    assert reduce_tree(items, operator.add) == "".join(items)


@given(st.integers(1, 300))
def test_the_tree_is_balanced(count):
    depth = reduce_tree([0] * count, lambda left, right: max(left, right) + 1)
    assert depth == (count - 1).bit_length()


@given(st.integers(1, 70))
def test_neighbours_are_merged_level_by_level(count):
    level = [str(i) for i in range(count)]
    tree = reduce_tree(iter(level), lambda left, right: f"({left} {right})")
    while len(level) > 1:
        pairs = [f"({left} {right})" for left, right in zip(level[::2], level[1::2], strict=False)]
        level = pairs + level[len(level) & ~1 :]
    assert tree == level[0]


@given(st.integers(1, 300))
def test_every_item_is_merged_once(count):
    assert reduce_tree([1] * count, operator.add) == count


def test_one_item_is_returned_as_it_is_and_the_input_stays():
    items = [object()]
    assert reduce_tree(items, operator.add) is items[0]
    numbers = [1, 2, 3]
    reduce_tree(numbers, operator.add)
    assert numbers == [1, 2, 3]


def test_nothing_cannot_be_reduced():
    with pytest.raises(ValueError, match="nothing to reduce"):
        reduce_tree([], operator.add)

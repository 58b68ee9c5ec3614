"""The identity of clusters from one fit to the next, against all assignments that there are."""

from itertools import permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anabatch.clustering import match_counts
from anabatch.clustering.matching import LEAST_OVERLAP


def match(old, new, k_old, k_new):
    """Match by the labels of the same rows."""
    common = np.zeros((k_old, k_new), dtype=int)
    np.add.at(common, (old, new), 1)
    return match_counts(common)


def test_matching_undoes_a_permutation():
    labels = np.random.default_rng(1).integers(10, size=500)
    renamed = np.random.default_rng(0).permutation(10)[labels]
    np.testing.assert_array_equal(match(labels, renamed, 10, 10)[renamed], labels)


@given(st.integers(1, 5), st.integers(1, 5), st.data())
def test_matches_are_distinct_and_the_best_there_are(k_old, k_new, data):
    pairs = st.tuples(st.integers(0, k_old - 1), st.integers(0, k_new - 1))
    old, new = np.array(data.draw(st.lists(pairs, min_size=1, max_size=30))).T
    numbers = match(old, new, k_old, k_new)
    assert len(set(numbers.tolist())) == k_new
    fresh = np.sort(numbers[numbers >= k_old])
    np.testing.assert_array_equal(fresh, k_old + np.arange(len(fresh)))
    kept = (numbers[new] == old).sum()
    size = max(k_old, k_new)
    common = np.zeros((size, size), dtype=int)
    np.add.at(common, (old, new), 1)
    either = common.sum(axis=1)[:, None] + common.sum(axis=0) - common
    common[common < LEAST_OVERLAP * either] = 0
    best = max(common[list(rows), range(size)].sum() for rows in permutations(range(size)))
    assert kept == best


def test_a_cluster_that_shares_no_row_with_an_old_one_gets_a_fresh_number():
    old, new = [0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 2, 2]
    assert sorted(match(old, new, 2, 3).tolist()) == [0, 1, 2]
    # the second old cluster has no rows left, and its number is not given to somebody else
    assert match([0, 0, 0], [0, 1, 1], 2, 2).tolist() == [2, 0]


def test_a_cluster_does_not_go_on_as_one_of_its_rows():
    """99 of 100 rows and another cluster became one; the row that is left is none of the two."""
    old = np.repeat([0, 1], [100, 1000])
    new = np.zeros(1100, int)
    new[0] = 1
    assert match(old, new, 2, 2).tolist() == [1, 2]

"""Labels and clusters, by tests that others have too, and on what is not independent."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, fisher_exact

from anabatch.clustering.enrichment import (
    benjamini_hochberg,
    enriched_labels,
    fisher,
    population_stability,
)


@given(*[st.integers(0, 12)] * 4)
def test_fisher_is_scipys(both, only_label, only_cluster, neither):
    total = both + only_label + only_cluster + neither
    expected = fisher_exact([[both, only_label], [only_cluster, neither]], "greater").pvalue
    found = fisher(both + only_label, both + only_cluster, both, total)
    assert found == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_correction_is_scipys(p):
    np.testing.assert_allclose(benjamini_hochberg(p), false_discovery_control(p), atol=1e-12)


def archive(rng, groups, label_share):
    """Return cells by group and cluster, where each group has a composition of its own."""
    shares = rng.dirichlet([1, 1, 1], groups)
    counts = np.array([rng.multinomial(200, share) for share in shares])
    labels = [frozenset({"x"}) if rng.random() < label_share else frozenset() for _ in shares]
    return counts, labels


def test_a_label_that_goes_with_a_cluster_is_found_and_no_other():
    rng = np.random.default_rng(0)
    counts, labels = archive(rng, 60, 0.4)
    for number, some in enumerate(labels):
        if some:
            counts[number, 2] += 300
    tested = enriched_labels(counts, labels, [0, 3, 7])
    assert [(one.label, one.cluster) for one in tested if one.q < 0.05] == [("x", 7)]
    (best, *_) = tested
    assert best.share > best.others_share + 0.3
    assert best.groups + best.others == 60
    assert 0 < best.leaning <= best.groups


def test_cells_of_one_group_are_not_evidence():
    """Where a label means nothing, five in a hundred are taken for something, and not nearly all."""
    p = []
    for seed in range(120):
        counts, labels = archive(np.random.default_rng([1, seed]), 24, 0.5)
        p += [one.p for one in enriched_labels(counts, labels, [0, 1, 2]) if one.cluster == 0]
    assert np.mean(np.array(p) < 0.05) < 0.09
    # the same cells, tested one by one, are called enriched again and again
    naive = []
    for seed in range(120):
        counts, labels = archive(np.random.default_rng([1, seed]), 24, 0.5)
        has = np.array([bool(some) for some in labels])
        inside = counts[:, 0]
        both, label = inside[has].sum(), counts[has].sum()
        naive.append(fisher(int(label), int(inside.sum()), int(both), int(counts.sum())))
    assert np.mean(np.array(naive) < 0.05) > 0.3


def test_labels_of_one_group_or_of_all_are_not_tested():
    counts = np.array([[5, 1], [4, 2], [1, 5]])
    labels = [frozenset({"all", "one"}), frozenset({"all", "two"}), frozenset({"all", "two"})]
    assert {one.label for one in enriched_labels(counts, labels, [0, 1])} == {"two"}
    assert enriched_labels(counts[:0], [], [0, 1]) == []


def test_a_shift_of_shares():
    assert population_stability([50, 50], [500, 500]) == 0
    assert population_stability([90, 10], [500, 500]) > 0.25
    assert population_stability([100, 0], [500, 500]) < 10
    rng = np.random.default_rng(0)
    chance = [
        population_stability(rng.multinomial(200, [0.25] * 4), [10**6] * 4) for _ in range(300)
    ]
    assert np.mean(chance) == pytest.approx(3 / 200, rel=0.15)

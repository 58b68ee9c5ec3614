"""Distances that nothing fitted had, and whether they are of one kind."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.datasets import make_blobs

from anabatch.clustering import BatchKMeans, match_counts
from anabatch.clustering.novelty import QUANTILE, DistanceSketch, densest, is_new_kind


@given(
    arrays(np.float32, st.integers(1, 300), elements=st.floats(0.001953125, 1000, width=32)),
    st.sampled_from([0.0, 0.1, 0.5, 0.999, 1.0]),
    st.integers(1, 50),
)
def test_a_quantile_holds_its_share_and_is_near(distances, share, size):
    whole = DistanceSketch.of(distances)
    pieces = [DistanceSketch.of(distances[i : i + size]) for i in range(0, len(distances), size)]
    merged = pieces[0]
    for piece in pieces[1:]:
        merged = merged.merge(piece)
    assert np.array_equal(whole.counts, merged.counts)
    found = whole.quantile(share)
    assert (distances <= found).mean() >= share
    exact = np.quantile(distances, share, method="inverted_cdf")
    assert found <= exact * 1.0111


def test_sketches_of_nothing_and_of_zeros():
    assert DistanceSketch.of(np.empty(0)).quantile(0.999) == 0
    assert DistanceSketch.of(np.zeros(5)).quantile(0.999) < 1e-9
    assert DistanceSketch.of(np.array([np.inf])).counts[-1] == 1


def test_the_densest_ball_is_found_among_outliers():
    rng = np.random.default_rng(0)
    outliers = rng.uniform(-40, 40, (60, 3))
    kind = rng.normal([9, 9, 9], 0.5, (40, 3))
    rows = rng.permutation(np.concatenate([outliers, kind]))
    center, inside = densest(rows, 2.5)
    assert np.linalg.norm(center - 9) < 0.5
    assert 40 <= inside.sum() <= 43


@pytest.mark.parametrize(
    ("together", "new", "criteria", "is_one"),
    [
        (30, 1000, 1, True),
        (24, 1000, 1, False),
        (150, 100_000, 1, False),
        (210, 100_000, 1, True),
        (210, 100_000, 2, False),
        (410, 100_000, 2, True),
    ],
)
def test_a_kind_is_more_than_the_quantiles_let_expect(together, new, criteria, is_one):
    assert is_new_kind(together, new, 25, criteria) == is_one


# Nights


def night(model, X, extra=None):
    """Go on from a model's centres, and one more, by three passes."""
    centers = model.cluster_centers_ if extra is None else [*model.cluster_centers_, extra]
    numbers = model.cluster_numbers_.tolist() + [model.n_clusters] * (extra is not None)
    warm = BatchKMeans(len(centers)).start_at(centers, numbers)
    for _ in range(3):
        warm.lloyd_update(warm.partial_sums(X))
    return warm


@pytest.fixture(scope="module")
def old():
    rng = np.random.default_rng(2)
    centers = rng.normal(0, 4, (8, 10))
    X, truth = make_blobs(9000, 10, centers=centers, cluster_std=1.0, random_state=2)
    order = np.argsort(truth < 7, kind="stable")  # the last kind comes first
    X, truth = X[order], truth[order]
    seen = X[truth < 7]
    model = BatchKMeans(7, pilot_rows=4000).fit(seen[:6000])
    sketch = DistanceSketch.of(model.distances(seen[:6000])[1])
    return model, sketch.quantile(QUANTILE), seen, X[truth == 7]


def test_a_night_without_a_new_kind_keeps_identities_and_proposes_nothing(old):
    model, quantile, seen, _ = old
    new = seen[6000:]
    _, distance = model.distances(new)
    beyond = new[distance > quantile]
    together = densest(beyond, quantile)[1].sum() if len(beyond) else 0
    assert not is_new_kind(int(together), len(new), 25)
    warm = night(model, seen)
    assert (warm.predict(seen) == model.predict(seen)).mean() >= 0.99


def test_a_new_kind_is_found_and_costs_no_identity(old):
    model, quantile, seen, kind = old
    new = np.concatenate([seen[6000:], kind])
    everything = np.concatenate([seen, kind])
    _, distance = model.distances(new)
    beyond = new[distance > quantile]
    center, inside = densest(beyond, quantile)
    assert is_new_kind(int(inside.sum()), len(new), 25)
    warm = night(model, everything, center)
    cold = BatchKMeans(8, pilot_rows=4000).fit(everything)
    inertia = np.square(warm.distances(everything)[1], dtype=float).sum()
    assert inertia <= 1.02 * cold.inertia_
    assert (warm.predict(seen) == model.predict(seen)).mean() >= 0.99
    assert (warm.predict(kind) == 7).mean() > 0.99
    # without the seed the new kind stays where it was put
    stuck = np.square(night(model, everything).distances(everything)[1], dtype=float).sum()
    assert stuck > 1.2 * cold.inertia_
    # and a cold fit is matched to the numbers that people know
    common = np.zeros((7, 8), dtype=int)
    np.add.at(common, (model.predict(seen), cold.predict(seen)), 1)
    cold.renumber(match_counts(common))
    assert (cold.predict(seen) == model.predict(seen)).mean() >= 0.99


def test_a_start_is_the_centres_as_they_are_given():
    model = BatchKMeans(2).start_at([[0.0, 1.0], [5.0, 5.0]], [4, 9])
    assert model.predict([[0.1, 1], [4, 4]]).tolist() == [4, 9]
    assert model.counts_.tolist() == [0, 0]
    model.lloyd_update(model.partial_sums([[0.0, 1.0], [5.0, 5.0]]))
    assert model.shift_ == 0
    with pytest.raises(ValueError, match="distinct"):
        BatchKMeans(2).start_at([[0.0], [1.0]], [1, 1])

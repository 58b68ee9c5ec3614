"""k-means against scikit-learn's, and against itself in other chunks and orders."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.utils.estimator_checks import check_estimator

from anabatch.clustering import BatchKMeans, ClusterSums, match_counts, merge
from anabatch.errors import ConfigurationError, PopulationError
from anabatch.reduction import reduce_tree
from anabatch.silhouettes import sampled_silhouette, simplified_silhouette


@pytest.fixture(scope="module")
def blobs():
    """Four well separated clusters of 100, 200, 300 and 400 rows."""
    centers = np.array([[0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 10]])
    X, truth = make_blobs([100, 200, 300, 400], centers=centers, random_state=0)
    return X.astype(np.float32), truth


@pytest.fixture(scope="module")
def digits():
    return PCA(35, random_state=0).fit_transform(load_digits().data)


def overlapping(seed):
    X, _ = make_blobs(12_000, 35, centers=45, cluster_std=4.0, random_state=seed)
    return X.astype(np.float32)


# Quality


@pytest.mark.parametrize("seed", range(4))
def test_the_inertia_is_that_of_scikit_learns_best_of_ten(seed):
    X = overlapping(seed)
    ours = BatchKMeans(30, pilot_rows=6000, random_state=seed).fit(X)
    peer = KMeans(30, n_init=10, random_state=seed).fit(X)
    assert ours.inertia_ <= 1.02 * peer.inertia_


def test_separate_clusters_are_found_and_numbered_by_size(blobs):
    X, truth = blobs
    ours = BatchKMeans(4, pilot_rows=150, chunk_size=90).fit(X)
    np.testing.assert_array_equal(ours.labels_, 3 - truth)
    np.testing.assert_array_equal(ours.counts_, [400, 300, 200, 100])
    means = [X[truth == number].mean(axis=0) for number in (3, 2, 1, 0)]
    np.testing.assert_allclose(ours.cluster_centers_, means, atol=1e-5)


def test_inertia_and_distances_belong_to_the_final_centres(blobs):
    X, _ = blobs
    ours = BatchKMeans(3).fit(X)
    labels, distance = ours.distances(X)
    exact = np.linalg.norm(X - ours.cluster_centers_[labels], axis=1)
    np.testing.assert_allclose(distance, exact, rtol=1e-6)
    assert ours.inertia_ == pytest.approx((exact**2).sum(), rel=1e-6)
    assert labels.dtype == np.dtype(np.int32)
    assert distance.dtype == np.dtype(np.float32)


def test_distances_do_not_cancel_far_from_the_origin(blobs):
    X = blobs[0].astype(np.float64)
    near, far = BatchKMeans(4).fit(X), BatchKMeans(4).fit(X + 1e6)
    np.testing.assert_array_equal(near.labels_, far.labels_)
    np.testing.assert_allclose(far.distances(X + 1e6)[1], near.distances(X)[1], rtol=1e-3)


def test_equal_sizes_are_numbered_by_the_first_coordinate_that_differs():
    corners = np.array([[1.0, 5.0], [0.0, 7.0], [1.0, 2.0]])
    X = np.repeat(corners, 4, axis=0)
    ours = BatchKMeans(3, random_state=4).fit(X)
    np.testing.assert_allclose(ours.cluster_centers_, [[0, 7], [1, 2], [1, 5]])


def test_numbers_do_not_depend_on_the_seed_where_the_clusters_do_not(blobs):
    X, _ = blobs
    labels = [BatchKMeans(4, random_state=seed).fit(X).labels_ for seed in range(5)]
    for other in labels[1:]:
        np.testing.assert_array_equal(other, labels[0])


# Updates, by hand


@pytest.fixture
def two_centers():
    model = BatchKMeans(2).fit_pilot([[0.0], [0.0], [0.0], [10.0]])
    assert model.cluster_centers_.tolist() == [[0.0], [10.0]]
    assert model.counts_.tolist() == [3, 1]
    return model


def test_sums_of_a_chunk(two_centers):
    sums = two_centers.partial_sums(np.array([[1.0], [2.0], [8.0]]))
    assert sums.counts.tolist() == [2, 1]
    assert sums.sums.tolist() == [[3.0], [8.0]]
    assert sums.inertia == 1 + 4 + 4


def test_sums_to_other_centres(two_centers):
    sums = two_centers.partial_sums([[1.0], [2.0]], centers=np.array([[1.0], [2.0], [3.0]]))
    assert sums.counts.tolist() == [1, 1, 0]
    assert sums.inertia == 0


def test_a_mini_batch_moves_a_centre_by_the_share_of_its_rows(two_centers):
    two_centers.minibatch_update(ClusterSums(np.array([1, 0]), np.array([[4.0], [0.0]]), 16.0))
    assert two_centers.cluster_centers_.tolist() == [[1.0], [10.0]]  # 0 + (4 - 1 * 0) / (3 + 1)
    assert two_centers.counts_.tolist() == [4, 1]
    two_centers.minibatch_update(ClusterSums(np.array([0, 3]), np.array([[0.0], [42.0]]), 48.0))
    assert two_centers.cluster_centers_.tolist() == [[1.0], [13.0]]  # 10 + (42 - 30) / (1 + 3)
    assert two_centers.inertia_ == 48.0


def test_a_lloyd_pass_takes_means_and_keeps_an_empty_cluster(two_centers):
    two_centers.lloyd_update(ClusterSums(np.array([4, 0]), np.array([[2.0], [0.0]]), 1.0))
    assert two_centers.cluster_centers_.tolist() == [[0.5], [10.0]]
    assert two_centers.empty_clusters_.tolist() == [1]
    two_centers.minibatch_update(ClusterSums(np.array([0, 0]), np.zeros((2, 1)), 0.0))
    assert two_centers.cluster_centers_.tolist() == [[0.5], [10.0]]
    two_centers.lloyd_update(ClusterSums(np.array([1, 2]), np.array([[0.5], [22.0]]), 1.0))
    assert two_centers.cluster_centers_.tolist() == [[0.5], [11.0]]
    assert two_centers.empty_clusters_.tolist() == []


def test_numbers_by_size_follow_the_centres_and_their_emptiness(two_centers):
    two_centers.lloyd_update(ClusterSums(np.array([0, 4]), np.array([[0.0], [40.0]]), 0.0))
    assert two_centers.empty_clusters_.tolist() == [0]
    two_centers.number_by_size()
    assert two_centers.cluster_centers_.tolist() == [[10.0], [0.0]]
    assert two_centers.counts_.tolist() == [4, 0]
    assert two_centers.empty_clusters_.tolist() == [1]


# Chunks, orders, samples


def test_sums_do_not_depend_on_who_makes_them(digits):
    ours = BatchKMeans(10).fit_pilot(digits[:500])
    chunks = np.array_split(digits, 7)
    expected = reduce_tree([ours.partial_sums(chunk) for chunk in chunks], merge)
    with ThreadPoolExecutor(2) as pool:
        parts = list(pool.map(ours.partial_sums, chunks[::-1]))[::-1]
    result = reduce_tree(parts, merge)
    np.testing.assert_array_equal(result.sums, expected.sums)
    np.testing.assert_array_equal(result.counts, expected.counts)
    assert result.inertia == expected.inertia
    whole = ours.partial_sums(digits)
    np.testing.assert_allclose(whole.sums, expected.sums, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(whole.counts, expected.counts)


def test_step_by_step_is_the_same_as_in_memory(digits):
    at_once = BatchKMeans(10, chunk_size=256, minibatch_rows=100, random_state=2).fit(digits)
    steps = BatchKMeans(10, minibatch_rows=100, random_state=2)
    steps.fit_pilot(digits[_drawn(len(digits), seed=2)])
    chunks = [digits[start : start + 256] for start in range(0, len(digits), 256)]
    for number in range(2):
        samples = [steps.minibatch_sample(chunk, number, at) for at, chunk in enumerate(chunks)]
        steps.minibatch_update(reduce_tree([steps.partial_sums(one) for one in samples], merge))
    for _ in range(2):
        steps.lloyd_update(reduce_tree([steps.partial_sums(chunk) for chunk in chunks], merge))
    steps.number_by_size()
    np.testing.assert_array_equal(steps.cluster_centers_, at_once.cluster_centers_)
    np.testing.assert_array_equal(steps.predict(digits), at_once.labels_)


def _drawn(n, seed):
    from anabatch.sampling import draw

    return draw([str(i) for i in range(n)], n, seed)


def test_samples_depend_on_seed_round_and_chunk_only():
    X = np.arange(5000.0)[:, None]
    model = BatchKMeans(minibatch_rows=50, random_state=1)
    sample = model.minibatch_sample(X, 0, 0)
    assert sample.shape == (50, 1)
    assert (np.diff(sample[:, 0]) > 0).all()
    np.testing.assert_array_equal(sample, model.minibatch_sample(X, 0, 0))
    other = BatchKMeans(minibatch_rows=50, random_state=2)
    for different in (
        model.minibatch_sample(X, 1, 0),
        model.minibatch_sample(X, 0, 1),
        other.minibatch_sample(X, 0, 0),
    ):
        assert not np.array_equal(sample, different)
    np.testing.assert_array_equal(model.minibatch_sample(X[:50], 0, 0), X[:50])


def test_an_empty_chunk_adds_nothing(two_centers):
    nothing = two_centers.partial_sums(np.empty((0, 1)))
    assert nothing.counts.tolist() == [0, 0]
    assert nothing.sums.tolist() == [[0.0], [0.0]]
    assert nothing.inertia == 0
    assert two_centers.predict(np.empty((0, 1))).tolist() == []


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_labels_do_not_depend_on_chunks_or_type(blobs, dtype):
    X, truth = blobs
    ours = BatchKMeans(4).fit(X.astype(dtype))
    np.testing.assert_array_equal(ours.labels_, 3 - truth)
    ours.set_params(chunk_size=7)
    np.testing.assert_array_equal(ours.predict(X.astype(dtype)), 3 - truth)


# Identity


def test_a_refit_keeps_the_numbers_that_people_know(blobs):
    X, truth = blobs
    old = BatchKMeans(3).fit(X[truth != 3])
    new = BatchKMeans(4).fit(X)
    known = truth != 3
    common = np.zeros((3, 4), dtype=int)
    np.add.at(common, (old.labels_, new.predict(X[known])), 1)
    new.renumber(match_counts(common))
    np.testing.assert_array_equal(new.predict(X[known]), old.labels_)
    np.testing.assert_array_equal(new.predict(X[~known]), 3)
    new.lloyd_update(new.partial_sums(X[known]))
    assert new.empty_clusters_.tolist() == [3]
    with pytest.raises(ValueError, match="distinct"):
        new.renumber([0, 0, 1, 2])


def test_an_empty_cluster_keeps_its_mark_under_a_new_number(two_centers):
    two_centers.lloyd_update(ClusterSums(np.array([4, 0]), np.array([[2.0], [0.0]]), 1.0))
    two_centers.renumber([5, 3])
    assert two_centers.empty_clusters_.tolist() == [3]


# How many clusters


def test_a_sampled_silhouette_is_near_the_exact_one():
    X, _ = make_blobs(6000, 10, centers=12, cluster_std=3.0, random_state=1)
    labels = BatchKMeans(12).fit(X).labels_
    mean, error = sampled_silhouette(X, labels)
    exact = silhouette_score(X, labels)
    assert abs(mean - exact) < 0.02
    assert abs(mean - exact) < 5 * error
    assert 0 < error < 0.01


def test_a_silhouette_of_all_rows_is_exact(blobs):
    X, truth = blobs
    mean, error = sampled_silhouette(X, truth)
    assert mean == pytest.approx(silhouette_score(X, truth), abs=1e-6)
    assert error == 0
    _, unknown = sampled_silhouette(X, truth, rows=500, repeats=1)
    assert np.isnan(unknown)


def test_a_sample_that_a_cluster_of_one_row_is_hardly_in_has_a_silhouette():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(0, 1, (3000, 3)), [[500.0, 0, 0]]])
    labels = (np.arange(3001) == 3000).astype(int)
    mean, error = sampled_silhouette(X, labels)
    assert abs(mean - silhouette_score(X, labels)) < 0.02
    assert error < 0.01


def test_small_clusters_count_with_their_shares_of_a_sampled_silhouette():
    # two wide clusters that overlap, and three small ones far from all: rows drawn evenly would see few
    centers = np.array([[0.0, 0], [3, 0], [60, 0], [0, 60], [60, 60]])
    X, labels = make_blobs([1500, 900, 4, 20, 1], centers=centers, random_state=0)
    exact = silhouette_score(X, labels)
    mean, error = sampled_silhouette(X, labels, rows=500)
    assert abs(mean - exact) < 0.02
    assert abs(mean - exact) < 5 * error


def test_a_simplified_silhouette_by_hand():
    centers = np.array([[0.0], [10.0], [30.0]])
    # nearest and second nearest: 1 and 9; 4 and 6; on a centre
    expected = ((9 - 1) / 9 + (6 - 4) / 6 + 1) / 3
    assert simplified_silhouette([[1.0], [6.0], [30.0]], centers) == pytest.approx(expected)
    assert simplified_silhouette([[1.0]], np.array([[1.0], [1.0]])) == 0


def test_the_simplified_silhouette_ranks_k_as_the_exact_one_does():
    X, _ = make_blobs(2000, 5, centers=6, cluster_std=1.0, random_state=3)
    scores = []
    for k in range(2, 11):
        model = BatchKMeans(k).fit(X)
        exact = silhouette_score(X, model.labels_)
        scores.append((simplified_silhouette(X, model.cluster_centers_), exact))
    simplified, exact = np.array(scores).T
    assert simplified.argmax() == exact.argmax() == 4
    assert np.corrcoef(simplified, exact)[0, 1] > 0.9


def test_silhouettes_need_two_clusters(blobs):
    X, _ = blobs
    with pytest.raises(PopulationError, match="1 clusters"):
        sampled_silhouette(X, np.zeros(len(X)))
    with pytest.raises(PopulationError, match="not defined"):
        simplified_silhouette(X, np.zeros((1, 3)))


# Saving and refusing


def test_arrays_bring_the_model_back(blobs, tmp_path):
    X, _ = blobs
    original = BatchKMeans(4, random_state=3).fit(X).renumber([4, 1, 9, 0])
    np.savez(tmp_path / "model.npz", **original.to_arrays())
    with np.load(tmp_path / "model.npz", allow_pickle=False) as saved:
        restored = BatchKMeans.from_arrays(saved)
    assert restored.get_params() == original.get_params()
    np.testing.assert_array_equal(restored.predict(X), original.predict(X))
    assert set(restored.predict(X).tolist()) == {0, 1, 4, 9}
    sums = original.partial_sums(X)
    restored.minibatch_update(sums)
    original.minibatch_update(sums)
    np.testing.assert_array_equal(restored.cluster_centers_, original.cluster_centers_)
    with pytest.raises(ConfigurationError, match="counts_"):
        BatchKMeans.from_arrays({k: v for k, v in original.to_arrays().items() if k != "counts_"})


def test_models_and_sums_survive_pickling(blobs):
    X, _ = blobs
    model = BatchKMeans(4).fit(X)
    restored = pickle.loads(pickle.dumps(model))  # noqa: S301  # our own bytes
    np.testing.assert_array_equal(restored.predict(X), model.labels_)
    sums = pickle.loads(pickle.dumps(model.partial_sums(X)))  # noqa: S301  # our own bytes
    np.testing.assert_array_equal(sums.counts, model.counts_)


@pytest.mark.parametrize(
    "parameters",
    [
        {"n_clusters": 0},
        {"restarts": 0},
        {"rounds": -1},
        {"pilot_rows": 0},
        {"minibatch_rows": 2.5},
        {"chunk_size": 0},
        {"random_state": None},
    ],
)
def test_parameters_out_of_range_are_refused(blobs, parameters):
    model = BatchKMeans(**parameters)
    with pytest.raises(ConfigurationError, match=next(iter(parameters))):
        model.fit_pilot(blobs[0])


def test_more_clusters_than_distinct_rows_are_refused():
    with pytest.raises(PopulationError, match="n_samples=3"):
        BatchKMeans(4).fit(np.eye(3))
    with pytest.raises(PopulationError, match="distinct"):
        BatchKMeans(4).fit(np.repeat(np.eye(3), 5, axis=0))


def test_rows_that_are_not_finite_are_refused(two_centers):
    with pytest.raises(ValueError, match="NaN"):
        two_centers.partial_sums([[np.nan]])


def test_scikit_learns_metrics_take_the_labels(digits):
    labels = BatchKMeans(10).fit_predict(digits)
    assert adjusted_rand_score(load_digits().target, labels) > 0.6


def test_it_is_an_estimator():
    outcomes = check_estimator(BatchKMeans(3), on_skip=None)  # a failure raises
    # scikit-learn itself skips its array API check unless an environment variable is set
    skipped = {one["check_name"] for one in outcomes if one["status"] != "passed"}
    assert skipped <= {"check_array_api_input"}

"""The embedding against exact kernel PCA, and against itself in other chunks, orders and types.

Where a bar is a number, the test records what it measured:
`pytest -o junit_family=xunit1 --junit-xml FILE` writes it down.
"""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA, KernelPCA
from sklearn.exceptions import NotFittedError
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from anabatch.embedding import (
    GammaWarning,
    KernelStatistics,
    NystroemKernelPCA,
    gamma_warning,
    merge,
    reduce_tree,
)
from anabatch.errors import ConfigurationError, LandmarksError, PopulationError


@pytest.fixture(scope="module")
def digits():
    return load_digits().data  # (1797, 64), whole numbers from 0 to 16


@pytest.fixture(scope="module")
def model(digits):
    return NystroemKernelPCA(n_components=100, n_landmarks=256, chunk_size=400).fit(digits)


@pytest.fixture(scope="module")
def features():
    """Rectified and correlated, as a network's features are; shape (3000, 300)."""
    rng = np.random.default_rng(3)
    hidden = rng.normal(size=(3000, 40)) * np.geomspace(3, 0.3, 40)
    return np.maximum(hidden @ rng.normal(size=(40, 300)) / 6, 0)


def centered_kernel(X, gamma):
    kernel = rbf_kernel(X, gamma=gamma)
    return kernel - kernel.mean(axis=0) - kernel.mean(axis=1)[:, None] + kernel.mean()


def relative_error(values, expected):
    return np.abs(values / expected - 1).max()


def spectrum(model, parts):
    return model.finish(reduce_tree(parts, merge)).eigenvalues_


# Against exact kernel PCA


def test_few_landmarks_come_close_to_exact_kernel_pca(digits, model, record_property):
    kernel = centered_kernel(digits, model.gamma_)
    exact = np.linalg.eigvalsh(kernel)[::-1] / len(digits)

    error = np.abs(model.eigenvalues_[:10] / exact[:10] - 1).max()
    record_property("bar 1: largest error of ten eigenvalues", error)
    assert error < 0.01
    subspace, _ = np.linalg.qr(model.transform(digits)[:, :35].astype(np.float64))
    captured = np.trace(subspace.T @ kernel @ subspace) / len(digits) / exact[:35].sum()
    record_property("bar 1: captured energy at 35", captured)
    assert captured >= 0.999


def test_explained_variance_is_a_share_of_the_whole(digits, model, record_property):
    kernel = centered_kernel(digits, model.gamma_)
    exact = np.linalg.eigvalsh(kernel)[::-1] / np.trace(kernel)
    shown, true = model.explained_variance_ratio_.cumsum(), exact.cumsum()
    error = np.abs(shown - true[: len(shown)]).max()
    record_property("bar 10: largest error of explained variance", error)
    assert error < 0.05
    assert shown[34] < 0.8, "a share of the components shown would be near 1"


def test_all_rows_as_landmarks_are_exact_kernel_pca(digits, record_property):
    inside, outside = digits[:500], digits[500:]
    ours = NystroemKernelPCA(n_components=10, n_landmarks=500, cutoff=1e-12).fit(inside)
    peer = KernelPCA(10, kernel="rbf", gamma=ours.gamma_).fit(inside)

    error = relative_error(ours.eigenvalues_ * 500, peer.eigenvalues_)
    record_property("bar 2: eigenvalues", error)
    assert error < 1e-4
    for rows in (inside, outside, inside.astype(np.float16)):
        scores, expected = ours.transform(rows), peer.transform(rows.astype(np.float64))
        error = np.abs(np.abs(scores) - np.abs(expected)).max()
        record_property(f"bar 2: scores of {len(rows)} rows in {rows.dtype}", error)
        assert error < 1e-4


def test_exact_explained_variance_of_a_small_population(digits):
    rows = digits[:90]  # 4,005 pairs: all of them are used
    ours = NystroemKernelPCA(n_landmarks=90, cutoff=1e-12).fit(rows)
    kernel = centered_kernel(rows, ours.gamma_)
    assert ours.trace_ * (1 - 1 / 90) == pytest.approx(np.trace(kernel) / 90, rel=1e-12)
    assert ours.explained_variance_ratio_.sum() == pytest.approx(1, abs=1e-6)


def test_a_tiny_gamma_is_linear_pca(digits):
    gamma = 1e-9
    with pytest.warns(UserWarning, match="linear PCA"):
        ours = NystroemKernelPCA(n_components=10, gamma=gamma, n_landmarks=256).fit(digits)
    peer = PCA(10).fit(digits)
    # k = 1 - gamma |x - y|^2 is, centred, 2 gamma times the inner product
    variances = peer.explained_variance_ * (len(digits) - 1) / len(digits)
    np.testing.assert_allclose(ours.eigenvalues_ / (2 * gamma), variances, rtol=1e-4)
    scores = np.abs(ours.transform(digits)) / np.sqrt(2 * gamma)
    np.testing.assert_allclose(scores, np.abs(peer.transform(digits)), atol=0.01)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_cutoff_deletes_nothing_at_small_gamma(digits, model, dtype, record_property):
    rows, gamma = digits.astype(dtype), 0.005 * model.gamma_
    spectra = []
    for cutoff in (1e-10, 1e-8, 1e-6, 1e-4):
        some = NystroemKernelPCA(10, n_landmarks=256, gamma=gamma, cutoff=cutoff)
        with pytest.warns(UserWarning, match="linear PCA"):
            spectra.append(some.fit(rows).eigenvalues_)
    error = max(relative_error(other, spectra[0]) for other in spectra[1:])
    record_property("bar 3: ten eigenvalues for four cut-offs", error)
    assert error < 1e-3


@pytest.mark.parametrize("landmarks", [64, 128, 256])
def test_landmarks_by_k_means_are_better_than_uniform_ones(features, landmarks, record_property):
    train, held_out = features[:2000], features[2000:]
    errors = {}
    for method in ("kmeans", "uniform"):
        some = NystroemKernelPCA(n_landmarks=landmarks, landmark_method=method)
        some.fit_landmarks(train)
        exact = np.linalg.eigvalsh(centered_kernel(held_out, some.gamma_))[::-1] / len(held_out)
        some.finish(some.partial_statistics(held_out))
        errors[method] = np.abs(some.eigenvalues_[:10] / exact[:10] - 1).max()
    ratio = errors["kmeans"] / errors["uniform"]
    record_property(f"bar 12: k-means over uniform, {landmarks} landmarks", ratio)
    assert ratio <= 0.7


# Precision


def test_float32_is_as_good_as_float64(features, record_property):
    some = NystroemKernelPCA(35, n_landmarks=256).fit_landmarks(features)
    double = some.finish(some.partial_statistics(features)).eigenvalues_
    single = some.finish(some.partial_statistics(features.astype(np.float32))).eigenvalues_
    error = relative_error(single, double)
    record_property("bar 4: float32 against float64", error)
    assert error < 1e-4


def test_an_offset_of_all_data_changes_nothing(features, record_property):
    near = NystroemKernelPCA(35, n_landmarks=256).fit(features).eigenvalues_
    far = NystroemKernelPCA(35, n_landmarks=256).fit((features + 20).astype(np.float32))
    error = relative_error(far.eigenvalues_, near)
    record_property("bar 4: all rows offset by 20", error)
    assert error < 1e-3


def test_float16_rows_are_computed_as_the_same_numbers_in_float32(features):
    half = features.astype(np.float16)
    same = half.astype(np.float32)
    from_half, from_same = (NystroemKernelPCA(20, n_landmarks=64).fit(X) for X in (half, same))
    np.testing.assert_array_equal(from_half.eigenvalues_, from_same.eigenvalues_)
    np.testing.assert_array_equal(from_half.transform(half), from_same.transform(same))
    strided = np.repeat(half, 2, axis=1)[:, ::2]
    np.testing.assert_array_equal(from_half.transform(strided), from_half.transform(half))
    swapped = from_half.transform(half.astype(half.dtype.newbyteorder()))
    np.testing.assert_allclose(swapped, from_half.transform(half), atol=1e-5)


# One pass over chunks


def test_chunks_may_be_computed_in_any_order_by_any_number_of_threads(features):
    rows = features.astype(np.float32)
    some = NystroemKernelPCA(35, n_landmarks=128).fit_landmarks(rows[:1000])
    chunks = np.array_split(rows, 7)
    one_by_one = [some.partial_statistics(chunk) for chunk in chunks]
    backwards = [some.partial_statistics(chunk) for chunk in chunks[::-1]][::-1]
    with ThreadPoolExecutor(2) as pool:
        by_two = list(pool.map(some.partial_statistics, chunks))
    expected = reduce_tree(one_by_one, merge)
    for parts in (backwards, by_two):
        result = reduce_tree(parts, merge)
        assert result.n == expected.n
        np.testing.assert_array_equal(result.total, expected.total)
        np.testing.assert_array_equal(result.gram, expected.gram)


def test_other_chunks_give_the_same_spectrum(features, record_property):
    rows = features.astype(np.float32)
    some = NystroemKernelPCA(35, n_landmarks=128).fit_landmarks(rows)
    spectra = [
        spectrum(some, [some.partial_statistics(chunk) for chunk in np.array_split(rows, count)])
        for count in (1, 2, 30)
    ]
    error = max(relative_error(other, spectra[0]) for other in spectra[1:])
    record_property("bar 5: other chunks", error)
    assert error < 1e-6


def test_in_memory_is_the_same_as_step_by_step(features):
    at_once = NystroemKernelPCA(12, n_landmarks=64, chunk_size=1000, random_state=5).fit(features)
    pilot = features[_drawn(len(features), seed=5)]
    steps = NystroemKernelPCA(12, n_landmarks=64, random_state=5).fit_landmarks(pilot)
    parts = [steps.partial_statistics(features[at : at + 1000]) for at in (0, 1000, 2000)]
    np.testing.assert_array_equal(spectrum(steps, parts), at_once.eigenvalues_)
    np.testing.assert_array_equal(steps.transform(features[:9]), at_once.transform(features[:9]))


def _drawn(n, seed):
    from anabatch.sampling import draw

    return draw([str(i) for i in range(n)], n, seed)


def test_more_rows_can_be_added_while_the_landmarks_stand(features, record_property):
    some = NystroemKernelPCA(12, n_landmarks=64).fit_landmarks(features[:1000])
    first, second = (some.partial_statistics(rows) for rows in np.split(features, [2000]))
    some.finish(first)
    assert some.n_samples_seen_ == 2000
    grown = some.finish(merge(first, second)).eigenvalues_
    whole = some.finish(some.partial_statistics(features)).eigenvalues_
    error = relative_error(grown, whole)
    record_property("bar 5: pieces merged", error)
    assert error < 1e-6
    assert some.n_samples_seen_ == 3000


def test_statistics_change_nothing_in_the_model(features):
    some = NystroemKernelPCA(n_landmarks=64).fit_landmarks(features)
    before = pickle.dumps(some)
    some.partial_statistics(features)
    assert pickle.dumps(some) == before


def test_statistics_of_other_landmarks_are_refused(digits):
    one, other = (
        NystroemKernelPCA(5, n_landmarks=32, random_state=seed).fit_landmarks(digits)
        for seed in (0, 1)
    )
    mine, theirs = one.partial_statistics(digits), other.partial_statistics(digits)
    assert mine.gram.shape == theirs.gram.shape
    with pytest.raises(LandmarksError, match="do not go together"):
        merge(mine, theirs)
    with pytest.raises(LandmarksError, match="do not go together"):
        one.finish(theirs)
    # equal in every matrix but the centre
    moved = NystroemKernelPCA.from_arrays(one.to_arrays() | {"center_": one.center_ + 1})
    with pytest.raises(LandmarksError, match="do not go together"):
        one.finish(moved.partial_statistics(digits))
    again = NystroemKernelPCA.from_arrays(one.to_arrays())
    assert one.finish(merge(mine, again.partial_statistics(digits))).n_samples_seen_ == 2 * 1797


def test_a_chunk_may_be_empty(features):
    some = NystroemKernelPCA(5, n_landmarks=64).fit(features)
    nothing = some.partial_statistics(features[:0])
    something = some.partial_statistics(features)
    both = merge(nothing, something)
    assert both.n == 3000
    np.testing.assert_array_equal(both.gram, something.gram)
    assert some.transform(features[:0]).shape == (0, 5)


matrices = arrays(np.float64, (2, 2), elements=st.integers(-(2**20), 2**20).map(float))
statistics = st.builds(lambda m: KernelStatistics(int(abs(m[0, 0])), m[0], m, "same"), matrices)


@given(st.lists(statistics, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_merging_adds(items, random):
    # whole numbers of this size add exactly, so that every order gives one result
    merged = reduce_tree(random.sample(items, len(items)), merge)
    assert merged.n == sum(item.n for item in items)
    np.testing.assert_array_equal(merged.total, sum(item.total for item in items))
    np.testing.assert_array_equal(merged.gram, sum(item.gram for item in items))


# What the results mean


def test_components_are_centred_uncorrelated_and_have_the_eigenvalues_as_variances(model, digits):
    scores = model.transform(digits).astype(np.float64)
    assert scores.shape == (1797, 100)
    assert len(model.get_feature_names_out()) == 100
    np.testing.assert_allclose(scores.mean(axis=0), 0, atol=1e-6)
    covariance = scores.T @ scores / len(scores)
    np.testing.assert_allclose(covariance, np.diag(model.eigenvalues_), atol=1e-6)
    assert (np.diff(model.eigenvalues_) <= 0).all()


def test_distances_in_the_embedding_are_distances_in_feature_space(digits):
    rows = digits[:200]
    full = NystroemKernelPCA(200, n_landmarks=200, cutoff=1e-12).fit(rows)
    scores = full.transform(rows).astype(np.float64)
    inner = scores @ scores.T
    np.testing.assert_allclose(inner, centered_kernel(rows, full.gamma_), atol=1e-5)


def test_signs_do_not_depend_on_the_rows_order(digits):
    some = NystroemKernelPCA(5, n_landmarks=64).fit_landmarks(digits)
    forwards = some.finish(some.partial_statistics(digits)).transform(digits)
    backwards = some.finish(some.partial_statistics(digits[::-1])).transform(digits)
    np.testing.assert_allclose(forwards, backwards, atol=1e-5)


def test_gamma_auto_is_one_over_the_median_squared_distance(digits):
    rows = digits[:60]
    squared = ((rows[:, None] - rows) ** 2).sum(axis=2)[np.triu_indices(60, 1)]
    some = NystroemKernelPCA(n_landmarks=20).fit(rows)
    assert some.gamma_ == pytest.approx(1 / np.median(squared))
    assert some.gamma_median_ == pytest.approx(1)


def test_equal_seeds_give_equal_models_and_others_do_not(digits):
    first, again, other = (
        NystroemKernelPCA(5, n_landmarks=32, random_state=seed).fit(digits) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.transform(digits), again.transform(digits))
    assert not np.array_equal(first.landmarks_, other.landmarks_)


def test_uniform_landmarks_are_rows(digits):
    some = NystroemKernelPCA(n_landmarks=30, landmark_method="uniform").fit(digits)
    landmarks = {tuple(row) for row in np.round(some.landmarks_ + some.center_, 3)}
    assert len(landmarks) == 30
    assert landmarks <= {tuple(row) for row in digits}


def test_equal_rows_do_not_harm(digits):
    rows = np.repeat(digits[:60], 3, axis=0)
    once, thrice = (
        NystroemKernelPCA(10, n_landmarks=100, gamma=4e-4).fit(X) for X in (digits[:60], rows)
    )
    np.testing.assert_allclose(once.eigenvalues_, thrice.eigenvalues_, rtol=1e-5)


# Saving


@pytest.mark.parametrize("finished", [True, False])
def test_arrays_bring_the_model_back(digits, tmp_path, finished):
    original = NystroemKernelPCA(7, n_landmarks=40, gamma="auto", cutoff=1e-7)
    original = original.fit(digits) if finished else original.fit_landmarks(digits)
    np.savez(tmp_path / "model.npz", **original.to_arrays())
    with np.load(tmp_path / "model.npz", allow_pickle=False) as saved:
        restored = NystroemKernelPCA.from_arrays(saved)
    assert restored.get_params() == original.get_params()
    statistics = original.partial_statistics(digits)
    np.testing.assert_array_equal(restored.partial_statistics(digits).gram, statistics.gram)
    if finished:
        np.testing.assert_array_equal(restored.transform(digits), original.transform(digits))
    else:
        with pytest.raises(NotFittedError):
            restored.transform(digits)


def test_other_arrays_are_refused(model):
    arrays = model.to_arrays()
    del arrays["W_"]
    with pytest.raises(ConfigurationError, match="W_"):
        NystroemKernelPCA.from_arrays(arrays)


def test_models_and_statistics_survive_pickling(model, digits):
    restored = pickle.loads(pickle.dumps(model))  # noqa: S301  # our own bytes
    np.testing.assert_array_equal(restored.transform(digits), model.transform(digits))
    statistics = model.partial_statistics(digits)
    again = pickle.loads(pickle.dumps(statistics))  # noqa: S301  # our own bytes
    np.testing.assert_array_equal(again.gram, statistics.gram)


# Refusals


@pytest.mark.parametrize(
    "parameters",
    [
        {"n_components": 0},
        {"n_landmarks": 1},
        {"n_landmarks": 2.5},
        {"gamma": 0.0},
        {"gamma": float("inf")},
        {"gamma": float("nan")},
        {"gamma": "scale"},
        {"landmark_method": "random"},
        {"cutoff": 0.0},
        {"cutoff": 1.0},
        {"chunk_size": 0},
        {"random_state": -1},
        {"random_state": None},
    ],
)
def test_parameters_out_of_range_are_refused(digits, parameters):
    with pytest.raises(ConfigurationError, match=next(iter(parameters))):
        NystroemKernelPCA(**parameters).fit(digits)


def test_a_gamma_that_makes_all_rows_equally_far_warns(digits):
    with pytest.warns(GammaWarning, match="equally far apart") as caught:
        NystroemKernelPCA(5, gamma=0.01, n_landmarks=32).fit(digits)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("median", "says"),
    [(0.0199, "linear PCA"), (0.02, ""), (1.0, ""), (3.0, ""), (3.01, "equally far apart")],
)
def test_what_is_wrong_with_a_gamma(median, says):
    words = gamma_warning(5e-4, median)
    assert bool(words) == bool(says)
    assert says in words
    assert not words or words.endswith(f"'auto' would be {5e-4 / median:.3g}.")


def test_populations_without_differences_are_refused(digits):
    with pytest.raises(PopulationError, match="equal"):
        NystroemKernelPCA().fit(np.ones((50, 3)))
    with pytest.raises(PopulationError, match="two rows"):
        NystroemKernelPCA().fit(digits[:1])
    some = NystroemKernelPCA(n_landmarks=16).fit_landmarks(digits)
    with pytest.raises(PopulationError, match="two rows"):
        some.finish(some.partial_statistics(digits[:1]))


def test_landmarks_that_do_not_differ_are_refused():
    three_rows_each_many_times = np.repeat(np.eye(3) + 0.1, 20, axis=0)
    refused = 0
    for seed in range(20):
        some = NystroemKernelPCA(n_landmarks=2, landmark_method="uniform", random_state=seed)
        try:
            some.fit(three_rows_each_many_times)
        except PopulationError as error:
            assert "do not differ" in error.what  # noqa: PT017  # only some of the seeds do
            refused += 1
        else:
            assert some.W_.shape == (2, 1)
    assert 0 < refused < 20
    by_means = NystroemKernelPCA(n_landmarks=10).fit(three_rows_each_many_times)
    assert by_means.landmarks_.shape == (3, 3)
    assert by_means.eigenvalues_.shape == (2,)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_are_not_finite_are_refused(model, digits, dtype, bad):
    rows = digits[:10].astype(dtype)
    rows[3, 5] = bad
    for method in (model.transform, model.partial_statistics, model.fit_landmarks):
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            method(rows)


def test_rows_of_another_width_are_refused(model):
    with pytest.raises(ValueError, match="64 features"):
        model.transform(np.zeros((2, 63)))


# scikit-learn's conventions


@parametrize_with_checks(
    [
        NystroemKernelPCA(),
        NystroemKernelPCA(landmark_method="uniform"),
        NystroemKernelPCA(2, n_landmarks=2, chunk_size=1),
    ]
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_scores_are_float32_and_named_and_framed(digits):
    # what the checks leave out, since the estimator does not promise to keep its input's type
    frame = pd.DataFrame(digits[:300], columns=[f"pixel{number}" for number in range(64)])
    model = NystroemKernelPCA(3, n_landmarks=20).set_output(transform="pandas").fit(frame)
    scores = model.transform(frame)
    assert list(scores.columns) == [f"nystroemkernelpca{number}" for number in range(3)]
    assert set(scores.dtypes) == {np.dtype(np.float32)}
    assert list(model.feature_names_in_) == list(frame.columns)


def test_it_stands_in_a_pipeline_and_a_search(digits):
    pipeline = make_pipeline(StandardScaler(with_std=False), NystroemKernelPCA(n_landmarks=100))
    labels = load_digits().target
    search = GridSearchCV(
        make_pipeline(pipeline, KNeighborsClassifier(3)),
        {"pipeline__nystroemkernelpca__n_components": [1, 30]},
        cv=3,
    )
    search.fit(digits[:600], labels[:600])
    assert search.best_params_ == {"pipeline__nystroemkernelpca__n_components": 30}
    assert search.score(digits[600:], labels[600:]) > 0.9

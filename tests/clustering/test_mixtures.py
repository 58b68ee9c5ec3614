"""Gaussian mixtures against scikit-learn's, and where they see what k-means does not."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from anabatch.clustering import BatchKMeans, DiagonalMixture
from anabatch.errors import ConfigurationError, PopulationError


@pytest.fixture(scope="module")
def blobs():
    """A wide cluster of 600 rows and a narrow one of 200 at its edge."""
    X, truth = make_blobs(
        [600, 200],
        centers=np.array([[0.0, 0, 0], [4.5, 0, 0]]),
        cluster_std=[2, 0.2],
        random_state=0,
    )
    return X.astype(np.float32), truth


def test_labels_are_those_of_scikit_learn(blobs):
    X, _ = blobs
    peer = GaussianMixture(2, covariance_type="diag", n_init=3, random_state=0).fit(X)
    ours = DiagonalMixture(2, restarts=3, chunk_size=70).fit(X)
    assert adjusted_rand_score(ours.labels_, peer.predict(X)) > 0.98
    assert ours.converged_


def test_clusters_of_different_width_are_told_apart_better_than_by_k_means(blobs):
    X, truth = blobs
    scores = [
        adjusted_rand_score(truth, model(2).fit(X).labels_)
        for model in (DiagonalMixture, BatchKMeans)
    ]
    assert scores[0] > 0.9
    assert scores[0] > scores[1] + 0.05


def test_the_largest_is_number_0_and_distances_are_to_the_means(blobs):
    X, truth = blobs
    model = DiagonalMixture(2).fit(X)
    assert (model.labels_ == truth).mean() > 0.97
    assert model.counts_[0] > model.counts_[1]
    labels, distance = model.distances(X)
    np.testing.assert_allclose(
        distance, np.linalg.norm(X - model.cluster_centers_[labels], axis=1), rtol=1e-5
    )


def test_sums_are_of_the_rows_with_that_label(blobs):
    X, _ = blobs
    model = DiagonalMixture(2, chunk_size=33).fit(X)
    sums = model.partial_sums(X)
    assert sums.counts.tolist() == np.bincount(model.labels_).tolist()
    np.testing.assert_allclose(sums.sums[1], X[model.labels_ == 1].sum(axis=0), rtol=1e-4)
    assert model.partial_sums(X[:0]).counts.tolist() == [0, 0]


def test_a_start_keeps_the_places_of_the_components(blobs):
    X, _ = blobs
    model = DiagonalMixture(2).fit_pilot(X, means=np.array([[4.5, 0, 0], [0, 0, 0]]))
    assert model.cluster_centers_[0, 0] > 4 > model.cluster_centers_[1, 0]
    model.renumber([7, 3])
    assert set(model.predict(X).tolist()) == {3, 7}
    with pytest.raises(ValueError, match="distinct"):
        model.renumber([3, 3])


def test_arrays_bring_the_model_back(blobs):
    X, _ = blobs
    model = DiagonalMixture(2, random_state=5).fit(X)
    again = DiagonalMixture.from_arrays(model.to_arrays())
    assert again.get_params() == model.get_params()
    np.testing.assert_array_equal(again.predict(X), model.labels_)


def test_equal_rows_do_not_break_it():
    model = DiagonalMixture(2).fit(np.repeat(np.eye(3)[:2], 20, axis=0))
    assert sorted(model.counts_.tolist()) == [20, 20]


def test_a_component_without_rows_is_refused_unless_it_was_given():
    rows = np.repeat(np.eye(3), 20, axis=0)
    with pytest.raises(PopulationError, match="2 of 5 components have no rows"):
        DiagonalMixture(5, restarts=2).fit(rows)
    means = np.concatenate([np.eye(3), [[50.0, 50, 50]]])
    warm = DiagonalMixture(4).fit_pilot(rows, means=means)
    assert warm.counts_.tolist() == [20, 20, 20, 0]


def test_what_cannot_be_fitted_is_refused(blobs):
    with pytest.raises(PopulationError, match="n_samples=3"):
        DiagonalMixture(4).fit_pilot(np.eye(3))
    with pytest.raises(ConfigurationError, match="restarts"):
        DiagonalMixture(2, restarts=0).fit(blobs[0])

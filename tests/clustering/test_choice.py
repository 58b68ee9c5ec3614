"""What speaks for a number of clusters."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs

from anabatch.clustering import BatchKMeans
from anabatch.clustering.choice import KStudy, knee, score_rows, study_k, suggest
from anabatch.silhouettes import simplified_silhouette


def fit(k):
    return lambda rows, restarts: BatchKMeans(k, restarts=restarts or 5).fit_pilot(rows)


@pytest.fixture(scope="module")
def blobs():
    X, _ = make_blobs(900, 6, centers=4, cluster_std=1.0, random_state=4)
    return X.astype(np.float32)


@pytest.fixture(scope="module")
def studies(blobs):
    return [study_k(blobs, k, fit(k), bootstraps=4, seed=0) for k in range(2, 8)]


def test_the_true_number_is_stable_and_has_the_largest_silhouette(studies):
    by_k = {study.k: study for study in studies}
    assert suggest(studies) == 4
    assert by_k[4].agreement > 0.99
    assert by_k[7].agreement < by_k[4].agreement
    assert by_k[4].silhouette_error == 0  # of all rows: there are fewer than 2,000
    assert by_k[7].agreement_error > 0


def test_scores_of_pieces_are_those_of_the_whole(blobs, studies):
    whole = score_rows(blobs, studies)
    pieces = score_rows(blobs[:0], studies)
    for start in range(0, 900, 250):
        pieces = pieces.merge(score_rows(blobs[start : start + 250], studies))
    np.testing.assert_allclose(pieces.squares, whole.squares)
    np.testing.assert_allclose(pieces.errors, whole.errors)
    for number, study in enumerate(studies):
        exact = simplified_silhouette(blobs, study.centers)
        assert whole.mean_silhouettes[number] == pytest.approx(exact)
        inertia = BatchKMeans(study.k).start_at(study.centers, range(study.k)).partial_sums(blobs)
        assert whole.squares[number] == pytest.approx(inertia.inertia, rel=1e-5)
    assert (np.diff(whole.squares) < 0).all()
    assert (whole.errors > 0).all()


def test_the_knee_is_where_the_true_number_is(blobs, studies):
    squares = score_rows(blobs, studies).squares
    assert knee(range(2, 8), squares.tolist()) == 4
    assert knee([2, 3], [5.0, 1.0]) == 2
    assert knee([2, 3, 4], [1.0, 1.0, 1.0]) == 2


def test_an_unstable_number_is_not_suggested():
    def study(k, silhouette, agreement):
        return KStudy(k, np.zeros((k, 1)), silhouette, 0.0, agreement, 0.0)

    assert suggest([study(2, 0.3, 0.9), study(3, 0.6, 0.5)]) == 2
    assert suggest([study(2, 0.3, 0.4), study(3, 0.6, 0.5)]) == 3
    assert suggest([study(2, 0.6, 0.8), study(3, 0.6, 0.8)]) == 2

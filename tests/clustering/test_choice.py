"""What speaks for a number of clusters."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs

from anabatch.clustering import BatchKMeans
from anabatch.clustering.choice import STABLE_CLUSTER, KStudy, best_overlaps, knee, study_k, suggest
from anabatch.clustering.scoring import score_rows
from anabatch.errors import PopulationError
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
    assert by_k[4].silhouette_error > 0  # though of all rows: other rows would give another mean
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


def test_numbers_that_resamples_have_too_few_rows_for_are_left_out():
    rows = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
    studies = [study_k(rows, k, fit(k), bootstraps=3, seed=0) for k in (3, 28)]
    assert studies[0].left_out == ""
    assert "fewer than 28 distinct rows" in studies[1].left_out
    assert "with replacement" in studies[1].left_out
    scores = score_rows(rows, studies).merge(score_rows(rows[:0], studies))
    assert np.isfinite(scores.squares).tolist() == [True, False]
    assert np.isfinite(scores.errors).tolist() == [True, False]
    assert suggest(studies) == 3
    with pytest.raises(PopulationError, match="distinct rows"):
        suggest(studies[1:])


def test_more_clusters_than_distinct_rows_are_left_out():
    rows = np.repeat(np.eye(4, dtype=np.float32), 10, axis=0)
    assert "fewer than 6 distinct rows" in study_k(rows, 6, fit(6), bootstraps=2, seed=0).left_out


def test_one_row_far_from_all_does_not_end_the_study():
    rows = np.random.default_rng(1).normal(size=(2500, 2))
    rows[0] = 500
    study = study_k(rows, 2, fit(2), bootstraps=2, seed=0)
    assert study.left_out == ""
    assert study.silhouette > 0.9


def planted(share):
    """Return 2,500 rows that vary along a few components, of which some lie apart."""
    rng = np.random.default_rng(0)
    spread = 0.3 / np.sqrt(1 + np.arange(35))
    rows = rng.normal(0, spread, (2500, 35))
    rows[: round(2500 * share)] += 0.6 * np.eye(35)[0] + 0.55 * np.eye(35)[4]
    return rows


def test_a_kind_of_four_percent_shows_where_mean_silhouettes_do_not_see_it():
    studies = [study_k(planted(0.04), k, fit(k), bootstraps=6, seed=0) for k in (2, 8)]
    assert suggest(studies) == 2
    assert [study.shows_a_small_cluster for study in studies] == [False, True]
    small = studies[1].small
    assert small is not None
    assert small.share == pytest.approx(0.04, abs=0.01)
    assert small.stability >= STABLE_CLUSTER
    assert small.silhouette > 2 * score_rows(planted(0.04), studies).mean_silhouettes[1]


def test_a_small_cluster_that_is_in_the_sample_only_is_not_shown():
    study = study_k(planted(0), 14, fit(14), bootstraps=4, seed=0)
    assert study.small is not None
    assert study.small.share <= 0.1
    assert not study.shows_a_small_cluster


def test_a_few_outliers_are_no_small_cluster():
    rows = np.random.default_rng(0).normal(size=(300, 2))
    rows[:19] += 100
    assert study_k(rows, 2, fit(2), bootstraps=2, seed=0).small is None
    rows[19] += 100
    small = study_k(rows, 2, fit(2), bootstraps=2, seed=0).small
    assert small is not None
    assert small.share == 20 / 300


def test_overlaps_do_not_depend_on_what_clusters_are_called():
    labels = np.array([3, 3, 3, 5, 5, 9])
    assert best_overlaps(labels, np.array([0, 0, 0, 2, 2, 1])).tolist() == [1, 1, 1]
    assert best_overlaps(labels, np.zeros(6)).tolist() == [3 / 6, 2 / 6, 1 / 6]


def test_errors_are_those_of_groups_whose_rows_resemble_each_other():
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(40), 25)
    rows = (rng.uniform(0.5, 4, 40)[groups] + rng.normal(0, 0.05, 1000))[:, None]
    studies = [KStudy(2, np.array([[0.0], [10]]), 0.0, 0.0, 0.0, 0.0)]
    scores = score_rows(rows, studies, groups)
    alone = score_rows(rows, studies)
    # groups of one size: the mean is that of the groups' means
    each = [score_rows(rows[groups == g], studies).mean_silhouettes[0] for g in range(40)]
    assert scores.errors[0] == pytest.approx(np.std(each, ddof=1) / np.sqrt(40))
    assert scores.errors[0] > 4 * alone.errors[0]
    halves = [score_rows(rows[part], studies, groups[part]) for part in (groups < 11, groups >= 11)]
    np.testing.assert_allclose(halves[0].merge(halves[1]).errors, scores.errors)
    assert np.isnan(score_rows(rows[:5], studies, np.zeros(5)).errors).all()

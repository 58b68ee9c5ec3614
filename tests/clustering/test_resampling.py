"""Samples of whole groups, and what studies of clusters say of images that were not seen."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from anabatch.clustering import BatchKMeans
from anabatch.clustering.choice import study_k, suggest
from anabatch.clustering.resampling import resamples
from anabatch.errors import PopulationError
from anabatch.silhouettes import sampled_silhouette


def fit(k):
    return lambda rows, restarts: BatchKMeans(k, restarts=restarts or 5).fit_pilot(rows)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.integers(0, 5))
def test_groups_are_drawn_as_a_whole_and_as_many_as_there_are(groups, seed):
    groups = np.array(groups)
    rows = np.arange(len(groups))
    for chosen in resamples(groups, 3, [seed]):
        times = np.bincount(chosen, minlength=len(groups))
        drawn = [set(times[groups == group].tolist()) for group in np.unique(groups)]
        assert all(len(one) == 1 for one in drawn)
        assert sum(one.pop() for one in drawn) == len(drawn)
        assert set(chosen.tolist()) <= set(rows.tolist())


def test_resamples_differ_and_a_seed_gives_the_same_ones_again():
    groups = np.repeat(np.arange(20), 3)
    first, again = (list(resamples(groups, 4, [7, 2])) for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    assert len({one.tobytes() for one in first}) == 4
    more = list(resamples(groups, 8, [7, 2]))
    assert all(np.array_equal(one, other) for one, other in zip(first, more[:4], strict=True))
    # two thirds of the groups are in a resample
    shares = [len(np.unique(one)) / 60 for one in resamples(groups, 200, [0])]
    assert np.mean(shares) == pytest.approx(1 - (1 - 1 / 20) ** 20, abs=0.02)


def images_of(seed, images=16, cells=40):
    """Draw images whose cells are alike, and no kinds of cells: clusters are those of the images drawn."""
    rng = np.random.default_rng(seed)
    image = np.repeat(np.arange(images), cells)
    rows = rng.normal(0, 1, (images, 4))[image] + rng.normal(0, 0.25, (len(image), 4))
    return rows, image


def test_resampled_images_tell_what_resampled_cells_are_too_sure_of():
    rows, image = images_of(2)
    by_images = study_k(rows, 3, fit(3), groups=image, bootstraps=10, seed=0)
    by_cells = study_k(rows, 3, fit(3), bootstraps=10, seed=0)
    others = [images_of(1000 + number)[0] for number in range(12)]
    models = [fit(3)(other, 3) for other in others]
    labels = BatchKMeans(3, restarts=5).fit_pilot(rows).predict(rows)
    truth = np.mean([adjusted_rand_score(labels, model.predict(rows)) for model in models])
    assert truth < 0.5
    assert by_cells.agreement > 0.9  # as if the clusters were in the cells
    assert by_images.agreement < 0.7
    assert by_images.agreement_error > 3 * by_cells.agreement_error
    means = [
        sampled_silhouette(other, model.predict(other))[0]
        for other, model in zip(others, models, strict=True)
    ]
    spread = np.std(means, ddof=1)
    assert by_images.silhouette == by_cells.silhouette
    assert 0.5 * spread < by_images.silhouette_error < 2 * spread
    assert by_cells.silhouette_error < spread / 3
    assert (by_images.groups, by_cells.groups) == (16, len(rows))


def planted(image_of_the_kind):
    """Return 1,500 cells of 30 images, of which 60 lie apart, and their images."""
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 0.3 / np.sqrt(1 + np.arange(10)), (1500, 10))
    rows[:60] += 0.8 * np.eye(10)[0] + 0.8 * np.eye(10)[4]
    image = rng.integers(30, size=1500)
    if image_of_the_kind is not None:
        image[:60] = image_of_the_kind
    return rows, image


def test_a_small_cluster_of_one_image_is_not_stable_and_one_of_many_images_is():
    alone, of_many = (
        study_k(rows, 6, fit(6), groups=image, bootstraps=8, seed=0)
        for rows, image in (planted(3), planted(None))
    )
    by_cells = study_k(planted(3)[0], 6, fit(6), bootstraps=8, seed=0)
    assert by_cells.shows_a_small_cluster
    assert of_many.shows_a_small_cluster
    assert of_many.small is not None
    assert of_many.small.share == pytest.approx(0.04, abs=0.005)
    assert not alone.shows_a_small_cluster


def test_cells_of_one_image_alone_are_resampled_one_by_one():
    rows, _ = images_of(0, images=3, cells=30)
    alone = study_k(rows, 3, fit(3), groups=np.zeros(90, np.uint64), bootstraps=3, seed=0)
    cells = study_k(rows, 3, fit(3), bootstraps=3, seed=0)
    assert alone.groups == 1
    assert alone.agreement == cells.agreement
    assert alone.silhouette_error == cells.silhouette_error > 0
    # and a number is left out for what it was tried on
    few = study_k(rows[:20], 19, fit(19), groups=np.zeros(20), bootstraps=3, seed=0)
    assert "of cells drawn with replacement" in few.left_out
    few = study_k(rows[:20], 16, fit(16), groups=np.arange(20) // 5, bootstraps=3, seed=0)
    assert "of images drawn with replacement" in few.left_out
    assert few.groups == 4


def three_kinds(sizes):
    """Return cells of three kinds that lie apart, and images of these sizes."""
    rng = np.random.default_rng(0)
    image = np.repeat(np.arange(len(sizes)), sizes)
    rows = 10 * np.eye(3)[np.arange(len(image)) % 3] + rng.normal(0, 0.5, (len(image), 3))
    return rows, image


def test_images_that_are_too_small_for_the_clusters_do_not_leave_the_true_number_out():
    rows, image = three_kinds((100, 100, 1))
    studies = [study_k(rows, k, fit(k), groups=image, bootstraps=30, seed=0) for k in (2, 3, 4)]
    assert [study.left_out for study in studies] == ["", "", ""]
    assert suggest(studies) == 3
    assert studies[1].agreement > 0.99
    assert sum(study.redrawn for study in studies) > 0


def test_an_image_of_one_cell_beside_another_leaves_no_number_out():
    rows, image = three_kinds((60, 1))
    studies = [study_k(rows, k, fit(k), groups=image, bootstraps=30, seed=0) for k in (2, 3, 4)]
    assert [study.left_out for study in studies] == ["", "", ""]
    assert suggest(studies) == 3
    assert all(0 < study.redrawn < 30 for study in studies)  # a quarter of those drawn
    again = study_k(rows, 3, fit(3), groups=image, bootstraps=30, seed=0)
    assert (again.agreement, again.redrawn) == (studies[1].agreement, studies[1].redrawn)


def refusing(numbers, drawn):
    """Fit three clusters, but not on the resamples of these numbers; those that come are kept."""

    def one(sample, restarts):
        if restarts:  # a resample, and not all rows
            drawn.append(sample)
            if len(drawn) - 1 in numbers:
                what = "too few rows"
                raise PopulationError(what)
        return fit(3)(sample, restarts)

    return one


@pytest.mark.parametrize(("refused", "left_out"), [(3, False), (4, True)])
def test_a_number_is_left_out_if_more_than_half_of_the_resamples_cannot_hold_it(refused, left_out):
    rows, image = three_kinds((40, 40, 40))
    drawn: list[Any] = []
    study = study_k(rows, 3, refusing(range(refused), drawn), groups=image, bootstraps=3, seed=0)
    assert (study.left_out != "") is left_out
    if left_out:
        why = "in most resamples, of images drawn with replacement, too few rows"
        assert study.left_out == why
        assert len(drawn) == 4
    else:
        assert (study.redrawn, len(drawn)) == (3, 6)
        expected = [rows[chosen] for chosen in resamples(image, 6, [0, 3])]
        assert all(np.array_equal(one, other) for one, other in zip(drawn, expected, strict=True))


def test_only_resamples_that_hold_the_clusters_are_in_the_agreement_and_its_error():
    rows, image = images_of(4, images=6, cells=20)
    study = study_k(rows, 3, refusing([1], []), groups=image, bootstraps=4, seed=0)
    labels = fit(3)(rows, 0).predict(rows)
    scores = [
        adjusted_rand_score(labels, fit(3)(rows[chosen], 3).predict(rows))
        for number, chosen in enumerate(resamples(image, 5, [0, 3]))
        if number != 1
    ]
    assert study.agreement == np.mean(scores)
    assert study.agreement_error == np.std(scores, ddof=1) > 0
    assert study.redrawn == 1


def test_errors_of_a_sampled_silhouette_are_those_of_groups():
    rows, image = images_of(5, images=25, cells=100)
    labels = BatchKMeans(4, restarts=2).fit_pilot(rows).predict(rows)
    mean, error = sampled_silhouette(rows, labels, rows=2500, groups=image)
    sampled, rough = sampled_silhouette(rows, labels, rows=500, groups=image)
    assert sampled == pytest.approx(mean, abs=0.02)
    assert rough == pytest.approx(error, rel=0.2)
    alone, of_sampling = sampled_silhouette(rows, labels, rows=500)
    assert alone == sampled
    assert rough > 3 * of_sampling
    assert np.isnan(sampled_silhouette(rows, labels, groups=np.zeros(2500))[1])

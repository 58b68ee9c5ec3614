"""The steps of a fit of clusters on parts of a store, against the same in memory."""

import numpy as np
import pytest

from anabatch.clustering import BatchKMeans, ClusterSums
from anabatch.clustering.novelty import DistanceSketch
from anabatch.config import ClusterConfig
from anabatch.schema import to_table
from anabatch.stages import cluster_fit as stage
from anabatch.stages.cluster import Rows, cluster_key, cluster_recipe
from anabatch.stages.cluster_fit import LEFT_OUT, Census, WarmStart
from anabatch.stages.population import Generation, Source
from anabatch.store.live import LivePart
from anabatch.store.parts import PartWriter

CONFIG = ClusterConfig(k=3, components=2, chunk=7, pilot=60)


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    centers = np.array([[0, 0, 9], [6, 0, 9], [0, 6, 9]])
    return (centers[np.arange(60) % 3] + rng.normal(0, 0.4, (60, 3))).astype(np.float32)


@pytest.fixture
def source(tmp_path, rows):
    """Sixty rows, of which twenty to fifty are live; the third component is not used."""
    with PartWriter(tmp_path, "embedding", keys=["k"]) as part:
        part.array("embedding", rows)
        written = part.finish([])
    return Source(LivePart(str(written.path), ((20, 50),), ()), str(written.path), "embedding")


def model(numbers=(0, 1, 2)):
    return BatchKMeans(3).start_at(np.array([[0.0, 0], [6, 0], [0, 6]]), numbers)


def test_a_census_counts_live_rows_in_the_order_of_the_centres(tmp_path, source, rows):
    census = stage.take_census(tmp_path, source, model((7, 0, 4)), 2)
    kinds = np.arange(60)[20:50] % 3
    assert census.counts.tolist() == np.bincount(kinds).tolist()
    labels, distance = model().distances(rows[20:50, :2])
    assert labels.tolist() == kinds.tolist()
    assert census.inertia == pytest.approx(float((distance.astype(float) ** 2).sum()))
    assert census.distances.counts.sum() == 30


def test_passes_end_where_the_centres_rest(tmp_path, source):
    moving = model()
    for _ in range(5):
        sums = stage.sums_till_rest(tmp_path, source, moving, CONFIG)
        if sums is None:
            break
        moving = stage.update_till_rest(moving, sums)
    assert sums is None
    assert stage.is_at_rest(moving)
    assert stage.update_till_rest(moving, None) is moving
    assert stage.merge_till_rest(None, None) is None
    one = ClusterSums(np.array([1]), np.array([[2.0]]), 3.0)
    both = stage.merge_till_rest(one, one)
    assert both is not None
    assert both.inertia == 6


def test_rows_that_were_left_out_have_no_older_cluster(tmp_path, source):
    table = [
        {
            "cell_id": f"c{number}",
            "cluster": LEFT_OUT if number < 30 else 5,
            "distance": 1.0,
            "model": "mine",
            "generation": 1,
        }
        for number in range(60)
    ]
    with PartWriter(tmp_path, "clusters", keys=["k"]) as part:
        part.rows("clusters", to_table("clusters", table))
        before = part.finish([])
    common = stage.common_cells(tmp_path, source, str(before.path), model(), CONFIG, 6)
    kinds = np.arange(30, 50) % 3
    assert common.tolist() == [[0, 0, 0]] * 5 + [np.bincount(kinds).tolist()]
    assert stage.add_common(common, common).tolist() == (2 * common).tolist()


@pytest.mark.parametrize("method", ["kmeans", "mixture"])
def test_a_warm_start_is_the_older_centres_and_one_more(tmp_path, source, method):
    config = CONFIG.model_copy(update={"method": method})
    generation = Generation(tmp_path, "kmeans", "archive", 1, "s", {}, 1, "run")
    census = Census(np.array([1, 1]), 1.0, DistanceSketch.of(np.ones(2)))
    older = BatchKMeans(2).start_at(np.array([[0.0, 0], [6, 0]]), [4, 1])
    written = stage.finish(generation, older, census, 2.5, {"used": 5, "components": 2})
    facts = written.actions[0].components
    assert (facts["used"], facts["k"], facts["reach"], facts["sizes"]) == (5, 2, 2.5, [1, 1])
    start = WarmStart(str(written.path), 5, np.array([0.0, 6.0]))
    (pilot,) = source.chunks(tmp_path, 60)
    warm = stage.start_warm(tmp_path, config, start, pilot[:, :2] if method == "mixture" else None)
    np.testing.assert_allclose(warm.cluster_centers_, [[0, 0], [6, 0], [0, 6]], atol=0.3)
    assert warm.cluster_numbers_.tolist() == [4, 1, 5]


def test_policies_are_no_part_of_a_recipe_and_conditions_are():
    recipe = cluster_recipe(CONFIG, "e")
    policies = {"refit": "warm", "refit_share": 0.9, "new_kinds": "add", "least_new": 3}
    assert cluster_recipe(CONFIG.model_copy(update=policies), "e").digest == recipe.digest
    assert "method" not in recipe.parameters  # as before there were others
    others = [
        cluster_recipe(CONFIG.model_copy(update={"method": "lloyd"}), "e"),
        cluster_recipe(CONFIG, "e", "label = 'x'"),
        cluster_recipe(CONFIG, "f"),
    ]
    assert len({recipe.digest, *(other.digest for other in others)}) == 4


def test_keys_of_a_part_tell_its_name_and_rows():
    rows = [Rows(((0, 3),)), Rows(((0, 4),))]
    keys = {cluster_key("e", "m"), *(cluster_key("e", "m", "a", one) for one in rows)}
    keys.add(cluster_key("e", "m", "b", rows[0]))
    assert len(keys) == 4

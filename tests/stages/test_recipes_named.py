"""What is said of two recipes of a stage, where a parameter has the value that goes without saying."""

import pytest

from anabatch.config import ClusterConfig, FeaturizeConfig
from anabatch.stages.cluster import cluster_recipe
from anabatch.stages.featurize import featurize_recipe
from anabatch.store.recipes import Recipe, difference


def said(old, new):
    """Return what is said of a recipe of the ledger and of one of now."""
    return str(difference(Recipe.from_action(old.action("run-1")), new))


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ({"method": "mixture"}, {}, "PARAM method mixture -> kmeans"),
        ({}, {"method": "lloyd", "k": 3}, "PARAM k 8 -> 3, method kmeans -> lloyd"),
    ],
)
def test_methods_of_clusters(old, new, why):
    assert said(*(cluster_recipe(ClusterConfig(**each), "e") for each in (old, new))) == why


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ({}, {"precision": "mixed_bfloat16"}, "PARAM precision float32 -> mixed_bfloat16"),
        ({"pooling": "average"}, {}, "PARAM pooling average -> flatten"),
        ({}, {"extractor": "lbp"}, "PARAM extractor vgg16 -> lbp"),
        ({"extractor": "lbp"}, {}, "PARAM extractor lbp -> vgg16"),
        (
            {"pooling": "average", "precision": "mixed_bfloat16"},
            {"extractor": "lbp"},
            "PARAM extractor vgg16 -> lbp",
        ),
        ({"extractor": "lbp"}, {"pooling": "average"}, "PARAM extractor lbp -> vgg16"),
    ],
)
def test_parameters_of_features(old, new, why):
    assert said(*(featurize_recipe(FeaturizeConfig(**each)) for each in (old, new))) == why

"""Clusters: their fits, their number, their identity over time, and what they say of labels."""

from anabatch.clustering.kmeans import BatchKMeans, ClusterSums, merge
from anabatch.clustering.matching import match_counts
from anabatch.clustering.mixtures import DiagonalMixture

__all__ = [
    "BatchKMeans",
    "ClusterSums",
    "DiagonalMixture",
    "match_counts",
    "merge",
]

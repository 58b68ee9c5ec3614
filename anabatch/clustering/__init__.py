"""Clusters: their fits, their number, their identity over time, and what they say of labels."""

from anabatch.clustering.kmeans import BatchKMeans
from anabatch.clustering.matching import match_counts
from anabatch.clustering.mixtures import DiagonalMixture
from anabatch.clustering.sums import ClusterSums, merge

__all__ = [
    "BatchKMeans",
    "ClusterSums",
    "DiagonalMixture",
    "match_counts",
    "merge",
]

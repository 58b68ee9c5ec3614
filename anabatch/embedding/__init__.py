"""Nyström kernel PCA: the estimator, the sums that it is finished of, and the width of its kernel."""

from anabatch.embedding.gamma import GammaWarning, gamma_warning
from anabatch.embedding.nystroem import NystroemKernelPCA
from anabatch.embedding.statistics import KernelStatistics, merge
from anabatch.reduction import reduce_tree

__all__ = [
    "GammaWarning",
    "KernelStatistics",
    "NystroemKernelPCA",
    "gamma_warning",
    "merge",
    "reduce_tree",
]

"""Where the work runs. The only place that starts clusters and computes.

As little logic as possible here: jobs say what depends on what, as Dask graphs that compute
nothing; :class:`Cluster` puts a bounded number of them in flight and hands back what they return.
"""

from anabatch.compute.backends import Backend, InProcess, Outcome
from anabatch.compute.cluster import Cluster
from anabatch.compute.graphs import flat, gather, limited, task, tree
from anabatch.compute.workers import limit_threads_of_this_process

__all__ = [
    "Backend",
    "Cluster",
    "InProcess",
    "Outcome",
    "flat",
    "gather",
    "limit_threads_of_this_process",
    "limited",
    "task",
    "tree",
]

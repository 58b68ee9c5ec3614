"""First centres: full k-means on a pilot, with restarts, where they are cheap."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from anabatch.errors import PopulationError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Seeds:
    """Centres that were found on a pilot.

    Attributes
    ----------
    centers : ndarray of float64, shape (k, d)
    counts : ndarray of int64, shape (k,)
        Rows of the pilot that are nearest to each; none has no rows.
    inertia : float
        Sum of their squared distances.
    """

    centers: NDArray[np.float64]
    counts: NDArray[np.int64]
    inertia: float


def find_seeds(pilot: NDArray[Any], k: int, restarts: int, seed: int) -> Seeds:
    """Find centres by k-means++ and Lloyd's passes; the best of some restarts is kept.

    Parameters
    ----------
    pilot : ndarray of float, shape (p, d)
    k, restarts, seed : int

    Raises
    ------
    PopulationError
        The pilot has fewer distinct rows than there are to be clusters.

    References
    ----------
    Arthur, D. and Vassilvitskii, S. (2007). k-means++: the advantages of careful seeding. SODA '07.
    """
    if len(pilot) < k:
        what = f"{k} clusters of n_samples={len(pilot)} cannot be found"
        raise PopulationError(what, "Ask for fewer clusters.")
    kmeans = KMeans(k, n_init=restarts, random_state=seed)
    # one thread: scikit-learn adds up the threads' centres in the order in which they finish
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # empty clusters are refused below
        kmeans.fit(np.asarray(pilot, dtype=np.float64))
    counts = np.bincount(kmeans.labels_, minlength=k)
    if not counts.all():
        what = f"the pilot has fewer than {k} distinct rows"
        raise PopulationError(what, "Ask for fewer clusters.")
    centers = np.asarray(kmeans.cluster_centers_, dtype=np.float64)
    return Seeds(centers, counts, float(kmeans.inertia_))

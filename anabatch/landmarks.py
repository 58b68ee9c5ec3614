"""The landmarks of a Nyström approximation: their choice, the space that they span, and distances."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from anabatch.errors import PopulationError
from anabatch.kernels import expm1_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

LandmarkMethod = Literal["kmeans", "uniform"]

# Distances among 20,000 rows in 64 Gaussian directions are within some 20 % of the true ones, which is
# enough to place landmarks, and k-means costs d / 64 times less.
_PROJECTED = 64
_BLOCK = 512


def choose_landmarks(
    pilot: NDArray[Any], n_landmarks: int, method: LandmarkMethod, seed: int
) -> NDArray[np.float64]:
    """Choose landmarks from a pilot.

    Parameters
    ----------
    pilot : ndarray of float, shape (p, d)
        Rows drawn from the data, in an order that depends on nothing but the rows.
    n_landmarks : int
        At most this many are returned: one for every row of a small pilot, and none for an empty
        cluster.
    method : {'kmeans', 'uniform'}
        `kmeans`: the clusters of k-means in a 64-dimensional Gaussian projection, and of each cluster
        the mean in all dimensions. `uniform`: rows of the pilot without replacement.
    seed : int

    Returns
    -------
    ndarray of float64, shape (m, d), m <= n_landmarks

    References
    ----------
    Zhang, K., Tsang, I. and Kwok, J. (2008). Improved Nyström low-rank approximation and error
    analysis. ICML '08, 1232-1239 (k-means centres as landmarks).
    """
    rows = len(pilot)
    if n_landmarks >= rows:
        return np.asarray(pilot, dtype=np.float64)
    rng = np.random.default_rng([seed, 1])
    if method == "uniform":
        chosen = rng.choice(rows, size=n_landmarks, replace=False)
        return np.asarray(pilot[chosen], dtype=np.float64)
    labels = _cluster(_project(pilot, rng), n_landmarks, seed)
    return _means(pilot, labels)


def pair_distances(pilot: NDArray[Any], pairs: int, seed: int) -> NDArray[np.float64]:
    """Squared Euclidean distances of random pairs of different rows.

    Parameters
    ----------
    pilot : ndarray of float, shape (p, d), p >= 2
    pairs : int
        Pairs to draw, with replacement. A pilot that has no more pairs than this gives each of them
        once.
    seed : int

    Returns
    -------
    ndarray of float64, shape (pairs,)
    """
    rows = len(pilot)
    if rows * (rows - 1) // 2 <= pairs:
        left, right = np.triu_indices(rows, k=1)
    else:
        rng = np.random.default_rng([seed, 2])
        left = rng.integers(rows, size=pairs)
        right = (left + 1 + rng.integers(rows - 1, size=pairs)) % rows
    squared = np.empty(len(left))
    for start in range(0, len(left), _BLOCK):
        block = slice(start, start + _BLOCK)
        difference = np.subtract(pilot[left[block]], pilot[right[block]], dtype=np.float64)
        squared[block] = np.einsum("ij,ij->i", difference, difference)
    return squared


def landmark_basis(
    landmarks: NDArray[np.float32], gamma: float, cutoff: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return an orthonormal basis of what the landmarks span in feature space, about their mean.

    Parameters
    ----------
    landmarks : ndarray of float32, shape (m, d)
        Less their mean.
    gamma : float
    cutoff : float
        Directions below this share of the first are dropped.

    Returns
    -------
    weights : ndarray of float64, shape (m, r), r < m
        Maps a row's kernel values, less one, to its coordinates but for the origin.
    origin : ndarray of float64, shape (r,)
        Coordinates of the landmarks' mean, to be taken off.

    Raises
    ------
    PopulationError
        The landmarks do not differ.
    """
    rows = landmarks.astype(np.float64)
    kernel = expm1_kernel(rows, np.zeros(rows.shape[1]), rows, gamma)
    np.fill_diagonal(kernel, 0)
    centered = kernel - kernel.mean(axis=0)
    centered -= centered.mean(axis=1)[:, None]
    values, vectors = np.linalg.eigh((centered + centered.T) / 2)
    # The landmarks' mean is the origin, so that m of them span m - 1 directions.
    least = max(cutoff * values[-1], len(values) * np.finfo(np.float64).eps)
    keep = np.flatnonzero(values[1:] > least)[::-1] + 1
    if not len(keep):
        what = f"the {len(values)} landmarks do not differ at gamma {gamma:.3g}"
        raise PopulationError(what, "Use more landmarks, or the method 'kmeans'.")
    vectors = fix_signs(vectors[:, keep])
    weights: NDArray[np.float64] = (vectors - vectors.mean(axis=0)) / np.sqrt(values[keep])
    return weights, (kernel @ weights).mean(axis=0)


def fix_signs(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Make the largest entry of each column positive: an eigenvector's sign is anybody's choice."""
    largest = np.abs(vectors).argmax(axis=0)
    signs = np.where(vectors[largest, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)
    signed: NDArray[np.float64] = vectors * signs
    return signed


def _project(pilot: NDArray[Any], rng: np.random.Generator) -> NDArray[np.float32]:
    width = pilot.shape[1]
    center = pilot[:_BLOCK].mean(axis=0, dtype=np.float64)
    directions = np.eye(width)
    if width > _PROJECTED:
        directions = rng.standard_normal((width, _PROJECTED)) / np.sqrt(_PROJECTED)
    projected = np.empty((len(pilot), directions.shape[1]), dtype=np.float32)
    for start in range(
        0, len(pilot), _BLOCK
    ):  # the pilot may be float16: never all of it in float64
        block = slice(start, start + _BLOCK)
        projected[block] = np.subtract(pilot[block], center, dtype=np.float64) @ directions
    return projected


def _cluster(rows: NDArray[np.float32], n_clusters: int, seed: int) -> NDArray[np.int32]:
    kmeans = KMeans(n_clusters, n_init=1, random_state=seed)
    # scikit-learn adds up the threads' centres in the order in which they finish
    with threadpool_limits(limits=1), warnings.catch_warnings():
        # fewer distinct rows than clusters: the empty ones give no landmark
        warnings.simplefilter("ignore", ConvergenceWarning)
        return np.asarray(kmeans.fit(rows).labels_, dtype=np.int32)


def _means(pilot: NDArray[Any], labels: NDArray[np.int32]) -> NDArray[np.float64]:
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    return np.stack(
        [pilot[rows].mean(axis=0, dtype=np.float64) for rows in np.split(order, starts[1:])]
    )

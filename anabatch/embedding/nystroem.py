"""Nyström kernel PCA in one pass over chunks.

The kernel is expanded around the mean of the landmarks. At small gamma an RBF kernel is one less a
little, and the one would drown the rest: a cut-off on the plain landmark kernel then deletes components
of the data. Everything here therefore works with `exp(...) - 1` and with differences from the
landmarks' mean in feature space, where nothing cancels.

Fitting has three steps, so that somebody else may spread the middle one over many machines:
:meth:`~NystroemKernelPCA.fit_landmarks` on a pilot, :meth:`~NystroemKernelPCA.partial_statistics` of
every chunk, merged in a fixed tree, and :meth:`~NystroemKernelPCA.finish`.
"""

from __future__ import annotations

import hashlib
import warnings
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from anabatch.embedding.gamma import GammaWarning, gamma_warning
from anabatch.embedding.statistics import KernelStatistics, merge, require_same
from anabatch.errors import ConfigurationError, PopulationError
from anabatch.estimators import ArraysMixin, check_integers
from anabatch.kernels import expm1_kernel, working_type
from anabatch.landmarks import (
    LandmarkMethod,
    choose_landmarks,
    fix_signs,
    landmark_basis,
    pair_distances,
)
from anabatch.reduction import reduce_tree
from anabatch.sampling import draw

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

# A pilot of this many rows, and of 30 for each landmark, places landmarks as well as all rows do.
_PILOT_ROWS = 20_000
_PILOT_ROWS_PER_LANDMARK = 30
# Random pairs that give the median distance, and those that give the trace to about 0.6 %.
_MEDIAN_PAIRS = 2_000
_TRACE_PAIRS = 5_000
_FLOATS = (np.float64, np.float32, np.float16)


class NystroemKernelPCA(
    ArraysMixin,
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]  # scikit-learn publishes no types
    TransformerMixin,  # type: ignore[misc]  # scikit-learn publishes no types
    BaseEstimator,  # type: ignore[misc]  # scikit-learn publishes no types
):
    """Kernel PCA with an RBF kernel, in the span of a few landmarks.

    It keeps scikit-learn's conventions and passes all of its checks (`check_estimator`). Where they leave
    room: scores are float32 whatever comes in; `random_state` is a whole number, so that a fit can be
    repeated; errors are of `anabatch.errors`, and also the `ValueError` that is expected; `transform`
    takes no rows at all, as a chunk may have none; there is no way back to the rows.

    Chunks are computed in float32, or in float64 if they are float64; sums and matrices of the
    landmarks' size always in float64. Memory does not grow with the number of rows.

    Parameters
    ----------
    n_components : int
        Components to keep; fewer if the landmarks have a smaller rank.
    n_landmarks : int
        Landmarks m; never more than the pilot has rows.
    gamma : float or 'auto'
        The kernel is `exp(-gamma |x - y|^2)`. `auto` is one over the median squared distance of pairs
        of the pilot.
    landmark_method : {'kmeans', 'uniform'}
        See :func:`anabatch.landmarks.choose_landmarks`.
    cutoff : float
        Directions of the landmark kernel below this share of the first are dropped.
    chunk_size : int
        Rows that are computed at once.
    random_state : int
        Seed of all drawing.

    Attributes
    ----------
    gamma_ : float
    gamma_median_ : float
        gamma times the median squared distance of pairs of the pilot.
    trace_ : float
        1 less the mean kernel of random pairs of different rows: the data's whole variance in feature
        space, free of the landmarks.
    center_ : ndarray of float64, shape (d,)
        Mean of the landmarks (rounded to float32).
    landmarks_ : ndarray of float32, shape (m, d)
        Landmarks less `center_`.
    W_ : ndarray of float64, shape (m, r)
        Maps kernel values to coordinates in an orthonormal basis of the span of the landmarks.
    z0_ : ndarray of float64, shape (r,)
        Coordinates of the landmarks' mean.
    landmarks_digest_ : str
        Of all of these: statistics that were made with others are refused.
    eigenvalues_ : ndarray of float64, shape (c,), c = min(n_components, r)
        Variances of the components, largest first. scikit-learn's KernelPCA shows n times these.
    explained_variance_ratio_ : ndarray of float64, shape (c,)
        `eigenvalues_` over the whole variance, also that which no component shows.
    projection_ : ndarray of float64, shape (m, c)
    offset_ : ndarray of float64, shape (c,)
    n_samples_seen_ : int
    n_features_in_ : int

    References
    ----------
    Schölkopf, B., Smola, A. and Müller, K.-R. (1998). Nonlinear component analysis as a kernel
    eigenvalue problem. Neural Computation 10, 1299-1319.
    Williams, C. and Seeger, M. (2001). Using the Nyström method to speed up kernel machines. NIPS 13.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(500, 8))
    >>> model = NystroemKernelPCA(n_components=3, n_landmarks=50).fit(X)
    >>> model.transform(X[:2]).shape
    (2, 3)
    """

    _state_stages = (
        (
            "gamma_",
            "gamma_median_",
            "trace_",
            "center_",
            "landmarks_",
            "W_",
            "z0_",
            "n_features_in_",
        ),
        ("projection_", "offset_", "eigenvalues_", "explained_variance_ratio_", "n_samples_seen_"),
    )

    def __init__(
        self,
        n_components: int = 150,
        *,
        n_landmarks: int = 512,
        gamma: float | Literal["auto"] = "auto",
        landmark_method: LandmarkMethod = "kmeans",
        cutoff: float = 1e-6,
        chunk_size: int = 4096,
        random_state: int = 0,
    ) -> None:
        self.n_components = n_components
        self.n_landmarks = n_landmarks
        self.gamma = gamma
        self.landmark_method = landmark_method
        self.cutoff = cutoff
        self.chunk_size = chunk_size
        self.random_state = random_state

    def fit(self, X: Any, y: object = None) -> Self:
        """Fit on rows that lie in memory, or in a memory map.

        Parameters
        ----------
        X : array-like of float, shape (n, d)
        y : None
            Ignored.

        Returns
        -------
        NystroemKernelPCA
            Itself.

        Raises
        ------
        ConfigurationError
            A parameter is out of range.
        PopulationError
            There are fewer than two rows, or most of them are equal.
        """
        rows = validate_data(self, X, dtype=_FLOATS, ensure_min_samples=1)
        size = max(_PILOT_ROWS, _PILOT_ROWS_PER_LANDMARK * self.n_landmarks)
        # rows in memory have no ids: their positions are drawn instead
        pilot = rows[draw(np.arange(len(rows)), size, self.random_state)]
        self._fit_landmarks(pilot, _TRACE_PAIRS)
        return self.finish(self._add_up(rows))

    def fit_landmarks(self, pilot: Any, trace_pairs: int | None = None) -> Self:
        """Choose the landmarks and gamma, and estimate the whole variance.

        Parameters
        ----------
        pilot : array-like of float, shape (p, d)
            Rows drawn by :func:`anabatch.sampling.draw`, in its order: the result depends on it. At
            least `max(20000, 30 * n_landmarks)` rows, if there are as many.
        trace_pairs : int, optional
            Random pairs of the pilot for the whole variance; 5,000 by default.

        Returns
        -------
        NystroemKernelPCA
            Itself.

        Raises
        ------
        ConfigurationError, PopulationError
            As for :meth:`fit`.

        Warns
        -----
        GammaWarning
            gamma times the median squared distance is below 0.02, or above 3.
        """
        rows = validate_data(self, pilot, dtype=_FLOATS, ensure_min_samples=1)
        return self._fit_landmarks(rows, _TRACE_PAIRS if trace_pairs is None else trace_pairs)

    def _fit_landmarks(self, pilot: NDArray[Any], trace_pairs: int) -> Self:
        self._check_parameters()
        if len(pilot) < 2:
            what = f"kernel PCA needs two rows, and got n_samples={len(pilot)}"
            raise PopulationError(what)
        squared = pair_distances(pilot, max(trace_pairs, 1), self.random_state)
        self._set_gamma(float(np.median(squared[:_MEDIAN_PAIRS])))
        self.trace_ = float(-np.expm1(-self.gamma_ * squared).mean())
        # one thread: this is small, and must not depend on the machine that does it
        with threadpool_limits(limits=1):
            chosen = choose_landmarks(
                pilot, self.n_landmarks, self.landmark_method, self.random_state
            )
            self.center_ = chosen.mean(axis=0).astype(np.float32).astype(np.float64)
            self.landmarks_ = (chosen - self.center_).astype(np.float32)
            self.W_, self.z0_ = landmark_basis(self.landmarks_, self.gamma_, self.cutoff)
        self.landmarks_digest_ = _digest(self)
        return self

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """As of any estimator, see :meth:`anabatch.estimators.ArraysMixin.from_arrays`."""
        model = super().from_arrays(arrays)
        if hasattr(model, "W_"):
            model.landmarks_digest_ = _digest(model)
        return model

    def _check_parameters(self) -> None:
        sizes = {"n_components": self.n_components, "chunk_size": self.chunk_size}
        check_integers({"n_landmarks": self.n_landmarks}, least=2)
        check_integers(sizes, least=1)
        check_integers({"random_state": self.random_state}, least=0)
        gamma = self.gamma
        if not (gamma == "auto" if isinstance(gamma, str) else 0 < gamma < np.inf):
            what = f"gamma is {self.gamma!r}, and must be 'auto' or a positive number"
            raise ConfigurationError(what)
        if self.landmark_method not in ("kmeans", "uniform"):
            what = f"landmark_method is {self.landmark_method!r}"
            raise ConfigurationError(what, "Use 'kmeans' or 'uniform'.")
        if not 0 < self.cutoff < 1:
            what = f"cutoff is {self.cutoff!r}, and must lie between 0 and 1"
            raise ConfigurationError(what)

    def _set_gamma(self, median: float) -> None:
        if median <= 0:
            what = "most pairs of rows are equal, so that no distance can set gamma"
            raise PopulationError(what, "Remove duplicates.")
        self.gamma_ = 1 / median if self.gamma == "auto" else float(self.gamma)
        self.gamma_median_ = self.gamma_ * median
        if message := gamma_warning(self.gamma_, self.gamma_median_):
            warnings.warn(message, GammaWarning, stacklevel=4)

    def partial_statistics(self, X: Any) -> KernelStatistics:
        """Sum up a chunk. Nothing of the model changes, so that threads may share it.

        Parameters
        ----------
        X : array-like of float, shape (n, d)
            n may be 0. More than `chunk_size` rows are computed in pieces.

        Returns
        -------
        KernelStatistics

        Raises
        ------
        sklearn.exceptions.NotFittedError
            There are no landmarks yet.
        ValueError
            X has another number of columns than the pilot, or is not finite.
        """
        return self._add_up(self._validate(X, "W_"))

    def _add_up(self, rows: NDArray[Any]) -> KernelStatistics:
        if not len(rows):
            return self._sum(np.empty((0, len(self.z0_))))
        weights = self.W_.astype(working_type(rows))
        return reduce_tree((self._sum(kernel @ weights) for kernel in self._kernels(rows)), merge)

    def _sum(self, coordinates: NDArray[Any]) -> KernelStatistics:
        centered = np.subtract(coordinates, self.z0_, dtype=np.float64)
        total, gram = centered.sum(axis=0), centered.T @ centered
        return KernelStatistics(len(centered), total, gram, self.landmarks_digest_)

    def finish(self, statistics: KernelStatistics) -> Self:
        """Diagonalise the covariance.

        May be called again, with more rows, while the landmarks stand.

        Parameters
        ----------
        statistics : KernelStatistics
            Of all rows.

        Returns
        -------
        NystroemKernelPCA
            Itself.

        Raises
        ------
        PopulationError
            The statistics hold fewer than two rows.
        LandmarksError
            They were made with other landmarks.
        """
        check_is_fitted(self, "W_")
        require_same(statistics.landmarks, self.landmarks_digest_)
        n = statistics.n
        if n < 2:
            what = f"kernel PCA needs two rows, and got n_samples={n}"
            raise PopulationError(what)
        mean = statistics.total / n
        with threadpool_limits(limits=1):
            values, vectors = np.linalg.eigh(statistics.gram / n - np.outer(mean, mean))
            vectors = fix_signs(vectors[:, ::-1][:, : self.n_components])
            self.projection_ = self.W_ @ vectors
            self.offset_ = vectors.T @ (self.z0_ + mean)
        self.n_samples_seen_ = n
        self.eigenvalues_ = np.maximum(values[::-1][: self.n_components], 0)
        # a pair of a row with itself has the kernel 1: n of the n^2 pairs add nothing
        self.explained_variance_ratio_ = self.eigenvalues_ / (self.trace_ * (1 - 1 / n))
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Project rows on the components.

        Parameters
        ----------
        X : array-like of float, shape (n, d)
            n may be 0.

        Returns
        -------
        ndarray of float32, shape (n, c)

        Raises
        ------
        sklearn.exceptions.NotFittedError
            The model is not finished.
        ValueError
            X has another number of columns than the pilot, or is not finite.
        """
        rows = self._validate(X, "projection_")
        projection = self.projection_.astype(working_type(rows))
        embedded = np.empty((len(rows), projection.shape[1]), dtype=np.float32)
        start = 0
        for kernel in self._kernels(rows):
            stop = start + len(kernel)
            embedded[start:stop] = np.subtract(kernel @ projection, self.offset_, dtype=np.float64)
            start = stop
        return embedded

    def _validate(self, X: Any, attribute: str) -> NDArray[Any]:
        check_is_fitted(self, attribute)
        rows: NDArray[Any] = validate_data(
            self,
            X,
            reset=False,
            dtype=_FLOATS,
            ensure_min_samples=0,
            ensure_all_finite=False,  # the rows' norms tell, at no cost
        )
        return rows

    def _kernels(self, rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
        for start in range(0, len(rows), self.chunk_size):
            piece = rows[start : start + self.chunk_size]
            yield expm1_kernel(piece, self.center_, self.landmarks_, self.gamma_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # float32 whatever comes in
        return tags

    @property
    def _n_features_out(self) -> int:
        return int(self.projection_.shape[1])


def _digest(model: NystroemKernelPCA) -> str:
    """Return the digest of all that makes coordinates of rows: some 10 MB, so once a model."""
    found = hashlib.blake2b(repr(float(model.gamma_)).encode(), digest_size=16)
    for part in (model.center_, model.landmarks_, model.W_, model.z0_):
        found.update(np.ascontiguousarray(part).data)
    return found.hexdigest()

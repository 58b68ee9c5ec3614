"""What every feature extractor offers; what it must keep to is tested by `conformance`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from anabatch.config import FeaturizeConfig


class FeatureExtractor(Protocol):
    """Describes cells, each by itself.

    It pickles as its parameters: a worker loads what it needs for itself.
    """

    @property
    def config(self) -> FeaturizeConfig:
        """The parameters. `config.device` is used, or refused with a `DeviceError`."""
        ...

    @property
    def digest(self) -> str:
        """What all that determines the features comes down to: 32 hex digits."""
        ...

    @property
    def n_features(self) -> int:
        """Length of a feature vector, d."""
        ...

    @property
    def needs_masks(self) -> bool:
        """Whether `extract` has to be given masks."""
        ...

    def extract(
        self, crops: NDArray[Any], masks: NDArray[Any] | None = None
    ) -> NDArray[np.float16]:
        """Describe cells.

        Parameters
        ----------
        crops : ndarray, shape (n, 96, 96), uint8 or uint16
            16 bits and their 8-bit copies divided by 257 have the same features.
        masks : ndarray, shape (n, 96, 96), uint8, optional
            0 outside the cell, 1 cytoplasm, 2 nucleus.

        Returns
        -------
        ndarray, shape (n, d), float16
            Finite. Row i depends on crop i (and its mask) alone.

        Raises
        ------
        ValueError
            Crops or masks have another shape or type, or masks are needed and are not given.
        """
        ...


class ExtractorKind(Protocol):
    """What makes an extractor, and says beforehand what determines its features.

    An entry point of the group `anabatch.feature_extractors` names one: a class of extractors with
    these two as static methods, as a rule. A plan calls them, and loads no network; so what they
    import counts at every start.
    """

    def __call__(self, config: FeaturizeConfig, *, threads: int = 1) -> FeatureExtractor:
        """Make the extractor, which may load what it needs and take `threads` threads."""
        ...

    def parameters(self, config: FeaturizeConfig) -> Mapping[str, Any]:
        """Return all that determines features beside weights, as JSON has it.

        The version of its algorithm belongs to it, and whatever it uses of the configuration. The
        device does not, nor a path.
        """
        ...

    def weights(self, config: FeaturizeConfig) -> Mapping[str, str]:
        """Return digests of the contents of weights, by the parameter that names them.

        Raises
        ------
        WeightsError
            They are not there.
        """
        ...

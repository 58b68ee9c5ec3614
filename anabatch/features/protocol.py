"""What every feature extractor offers; what it must keep to is tested by `conformance`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
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

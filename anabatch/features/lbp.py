"""Features of cells without a network: histograms of local binary patterns."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.errors import DeviceError
from anabatch.features.inputs import check_crops, check_masks
from anabatch.features.recipe import features_digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from anabatch.config import FeaturizeConfig

CIRCLES = ((8, 1), (16, 2), (24, 3), (16, 5))
"""Points and radius, in crop pixels, of the circles whose grey levels are compared with their middle."""

# Bins of the histogram of grey levels, which stands beside those of the patterns: they know no
# brightness.
_BRIGHTNESS = 16


class LBPFeatures:
    """Histograms of uniform local binary patterns within the cell, and of its grey levels.

    Whoever changes what they are raises `anabatch.features.recipe.LBP_VERSION`.

    They need no weights and little time, and turn with the cell without changing. What a cell
    looks like beyond 5 pixels is lost on them.

    Parameters
    ----------
    config : FeaturizeConfig
        Nothing of it is used but `extractor`, which is 'lbp', and `device`.
    threads : int
        One is used whatever it says.

    Attributes
    ----------
    config : FeaturizeConfig
    n_features : int
        88.
    digest : str
        What determines the features, see :func:`anabatch.features.recipe.features_digest`.
    needs_masks : bool
        False: what is not black is in the cell.

    Raises
    ------
    DeviceError
        The device is 'cuda'.

    References
    ----------
    T. Ojala, M. Pietikäinen and T. Mäenpää, "Multiresolution gray-scale and rotation invariant
    texture classification with local binary patterns", IEEE Transactions on Pattern Analysis and
    Machine Intelligence 24 (2002).
    """

    n_features = sum(points + 2 for points, _ in CIRCLES) + _BRIGHTNESS
    needs_masks = False

    def __init__(self, config: FeaturizeConfig, *, threads: int = 1) -> None:
        if config.device != "cpu":
            what = f"featurize.device is {config.device!r}, and local binary patterns need no GPU"
            raise DeviceError(what, "Set featurize.device to 'cpu'.")
        self.config = config
        self.digest = features_digest(config)
        self._threads = threads

    def __reduce__(self) -> tuple[Callable[..., LBPFeatures], tuple[FeaturizeConfig]]:
        return partial(type(self), threads=self._threads), (self.config,)

    def extract(
        self, crops: NDArray[Any], masks: NDArray[Any] | None = None
    ) -> NDArray[np.float16]:
        """Return the features of crops, see :class:`anabatch.features.protocol.FeatureExtractor`.

        Parameters
        ----------
        crops : ndarray, shape (n, 96, 96), uint8 or uint16
        masks : ndarray, shape (n, 96, 96), uint8, optional
            Of no effect.

        Returns
        -------
        ndarray, shape (n, 88), float16
            Shares: every histogram adds up to 1, or to 0 where the crop is black.

        Raises
        ------
        ValueError
            Crops or masks have another shape or type.
        """
        check_crops(crops)
        if masks is not None:
            check_masks(masks, crops)
        found = [_histograms(crop) for crop in crops]
        return np.asarray(found, dtype=np.float16).reshape(len(crops), self.n_features)


def _histograms(crop: NDArray[Any]) -> NDArray[np.float64]:
    from skimage.feature import local_binary_pattern

    inside = crop > 0
    shares = []
    for points, radius in CIRCLES:
        codes = local_binary_pattern(crop, points, radius, method="uniform")
        shares.append(np.bincount(codes[inside].astype(np.int64), minlength=points + 2))
    bin_width = (int(np.iinfo(crop.dtype).max) + 1) // _BRIGHTNESS
    shares.append(np.bincount(crop[inside] // bin_width, minlength=_BRIGHTNESS))
    return np.concatenate(shares) / max(int(inside.sum()), 1)

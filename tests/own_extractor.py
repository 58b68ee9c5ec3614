"""A feature extractor as another package would bring it: mean light of nucleus and cytoplasm, and sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.errors import DeviceError
from anabatch.features.inputs import check_masks, grey_levels
from anabatch.features.recipe import features_digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anabatch.config import FeaturizeConfig

VERSION = 3


class Means:
    """Describes a cell by the means and shares of its nucleus and its cytoplasm."""

    n_features = 4
    needs_masks = True

    def __init__(self, config: FeaturizeConfig, *, threads: int = 1) -> None:
        del threads
        if config.device != "cpu":
            raise DeviceError("means need no GPU", "Set featurize.device to 'cpu'.")  # noqa: EM101 (one place)
        self.config = config
        self.digest = features_digest(config)

    @staticmethod
    def parameters(config: FeaturizeConfig) -> dict[str, Any]:
        return {"version": VERSION, "preprocessing": config.preprocessing}

    @staticmethod
    def weights(config: FeaturizeConfig) -> dict[str, str]:
        del config
        return {}

    def extract(
        self, crops: NDArray[Any], masks: NDArray[Any] | None = None
    ) -> NDArray[np.float16]:
        levels = grey_levels(crops) / np.float32(255)
        if masks is None:
            raise ValueError("means are taken over masks, and none are given")  # noqa: EM101 (one place)
        check_masks(masks, crops)
        features = np.empty((len(crops), 4), np.float16)
        for column, part in enumerate((1, 2)):
            here = masks == part
            sizes = here.sum(axis=(1, 2))
            features[:, column] = (levels * here).sum(axis=(1, 2)) / np.maximum(sizes, 1)
            features[:, 2 + column] = sizes / masks[0].size if len(crops) else 0
        return features

"""The extractor that a configuration names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabatch.features.lbp import LBPFeatures
from anabatch.features.plugins import plugin
from anabatch.features.vgg16 import VGG16Features

if TYPE_CHECKING:
    from anabatch.config import FeaturizeConfig
    from anabatch.features.protocol import FeatureExtractor


def extractor_for(config: FeaturizeConfig, *, threads: int = 1) -> FeatureExtractor:
    """Load the extractor of a configuration.

    Parameters
    ----------
    config : FeaturizeConfig
    threads : int

    Raises
    ------
    WeightsError
        Its weights are missing or do not fit.
    DeviceError
        The configured device is not there, or of no use to it.
    ConfigurationError
        It is another package's, which is not installed here.
    """
    if config.extractor == "vgg16":
        return VGG16Features(config, threads=threads)
    if config.extractor == "lbp":
        return LBPFeatures(config, threads=threads)
    return plugin(config.extractor)(config, threads=threads)

"""What determines features beside the crops; neither Keras nor a network is needed to say it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from anabatch.config import EXTRACTORS
from anabatch.features.plugins import plugin
from anabatch.features.vgg16_weights import check_channels, weights_digest

if TYPE_CHECKING:
    from anabatch.config import FeaturizeConfig

LBP_VERSION = 1
"""Of the algorithm; raised when the same crops have other local binary patterns than before."""

AS_BEFORE = {
    "extractor": "vgg16",
    "channels": "grey",
    "pooling": "flatten",
    "precision": "float32",
}
"""Parameters that came later: at these values they are left out, so that features of before stand."""


def features_parameters(config: FeaturizeConfig) -> dict[str, Any]:
    """Return the parameters that determine features beside weights, which have digests.

    The device is left out: where a network runs does not decide what it says.

    Parameters
    ----------
    config : FeaturizeConfig

    Raises
    ------
    ConfigurationError
        The extractor is another package's, which is not installed here.
    """
    if config.extractor == "lbp":
        # 1 goes without saying: features were described before versions were
        version = {} if LBP_VERSION == 1 else {"version": LBP_VERSION}
        return {"extractor": config.extractor, **version}
    if config.extractor not in EXTRACTORS:
        return {**plugin(config.extractor).parameters(config), "extractor": config.extractor}
    parameters = config.model_dump(mode="json", exclude={"weights", "device"})
    return {
        name: value
        for name, value in parameters.items()
        if name not in AS_BEFORE or value != AS_BEFORE[name]
    }


def features_weights(config: FeaturizeConfig) -> dict[str, str]:
    """Return the digests of the weights by the parameter that names them; they are read for it.

    Parameters
    ----------
    config : FeaturizeConfig

    Raises
    ------
    WeightsError
        The weights are neither a shipped name nor a file that is there.
    ConfigurationError
        The weights were trained for other channels, or the extractor is another package's, which is
        not installed here.
    """
    if config.extractor == "lbp":
        return {}
    if config.extractor not in EXTRACTORS:
        return dict(plugin(config.extractor).weights(config))
    check_channels(config.weights, config.channels)
    return {"weights": weights_digest(config.weights)}


def features_digest(config: FeaturizeConfig) -> str:
    """Return what determines the features, which workers check theirs against.

    Parameters
    ----------
    config : FeaturizeConfig

    Returns
    -------
    str
        32 hex digits: BLAKE2b-128 over parameters and digests of weights. The name or path of the
        weights is not in it: moved weights recompute nothing, and other weights under the old name
        recompute everything.

    Raises
    ------
    WeightsError, ConfigurationError
        As :func:`features_weights`.
    """
    both = {"parameters": features_parameters(config), "weights": features_weights(config)}
    text = json.dumps(both, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

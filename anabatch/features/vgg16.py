"""Features of cells: VGG16 up to the pooling of block 5, flattened.

Plain Keras 3, so that the TensorFlow and the PyTorch backends both work.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.errors import ConfigurationError
from anabatch.features.backend import device_scope, start_keras
from anabatch.features.inputs import SIDE, check_crops, check_masks, preprocess
from anabatch.features.recipe import features_digest
from anabatch.features.vgg16_weights import FULL_WIDTH, load_weights, width_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from anabatch.config import FeaturizeConfig

__all__ = ["BLOCKS", "SIDE", "VGG16Features", "build", "features_digest", "preprocess"]

BLOCKS = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))
"""Convolutions of every block, and their channels in multiples of the first block's."""


def build(width: float = 1.0, *, pooling: str = "flatten", precision: str = "float32") -> Any:
    """Build VGG16 up to the pooling of block 5, with random weights.

    Layers have the names of `keras.applications.VGG16`, so that its weights fit.

    Parameters
    ----------
    width : float
        Channels of every convolution as a share of VGG16's own.
    pooling : {'flatten', 'average'}
        Of the 3 x 3 places of block 5.
    precision : {'float32', 'mixed_bfloat16'}
        Keras's policy for all but the last step, which is float32.

    Returns
    -------
    keras.Model
        From (n, 96, 96, 3) float32 to (n, 4608 * `width`) float32, (n, 512 * `width`) if averaged.

    Raises
    ------
    ValueError
        The width gives no whole number of channels.

    References
    ----------
    K. Simonyan and A. Zisserman, "Very deep convolutional networks for large-scale image
    recognition", ICLR (2015), configuration D.
    """
    import keras

    channels = round(FULL_WIDTH * width)
    if channels < 1 or channels != FULL_WIDTH * width:
        message = f"a width of {width} gives {FULL_WIDTH * width} channels"
        raise ValueError(message)
    # Said in full, because a user's keras.json could say otherwise.
    fixed = {"data_format": "channels_last", "dtype": precision}
    inputs = keras.Input((SIDE, SIDE, 3), dtype="float32")
    x = inputs
    for block, (convolutions, factor) in enumerate(BLOCKS, start=1):
        for number in range(1, convolutions + 1):
            name = f"block{block}_conv{number}"
            x = keras.layers.Conv2D(
                channels * factor,
                3,
                padding="same",
                activation="relu",
                kernel_initializer="he_normal",
                name=name,
                **fixed,
            )(x)
        x = keras.layers.MaxPooling2D(2, name=f"block{block}_pool", **fixed)(x)
    last = {"data_format": "channels_last", "dtype": "float32"}
    if pooling == "average":
        x = keras.layers.GlobalAveragePooling2D(name="average", **last)(x)
    else:
        x = keras.layers.Flatten(name="flatten", **last)(x)
    return keras.Model(inputs, x, name="vgg16_block5")


class VGG16Features:
    """VGG16 with weights, as a function from crops to features.

    Every batch that the network sees has one shape, the last one padded, so features depend on
    nothing but the crop, the weights, the number of threads and the kind of device.

    Parameters
    ----------
    config : FeaturizeConfig
        Its `extractor` is 'vgg16'.
    threads : int
        Threads of the backend, see :func:`anabatch.features.backend.start_keras`.

    Attributes
    ----------
    config : FeaturizeConfig
    n_features : int
        Length of a feature vector, d.
    digest : str
        What determines the features, see :func:`anabatch.features.recipe.features_digest`.

    Raises
    ------
    DeviceError
        The device is not there.
    WeightsError
        The weights are missing or do not fit.
    ConfigurationError
        The backend runs with another number of threads already.
    """

    def __init__(self, config: FeaturizeConfig, *, threads: int = 1) -> None:
        self.config = config
        self.digest = features_digest(config)
        self._threads = threads
        width = width_of(config.weights)
        start_keras(threads)
        with device_scope(config.device):
            self._model = build(width, pooling=config.pooling, precision=config.precision)
            load_weights(self._model, config.weights)
            # No XLA: measured, it wins nothing here, and compiling takes its time in every worker.
            self._model.compile(jit_compile=False)
        self.n_features = int(self._model.output_shape[-1])

    def __reduce__(self) -> tuple[Callable[..., VGG16Features], tuple[FeaturizeConfig]]:
        return partial(type(self), threads=self._threads), (self.config,)

    @property
    def needs_masks(self) -> bool:
        """Whether the network's channels are made with masks."""
        return self.config.channels != "grey"

    def extract(
        self, crops: NDArray[Any], masks: NDArray[Any] | None = None
    ) -> NDArray[np.float16]:
        """Return the features of crops.

        Parameters
        ----------
        crops : ndarray, shape (n, 96, 96), uint8 or uint16
        masks : ndarray, shape (n, 96, 96), uint8, optional
            0 outside the cell, 1 cytoplasm, 2 nucleus. Of no effect where the channels are grey.

        Returns
        -------
        ndarray, shape (n, d), float16

        Raises
        ------
        ValueError
            Crops or masks have another shape or type, or masks are needed and are not given.
        ConfigurationError
            A feature is too large for float16, or not a number.
        """
        check_crops(crops)  # all of them, and also where there are none
        if masks is not None:
            check_masks(masks, crops)
        if self.needs_masks and masks is None:
            message = f"channels = {self.config.channels!r} are made with masks, and none are given"
            raise ValueError(message)
        features = np.empty((len(crops), self.n_features), dtype=np.float16)
        for start in range(0, len(crops), self.config.batch):
            rows = slice(start, start + self.config.batch)
            exact = self._forward(
                crops[rows], masks[rows] if self.needs_masks and masks is not None else None
            )
            if not np.all(np.abs(exact) <= np.finfo(np.float16).max):
                what = f"features reach {np.abs(exact).max()}, which float16 cannot hold"
                raise ConfigurationError(what, "Take other weights, or preprocessing = 'unit'.")
            features[rows] = exact
        return features

    def _forward(self, crops: NDArray[Any], masks: NDArray[Any] | None) -> NDArray[np.float32]:
        """Return the features of at most one batch, as the network gives them."""
        inputs = preprocess(crops, self.config.preprocessing, masks)
        if len(crops) < self.config.batch:  # every batch has one shape: results depend on it
            missing = ((0, self.config.batch - len(crops)), (0, 0), (0, 0), (0, 0))
            inputs = np.pad(inputs, missing)
        with device_scope(self.config.device):
            return np.asarray(self._model.predict_on_batch(inputs))[: len(crops)]

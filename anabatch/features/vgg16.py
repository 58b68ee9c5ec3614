"""Features of cells: VGG16 up to the pooling of block 5, flattened.

Plain Keras 3, so that the TensorFlow and the PyTorch backends both work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from anabatch.errors import ConfigurationError
from anabatch.features.backend import start_keras
from anabatch.features.vgg16_weights import FULL_WIDTH, features_digest, load_weights, width_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anabatch.config import FeaturizeConfig

__all__ = ["BLOCKS", "SIDE", "VGG16Features", "build", "features_digest", "preprocess"]

SIDE = 96
"""Side of the crops that the network takes, in crop pixels."""

BLOCKS = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))
"""Convolutions of every block, and their channels in multiples of the first block's."""

# Blue, green, red: the means of the training images, in grey levels of 0 to 255, as
# keras.applications.vgg16.preprocess_input takes them off after turning RGB into BGR.
_IMAGENET_MEANS = np.array([103.939, 116.779, 123.68], dtype=np.float32)


def build(width: float = 1.0) -> Any:
    """Build VGG16 up to the pooling of block 5, flattened, with random weights.

    Layers have the names of `keras.applications.VGG16`, so that its weights fit.

    Parameters
    ----------
    width : float
        Channels of every convolution as a share of VGG16's own.

    Returns
    -------
    keras.Model
        From (n, 96, 96, 3) float32 to (n, 4608 * `width`).

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
    fixed = {"data_format": "channels_last", "dtype": "float32"}
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
    x = keras.layers.Flatten(name="flatten", **fixed)(x)
    return keras.Model(inputs, x, name="vgg16_block5")


def preprocess(crops: NDArray[Any], method: str) -> NDArray[np.float32]:
    """Turn grey crops into the network's input: one channel copied to three.

    Grey levels are scaled by their type's range (uint16 divided by 257), never by the image's own.

    Parameters
    ----------
    crops : ndarray, shape (n, 96, 96), uint8 or uint16
    method : {'unit', 'keras'}
        `unit`: grey levels in [0, 1]. `keras`: 0 to 255 less the ImageNet channel means, as
        `keras.applications.vgg16.preprocess_input`.

    Returns
    -------
    ndarray, shape (n, 96, 96, 3), float32

    Raises
    ------
    ValueError
        The crops have another shape or type.
    """
    if crops.ndim != 3 or crops.shape[1:] != (SIDE, SIDE):
        message = f"crops must be (n, {SIDE}, {SIDE}), not {crops.shape}"
        raise ValueError(message)
    if crops.dtype not in (np.uint8, np.uint16):
        message = f"crops must be uint8 or uint16, not {crops.dtype}"
        raise ValueError(message)
    # 257 * 255 = 65,535: exact in 32-bit float for every 16-bit copy of an 8-bit level.
    levels = crops.astype(np.float32) / np.float32(257 if crops.dtype == np.uint16 else 1)
    grey = np.repeat(levels[..., np.newaxis], 3, axis=-1)
    if method == "unit":
        return np.asarray(grey / np.float32(255))
    return np.asarray(grey - _IMAGENET_MEANS)


class VGG16Features:
    """VGG16 with weights, as a function from crops to features.

    Every batch that the network sees has one shape, the last one padded, so features depend on
    nothing but the crop, the weights, the number of threads and the kind of device.

    Parameters
    ----------
    config : FeaturizeConfig
        Weights, preprocessing, batch.
    threads : int
        Threads of the backend, see :func:`anabatch.features.backend.start_keras`.

    Attributes
    ----------
    n_features : int
        Length of a feature vector, d.
    digest : str
        What determines the features, see :func:`features_digest`.

    Raises
    ------
    WeightsError
        The weights are missing or do not fit.
    ConfigurationError
        The backend runs with another number of threads already.
    """

    def __init__(self, config: FeaturizeConfig, *, threads: int = 1) -> None:
        self._config = config
        self.digest = features_digest(config)
        width = width_of(config.weights)
        start_keras(threads)
        self._model = build(width)
        load_weights(self._model, config.weights)
        # No XLA: measured, it wins nothing here, and compiling takes its time in every worker.
        self._model.compile(jit_compile=False)
        self.n_features = int(self._model.output_shape[-1])

    def extract(self, crops: NDArray[Any]) -> NDArray[np.float16]:
        """Return the features of crops.

        Parameters
        ----------
        crops : ndarray, shape (n, 96, 96), uint8 or uint16

        Returns
        -------
        ndarray, shape (n, d), float16

        Raises
        ------
        ValueError
            The crops have another shape or type.
        ConfigurationError
            A feature is too large for float16, or not a number.
        """
        features = np.empty((len(crops), self.n_features), dtype=np.float16)
        for start in range(0, len(crops), self._config.batch):
            exact = self._forward(crops[start : start + self._config.batch])
            if not np.all(np.abs(exact) <= np.finfo(np.float16).max):
                what = f"features reach {np.abs(exact).max()}, which float16 cannot hold"
                raise ConfigurationError(what, "Take other weights, or preprocessing = 'unit'.")
            features[start : start + len(exact)] = exact
        return features

    def _forward(self, crops: NDArray[Any]) -> NDArray[np.float32]:
        """Return the features of at most one batch, in the network's own precision."""
        inputs = np.zeros((self._config.batch, SIDE, SIDE, 3), dtype=np.float32)
        inputs[: len(crops)] = preprocess(crops, self._config.preprocessing)
        return np.asarray(self._model.predict_on_batch(inputs))[: len(crops)]

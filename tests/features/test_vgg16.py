"""VGG16 up to block 5: topology against Keras's own, inputs, batches, weights."""

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from narrow import save_random

from anabatch import cells
from anabatch.config import FeaturizeConfig
from anabatch.errors import ConfigurationError, WeightsError
from anabatch.features import vgg16_weights
from anabatch.features.backend import start_keras
from anabatch.features.inputs import NUCLEUS, OUTSIDE, preprocess
from anabatch.features.recipe import features_digest, features_parameters
from anabatch.features.vgg16 import VGG16Features, build

Array = np.ndarray[Any, Any]
WIDTH = 1 / 16
CROPS: Array = np.random.default_rng(1).integers(0, 256, (7, 96, 96), dtype=np.uint8)


@pytest.fixture(scope="module")
def npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "narrow.npz"
    save_random(path)
    return path


def extractor(weights: Path, **options: Any) -> VGG16Features:
    return VGG16Features(FeaturizeConfig(weights=str(weights), **{"batch": 8, **options}))


def test_full_width_is_keras_own_vgg16() -> None:
    start_keras()
    from keras.applications import VGG16

    theirs = VGG16(include_top=False, weights=None, input_shape=(96, 96, 3))
    ours = build(1.0)
    named = {layer.name for layer in theirs.layers if layer.weights}
    assert {layer.name for layer in ours.layers if layer.weights} == named
    ours.set_weights(theirs.get_weights())
    inputs = preprocess(CROPS[:2], "unit")
    expected = np.asarray(theirs.predict_on_batch(inputs)).reshape(2, -1)
    actual = np.asarray(ours.predict_on_batch(inputs))
    assert actual.shape == (2, 4608)
    assert expected.max() > 0
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * expected.max())


@pytest.mark.parametrize(("width", "features"), [(0.25, 1152), (0.5, 2304), (1 / 64, 72)])
def test_width_scales_every_layer(width: float, features: int) -> None:
    start_keras()
    model = build(width)
    assert model.output_shape == (None, features)
    last = model.get_layer("block5_conv3").get_weights()[0]
    assert last.shape == (3, 3, 512 * width, 512 * width)


def test_a_width_without_whole_channels_is_refused() -> None:
    start_keras()
    with pytest.raises(ValueError, match="channels"):
        build(0.3)


def test_unit_is_the_share_of_the_types_range() -> None:
    inputs = preprocess(CROPS, "unit")
    assert inputs.dtype == np.float32
    np.testing.assert_array_equal(inputs[..., 1], CROPS.astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(inputs[..., 0], inputs[..., 2])


def test_keras_preprocessing_is_keras_own() -> None:
    start_keras()
    from keras.applications.vgg16 import preprocess_input

    rgb = np.repeat(CROPS[..., np.newaxis], 3, axis=-1).astype(np.float32)
    np.testing.assert_array_equal(preprocess(CROPS, "keras"), preprocess_input(rgb))


@pytest.mark.parametrize("method", ["unit", "keras"])
def test_sixteen_bits_are_divided_by_257(method: str) -> None:
    wide = CROPS.astype(np.uint16) * 257
    np.testing.assert_array_equal(preprocess(wide, method), preprocess(CROPS, method))
    dim = preprocess(np.full((1, 96, 96), 100, dtype=np.uint16), "unit")
    assert dim.max() == pytest.approx(100 / 65_535)  # never stretched to the crop's own range


@pytest.mark.parametrize(
    "crops", [np.zeros((2, 95, 96), np.uint8), np.zeros((96, 96), np.uint8), np.zeros((1, 96, 96))]
)
def test_other_crops_are_refused(crops: Array) -> None:
    with pytest.raises(ValueError, match="crops must be"):
        preprocess(crops, "unit")


def test_grey_is_the_crop_thrice() -> None:
    inputs = preprocess(CROPS, "unit")
    for channel in range(3):
        np.testing.assert_array_equal(
            inputs[..., channel], CROPS.astype(np.float32) / np.float32(255)
        )


MASKS: Array = np.random.default_rng(3).integers(0, 3, CROPS.shape, dtype=np.uint8)


def test_masks_part_the_light_into_nucleus_and_the_rest() -> None:
    assert (OUTSIDE, NUCLEUS) == (cells.OUTSIDE, cells.NUCLEUS)
    inputs = preprocess(CROPS, "unit", MASKS) * 255
    nucleus, rest, mask = (np.rint(inputs[..., channel]) for channel in range(3))
    np.testing.assert_array_equal(nucleus + rest, CROPS)  # no light is lost, none counts twice
    np.testing.assert_array_equal(nucleus, np.where(MASKS == 2, CROPS, 0))
    np.testing.assert_array_equal(mask, np.where(MASKS > 0, 255, 0))
    with pytest.raises(ValueError, match="masks must be"):
        preprocess(CROPS, "unit", MASKS[:2])


def test_masks_reach_the_network_where_they_are_asked_for(npz: Path) -> None:
    grey = extractor(npz)
    np.testing.assert_array_equal(grey.extract(CROPS, MASKS), grey.extract(CROPS))
    parted = extractor(npz, channels="nucleus-cytoplasm-mask")
    assert not np.array_equal(parted.extract(CROPS, MASKS), grey.extract(CROPS))
    with pytest.raises(ValueError, match="none are given"):
        parted.extract(CROPS)


def test_a_shipped_network_takes_the_channels_alone_that_it_was_trained_for(npz: Path) -> None:
    parted = FeaturizeConfig(channels="nucleus-cytoplasm-mask")
    for refused in (features_digest, VGG16Features):
        with pytest.raises(ConfigurationError, match=r"trained for channels = 'grey'.*Set feat"):
            refused(parted)
    grey = features_digest(FeaturizeConfig(weights=str(npz)))
    # Whoever brings weights along knows what they are for.
    assert features_digest(parted.model_copy(update={"weights": str(npz)})) != grey
    assert features_digest(parted.model_copy(update={"weights": "imagenet"}))


def test_average_is_the_mean_of_the_flattened_map(npz: Path) -> None:
    flat = extractor(npz).extract(CROPS).astype(np.float64)
    averaged = extractor(npz, pooling="average")
    assert averaged.n_features == 32
    expected = flat.reshape(len(CROPS), 9, 32).mean(axis=1)
    found = averaged.extract(CROPS).astype(np.float64)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3 * expected.max())


def test_half_the_bits_give_nearly_the_same_features(npz: Path) -> None:
    single = extractor(npz).extract(CROPS).astype(np.float64)
    mixed = extractor(npz, precision="mixed_bfloat16").extract(CROPS).astype(np.float64)
    apart = np.linalg.norm(mixed - single) / np.linalg.norm(single)
    assert 0 < apart < 0.03  # bfloat16 has 8 bits, and errors add up over 13 layers


def test_parameters_that_came_later_leave_old_features_standing() -> None:
    assert features_parameters(FeaturizeConfig()) == {"preprocessing": "unit", "batch": 64}
    changed = features_parameters(FeaturizeConfig(pooling="average", device="cuda"))
    assert changed == {"preprocessing": "unit", "batch": 64, "pooling": "average"}


def test_features_are_the_networks_rounded_to_half(npz: Path) -> None:
    features = extractor(npz)
    extracted = features.extract(CROPS)
    assert extracted.shape == (7, 288) == (7, features.n_features)
    assert extracted.dtype == np.float16
    assert np.std(extracted[0]) > 0

    model = build(WIDTH)
    arrays = vgg16_weights.read_npz(npz)
    for layer in model.layers:
        if layer.weights:
            layer.set_weights([arrays[f"{layer.name}/{part}"] for part in ("kernel", "bias")])
    expected = np.asarray(model.predict_on_batch(preprocess(CROPS, "unit")))
    np.testing.assert_allclose(extracted, expected, rtol=1e-3, atol=1e-3)


def test_features_do_not_depend_on_neighbours_order_or_padding(npz: Path) -> None:
    features = extractor(npz)
    together = features.extract(np.concatenate([CROPS, CROPS[::-1], CROPS[:3]]))
    alone = np.concatenate([features.extract(crop[np.newaxis]) for crop in CROPS])
    np.testing.assert_array_equal(together[:7], alone)
    np.testing.assert_array_equal(together[7:14], alone[::-1])
    np.testing.assert_array_equal(together[14:], alone[:3])


def test_no_crops_give_no_features(npz: Path) -> None:
    assert extractor(npz).extract(CROPS[:0]).shape == (0, 288)


def test_preprocessing_reaches_the_network(npz: Path) -> None:
    unit = extractor(npz).extract(CROPS)
    keras = extractor(npz, preprocessing="keras").extract(CROPS)
    assert keras.max() > 10 * unit.max()


def test_features_beyond_half_precision_are_an_error(tmp_path: Path) -> None:
    save_random(tmp_path / "loud.npz", gain=8.0)
    features = extractor(tmp_path / "loud.npz", preprocessing="keras")
    with pytest.raises(ConfigurationError, match="float16"):
        features.extract(CROPS)


@pytest.mark.parametrize("name", ["own.weights.h5", "own.h5"])
def test_keras_weights_files_load_by_path(tmp_path: Path, npz: Path, name: str) -> None:
    path = tmp_path / name
    start_keras()
    model = build(WIDTH)
    vgg16_weights.load_weights(model, str(npz))
    if name == "own.h5":
        write_legacy(path, model)
    else:
        model.save_weights(path)
    np.testing.assert_array_equal(extractor(path).extract(CROPS), extractor(npz).extract(CROPS))


def write_legacy(path: Path, model: Any) -> None:
    """Write the format of the released ImageNet weights: a group a layer, names as attributes."""
    import h5py

    with h5py.File(path, "w") as file:
        layers = [layer for layer in model.layers if layer.weights]
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        for layer in layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}_{index}_{layer.name}" for index in ("W", "b")]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, array in zip(names, layer.get_weights(), strict=True):
                group[name] = array


def test_missing_weights_say_where_they_were_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "gone.npz"
    with pytest.raises(WeightsError, match=r"no weights file at .*gone\.npz.*Put it there"):
        extractor(path)
    with pytest.raises(WeightsError, match="no network named 'vgg61'"):
        features_digest(FeaturizeConfig(weights="vgg61"))


@pytest.mark.parametrize("name", ["junk.npz", "junk.h5", "junk.txt"])
def test_what_is_no_weights_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not weights")
    with pytest.raises(WeightsError):
        extractor(tmp_path / name)


def test_weights_of_another_network_are_refused(tmp_path: Path, npz: Path) -> None:
    arrays = dict(vgg16_weights.read_npz(npz))
    del arrays["block3_conv2/bias"]
    vgg16_weights.save_npz(tmp_path / "short.npz", arrays)
    with pytest.raises(WeightsError, match="block3_conv2/bias"):
        extractor(tmp_path / "short.npz")


def test_weights_beyond_half_precision_are_not_written(tmp_path: Path) -> None:
    for value in (70_000.0, np.nan):
        with pytest.raises(WeightsError, match="float16"):
            vgg16_weights.save_npz(tmp_path / "w.npz", {"a/kernel": np.array([value])})


def test_a_failed_download_says_what_to_put_where(monkeypatch: pytest.MonkeyPatch) -> None:
    start_keras()
    import keras

    def fail(**_: Any) -> None:
        message = "URL fetch failure"
        raise Exception(message)  # noqa: TRY002 - what Keras raises

    monkeypatch.setattr(keras.applications, "VGG16", fail)
    with pytest.raises(WeightsError, match=r"URL fetch failure.*Put vgg16_.*models/ in KERAS_HOME"):
        VGG16Features(FeaturizeConfig(weights="imagenet"))


def test_imagenet_weights_are_the_ones_that_keras_demands() -> None:
    from keras.src.applications import vgg16 as theirs

    source = inspect.getsource(theirs)
    assert vgg16_weights.IMAGENET_MD5 in source
    assert vgg16_weights.IMAGENET_FILE in source


def test_the_digest_follows_content_and_parameters(tmp_path: Path, npz: Path) -> None:
    base = FeaturizeConfig(weights=str(npz))
    moved = tmp_path / "moved.npz"
    moved.write_bytes(npz.read_bytes())
    assert features_digest(base.model_copy(update={"weights": str(moved)})) == features_digest(base)
    save_random(moved, gain=1.1)
    others = [
        base.model_copy(update={"weights": str(moved)}),
        base.model_copy(update={"weights": "imagenet"}),
        base.model_copy(update={"preprocessing": "keras"}),
    ]
    assert len({features_digest(config) for config in [base, *others]}) == 4
    assert extractor(npz).digest == features_digest(FeaturizeConfig(weights=str(npz), batch=8))


def run(code: str, **environment: str) -> str:
    done = subprocess.run(  # noqa: S603 - this interpreter, code of this file
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stderr == ""
    return done.stdout


def test_digest_needs_no_network_library() -> None:
    code = (
        "import sys\n"
        "from anabatch.config import FeaturizeConfig\n"
        "from anabatch.features.vgg16 import features_digest\n"
        "features_digest(FeaturizeConfig(weights='imagenet'))\n"
        "print(sorted({'keras', 'tensorflow', 'torch'} & set(sys.modules)))\n"
    )
    assert run(code).strip() == "[]"


def test_threads_cannot_change_once_the_backend_runs() -> None:
    code = (
        "from anabatch.features.backend import start_keras\n"
        "from anabatch.features.vgg16 import build\n"
        "start_keras(2); build(1 / 64); start_keras(2)\n"
        "import tensorflow as tf\n"
        "print(tf.config.threading.get_intra_op_parallelism_threads())\n"
        "try: start_keras(1)\n"
        "except ValueError as error: print(error.what)\n"
    )
    first, second = run(code, KERAS_BACKEND="tensorflow").splitlines()
    assert first == "2"
    assert "2 threads in this process, 1 are asked for" in second


def test_torch_runs_where_there_is_no_tensorflow() -> None:
    code = (
        "import importlib.util, sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.split('.')[0] == 'tensorflow': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda n, *a: None if n == 'tensorflow' else find(n, *a)\n"
        "from anabatch.features.backend import start_keras\n"
        "print(start_keras(1).config.backend())\n"
    )
    bare = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "environ", bare)
        assert run(code).strip() == "torch"


def test_torch_backend_gives_the_same_features(tmp_path: Path, npz: Path) -> None:
    np.save(tmp_path / "crops.npy", CROPS)
    code = (
        "import numpy as np\n"
        "from anabatch.config import FeaturizeConfig\n"
        "from anabatch.features.vgg16 import VGG16Features\n"
        f"features = VGG16Features(FeaturizeConfig(weights={str(npz)!r}, batch=8))\n"
        f"crops = np.load({str(tmp_path / 'crops.npy')!r})\n"
        f"np.save({str(tmp_path / 'features.npy')!r}, features.extract(crops))\n"
        "import keras; print(keras.config.backend())\n"
    )
    assert run(code, KERAS_BACKEND="torch").strip() == "torch"
    theirs = np.load(tmp_path / "features.npy").astype(np.float64)
    ours = extractor(npz).extract(CROPS).astype(np.float64)
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-3 * ours.max())

"""Preprocessing in the graph equals Keras's own exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cnncli.catalogue.networks import NETWORKS, Preprocessing
from cnncli.networks.backend import import_keras
from cnncli.networks.preprocessing import preprocess

MODULES = {
    "Xception": "xception",
    "VGG16": "vgg16",
    "VGG19": "vgg19",
    "ResNet50": "resnet50",
    "ResNet101": "resnet",
    "ResNet152": "resnet",
    "ResNet50V2": "resnet_v2",
    "ResNet101V2": "resnet_v2",
    "ResNet152V2": "resnet_v2",
    "InceptionV3": "inception_v3",
    "InceptionResNetV2": "inception_resnet_v2",
    "MobileNet": "mobilenet",
    "MobileNetV2": "mobilenet_v2",
    "DenseNet121": "densenet",
    "DenseNet169": "densenet",
    "DenseNet201": "densenet",
    "NASNetMobile": "nasnet",
    "NASNetLarge": "nasnet",
}
# Keras builds the preprocessing of these into the network, down to this layer (its name, or how it ends).
INSIDE = {
    "MobileNetV3Small": "rescaling",
    "MobileNetV3Large": "rescaling",
    "EfficientNetV2B0": "normalization",
    "EfficientNetV2B1": "normalization",
    "EfficientNetV2B2": "normalization",
    "EfficientNetV2B3": "normalization",
    "EfficientNetV2S": "rescaling",
    "EfficientNetV2M": "rescaling",
    "EfficientNetV2L": "rescaling",
    "ConvNeXtTiny": "prestem_normalization",
    "ConvNeXtSmall": "prestem_normalization",
    "ConvNeXtBase": "prestem_normalization",
    "ConvNeXtLarge": "prestem_normalization",
    "ConvNeXtXLarge": "prestem_normalization",
}
QUICK = {"MobileNetV3Small", "EfficientNetV2B0"}
OWN = {info.name for info in NETWORKS.values() if info.module != "keras_applications"}


def _pixels(channels: int = 3) -> NDArray[np.float32]:
    """Return an image with every value from 0 to 255 in each channel, in a different order per channel."""
    values = np.stack([np.random.default_rng(channel).permutation(256) for channel in range(channels)], -1)
    return values.reshape(1, 16, 16, channels).astype(np.float32)


def _ours(pixels: NDArray[np.float32], kind: Preprocessing) -> Any:
    keras = import_keras()
    given = keras.Input(pixels.shape[1:])
    return keras.ops.convert_to_numpy(keras.Model(given, preprocess(given, kind))(pixels))


def test_every_network_is_compared() -> None:
    """The tables of this file and the catalogue list the same networks."""
    builtin = {info.name for info in NETWORKS.values() if info.preprocessing == "none"}
    assert set(MODULES) | set(INSIDE) | OWN | builtin == set(NETWORKS)


@pytest.mark.parametrize("name", MODULES)
def test_preprocessing_is_that_of_keras(name: str) -> None:
    """The values equal those of `preprocess_input` in the network's module."""
    module = getattr(import_keras().applications, MODULES[name])
    expected = module.preprocess_input(_pixels())
    np.testing.assert_allclose(_ours(_pixels(), NETWORKS[name].preprocessing), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in INSIDE]
)
def test_preprocessing_is_that_which_keras_builds_into_the_network(name: str) -> None:
    """For networks that contain their preprocessing, the values equal the output of its last layer."""
    keras = import_keras()
    whole = getattr(keras.applications, name)(
        weights=None, include_top=False, include_preprocessing=True, input_shape=(32, 32, 3)
    )
    end = next(layer for layer in whole.layers if layer.name.rstrip("_0123456789").endswith(INSIDE[name]))
    pixels = np.tile(_pixels(), (1, 2, 2, 1))
    expected = keras.ops.convert_to_numpy(keras.Model(whole.input, end.output)(pixels))
    np.testing.assert_allclose(_ours(pixels, NETWORKS[name].preprocessing), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "at_0", "at_255"), [((1 / 128, -127 / 128), -127 / 128, 1.0), ((1 / 255, 0.0), 0.0, 1.0), ("none", 0, 255)]
)
def test_preprocessing_of_our_own_networks(kind: Preprocessing, at_0: float, at_255: float) -> None:
    """It is (x − 127)/128 for EfficientNetLite0, x/255 for ConvNet, and none for networks that contain it."""
    extremes = np.zeros((1, 2, 2, 3), np.float32)
    extremes[0, 0] = 255.0
    expected = np.where(extremes > 0, at_255, at_0)
    np.testing.assert_allclose(_ours(extremes, kind), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["scale", "caffe", "torch", "none"])
def test_gray_images_become_three_equal_channels(kind: Preprocessing) -> None:
    """A single channel gives the same result as the same image in three channels."""
    gray = _pixels(channels=1)
    np.testing.assert_array_equal(_ours(gray, kind), _ours(np.repeat(gray, 3, -1), kind))


@pytest.mark.parametrize("kind", ["scale", "scale128", "caffe", "torch", (1 / 128, -127 / 128)])
def test_preprocessing_is_saved_with_the_model(kind: Preprocessing, tmp_path: Path) -> None:
    """Keras alone loads it in safe mode, and the names of its operations start with `preprocess_`."""
    keras = import_keras()
    given = keras.Input((16, 16, 1), name="pixels")
    model = keras.Model(given, preprocess(given, kind))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert all(operation.name.startswith("preprocess_") for operation in loaded.operations[1:])
    pixels = _pixels(channels=1)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(loaded(pixels)), keras.ops.convert_to_numpy(model(pixels)))

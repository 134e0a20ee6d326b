"""The backbone of a config: its layers, their names, where it ends, and which configs are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.config.backbone_settings import BackboneConfig
from cnncli.errors import ConfigError
from cnncli.networks.backbone import build_backbone
from cnncli.networks.backend import import_keras
from tests.networks.filled import features, filled


def _backbone(name: str, side: int = 32, **settings: Any) -> Any:
    return build_backbone(BackboneConfig(name=name, weights="none", **settings), (side, side, 3), seed=0)


@pytest.mark.parametrize(
    ("name", "options", "side"),
    [
        ("MobileNet", {"alpha": 0.25}, 32),
        pytest.param("MobileNetV3Small", {"minimalistic": True}, 32, marks=pytest.mark.slow),
        ("ConvNet", {"filters": [4, 4]}, 32),
        pytest.param("EfficientNetLite0", {}, 32, marks=pytest.mark.slow),
        pytest.param("InceptionV3", {}, 75, marks=pytest.mark.slow),
        pytest.param("ConvNeXtTiny", {}, 32, marks=pytest.mark.slow),
        pytest.param("EfficientNetV2S", {}, 32, marks=pytest.mark.slow),
    ],
)
def test_layers_have_the_same_names_in_every_session(name: str, options: dict[str, Any], side: int) -> None:
    """Generated layer names are numbered from the network's first layer, and differ from the classifier's own names."""
    keras = import_keras()
    keras.layers.Conv2D(1, 1)(keras.Input((4, 4, 3)))
    first = [layer.name for layer in _backbone(name, side, options=options).layers]
    again = [layer.name for layer in _backbone(name, side, options=options).layers]
    assert first == again
    assert first[0] == "input_layer"
    assert len(set(first)) == len(first)
    assert not any(layer == "pixels" or layer.startswith(("preprocess_", "head_")) for layer in first)


def test_names_that_keras_makes_afterwards_go_on_where_they_were() -> None:
    """Building a backbone does not change the names that Keras generates afterwards, e.g. in a notebook."""
    keras = import_keras()
    before = keras.layers.ReLU().name
    _backbone("MobileNetV3Small", options={"minimalistic": True})
    assert keras.layers.ReLU().name != before


def test_network_is_found_whatever_the_case_and_preprocessing_is_left_out() -> None:
    """Names are not case-sensitive, and the network takes preprocessed images."""
    kinds = {type(layer) for layer in _backbone("mobilenetv3small", options={"minimalistic": True}).layers}
    assert import_keras().layers.Rescaling not in kinds


def test_output_layer_ends_the_backbone_there() -> None:
    """With `output_layer`, the features are that layer's output, and all later layers are removed."""
    whole = _backbone("MobileNet", options={"alpha": 0.25})
    early = _backbone("MobileNet", options={"alpha": 0.25}, output_layer="conv_pw_3_relu")
    assert early.layers[-1].name == "conv_pw_3_relu"
    assert early.output_shape == (None, 8, 8, 32)
    below = import_keras().Model(whole.input, whole.get_layer("conv_pw_3_relu").output)
    np.testing.assert_array_equal(features(early, 32), features(below, 32))


@pytest.mark.parametrize(
    ("layer", "code", "hint"),
    [
        ("conv_pw_3_rel", "config-unknown-layer", "Did you mean conv_pw_3_relu?"),
        ("zzz", "config-unknown-layer", "`cnncli summary MobileNet` lists them."),
        ("input_layer", "config-unusable-layer", ""),
    ],
)
def test_unusable_output_layer_is_refused(layer: str, code: str, hint: str) -> None:
    """The error suggests similar names, or how to list the names."""
    with pytest.raises(ConfigError) as error:
        _backbone("MobileNet", options={"alpha": 0.25}, output_layer=layer)
    assert error.value.code == code
    assert (error.value.facts["key"], error.value.facts["received"]) == ("backbone.output_layer", layer)
    assert str(error.value.facts.get("hint", "")).startswith(hint)


def test_top_layers_end_the_backbone_in_the_top() -> None:
    """With `include_top_layers`, the features are those of a dense layer of VGG16's top, as in plain Keras."""
    keras = import_keras()
    ours = _backbone("VGG16", include_top_layers="fc1")
    assert [layer.name for layer in ours.layers[-3:]] == ["block5_pool", "flatten", "fc1"]
    keras.utils.set_random_seed(0)
    plain = keras.applications.VGG16(weights=None, input_shape=(32, 32, 3))
    np.testing.assert_array_equal(features(ours, 32), features(keras.Model(plain.input, plain.layers[-3].output), 32))


@pytest.mark.slow
def test_top_layers_take_the_weights_of_a_file_with_top(tmp_path: Path) -> None:
    """A weights file of the whole VGG16 is loaded up to the layer of its top with which the backbone ends."""
    whole = filled(import_keras().applications.VGG16(weights=None, input_shape=(32, 32, 3)))
    whole.save_weights(tmp_path / "vgg16.weights.h5")
    config = BackboneConfig(name="VGG16", weights=str(tmp_path / "vgg16.weights.h5"), include_top_layers="fc2")
    backbone = build_backbone(config, (32, 32, 3), seed=1)
    np.testing.assert_array_equal(backbone.get_layer("fc2").get_weights()[0], whole.get_layer("fc2").get_weights()[0])


def test_the_whole_top_can_be_built() -> None:
    """With `top`, a network ends with the probabilities of its ImageNet classes."""
    config = BackboneConfig(name="MobileNet", weights="none", options={"alpha": 0.25})
    model = build_backbone(config, (32, 32, 3), seed=0, top=True)
    assert model.output_shape == (None, 1000)
    np.testing.assert_allclose(features(model, 32).sum(axis=1), 1.0, rtol=1e-5)


def test_images_must_be_large_enough() -> None:
    """Images below the minimum size of the network are refused."""
    with pytest.raises(ConfigError) as error:
        _backbone("MobileNet", 20)
    assert (error.value.code, error.value.facts["key"]) == ("config-image-size-too-small", "data.image_size")


def test_images_need_not_be_square() -> None:
    """Height and width can differ, even if the ImageNet weights require a square with the top."""
    config = BackboneConfig(name="MobileNet", weights="none", options={"alpha": 0.25})
    assert build_backbone(config, (64, 96, 3), seed=0).output_shape == (None, 2, 3, 256)

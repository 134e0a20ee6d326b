"""The architecture of a saved model as a backbone: with its weights, with others, and with random ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.config.modes import run_name
from cnncli.config.reader import config_from_mapping
from cnncli.config.schema import Config
from cnncli.errors import ConfigError, WeightsError
from cnncli.networks.backend import import_keras
from cnncli.networks.classifier import build_classifier, save_classifier
from cnncli.networks.cut import cut_classifier

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype(np.float32)


def _config(name: Path | str, **changed: Any) -> Config:
    backbone = {"name": str(name), **changed.pop("backbone", {})}
    return config_from_mapping(
        {"data": {"path": ".", **changed.pop("data", {})}, "backbone": backbone, **changed}, environment={}
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a model of plain Keras with two inputs of one sum."""
    keras = import_keras()
    keras.utils.set_random_seed(1)
    images = keras.Input((16, 16, 3), name="images")
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="first")(x)
    y = keras.layers.Conv2D(4, 3, padding="same", name="second")(x)
    path = tmp_path_factory.mktemp("model") / "my net.keras"
    keras.Model(images, keras.layers.Add(name="sum")([x, y])).save(path)
    return path


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a classifier of gray images."""
    settings = {
        "mode": "from-scratch",
        "data": {"color": "grayscale", "image_size": 16},
        "backbone": {"options": {"filters": [4, 8], "padding": "same"}},
    }
    path = tmp_path_factory.mktemp("classifier") / "gray.keras"
    save_classifier(build_classifier(_config("ConvNet", **settings), 3), path)
    return path


def test_a_model_of_keras_is_a_backbone_with_its_weights(model: Path) -> None:
    """Row 45. Features of raw pixels equal the output of the model, which decides on the image size, too."""
    config = _config(model)
    ours = build_classifier(config, 2)
    expected = import_keras().saving.load_model(model)(PIXELS).numpy()
    (features,) = (cut_classifier(ours, 0).trunk([PIXELS]),)  # type: ignore[union-attr]

    assert config.backbone.weights == str(model)
    assert run_name(config) == "my-net-feature-extraction"
    np.testing.assert_allclose(features, expected.mean(axis=(1, 2)), rtol=1e-5)


def test_its_architecture_is_trained_from_scratch(model: Path) -> None:
    """With weights: none, the layers are those of the file, and the weights depend on the seed."""
    kernels = [
        build_classifier(_config(model, mode="from-scratch", seed=seed), 2).model.get_layer("first").get_weights()[0]
        for seed in (0, 0, 1)
    ]
    saved = import_keras().saving.load_model(model).get_layer("first").get_weights()[0]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert (kernels[0] != kernels[2]).any()
    assert (kernels[0] != saved).any()


def test_a_classifier_is_used_up_to_its_head(classifier: Path) -> None:
    """The head of a saved classifier is replaced; its preprocessing and its channels remain."""
    config = _config(classifier, data={"color": "grayscale"})
    ours = build_classifier(config, 7)
    names = [operation.name for operation in ours.model.operations]

    assert config.backbone.network.channels == 1
    assert ours.model.input_shape == (None, 16, 16, 1)
    assert names[1] == "preprocess_scale"
    assert names[-3:] == ["head_avg_pool", "head_logits", "head_probabilities"]
    gray = PIXELS[..., :1]
    before = import_keras().saving.load_model(classifier)
    part = import_keras().Model(before.input, before.get_layer("head_avg_pool").output)
    np.testing.assert_allclose(cut_classifier(ours, 0).trunk([gray]), part(gray), rtol=1e-5)  # type: ignore[misc]


def test_a_network_takes_other_sizes_if_its_layers_do(classifier: Path) -> None:
    """Convolutions take any size; the number of channels must be that of the weights."""
    other = build_classifier(_config(classifier, data={"color": "grayscale", "image_size": 40}), 2)
    assert other.model.input_shape == (None, 40, 40, 1)
    with pytest.raises(ConfigError) as caught:
        _config(classifier)
    assert (caught.value.code, caught.value.facts["key"]) == ("config-contradiction-channels", "data.color")


def test_layers_up_to_one_are_used(model: Path) -> None:
    """output_layer ends the network, as in the networks of the catalogue."""
    ours = build_classifier(_config(model, backbone={"output_layer": "first"}), 2)
    assert [layer.name for layer in ours.backbone_layers if getattr(layer, "weights", None)] == ["first"]


def test_other_files_are_refused(tmp_path: Path) -> None:
    """A missing file is an error of the config, a file that is not a model one of the weights."""
    with pytest.raises(ConfigError) as caught:
        _config(tmp_path / "none.keras")
    assert (caught.value.code, caught.value.facts["key"]) == ("config-path-missing", "backbone.name")
    (tmp_path / "text.keras").write_text("text")
    with pytest.raises(WeightsError) as wrong:
        build_classifier(_config(tmp_path / "text.keras", mode="from-scratch"), 2)
    assert wrong.value.code == "weights-architecture"


def _sequential(keras: Any) -> Any:
    return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])


def _convolution(keras: Any, **settings: Any) -> Any:
    images = keras.Input((8, 8, 3))
    return keras.Model(images, keras.layers.Conv2D(2, 3, **settings)(images))


def _stochastic_depth(keras: Any) -> Any:
    from keras.src.applications.convnext import StochasticDepth

    images = keras.Input((8, 8, 3))
    return keras.Model(images, StochasticDepth(0.5)(images))


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (_sequential, "Sequential"),
        (lambda keras: _convolution(keras, kernel_constraint="max_norm"), "MaxNorm"),
        (lambda keras: _convolution(keras, activity_regularizer="l2"), "activity_regularizer"),
        (_stochastic_depth, "StochasticDepth"),
    ],
    ids=["sequential", "constraint", "activity regularizer", "stochastic depth"],
)
def test_models_that_cannot_be_trained_exactly_are_refused(
    tmp_path: Path, build: Callable[[Any], Any], named: str
) -> None:
    """The error names what is refused: losses of outputs, say, and layers whose random state no checkpoint holds."""
    path = tmp_path / "net.keras"
    build(import_keras()).save(path)
    with pytest.raises(WeightsError) as wrong:
        build_classifier(_config(path, mode="from-scratch"), 2)
    assert (wrong.value.code, wrong.value.facts["path"]) == ("weights-architecture", path)
    assert named in str(wrong.value.facts["reason"])

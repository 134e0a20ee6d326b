"""Images with one, three, four or more channels, in networks from scratch and behind an adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncli.catalogue.networks import NETWORKS
from cnncli.config.notes import notes_of
from cnncli.config.reader import config_from_mapping
from cnncli.errors import ConfigError
from cnncli.networks.backend import import_keras
from cnncli.networks.classifier import Classifier, build_classifier, load_classifier, save_classifier
from cnncli.networks.cut import cut_classifier

COLORS: dict[str, dict[str, Any]] = {
    "grayscale": {"color": "grayscale"},
    "rgb": {"color": "rgb"},
    "rgba": {"color": "rgba"},
    "bands": {"color": "bands", "bands": 7},
}


def _build(data: dict[str, Any], backbone: dict[str, Any], **changed: Any) -> Classifier:
    settings = {"data": {"path": ".", "image_size": 32, **data}, "backbone": backbone, **changed}
    return build_classifier(config_from_mapping(settings, environment={}), 3)


@pytest.mark.parametrize(("color", "channels"), [("grayscale", 1), ("rgb", 3), ("rgba", 4), ("bands", 7)])
@pytest.mark.parametrize("name", ["EfficientNetLite0", "ConvNet"])
def test_a_network_from_scratch_takes_the_channels_of_the_images(
    name: str, color: str, channels: int, tmp_path: Path
) -> None:
    """Row 54. The first kernels have one weight per channel of the images, and the saved model comes back."""
    options = {"filters": [4]} if name == "ConvNet" else {}
    classifier = _build(COLORS[color], {"name": name, "options": options}, mode="from-scratch")
    first = next(layer for layer in classifier.backbone_layers if getattr(layer, "weights", None))

    assert classifier.model.input_shape == (None, 32, 32, channels)
    assert first.kernel.shape[2] == channels
    save_classifier(classifier, tmp_path / "model.keras")
    again = load_classifier(tmp_path / "model.keras", pretrained=False)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, channels)).astype(np.float32)
    np.testing.assert_array_equal(again.model(pixels), classifier.model(pixels))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["VGG16", "ResNet50", "DenseNet121", "EfficientNetB0", "MobileNetV3Small"])
def test_networks_of_keras_take_other_channels_from_scratch(name: str) -> None:
    """A network of `keras.applications` has the parameters that Keras gives it for one channel."""
    keras = import_keras()
    plain = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(32, 32, 1))
    classifier = _build(COLORS["grayscale"], {"name": name}, mode="from-scratch")
    ours = sum(layer.count_params() for layer in classifier.backbone_layers if hasattr(layer, "count_params"))
    assert ours == plain.count_params()


def test_gray_is_repeated_for_pretrained_weights() -> None:
    """A pretrained network gets three equal channels, as its weights need them."""
    operations = _build(COLORS["grayscale"], {"name": "EfficientNetLite0"}).model.operations
    assert operations[1].name == "preprocess_rgb"
    assert operations[1].output.shape == (None, 32, 32, 3)


@pytest.mark.parametrize("color", COLORS)
def test_an_adapter_starts_as_what_is_done_without_it(color: str) -> None:
    """Row 53. Gray is repeated, RGB passes, alpha has no weight, and bands are averaged in three groups."""
    lite0 = {"name": "EfficientNetLite0", "adapter": "conv1x1"}
    layer = _build(COLORS[color], lite0).model.get_layer("adapter")
    kernel = np.squeeze(layer.get_weights()[0], axis=(0, 1))

    expected = {
        "grayscale": [[1, 1, 1]],
        "rgb": np.eye(3),
        "rgba": np.eye(4)[:, :3],
        "bands": np.repeat(np.eye(3), [3, 2, 2], axis=0) / [3, 2, 2],
    }
    np.testing.assert_allclose(kernel, expected[color], rtol=1e-6)
    assert not layer.get_weights()[1].any()


def test_with_an_adapter_a_frozen_backbone_is_trained_through() -> None:
    """The adapter and the head are trained, the backbone between them is not, and no features can be cached."""
    classifier = _build(COLORS["rgba"], {"name": "EfficientNetLite0", "adapter": "conv1x1"})
    cut = cut_classifier(classifier, 0)
    assert cut.trunk is None
    assert cut.crossing == (("pixels", (32, 32, 4)),)
    assert cut.trained == ("adapter", "head_logits")

    cut = cut_classifier(classifier, 1)
    assert cut.trained == ("adapter", "top_conv", "head_logits")


def test_gray_through_an_adapter_gives_what_repeating_it_gives() -> None:
    """Before training, an adapter changes nothing."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1)).astype(np.float32)
    plain, adapted = (
        _build(COLORS["grayscale"], {"name": "EfficientNetLite0", "adapter": adapter}).model(pixels).numpy()
        for adapter in ("none", "conv1x1")
    )
    np.testing.assert_allclose(adapted, plain, atol=1e-5)


def test_a_run_says_that_an_adapter_prevents_caching() -> None:
    """The notes of a config say that the frozen backbone runs in every step."""
    backbone = {"name": "EfficientNetLite0", "adapter": "conv1x1"}
    config = config_from_mapping({"data": {"path": ".", **COLORS["rgba"]}, "backbone": backbone}, environment={})
    assert [note.code for note in notes_of(config)] == ["config-adapter-no-cache"]


@pytest.mark.parametrize(
    ("settings", "key", "code"),
    [
        ({"data": {"color": "rgba"}}, "data.color", "config-contradiction-channels"),
        ({"data": {"color": "bands", "bands": 5}}, "data.color", "config-contradiction-channels"),
        ({"data": {"color": "bands"}, "mode": "from-scratch"}, "data.color", "config-contradiction-channels"),
        ({"data": {"bands": 5}}, "data.bands", "config-without-effect"),
        ({"data": {"range": [0, 0.5]}}, "data.range", "config-out-of-range"),
        ({"backbone": {"adapter": "conv1x1"}, "mode": "from-scratch"}, "backbone.adapter", "config-without-effect"),
        (
            {"data": {"color": "grayscale"}, "backbone": {"preprocessing": "torch"}, "mode": "from-scratch"},
            "backbone.preprocessing",
            "config-contradiction-channels",
        ),
    ],
)
def test_contradicting_channels_are_refused(settings: dict[str, Any], key: str, code: str) -> None:
    """The error names the setting and what would be possible."""
    with pytest.raises(ConfigError) as caught:
        config_from_mapping({**settings, "data": {"path": ".", **settings.get("data", {})}}, environment={})
    assert [(message.code, message.facts["key"]) for message in caught.value.problems] == [(code, key)]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("none", [0.0, 255.0]),
        ("scale", [-1.0, 1.0]),
        ([1 / 255, 0.0], [0.0, 1.0]),
        ("caffe", [-123.68, 151.061]),
        ("torch", [-0.485 / 0.229, (1 - 0.406) / 0.225]),
    ],
)
def test_preprocessing_can_be_chosen(kind: Any, expected: list[float]) -> None:
    """VGG16 "as printed" gets pixels / 255; black and white become what the kind says."""
    backbone = {"name": "ConvNet", "options": {"filters": []}, "preprocessing": kind}
    model = _build({}, backbone, mode="from-scratch", head={"pooling": "flatten"}).model
    keras = import_keras()
    below = keras.Model(model.input, model.get_layer("head_flatten").input)
    black, white = (below(np.full((1, 32, 32, 3), value, np.float32)).numpy() for value in (0, 255))
    np.testing.assert_allclose(
        [black.min() if kind == "caffe" else black[0, 0, 0, 0], white.max()], expected, rtol=1e-5
    )
    assert NETWORKS["ConvNet"].preprocessing == (1 / 255, 0.0)

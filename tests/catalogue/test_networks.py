"""The catalogue of networks compared with Keras."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest

from cnncli.catalogue.networks import NETWORKS, NetworkInfo
from cnncli.catalogue.settings import with_defaults
from cnncli.networks.architectures import NetworkSpec, architecture_of, efficientnet_lite
from cnncli.networks.architectures.keras_applications import build_for_imagenet
from cnncli.networks.backend import import_keras, uninitialized

# Published on keras.io in 2020; later versions of the table are rounded.
PUBLISHED_PARAMETERS = {
    "Xception": 22_910_480,
    "VGG16": 138_357_544,
    "VGG19": 143_667_240,
    "ResNet50": 25_636_712,
    "ResNet101": 44_707_176,
    "ResNet152": 60_419_944,
    "ResNet50V2": 25_613_800,
    "ResNet101V2": 44_675_560,
    "ResNet152V2": 60_380_648,
    "InceptionV3": 23_851_784,
    "InceptionResNetV2": 55_873_736,
    "MobileNet": 4_253_864,
    "MobileNetV2": 3_538_984,
    "DenseNet121": 8_062_504,
    "DenseNet169": 14_307_880,
    "DenseNet201": 20_242_984,
    "NASNetMobile": 5_326_716,
    "NASNetLarge": 88_949_818,
}
QUICK = {
    "MobileNet",
    "ConvNet",
    "EfficientNetLite0",
    "EfficientNetLite2",
    "LeNet5",
    "AlexNet",
    "VGG11",
    "SqueezeNet",
    "ViT",
}
APPLICATIONS = [info for info in NETWORKS.values() if info.module == "keras_applications"]


def _tiers(networks: list[NetworkInfo]) -> list[Any]:
    """Return one test parameter per network, marked as slow if building the network is slow."""
    return [
        pytest.param(info, id=info.name, marks=[] if info.name in QUICK else [pytest.mark.slow]) for info in networks
    ]


def test_catalogue_is_every_network_of_keras_applications() -> None:
    """The catalogue contains exactly the networks of `keras.applications`."""
    applications = import_keras().applications
    public = {name for name in dir(applications) if name[0].isupper() and callable(getattr(applications, name))}
    assert {info.name for info in APPLICATIONS} == public


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED_PARAMETERS.items())
def test_parameter_counts_match_the_published_ones(name: str, parameters: int) -> None:
    """Parameter counts equal the exact numbers that Keras published for eighteen networks."""
    assert NETWORKS[name].parameters == parameters


@pytest.mark.parametrize("info", _tiers(APPLICATIONS))
def test_counts_match_the_network_that_keras_builds(info: NetworkInfo) -> None:
    """Parameter counts with and without the top, the depth and the default input size match Keras's model."""
    keras = import_keras()
    build = getattr(keras.applications, info.name)
    whole = build(weights=None)
    assert whole.count_params() == info.parameters
    if info.depth is not None:
        assert sum(1 for layer in whole.layers if layer.weights) == info.depth
    if not info.name.startswith("MobileNetV3"):  # accepts any size
        assert whole.input_shape == (None, info.input_size, info.input_size, 3)
    del whole
    side = info.min_size
    backbone = build(weights=None, include_top=False, input_shape=(side, side, 3))
    assert backbone.count_params() == info.notop_parameters


@pytest.mark.parametrize("info", _tiers([info for info in NETWORKS.values() if info not in APPLICATIONS]))
def test_counts_match_the_network_that_cnncli_builds(info: NetworkInfo) -> None:
    """Parameter counts and depth of a network outside `keras.applications` are those of the network that is built.

    EfficientNetLite's are counted without statistics of batch normalization; ConvNet has no top.
    """
    shape, options = (info.input_size, info.input_size, info.channels), with_defaults(info.options, {})
    for top, expected in ((False, info.notop_parameters), (True, info.parameters)):
        with uninitialized():
            model = architecture_of(info).build(NetworkSpec(info, shape, options, top=top)).model
        trainable = sum(math.prod(variable.shape) for variable in model.trainable_variables)
        assert expected == (trainable if info.module == "efficientnet_lite" else model.count_params())
    if info.depth is not None:
        assert sum(1 for layer in model.layers if layer.weights) == info.depth


@pytest.mark.parametrize(
    ("name", "published_millions", "statistics"),
    [("EfficientNetLite0", 4.7, 42_016), ("EfficientNetLite1", 5.4, 53_664), ("EfficientNetLite2", 6.1, 58_096)],
)
def test_parameter_counts_of_efficientnet_lite(name: str, published_millions: float, statistics: int) -> None:
    """Parameter counts exclude batch normalization statistics, and are those of the authors' table."""
    info = NETWORKS[name]
    backbone = efficientnet_lite.build(NetworkSpec(info, (64, 64, 3))).model
    trained = sum(variable.value.shape.num_elements() for variable in backbone.trainable_variables)
    assert trained == info.notop_parameters
    assert trained + 1000 * 1281 == info.parameters
    assert round(info.parameters / 1e6, 1) == published_millions
    assert backbone.count_params() - trained == statistics
    assert sum(1 for layer in backbone.layers if layer.weights) + 1 == info.depth


@pytest.mark.parametrize("info", APPLICATIONS, ids=lambda info: info.name)
def test_smallest_input_is_the_smallest_that_keras_accepts(info: NetworkInfo) -> None:
    """Keras rejects images one pixel smaller than the minimum size in the catalogue."""
    build = getattr(import_keras().applications, info.name)
    with pytest.raises(ValueError, match=f"at least {info.min_size}x{info.min_size}"):
        build(weights=None, include_top=False, input_shape=(info.min_size - 1, info.min_size - 1, 3))


@pytest.mark.parametrize("info", _tiers(APPLICATIONS))
def test_the_weights_file_has_the_name_that_keras_uses(info: NetworkInfo) -> None:
    """The catalogue names the same weights file as Keras at the default input size."""
    side = info.input_size
    _, published = build_for_imagenet(NetworkSpec(info, (side, side, 3)))
    assert info.weights_file == published.name


@pytest.mark.parametrize(
    ("name", "options", "size", "file"),
    [
        ("MobileNet", {"alpha": 0.25}, (128, 128), "mobilenet_2_5_128_tf_no_top.h5"),
        ("MobileNet", {"alpha": 0.75}, (150, 150), "mobilenet_7_5_224_tf_no_top.h5"),
        ("MobileNet", {"alpha": 1}, (160, 192), "mobilenet_1_0_224_tf_no_top.h5"),
        ("MobileNetV2", {"alpha": 0.35}, (96, 96), "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5"),
        pytest.param(
            *("MobileNetV2", {"alpha": 1}, (90, 90)),
            "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("MobileNetV3Small", {"alpha": 0.75}, (64, 64)),
            "weights_mobilenet_v3_small_224_0.75_float_no_top_v2.h5",
            marks=pytest.mark.slow,
        ),
        (
            *("MobileNetV3Small", {"minimalistic": True}, (64, 64)),
            "weights_mobilenet_v3_small_minimalistic_224_1.0_float_no_top_v2.h5",
        ),
    ],
)
def test_options_and_size_select_the_weights_file(
    name: str, options: dict[str, Any], size: tuple[int, int], file: str
) -> None:
    """The weights file of a MobileNet depends on its options and, for the first two versions, on the image size."""
    given = {key: float(value) if key == "alpha" else value for key, value in options.items()}
    assert build_for_imagenet(NetworkSpec(NETWORKS[name], (*size, 3), given))[1].name == file


@pytest.mark.parametrize("name", ["EfficientNetLite0", "ConvNet"])
def test_networks_outside_keras_have_no_weights_file(name: str) -> None:
    """EfficientNetLite0, whose weights are part of a package, and ConvNet, which has none, have no weights file."""
    assert NETWORKS[name].weights_file is None


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        (
            "MobileNet",
            {"alpha": 0.3},
            "MobileNet has no ImageNet weights for alpha: 0.3 (available for 0.25, 0.5, 0.75, 1); "
            "choose one of these, a file, or weights: none",
        ),
        (
            "MobileNet",
            {"depth_multiplier": 2},
            "MobileNet has no ImageNet weights for depth_multiplier: 2 (available for 1); "
            "choose one of these, a file, or weights: none",
        ),
        (
            "MobileNetV3Large",
            {"alpha": 0.75, "minimalistic": True},
            "MobileNetV3Large has no ImageNet weights for alpha: 0.75 (available for 1); "
            "choose one of these, a file, or weights: none",
        ),
        ("ConvNet", {}, "ConvNet has no ImageNet weights: it is for training from scratch (weights: none)"),
        ("MobileNetV2", {"alpha": 1.4}, None),
        ("EfficientNetLite0", {}, None),
    ],
)
def test_options_without_imagenet_weights_are_reported(name: str, options: dict[str, Any], problem: str | None) -> None:
    """Options without ImageNet weights are reported with the value received and the values that have weights."""
    assert NETWORKS[name].imagenet_problem(options) == problem


def test_catalogue_imports_neither_keras_nor_tensorflow() -> None:
    """Importing the catalogue imports neither Keras nor TensorFlow."""
    code = "import sys, cnncli.catalogue.networks; print([m for m in ('keras', 'tensorflow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

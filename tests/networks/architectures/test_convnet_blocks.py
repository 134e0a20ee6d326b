"""Networks that a course shows, as blocks of a ConvNet: parameters, shapes, training, and bare Keras."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import yaml

from cnncli.config.reader import config_from_mapping
from cnncli.config.writer import dump_config
from cnncli.engines.openvino import OpenVinoEngine, convert_graph
from cnncli.errors import ConfigError
from cnncli.networks.backend import import_keras
from cnncli.networks.classifier import Classifier, build_classifier, load_classifier, save_classifier
from cnncli.networks.cut import countable_layers, cut_classifier
from cnncli.networks.graph import output_of
from tests.support.parity import relative

POOL = {"size": 2}
FLATTEN: dict[str, Any] = {"pooling": "flatten"}


def dense(*units: int, **settings: Any) -> dict[str, Any]:
    """Return a head that flattens, with dense layers."""
    return {**FLATTEN, "layers": [{"dense": n, **settings} for n in units]}


def build(
    blocks: list[dict[str, Any]], head: dict[str, Any], size: int = 28, color: str = "grayscale", n_classes: int = 10
) -> Classifier:
    """Build the classifier of a list of blocks."""
    settings = {
        "mode": "from-scratch",
        "data": {"path": ".", "image_size": size, "color": color},
        "backbone": {"name": "ConvNet", "options": {"blocks": blocks}},
        "head": head,
    }
    return build_classifier(config_from_mapping(settings, environment={}), n_classes)


def of_backbone(classifier: Classifier) -> int:
    """Count the parameters of the backbone."""
    return sum(one.count_params() for one in classifier.backbone_layers if hasattr(one, "count_params"))


def conv(filters: int, kernel: int, inputs: int, bias: bool = True) -> int:
    """Count the parameters of a square convolution as the course does."""
    return (kernel * kernel * inputs + bias) * filters


MNIST = [{"filters": 32, "pooling": POOL}, {"filters": 64, "pooling": POOL}, {"filters": 64}]
LENET = [
    {"filters": n, "kernel_size": 5, "activation": "tanh", "pooling": {"kind": "average", "size": 2}} for n in (6, 16)
]
ROW_36 = [
    {"filters": 16, "kernel_size": 5},
    {"filters": 4, "kernel_size": 5, "padding": "same", "repeat": 1000},
    {"filters": 16, "kernel_size": 5, "pooling": POOL},
]

ROWS: dict[str, tuple[list[dict[str, Any]], dict[str, Any], int, str, int, int]] = {
    # blocks, head, image size, color, classes, parameters as published or as COURSE says
    "31": (MNIST, dense(64), 28, "grayscale", 10, 93_322),
    "1": (LENET, dense(120, 84, activation="tanh"), 32, "grayscale", 10, 61_706),
    "34": (
        [{"filters": n, "kernel_size": 5, "pooling": POOL} for n in (16, 64)],
        dense(256),
        28,
        "grayscale",
        10,
        291_050,
    ),
    "35": (
        [{"filters": 10, "kernel_size": 5, "pooling": POOL} for _ in range(2)],
        dense(100),
        28,
        "grayscale",
        10,
        19_880,
    ),
    "37": ([], dense(64, 64), 28, "grayscale", 10, 55_050),
    "40": ([], FLATTEN, 32, "rgb", 10, 10 * (32 * 32 * 3 + 1)),
    "39": ([], dense(*[500] * 10, activation="tanh", initializer="uniform-fan-in"), 28, "grayscale", 10, 0),
}


def _row(name: str) -> Classifier:
    blocks, head, size, color, n_classes, _ = ROWS[name]
    return build(blocks, head, size, color, n_classes)


@pytest.mark.parametrize("row", ROWS)
def test_networks_of_the_course_have_their_parameters(row: str) -> None:
    """Rows 1, 31, 34, 35, 37, 39, 40. The counts are those of the course, or follow from its layers."""
    expected = ROWS[row][-1] or 784 * 500 + 9 * 500 * 500 + 10 * 500 + 5_010
    assert _row(row).model.count_params() == expected


def test_convolutional_part_of_the_mnist_network() -> None:
    """Rows 31, 76. 320 + 18,496 + 36,928 = 55,744, with the shapes 26, 13, 11, 5 and 3; no pooling follows."""
    classifier = _row("31")
    shapes = [(one.output.shape[1], one.count_params()) for one in classifier.backbone_layers if one.name != "x"]
    assert of_backbone(classifier) == 55_744
    assert [count for _, count in shapes if count] == [320, 18_496, 36_928]
    assert [side for side, _ in shapes] == [26, 26, 13, 11, 11, 5, 3, 3]


def test_without_pooling_dense_layers_explode() -> None:
    """Row 32. Without pooling, the last map is 22×22×64: a unit has 30,977 parameters, 100 units 3,097,801 with it."""
    blocks = [{"filters": n} for n in (32, 64, 64)]
    sigmoid = {**FLATTEN, "activation": "sigmoid"}
    for layers, expected in (([], 30_977), ([{"dense": 100}], 3_097_801)):
        classifier = build(blocks, {**sigmoid, "layers": layers}, n_classes=2)
        assert classifier.model.count_params() - of_backbone(classifier) == expected
    assert classifier.backbone_layers[-1].output.shape == (None, 22, 22, 64)


def test_layers_of_plain_keras_have_the_same_names_and_weights() -> None:
    """The short form draws the weights that plain Keras draws with the same seed, so runs stay as they were."""
    keras = import_keras()
    options = {"filters": [4, 8], "batch_norm": True, "convolutions": 2, "dropout": 0.1, "padding": "same"}
    settings = {
        "mode": "from-scratch",
        "seed": 5,
        "data": {"path": ".", "image_size": 32},
        "backbone": {"name": "ConvNet", "options": options},
    }
    ours = build_classifier(config_from_mapping(settings, environment={}), 3)
    keras.utils.set_random_seed(5)
    x = inputs = keras.Input((32, 32, 3))
    for block, filters in enumerate((4, 8), start=1):
        for number in (1, 2):
            name = f"block{block}_conv{number}"
            x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, name=name)(x)
            x = keras.layers.BatchNormalization(name=f"{name}_bn")(x)
            x = keras.layers.Activation("relu", name=f"{name}_activation")(x)
        x = keras.layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
        x = keras.layers.Dropout(0.1, name=f"block{block}_dropout")(x)
    plain = keras.Model(inputs, x)

    def config_of(layer: Any) -> dict[str, Any]:
        kept = layer.get_config()
        return {key: value for key, value in kept.items() if "initializer" not in key and key not in ("dtype", "seed")}

    assert [one.name for one in ours.backbone_layers] == [one.name for one in plain.layers[1:]]
    for mine, theirs in zip(ours.backbone_layers, plain.layers[1:], strict=True):
        assert config_of(mine) == config_of(theirs)
        for a, b in zip(mine.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("block", "size", "parameters", "shape"),
    [
        # Rows 94–97, 49, 50, 52: (W − F + 2P) / S + 1
        ({"filters": 10, "kernel_size": 5, "padding": 2}, 32, 760, (32, 32, 10)),
        ({"filters": 20, "kernel_size": 5, "padding": 2}, 32, 1_520, (32, 32, 20)),
        ({"filters": 20, "kernel_size": 5, "padding": 2, "bias": False}, 32, 1_500, (32, 32, 20)),
        ({"filters": 6, "kernel_size": 5}, 32, 456, (28, 28, 6)),
        ({"filters": 1}, 9, 28, (7, 7, 1)),
        ({"filters": 1, "strides": 2}, 7, 28, (3, 3, 1)),
        ({"filters": 1, "padding": 1}, 7, 28, (7, 7, 1)),
        ({"filters": 64, "kernel_size": 11, "strides": 4, "padding": 2}, 227, 23_296, (56, 56, 64)),
        ({"filters": 8, "strides": 2, "padding": 1}, 32, 224, (16, 16, 8)),
        # Rows 53, 55, 57: 1×1, dilation, 1×7
        ({"filters": 8, "kernel_size": 1}, 32, 32, (32, 32, 8)),
        ({"filters": 8, "dilation": 2}, 32, 224, (28, 28, 8)),
        ({"filters": 8, "kernel_size": [1, 7], "padding": "same"}, 32, 176, (32, 32, 8)),
        ({"filters": 8, "kernel_size": [3, 1], "padding": [1, 0]}, 32, 80, (32, 32, 8)),
        # Rows 41, 59–62
        ({"filters": 4, "kind": "locally-connected", "padding": "same"}, 9, 9 * 9 * 28 * 4, (9, 9, 4)),
        ({"filters": 4, "pooling": {"size": 3, "strides": 2, "padding": 1}}, 32, 112, (15, 15, 4)),
        ({"filters": 8, "activation": None, "pooling": {"kind": "maxout", "size": 4}}, 32, 224, (30, 30, 2)),
        ({"pooling": {"kind": "weighted", "size": 2}}, 32, 12, (16, 16, 3)),
    ],
)
def test_options_of_layers_give_sizes_and_parameters(
    block: dict[str, Any], size: int, parameters: int, shape: tuple[int, ...]
) -> None:
    """Rows 41, 49–53, 55, 57, 59–62, 94–97. Output sizes follow (W − F + 2P) / S + 1."""
    classifier = build([block], FLATTEN, size, "rgb")
    assert of_backbone(classifier) == parameters
    assert classifier.backbone_layers[-1].output.shape == (None, *shape)


@pytest.mark.parametrize(("bias", "expected"), [(True, 760), (False, 750)])
def test_a_convolution_has_a_bias_or_not(bias: bool, expected: int) -> None:
    """Row 73: ten 5 × 5 filters on three channels have 750 weights, and 10 biases if there are any."""
    classifier = build([{"filters": 10, "kernel_size": 5, "bias": bias}], FLATTEN, 32, "rgb")

    assert of_backbone(classifier) == expected


@pytest.mark.parametrize("size", [28, 56])
def test_global_average_pooling_needs_one_linear_layer(size: int) -> None:
    """Rows 63 and 64: 64 averages and 10 outputs have 650 weights at any size, flattened maps more."""
    blocks = [{"filters": 64, "pooling": POOL}]
    averaged, flattened = (build(blocks, head, size) for head in ({"pooling": "avg"}, FLATTEN))
    weights = [one.model.count_params() - of_backbone(one) for one in (averaged, flattened)]

    assert weights == [64 * 10 + 10, 64 * ((size - 2) // 2) ** 2 * 10 + 10]


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("sigmoid", lambda x: 1 / (1 + np.exp(-x))),
        ("tanh", np.tanh),
        ("relu", lambda x: np.maximum(x, 0)),
        ("leaky_relu", lambda x: np.where(x > 0, x, 0.2 * x)),
        ("elu", lambda x: np.where(x > 0, x, np.expm1(x))),
        ("selu", lambda x: 1.0507009874 * np.where(x > 0, x, 1.6732632423 * np.expm1(x))),
        ("gelu", lambda x: x * np.vectorize(NormalDist().cdf)(x)),
    ],
)
def test_activations_compute_their_formula(name: str, formula: Callable[[Any], Any]) -> None:
    """Row 69: the activations of a block have the values of their definitions (leaky ReLU with Keras's slope, 0.2)."""
    classifier = build([{"filters": 1, "kernel_size": 1, "activation": name}], FLATTEN)
    (layer,) = (one for one in classifier.backbone_layers if one.name == "block1_conv_activation")
    x = np.linspace(-3, 3, 13, dtype=np.float32)

    np.testing.assert_allclose(np.asarray(layer(x)), formula(x.astype(np.float64)), atol=1e-5)


def test_separable_convolutions_have_fewer_weights() -> None:
    """Row 56. From 16 to 32 channels: 32·3·3·16 = 4,608 weights, separable 16·3·3 + 32·16 = 656."""
    for kind, expected in (("convolution", 4_608), ("separable", 656)):
        classifier = build([{"filters": 16}, {"filters": 32, "kind": kind, "bias": False}], {})
        assert classifier.model.get_layer("block2_conv").count_params() == expected


def test_batch_norm_shortcut_and_dropout_are_where_the_block_says() -> None:
    """Rows 30, 48, 66, 67. Names and order of the layers follow batch_norm, add and shortcut."""
    same = {"filters": 8, "convolutions": 2, "padding": "same", "dropout": 0.5}
    before = build([{**same, "batch_norm": "before", "shortcut": "projection", "strides": 2}], {})
    after = build([{**same, "batch_norm": "after", "shortcut": "projection", "add": "after"}], {})

    assert [one.name.removeprefix("block1_") for one in before.backbone_layers] == [
        *("conv1", "conv1_bn", "conv1_activation", "conv2", "shortcut", "conv2_bn", "shortcut_bn", "add"),
        *("conv2_activation", "dropout"),
    ]
    assert [one.name.removeprefix("block1_") for one in after.backbone_layers] == [
        *("conv1", "conv1_activation", "conv1_bn", "conv2", "conv2_activation", "shortcut", "conv2_bn", "shortcut_bn"),
        *("add", "dropout"),
    ]
    assert before.model.get_layer("block1_shortcut").strides == (2, 2)


def test_a_block_of_zeros_is_the_identity() -> None:
    """Row 48. Where the weights of a residual block are zero, it returns its input."""
    blocks = [{"filters": 4}, {"filters": 4, "padding": "same", "shortcut": "identity", "initializer": "zeros"}]
    model = build(blocks, {}).model
    keras = import_keras()
    outputs = [output_of(model, name) for name in ("block1_conv_activation", "block2_conv_activation")]
    below, above = keras.Model(model.input, outputs)(np.random.default_rng(0).uniform(0, 255, (1, 28, 28, 1)))
    np.testing.assert_array_equal(below, above)


def test_initializers_and_penalties_reach_the_layers() -> None:
    """Row 68. uniform-fan-in stays within ±1 / 27, and the L1 and L2 penalties are those of Keras."""
    keras = import_keras()
    classifier = build([{"filters": 64, "initializer": "uniform-fan-in", "l1": 0.1, "l2": 0.2}], {}, color="rgb")
    layer = classifier.model.get_layer("block1_conv")
    kernel = layer.get_weights()[0]
    assert 0.9 / 27 < np.abs(kernel).max() <= 1 / 27
    expected = 0.1 * np.abs(kernel).sum() + 0.2 * (kernel**2).sum()
    np.testing.assert_allclose(keras.ops.convert_to_numpy(sum(classifier.model.losses)), expected, rtol=1e-5)


def test_penalties_of_a_block_include_its_projection() -> None:
    """The penalty of a block is that of all its kernels, that of the projection shortcut among them."""
    keras = import_keras()
    block = {"filters": 8, "padding": "same", "convolutions": 2, "shortcut": "projection", "l2": 0.1}
    model = build([block], {}).model
    kernels = [one.get_weights()[0] for one in model.layers if isinstance(one, keras.layers.Conv2D)]
    expected = 0.1 * sum((kernel**2).sum() for kernel in kernels)
    assert len(kernels) == 3
    np.testing.assert_allclose(keras.ops.convert_to_numpy(sum(model.losses)), expected, rtol=1e-5)


def test_convolutions_of_the_head_come_before_pooling() -> None:
    """Convolutions with what directly follows them see feature maps; dropout and dense layers see the vector."""
    layers = [
        {"conv": 5, "kernel_size": 1},
        {"batch_norm": True},
        {"activation": "relu"},
        {"dropout": 0.5},
        {"dense": 4},
    ]
    classifier = build([{"filters": 8}], {"layers": layers})
    names = [one.name for one in classifier.model.layers if one.name.startswith("head_")]
    assert names == [
        *("head_conv_1", "head_batch_norm_2", "head_activation_3", "head_avg_pool", "head_dropout_4", "head_dense_5"),
        *("head_logits", "head_probabilities"),
    ]
    assert classifier.model.get_layer("head_conv_1").output.shape == (None, 26, 26, 5)
    assert cut_classifier(classifier, 0).trained == ("head_conv_1", "head_batch_norm_2", "head_dense_5", "head_logits")


def test_a_convolution_after_a_dense_layer_is_refused() -> None:
    """A dense layer leaves no feature maps."""
    with pytest.raises(ConfigError) as caught:
        build([], {"layers": [{"dense": 4}, {"conv": 4}]})
    assert (caught.value.code, caught.value.facts["key"]) == ("config-contradiction-head", "head.layers.1")


@pytest.mark.parametrize(
    ("blocks", "key", "code"),
    [
        ([{"filters": 0}], "0.filters", "config-out-of-range"),
        ([{}, {"filters": 4, "kernel_siz": 3}], "1.kernel_siz", "config-unknown-key"),
        ([{}, {}, {"filters": 4, "kernel_size": [1, 0]}], "2.kernel_size", "config-out-of-range"),
        ([{"filters": 4, "padding": "vali"}], "0.padding", "config-unknown-choice"),
        ([{"pooling": {"kind": "mx"}}], "0.pooling.kind", "config-unknown-choice"),
        ([{"pooling": {"kind": "maxout", "size": [2, 2]}}], "0.pooling", "config-out-of-range"),
        ([{"filters": 4, "lrn": {"size": 4}}], "0.lrn", "config-out-of-range"),
        ([{"filters": 4, "strides": 2, "dilation": 2}], "0.dilation", "config-contradiction-block"),
        ([{"filters": 4, "groups": 3}], "0.groups", "config-contradiction-block"),
        ([{"shortcut": "identity"}], "0.shortcut", "config-contradiction-block"),
        (
            [{"filters": 4, "kind": "locally-connected", "initializer": "orthogonal"}],
            "0.initializer",
            "config-contradiction-block",
        ),
        ([{"filters": 4, "repeat": 1001}], "0.repeat", "config-out-of-range"),
        ([3], "0", "config-wrong-type"),
    ],
)
def test_wrong_blocks_are_refused_at_their_key(blocks: list[Any], key: str, code: str) -> None:
    """The error names the setting of the block."""
    with pytest.raises(ConfigError) as caught:
        build(blocks, {})
    assert (caught.value.code, caught.value.facts["key"]) == (code, f"backbone.options.blocks.{key}")


@pytest.mark.parametrize(
    ("block", "key"),
    [
        ({"filters": 8, "padding": "same", "shortcut": "identity"}, "1.shortcut"),
        ({"filters": 4, "shortcut": "projection"}, "1.shortcut"),
        ({"filters": 8, "groups": 8}, "1.groups"),
        ({"pooling": {"kind": "maxout", "size": 3}}, "1.pooling.size"),
        ({"filters": 6, "kind": "depthwise"}, "1.filters"),
    ],
)
def test_blocks_that_do_not_fit_their_input_are_refused(block: dict[str, Any], key: str) -> None:
    """Row 48. Shapes that cannot be added, and channels that cannot be divided, are named when the network is built."""
    with pytest.raises(ConfigError) as caught:
        build([{"filters": 4}, block], {})
    facts = caught.value.facts
    assert (caught.value.code, facts["key"]) == ("config-block-impossible", f"backbone.options.blocks.{key}")


def test_other_options_beside_blocks_are_refused() -> None:
    """Blocks replace the short form; an option beside them would have no effect."""
    backbone = {"name": "ConvNet", "options": {"blocks": [], "filters": [3]}}
    with pytest.raises(ConfigError) as caught:
        config_from_mapping({"data": {"path": "."}, "mode": "from-scratch", "backbone": backbone}, environment={})
    assert (caught.value.code, caught.value.facts["key"]) == ("config-without-effect", "backbone.options.filters")


def test_a_block_without_filters_has_no_settings_of_convolutions() -> None:
    """They are refused where they are written, even defaults; an explicit `filters: null` allows defaults."""
    settings = {"kernel_size": 3, "activation": "relu", "pooling": {"size": 2}}
    with pytest.raises(ConfigError) as caught:
        build([settings, {"filters": 4, "kernel_size": 3}], {})
    keys = [one.facts["key"].removeprefix("backbone.options.blocks.") for one in caught.value.problems]
    with pytest.raises(ConfigError) as changed:
        build([{"filters": None, **settings, "kernel_size": 5}], {})

    assert (keys, set(caught.value.codes)) == (["0.activation", "0.kernel_size"], {"config-without-effect"})
    assert [one.facts["key"] for one in changed.value.problems] == ["backbone.options.blocks.0.kernel_size"]
    assert of_backbone(build([{"filters": None, **settings}], {})) == 0


def test_a_resolved_config_can_have_blocks_without_filters() -> None:
    """It is read again unchanged."""
    backbone = {"name": "ConvNet", "options": {"blocks": [{"filters": 4}, {"pooling": {"size": 2}}]}}
    settings = {"data": {"path": "/images"}, "mode": "from-scratch", "backbone": backbone}
    config = config_from_mapping(settings, environment={}, check_paths=False)
    for is_short in (False, True):
        text = yaml.safe_load(dump_config(config, is_short=is_short))
        assert config_from_mapping(text, environment={}, check_paths=False) == config


KINDS: dict[str, list[dict[str, Any]]] = {
    "linear": [],
    "groups": [{"filters": 8}, {"filters": 8, "groups": 2}],
    "separable": [{"filters": 8}, {"filters": 8, "kind": "separable", "strides": 2}],
    "depthwise": [{"filters": 8, "kind": "convolution"}, {"kind": "depthwise", "filters": 16, "dilation": 2}],
    "locally": [{"filters": 8, "strides": 2}, {"filters": 4, "kind": "locally-connected", "bias": False}],
    "lrn": [{"filters": 8, "lrn": {}, "pooling": {"size": 3, "strides": 2, "padding": 1}}],
    "maxout": [{"filters": 8, "activation": None, "pooling": {"kind": "maxout"}}],
    "pools": [{"filters": 8, "padding": "same", "pooling": {"kind": kind}} for kind in ("average", "sum", "l2", "std")],
    "residual": [
        {"filters": 8, "padding": "same", "convolutions": 2, "batch_norm": "before", "shortcut": "projection"},
        {"filters": 8, "padding": "same", "batch_norm": "after", "shortcut": "identity", "add": "after", "repeat": 2},
    ],
}


@pytest.mark.parametrize("name", KINDS)
def test_networks_are_saved_cut_and_converted(name: str, tmp_path: Path) -> None:
    """A network comes back from its file, in Keras's safe mode as well; trunk, tail and OpenVINO compute the same."""
    keras = import_keras()
    classifier = build(KINDS[name], {"layers": [{"conv": 4}]}, 32, "rgba")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 4)).astype(np.float32)
    expected = classifier.model(pixels).numpy()
    save_classifier(classifier, tmp_path / "model.keras")

    assert relative(load_classifier(tmp_path / "model.keras", pretrained=False).model(pixels).numpy(), expected) < 1e-6
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert relative(loaded(pixels).numpy(), expected) < 1e-6
    logits = keras.Model(classifier.model.inputs, classifier.model.get_layer("head_logits").output)([pixels]).numpy()
    for unfreeze in (0, *range(1, 1 + len(countable_layers(classifier)))):
        cut = cut_classifier(classifier, unfreeze)
        features: Any = [pixels] if cut.trunk is None else cut.trunk([pixels])
        assert relative(cut.tail(features if isinstance(features, list) else [features]).numpy(), logits) < 1e-5
    whole = keras.Model(classifier.model.inputs, classifier.model.outputs)
    convert_graph(whole, tmp_path / "trunk.xml", pixels=True)
    (found,) = OpenVinoEngine(tmp_path / "trunk.xml", "float32").run([pixels.astype(np.uint8)])
    assert relative(found, expected) < 1e-3


@pytest.mark.parametrize(
    "n", [pytest.param(120), pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_depth_series_are_built_saved_and_run(n: int, tmp_path: Path) -> None:
    """Row 36. With 1,000 middle layers, the network has 433,290 parameters; no pooling follows the first ones."""
    blocks = [ROW_36[0], {**ROW_36[1], "repeat": n}, ROW_36[2]]
    before = sys.getrecursionlimit()
    try:
        classifier = build(blocks, dense(16, 16))
        assert classifier.model.count_params() == 433_290 - (1000 - n) * conv(4, 5, 4)
        save_classifier(classifier, tmp_path / "model.keras")
        pixels = np.random.default_rng(0).integers(0, 256, (1, 28, 28, 1)).astype(np.float32)
        again = load_classifier(tmp_path / "model.keras", pretrained=False)
        np.testing.assert_array_equal(again.model(pixels), classifier.model(pixels))
    finally:
        sys.setrecursionlimit(before)

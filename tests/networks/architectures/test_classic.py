"""Networks without ImageNet weights have the published numbers, and are trained, saved, loaded and cut.

Numbers come from the papers, from arithmetic, and from torchvision (ResNet, SqueezeNet, ShuffleNetV2) and timm (ViT).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cnncli
from cnncli.catalogue.networks import NETWORKS
from cnncli.catalogue.settings import with_defaults
from cnncli.config.reader import config_from_mapping
from cnncli.config.schema import Config
from cnncli.errors import ConfigError
from cnncli.networks.architectures import NetworkSpec, architecture_of
from cnncli.networks.arithmetic import count_layers
from cnncli.networks.backend import import_keras, uninitialized
from cnncli.networks.classifier import build_classifier
from cnncli.networks.cut import countable_layers, cut_classifier
from cnncli.networks.graph import output_of
from cnncli.networks.head import LOGITS
from cnncli.recipes.train import train
from cnncli.terminal.console import Console
from tests.networks.filled import features, filled
from tests.support.drawing import draw_dataset, draw_image
from tests.support.parity import relative

SLOW = [pytest.mark.slow, pytest.mark.timeout(1800)]


def _build(name: str, side: int | None = None, channels: int | None = None, top: bool = True, **options: Any) -> Any:
    info = NETWORKS[name]
    shape = (side or info.input_size, side or info.input_size, channels or info.channels)
    spec = NetworkSpec(info, shape, with_defaults(info.options, options), top=top)
    return architecture_of(info).build(spec).model


def _count(weights: Any) -> int:
    return sum(math.prod(weight.shape) for weight in weights)


def _slow(*case: Any) -> Any:
    return pytest.param(*case, marks=SLOW)


PARAMETERS: list[Any] = [
    ("LeNet5", 32, {}, 61_706),  # rows 1, 206; W22
    ("LeNet5", 28, {}, 44_426),
    ("AlexNet", 227, {"form": "64-192-384-256-256"}, 61_100_840),  # rows 2, 207; W15
    ("AlexNet", 227, {"form": "96-256-384-384-256"}, 62_378_344),  # row 3
    ("AlexNet", 227, {"form": "two-towers"}, 60_965_224),  # row 4
    ("ZFNet", 224, {"form": "384-384-256"}, 62_357_608),  # row 5
    ("VGG11", 224, {}, 132_863_336),  # row 8
    ("VGG11", 224, {"lrn": True}, 132_863_336),
    ("VGG13", 224, {}, 133_047_848),
    ("VGG16C", 224, {}, 133_638_952),
    ("GoogLeNet", 224, {}, 6_998_552),  # row 9; W11
    ("ResNet18", 224, {}, 11_689_512),  # row 14
    _slow("ResNet34", 224, {}, 21_797_672),
    ("ResNet20", 32, {}, 269_722),  # row 16
    _slow("PlainNet20", 32, {}, 269_722),
    _slow("ResNet56", 32, {}, 853_018),
    _slow("PlainNet56", 32, {}, 853_018),
    _slow("ResNet110", 32, {}, 1_727_962),
    _slow("ResNeXt50", 224, {}, 25_028_904),  # row 19; W21
    _slow("ResNeXt101", 224, {}, 44_177_704),
    _slow("DenseNet", 224, {"growth_rate": 32, "dense_blocks": [6, 12, 24, 16]}, 7_978_856),  # row 20
    _slow("DenseNet264", 224, {}, 33_337_704),  # row 21; W18
    ("SqueezeNet", 224, {}, 1_248_424),
    ("SqueezeNet", 224, {"version": 1.1}, 1_235_496),
    ("ShuffleNetV2", 224, {"width": 0.5}, 1_366_792),  # row 29
    _slow("ShuffleNetV2", 224, {"width": 1.0}, 2_278_604),
    _slow("ShuffleNetV2", 224, {"width": 1.5}, 3_503_624),
    _slow("ShuffleNetV2", 224, {"width": 2.0}, 7_393_996),
    # Row 28. timm's vit_tiny_patch16_224 has the class token, its position, and one bias for all patches: 3 · 192.
    ("ViT", 224, {}, 5_717_416 - 3 * 192),
    _slow("ViT", 224, {"width": 768, "heads": 12}, 86_567_656 - 3 * 768),
]


@pytest.mark.parametrize(("name", "side", "options", "parameters"), PARAMETERS)
def test_trainable_parameters_are_the_published_ones(
    name: str, side: int, options: dict[str, Any], parameters: int
) -> None:
    """Rows 1–5, 8, 9, 14, 16, 19–21, 28, 29, 206, 207. With top, and without statistics of batch normalization."""
    with uninitialized():
        model = _build(name, side, **options)
    assert _count(model.trainable_variables) == parameters


@pytest.mark.slow
def test_parameters_with_statistics_are_keras_counts() -> None:
    """Rows 19–21. ResNeXt and DenseNet are published with the statistics of batch normalization."""
    for name, parameters in (("ResNeXt50", 25_097_128), ("ResNeXt101", 44_315_560), ("DenseNet264", 33_736_232)):
        with uninitialized():
            assert _build(name).count_params() == parameters
    with uninitialized():
        densenet = _build("DenseNet")
    assert densenet.count_params() == NETWORKS["DenseNet121"].parameters


@pytest.mark.parametrize(
    ("form", "parameters"), [("64-192-384-256-256", 61_090_496), ("96-256-384-384-256", 62_367_776)]
)
def test_alexnet_without_biases(form: str, parameters: int) -> None:
    """Rows 2 and 3. Counts without biases are those of all kernels (W8, W15)."""
    with uninitialized():
        model = _build("AlexNet", form=form)
    assert _count(weight for weight in model.weights if weight.name == "kernel") == parameters


def test_densenet_40_has_one_million_parameters() -> None:
    """Row 22. Without bottlenecks the first convolution has 16 filters: Huang et al. (2016), table 2, 1.0 M."""
    options = {"growth_rate": 12, "dense_blocks": [12, 12, 12], "bottleneck": False, "reduction": 1.0, "stem": "cifar"}
    with uninitialized():
        model = _build("DenseNet", 32, top=False, **options)
    assert _count(model.trainable_variables) + 448 * 10 + 10 == 1_019_722


OPERATIONS: list[Any] = [
    # name, options, millions of multiply-adds with top, without pools
    ("AlexNet", {}, 716.77),  # row 79; W1
    ("AlexNet", {"form": "96-256-384-384-256"}, 1_135.26),  # row 3
    ("GoogLeNet", {}, 1_582.67),  # row 9
    ("ResNet18", {}, 1_814.07),  # row 90; W10
    _slow("ResNet34", {}, 3_663.76),  # rows 15, 90
    _slow("PlainNet34", {}, 3_644.49),  # row 15: 3.6
    ("ResNet20", {}, 40.55),
    ("SqueezeNet", {}, 818.92),
    ("SqueezeNet", {"version": 1.1}, 349.15),
    _slow("ShuffleNetV2", {}, 144.91),
]


@pytest.mark.parametrize(("name", "options", "millions"), OPERATIONS)
def test_multiply_adds_are_the_published_ones(name: str, options: dict[str, Any], millions: float) -> None:
    """Rows 3, 9, 15, 79 and 90. One product with its sum is one multiply-add; pooling is not counted (W9)."""
    with uninitialized():
        layers = count_layers(_build(name, **options))
    counted = sum(layer.multiply_adds for layer in layers if layer.kind == "weights")
    assert round(counted / 1e6, 2) == millions


def test_layers_of_alexnet_are_those_of_the_table() -> None:
    """Rows 2, 77, 78, 79: memory in KB, parameters without biases in K, and multiply-adds in M; conv4 has 150 (W1)."""
    table = {
        "conv1": (784, 23, 73),
        "pool1": (182, 0, 0),
        "conv2": (547, 307, 224),
        "pool2": (127, 0, 0),
        "conv3": (254, 664, 112),
        "conv4": (169, 885, 150),
        "conv5": (169, 590, 100),
        "pool5": (36, 0, 0),
        "flatten": (36, 0, 0),
        "fc6": (16, 37_749, 38),
        "fc7": (16, 16_777, 17),
        "predictions": (4, 4_096, 4),
    }
    with uninitialized():
        layers = {layer.name: layer for layer in count_layers(_build("AlexNet"))}
    for name, (memory, parameters, operations) in table.items():
        layer = layers[name]
        assert round(layer.memory_kb) == memory
        assert round((layer.parameters - layer.biases) / 1e3) == parameters
        assert round(layer.multiply_adds / 1e6) == operations
    assert layers["conv1"].padding == ((2, 2), (2, 2))


def test_stem_and_end_of_googlenet_are_those_of_the_table() -> None:
    """Rows 84 and 85: memory in KB and multiply-adds in M of the stem, which sum to 481 with pools (W3, W7)."""
    stem = {"conv1": 3136, "pool1": 784, "conv2_reduce": 784, "conv2": 2352, "pool2": 588}
    with uninitialized():
        layers = {layer.name: layer for layer in count_layers(_build("GoogLeNet"))}
    assert {name: round(layers[name].memory_kb) for name in stem} == stem
    assert [round(layers[name].multiply_adds / 1e6) for name in stem] == [118, 2, 13, 347, 1]
    below = [layers[name] for name in stem]
    assert round(sum(layer.multiply_adds for layer in below) / 1e6) == 481
    assert sum(layer.parameters - layer.biases for layer in below) // 1000 == 124
    assert (round(layers["avg_pool"].memory_kb), round(layers["predictions"].memory_kb)) == (4, 4)
    assert (layers["predictions"].parameters, layers["norm1"].type) == (1_025_000, "LRN")
    outputs = [layers[f"inception_{module}"].output_shape[2] for module in ("3a", "3b", "4a", "4e", "5b")]
    assert outputs == [256, 480, 512, 832, 1024]


def test_stem_of_resnet_is_that_of_the_table() -> None:
    """Row 86: convolution 3136 KB and 118 M, max-pooling 784 KB and 2 M."""
    with uninitialized():
        layers = {layer.name: layer for layer in count_layers(_build("ResNet18", top=False))}
    assert (round(layers["conv1"].memory_kb), round(layers["conv1"].multiply_adds / 1e6)) == (3136, 118)
    assert (round(layers["pool1"].memory_kb), round(layers["pool1"].multiply_adds / 1e6)) == (784, 2)
    assert layers["conv1"].parameters == 9_408


def test_auxiliary_classifiers_have_the_published_size() -> None:
    """Row 10. GoogLeNet with both auxiliary classifiers has 13,378,280 parameters (W12)."""
    info = NETWORKS["GoogLeNet"]
    options = with_defaults(info.options, {"auxiliary": True})
    with uninitialized():
        model = _build("GoogLeNet", auxiliary=True)
        logits = architecture_of(info).build_auxiliary(model, options, 1000)
        whole = import_keras().Model(model.input, [model.output, *logits])
    assert [tuple(tensor.shape) for tensor in logits] == [(None, 1000)] * 2
    assert whole.count_params() == 13_378_280
    assert whole.get_layer("auxiliary1_pool").output.shape[1:] == (4, 4, 512)
    assert architecture_of(info).build_auxiliary(model, {**options, "auxiliary": False}, 1000) == []


def test_plain_networks_have_no_shortcuts_and_the_same_layers() -> None:
    """Rows 15 and 16. PlainNet20 is ResNet20 without additions; option A adds no weights."""
    with uninitialized():
        plain, residual = _build("PlainNet20", top=False), _build("ResNet20", top=False)
    kinds = [[type(layer).__name__ for layer in model.layers] for model in (plain, residual)]
    assert (kinds[0].count("Add"), kinds[1].count("Add")) == (0, 9)
    assert kinds[0].count("Conv2D") == kinds[1].count("Conv2D") == 19
    assert [weight.shape for weight in plain.weights] == [weight.shape for weight in residual.weights]


def test_block_without_weights_is_the_identity() -> None:
    """Rows 48 and 139. With weights of 0, a residual block passes its input on, with zeros in new channels."""
    model = filled(_build("ResNet20", 16, top=False, n=1))
    for layer in model.layers:
        if layer.name.startswith("conv3_block1") and layer.weights:
            layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()[:2]] + layer.get_weights()[2:])
    keras = import_keras()
    before = features(keras.Model(model.input, model.get_layer("conv2_block1_out").output), 16)
    after = features(keras.Model(model.input, model.get_layer("conv3_block1_out").output), 16)
    np.testing.assert_array_equal(after[..., 8:24], before[:, ::2, ::2])
    assert not after[..., :8].any()
    assert not after[..., 24:].any()


def test_densenet_is_keras_own() -> None:
    """Rows 20 and 22. With the same blocks, DenseNet has the layers of Keras's, and the same features."""
    import_keras()
    from keras.src.applications import densenet

    ours = filled(_build("DenseNet", 32, top=False, dense_blocks=[2, 1, 1, 1]))
    theirs = densenet.DenseNet([2, 1, 1, 1], include_top=False, weights=None, input_shape=(32, 32, 3))
    weighted = [[layer.name for layer in model.layers if layer.weights] for model in (ours, theirs)]
    assert weighted[0] == weighted[1]
    theirs.set_weights(ours.get_weights())
    assert relative(features(ours, 32), features(theirs, 32)) < 1e-5


def test_layer_of_a_dense_block_has_all_maps_below_as_input() -> None:
    """Row 22. Layer l of a block has k0 + k(l − 1) input maps, here with k = 4 and k0 = 16."""
    with uninitialized():
        model = _build("DenseNet", 32, top=False, growth_rate=4, dense_blocks=[5], stem="cifar", bottleneck=False)
    maps = [model.get_layer(f"conv2_block{layer}_2_conv").kernel.shape[2] for layer in range(1, 6)]
    assert maps == [16, 20, 24, 28, 32]


def test_smaller_vggnet_normalizes_after_the_activation() -> None:
    """Row 30. A convolution of 96 × 96 × 32, the activation, and then batch normalization."""
    with uninitialized():
        layers = _build("SmallerVGGNet").layers
    assert [layer.name for layer in layers[1:4]] == ["block1_conv1", "block1_conv1_activation", "block1_conv1_bn"]
    assert [layer.output.shape[1:] for layer in layers[1:4]] == [(96, 96, 32)] * 3


def test_normalization_is_where_it_was_published() -> None:
    """Row 65. AlexNet's paper normalizes before pooling, CS231n's after it, 2014's network not at all; A-LRN once."""
    with uninitialized():
        names = {form: [layer.name for layer in _build("AlexNet", top=False, form=form).operations] for form in FORMS}
        vgg = [layer.name for layer in _build("VGG11", 32, top=False, lrn=True).operations]
    assert names["two-towers"].index("norm1") < names["two-towers"].index("pool1")
    assert names["96-256-384-384-256"].index("norm1") > names["96-256-384-384-256"].index("pool1")
    assert "norm1" not in names["64-192-384-256-256"]
    assert vgg.index("block1_norm") == vgg.index("block1_pool") - 1


FORMS = ("64-192-384-256-256", "96-256-384-384-256", "two-towers")


def test_batch_norm_replaces_local_response_normalization() -> None:
    """Row 11. With batch normalization, each of GoogLeNet's 57 convolutions is normalized; sigmoid is possible."""
    with uninitialized():
        model = _build("GoogLeNet", 64, top=False, batch_norm=True, activation="sigmoid")
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds.count("BatchNormalization") == kinds.count("Conv2D") == 57
    assert "Power" not in kinds
    assert model.get_layer("conv1_activation").activation.__name__ == "sigmoid"


@pytest.mark.parametrize(
    ("side", "options", "key"),
    [(30, {}, "data.image_size"), (32, {"heads": 5, "width": 16}, "backbone.options.heads")],
)
def test_vit_refuses_what_does_not_divide(side: int, options: dict[str, Any], key: str) -> None:
    """Patches must divide the image, and heads the width."""
    with pytest.raises(ConfigError) as error:
        _build("ViT", side, **options)
    assert error.value.facts["key"] == key


def test_vit_knows_where_a_patch_is() -> None:
    """Row 28. Without position embedding, exchanged patches give exchanged features; with it, they do not."""
    model = filled(_build("ViT", 16, top=False, patch_size=8, width=8, depth=1, heads=2))
    x = np.random.default_rng(0).normal(size=(1, 16, 16, 3)).astype(np.float32)
    swapped = np.concatenate([x[:, :, 8:], x[:, :, :8]], axis=2)
    assert relative(model(swapped)[:, :, ::-1], model(x)) > 1e-2
    embedding = model.get_layer("patch_and_position_embedding")
    embedding.bias.assign(np.zeros(embedding.bias.shape))
    assert relative(model(swapped)[:, :, ::-1], model(x)) < 1e-5


# From training to prediction

SMALL: list[Any] = [
    ("LeNet5", 32, {}),
    ("ResNet20", 32, {"n": 1}),
    ("DenseNet", 32, {"growth_rate": 4, "dense_blocks": [2, 2], "stem": "cifar"}),
    ("ViT", 32, {"patch_size": 16, "width": 16, "depth": 2, "heads": 2}),
    _slow("ShuffleNetV2", 32, {"width": 0.5}),
    _slow("AlexNet", 67, {"form": "two-towers"}),
    _slow("AlexNet", 67, {}),
    _slow("ZFNet", 63, {}),
    _slow("VGG11", 32, {"lrn": True}),
    _slow("VGG13", 32, {}),
    _slow("VGG16C", 32, {}),
    _slow("SmallerVGGNet", 32, {}),
    _slow("GoogLeNet", 32, {"auxiliary": True}),
    _slow("GoogLeNet", 32, {"batch_norm": True, "activation": "sigmoid"}),
    _slow("ResNet18", 32, {}),
    _slow("PlainNet34", 32, {}),
    _slow("PlainNet20", 32, {}),
    _slow("ResNeXt50", 32, {}),
    _slow("DenseNet264", 32, {}),
    _slow("SqueezeNet", 32, {}),
]

_DONE = {(getattr(case, "values", None) or case)[0] for case in SMALL}
OTHERS = [
    _slow(name, max(info.min_size, 64 if name == "ConvNet" else 32), {})
    for name, info in NETWORKS.items()
    if name not in _DONE
]
"""The other networks of the catalogue, with default options; `test_every_backbone` cuts them."""


def _config(path: Path, name: str, side: int, options: dict[str, Any], **more: Any) -> Config:
    settings = {
        "mode": "from-scratch",
        "data": {"path": str(path), "image_size": side},
        "backbone": {"name": name, "weights": "none", "options": options},
        "training": {"epochs": 1, "batch_size": 8},
        "engine": "openvino",
        "precision": "float32",
    }
    return config_from_mapping({**settings, **more}, environment={})


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw a few images of two classes."""
    return draw_dataset(tmp_path_factory.mktemp("drawn") / "images", train=8, validation=2, test=2)


@pytest.mark.parametrize(("name", "side", "options"), [*SMALL, *OTHERS])
def test_network_is_trained_saved_and_loaded(
    name: str, side: int, options: dict[str, Any], drawn: Path, tmp_path: Path
) -> None:
    """After an epoch, plain Keras loads the model in safe mode, and both give the same probabilities."""
    run = train(_config(drawn, name, side, options), tmp_path / "runs", Console(quiet=True))
    pixels = draw_image("dots", 99, side)
    (found,) = cnncli.predict([pixels], run=run.path)
    model = import_keras().saving.load_model(run.path / "model.keras", safe_mode=True)
    scores = dict(zip(cnncli.load(run.path).classes, model(pixels[None], training=False)[0].numpy(), strict=True))
    assert scores == pytest.approx(dict(zip(found.labels, found.probabilities, strict=True)), abs=1e-4)
    assert len(model.outputs) == 1


@pytest.mark.parametrize(("name", "side", "options"), SMALL)
def test_network_is_cut_exactly(name: str, side: int, options: dict[str, Any], drawn: Path) -> None:
    """Cut low, in the middle and high, trunk and tail give the logits of the uncut classifier."""
    classifier = build_classifier(_config(drawn, name, side, options), 3)
    filled(classifier.model)
    pixels = np.random.default_rng(0).integers(0, 256, (2, side, side, 3)).astype(np.float32)
    model = classifier.model
    expected = import_keras().Model(model.inputs, output_of(model, LOGITS))([pixels], training=False)
    names = [layer.name for layer in countable_layers(classifier)]
    for place in (len(names) // 8 + 1, len(names) // 2, len(names) - 1):
        cut = cut_classifier(classifier, names[min(place, len(names) - 1)])
        assert cut.trunk is not None
        crossing = cut.trunk([pixels], training=False)
        crossing = crossing if isinstance(crossing, list) else [crossing]
        assert relative(cut.tail(crossing, training=False), expected) < 1e-5

"""A summary lists the layers that would be trained."""

from __future__ import annotations

import re
import shlex
import time
from pathlib import Path

import numpy as np
import pytest

from cnncli.catalogue.networks import NETWORKS
from cnncli.cli.summary import _sources
from cnncli.errors import ConfigError, WeightsError
from cnncli.networks.architectures import keras_applications
from cnncli.networks.backend import import_keras
from cnncli.networks.classifier import build_classifier, save_classifier
from cnncli.recipes.summary import Summary, compare, summarize, summarize_backbone, summarize_config
from tests.support.drawing import draw_dataset, tiny_config

ROOT = Path(__file__).resolve().parents[2]
AUXILIARY = "backbone.options.auxiliary"


def test_a_summary_lists_shapes_parameters_and_what_trains(tmp_path: Path) -> None:
    """A summary lists shape, parameters and trainability of each layer, in graph order, and counts as Keras does."""
    config = tiny_config(draw_dataset(tmp_path, 1, 1, 1), mode="fine-tuning", training={"unfreeze": 1})
    summary = summarize_config(config)
    lines = {line.name: line for line in summary.layers}

    assert next(iter(lines)) == "pixels"
    assert lines["head_logits"].output_shape == (2,)
    assert lines["head_logits"].parameters == 8 * 2 + 2
    assert [name for name, line in lines.items() if line.trainable] == ["block2_conv", "head_logits"]
    assert summary.parameters == build_classifier(config, 2).model.count_params()
    assert summary.trainable_parameters == sum(line.parameters for line in summary.layers if line.trainable)


@pytest.mark.parametrize(("wanted", "rescalings"), [("imagenet", 2), ("none", 1)])
def test_efficientnet_has_a_layer_more_with_imagenet_weights(
    wanted: str, rescalings: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The additional layer for ImageNet weights is listed, and nothing is downloaded."""
    monkeypatch.setattr(keras_applications, "fetch", lambda _: pytest.fail("a summary downloads nothing"))
    config = tiny_config(draw_dataset(tmp_path, 1, 1, 1), backbone={"name": "EfficientNetB0", "weights": wanted})
    types = [line.type for line in summarize_config(config).layers]

    assert types.count("Rescaling") == rescalings
    assert types[-1] == "Activation"


@pytest.mark.parametrize(
    ("exercise", "dataset", "units", "total"),
    [("mnist-convnet", "mnist", 10, 93_322), ("no-pooling", "dogs-vs-cats", 1, 86_721)],
)
def test_an_exercise_is_summarized_before_its_dataset_is_there(
    exercise: str, dataset: str, units: int, total: int, tmp_path: Path
) -> None:
    """Rows 31 and 32: the number of classes of a published dataset is known without its images."""
    config = ROOT / "configs" / "course" / f"{exercise}.yaml"
    summary = summarize(str(config), [f"data.path={tmp_path / dataset}"])

    assert (summary.layers[-1].output_shape, summary.parameters) == ((units,), total)


def test_other_data_must_be_there(tmp_path: Path) -> None:
    """Without its data, the number of classes of an unknown dataset is not guessed."""
    with pytest.raises(ConfigError) as caught:
        summarize(str(ROOT / "configs" / "quickstart.yaml"), [f"data.path={tmp_path / 'nothing'}"])

    assert caught.value.code == "config-path-missing"


def test_a_backbone_by_its_name_is_as_for_imagenet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a config, a backbone is summarized as for ImageNet weights, the default."""
    monkeypatch.setattr(keras_applications, "fetch", lambda _: pytest.fail("a summary downloads nothing"))

    assert [line.type for line in summarize_backbone("EfficientNetB0").layers].count("Rescaling") == 2


def test_settings_change_a_network() -> None:
    """Size, options and output layer of a network can be set as in a config."""
    small = summarize(
        "ConvNet", ["data.image_size=32", "backbone.options.filters=[10]", "backbone.options.padding=same"]
    )
    first = summarize("VGG16", ["backbone.output_layer=block1_pool", "data.image_size=64"])

    assert small.input_shape == (32, 32, 3)
    assert small.layers[1].formulas["parameters"] == "(3·3·3 + 1)·10 = 280"
    assert small.parameters_with_top is None
    assert [layer.name for layer in first.layers][-1] == "block1_pool"
    assert first.receptive_field == (6, 6)


OWN = ("AlexNet", "GoogLeNet", "MobileNet", "ResNet18", "ShuffleNetV2", "SqueezeNet")
"""Networks whose receptive fields are counted in the default tier; the others are left to the slow tier."""


@pytest.mark.parametrize(
    "name", [name if name in OWN else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS]
)
def test_the_receptive_field_of_a_square_image_is_square(name: str) -> None:
    """All networks treat height and width alike; published fields are those of distill.pub (Araujo et al. 2019)."""
    field = summarize(name).receptive_field
    published = {"AlexNet": 195, "ResNet18": 435, "MobileNet": 315, "VGG16": 212}

    assert field[0] == field[1]
    assert field[0] == published.get(name, field[0])


def test_the_count_with_the_published_top_is_known() -> None:
    """Row 6: the summary of a backbone names the parameters with its top, unless the size or the layers differ."""
    assert summarize("MobileNet").parameters_with_top == 4_253_864
    assert summarize("MobileNet", ["data.image_size=64"]).parameters_with_top is None
    assert [summarize(name).top_classes for name in ("MobileNet", "LeNet5", "ConvNet")] == [1000, 10, None]


def test_the_top_of_a_network_is_counted() -> None:
    """With its top, a network ends with the published classes and has the published number of parameters."""
    summary = summarize("MobileNet", top=True)

    assert summary.layers[-1].output_shape == (1000,)
    assert (summary.parameters, summary.parameters_with_top) == (4_253_864, None)
    assert summarize("MobileNet", ["data.image_size=64"], top=True).layers[-1].output_shape == (1000,)


def test_auxiliary_classifiers_are_counted_for_training_only() -> None:
    """Rows 10 and 72: both auxiliary classifiers of GoogLeNet are listed, with a total of their own."""
    plain, with_both = (summarize("GoogLeNet", options, top=True) for options in ([], [f"{AUXILIARY}=true"]))

    assert (plain.parameters, plain.parameters_in_training, plain.auxiliary_layers) == (6_998_552, 6_998_552, ())
    assert (with_both.parameters, with_both.parameters_in_training) == (6_998_552, 13_378_280)
    assert (with_both.layers, with_both.multiply_adds) == (plain.layers, plain.multiply_adds)
    dense = [layer.name for layer in with_both.auxiliary_layers if layer.type == "Dense"]
    assert sorted(dense) == ["auxiliary1_fc", "auxiliary1_logits", "auxiliary2_fc", "auxiliary2_logits"]
    assert summarize("GoogLeNet", [f"{AUXILIARY}=true"]).parameters_in_training == 5_973_552 + 13_378_280 - 6_998_552
    assert summarize("GoogLeNet", [f"{AUXILIARY}=true", "backbone.output_layer=pool2"]).auxiliary_layers == ()


def test_auxiliary_classifiers_of_a_config_have_its_classes(tmp_path: Path) -> None:
    """The auxiliary classifiers of a config have the units of its head, and are there if the whole network trains."""
    backbone = {"name": "GoogLeNet", "weights": "none", "options": {"auxiliary": True}}
    config = tiny_config(draw_dataset(tmp_path, 1, 1, 1), mode="from-scratch", backbone=backbone)
    summary, frozen = summarize_config(config), summarize_config(config.model_copy(update={"mode": "fine-tuning"}))
    layers = {layer.name: layer for layer in summary.auxiliary_layers}

    assert layers["auxiliary1_logits"].output_shape == (2,)
    assert summary.parameters_in_training - summary.parameters == sum(layer.parameters for layer in layers.values())
    assert frozen.auxiliary_layers == ()


def test_lenet_takes_gray_images() -> None:
    """Rows 1 and 206, W22: LeNet-5 has 61,706 parameters with one channel, and takes 416,520 multiply-adds."""
    gray, color = summarize("LeNet5", top=True), summarize("LeNet5", ["data.color=rgb"], top=True)

    assert (gray.input_shape, gray.parameters, gray.multiply_adds) == ((32, 32, 1), 61_706, 416_520)
    assert (color.input_shape, color.parameters) == ((32, 32, 3), 62_006)


def test_a_network_without_top_is_refused_with_top(tmp_path: Path) -> None:
    """A ConvNet has no published top, and a config has a head instead."""
    (tmp_path / "config.yaml").write_text("data: {path: .}")
    for source in ("ConvNet", str(tmp_path / "config.yaml")):
        with pytest.raises(ConfigError) as caught:
            summarize(source, top=True)
        assert caught.value.problems[0].code == "usage-options-conflict"


@pytest.mark.parametrize("color", ["rgb", "grayscale"])
def test_a_saved_model_is_a_network(color: str, tmp_path: Path) -> None:
    """A saved model is summarized up to its head, with its own image size and channels."""
    data = {"path": draw_dataset(tmp_path, 1, 1, 1), "image_size": 32, "color": color}
    config = tiny_config(tmp_path, data=data)
    save_classifier(build_classifier(config, 2), tmp_path / "model.keras")
    expected, summary = summarize_config(config), summarize(str(tmp_path / "model.keras"))

    assert summary.input_shape == expected.input_shape
    assert summary.parameters == expected.parameters - (8 * 2 + 2)
    assert [layer.name for layer in summary.layers if layer.kind == "weights"] == ["block1_conv", "block2_conv"]
    backbone = {"name": str(tmp_path / "model.keras"), "weights": "none"}
    assert summarize_config(tiny_config(tmp_path, data=data, backbone=backbone)).parameters == expected.parameters


def test_a_missing_or_damaged_model_is_reported(tmp_path: Path) -> None:
    """A file that is not there, or is not a saved model, is named with the problem."""
    with pytest.raises(ConfigError) as missing:
        summarize(str(tmp_path / "nothing.keras"))
    (tmp_path / "damaged.keras").write_bytes(b"nothing")
    with pytest.raises(WeightsError) as damaged:
        summarize(str(tmp_path / "damaged.keras"))

    assert missing.value.problems[0].code == "config-path-missing"
    assert damaged.value.code == "weights-architecture"


def test_alexnet_against_vgg16() -> None:
    """Rows 81 and 83, W4, W6 and W15: 21.6 times the multiply-adds, 2.3 times the parameters, from 1.9 to 51.7 MB."""
    comparison = compare([summarize("AlexNet", top=True), summarize("VGG16", top=True)])
    alexnet, vgg16 = comparison.networks

    assert alexnet.parameters_without_biases == 61_090_496
    assert alexnet.memory_kb / 1024 == pytest.approx(1.9, abs=0.05)
    assert alexnet.memory_with_pooling_kb / 1024 == pytest.approx(2.25, abs=0.01)
    assert vgg16.memory_kb / 1024 == pytest.approx(51.7, abs=0.05)
    assert comparison.ratios["multiply_adds"][1] == pytest.approx(21.6, abs=0.05)
    assert comparison.ratios["parameters"][1] == pytest.approx(2.3, abs=0.05)


def test_the_numbers_of_vgg16_with_its_top() -> None:
    """Rows 6, 82 and 85: VGG16 has 138,357,544 parameters; its dense layers 102,760K, 16,777K, 4,096K weights."""
    summary = summarize("VGG16", top=True)
    dense = [layer for layer in summary.layers if layer.type == "Dense"]

    assert (summary.parameters, summary.multiply_adds) == (138_357_544, 15_470_264_320)
    assert [layer.parameters - layer.biases for layer in dense] == [102_760_448, 16_777_216, 4_096_000]
    assert [round(layer.memory_kb) for layer in dense] == [16, 16, 4]
    assert summary.memory_kb / 1024 == pytest.approx(51.7, abs=0.05)
    assert summary.memory_with_pooling_kb / 1024 == pytest.approx(57.55, abs=0.05)


def test_a_summary_gives_no_weights_their_values() -> None:
    """Four VGGs with 548 million parameters, 2.2 GB, are compared in seconds; later networks have values as usual."""
    keras, started = import_keras(), time.process_time()
    networks = [summarize(name, top=True) for name in ("VGG11", "VGG13", "VGG16", "VGG19")]

    assert sum(network.parameters for network in networks) == 547_935_968
    assert time.process_time() - started < 10
    assert np.isfinite(keras.Sequential([keras.layers.Dense(3)])(np.ones((1, 2)))).all()
    assert np.isfinite(keras.random.normal((2,))).all()


def test_totals_of_two_networks_are_compared() -> None:
    """Row 83: totals of two networks, and the ratios of the second to the first."""
    one, two = (summarize("ConvNet", [f"backbone.options.filters=[{n}]", "data.image_size=32"]) for n in (4, 12))
    comparison = compare([one, two])

    assert one.parameters_without_biases == 108
    assert one.multiply_adds == 30 * 30 * 4 * 27
    assert one.multiply_adds_with_pooling == one.multiply_adds + 15 * 15 * 4 * 4
    assert one.memory_kb == 30 * 30 * 4 * 4 / 1024
    assert one.memory_with_pooling_kb == (30 * 30 + 15 * 15) * 4 * 4 / 1024
    assert set(comparison.ratios["multiply_adds"]) == {1.0, 3.0}
    assert {name for name, ratios in comparison.ratios.items() if ratios[1] == 3.0} >= {"parameters", "memory_kb"}


def commands_of_row(number: int) -> list[list[str]]:
    """Return the words of each `cnncli summary` of a row of the course."""
    (row,) = re.findall(rf"^\| {number} \| .*$", (ROOT / "docs" / "course.md").read_text(), re.MULTILINE)
    return [shlex.split(command) for command in re.findall(r"`cnncli summary ([^`]*)`", row)]


def summaries_of(words: list[str]) -> list[Summary]:
    """Return the summaries that a command prints."""
    return [summarize(source, settings) for source, settings in _sources(words)]


def test_the_costs_of_inception_modules_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 87, W2: all branches of a module together, without and with bottlenecks."""
    monkeypatch.chdir(ROOT)
    summaries = [summaries_of(words)[0] for words in commands_of_row(87)]

    below = [one.multiply_adds - one.multiply_adds_of_head for one in summaries]
    assert below == [854_196_224, 271_351_808]


def test_the_costs_of_branches_are_compared() -> None:
    """Rows 88 and 89: each branch is a column with its name."""
    (four,), (two, _) = commands_of_row(88), commands_of_row(89)
    branches = {one.name: one.multiply_adds_with_pooling for one in summaries_of(four)}

    assert branches == {"1x1": 401_408, "3x3": 7_225_344, "5x5": 2_508_800, "pool": 50_176}
    assert [one.multiply_adds for one in summaries_of(two)] == [481_689_600, 12_845_056 + 120_422_400]


def test_the_totals_of_vgg16_against_resnet50() -> None:
    """Rows 7 and 100: VGG19 takes 19.6 G multiply-adds with its top, more than ResNet152 with 11.3."""
    vgg19, resnet152 = summarize("VGG19"), summarize("ResNet152")

    assert vgg19.multiply_adds + 25_088 * 4_096 + 4_096 * 4_096 + 4_096_000 == 19_632_062_464
    assert resnet152.multiply_adds + 2048 * 1000 == 11_282_415_616

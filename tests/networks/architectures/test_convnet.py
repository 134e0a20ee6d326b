"""ConvNet is built as its options describe."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from cnncli.catalogue.blocks import Block, PoolingConfig
from cnncli.catalogue.misfits import find_misfit
from cnncli.catalogue.networks import NETWORKS
from cnncli.catalogue.settings import with_defaults
from cnncli.config.backbone_settings import BackboneConfig
from cnncli.errors import ConfigError
from cnncli.networks.architectures import NetworkSpec
from cnncli.networks.architectures.convnet import build
from cnncli.networks.backbone import build_backbone
from cnncli.networks.backend import import_keras
from cnncli.networks.graph import replay


def _build(side: int = 32, **options: Any) -> Any:
    info = NETWORKS["ConvNet"]
    return build(NetworkSpec(info, (side, side, 3), with_defaults(info.options, options))).model


def test_course_network_has_its_parameters() -> None:
    """Conv 32-64-128-128 (3×3, valid, max-pool 2), flatten, dropout 0.5, dense 512, one logit at 150 px: 3,453,121."""
    keras = import_keras()
    backbone = build_backbone(BackboneConfig(name="ConvNet", weights="none"), (150, 150, 3), seed=0)
    x = keras.layers.Flatten()(backbone.output)
    x = keras.layers.Dropout(0.5)(x)
    x = keras.layers.Dense(512, activation="relu")(x)
    whole = keras.Model(backbone.input, keras.layers.Dense(1)(x))
    assert whole.count_params() == 3_453_121
    assert backbone.output.shape == (None, 7, 7, 128)
    assert backbone.count_params() == NETWORKS["ConvNet"].parameters


def test_blocks_hold_what_the_options_say() -> None:
    """Each block has two convolutions with batch norm and without bias, and dropout after pooling."""
    model = _build(filters=[4, 8], convolutions=2, batch_norm=True, dropout=0.1, padding="same", activation="elu")
    block = ["conv1", "conv1_bn", "conv1_activation", "conv2", "conv2_bn", "conv2_activation", "pool", "dropout"]
    assert [layer.name for layer in model.layers[1:]] == [f"block{n}_{part}" for n in (1, 2) for part in block]
    assert model.output_shape == (None, 8, 8, 8)
    assert not model.get_layer("block1_conv1").use_bias
    assert model.get_layer("block2_conv2_activation").activation.__name__ == "elu"


def test_pooling_of_one_means_none() -> None:
    """With a pool size of 1, only the convolutions reduce the size of the feature maps."""
    model = _build(filters=[4, 4], pool_size=1)
    assert model.output_shape == (None, 28, 28, 4)
    assert not any("pool" in layer.name for layer in model.layers)


@pytest.mark.parametrize(
    ("side", "options", "key", "maps"),
    [
        (2, {}, "kernel_size", "the images of 2 × 2"),
        (10, {}, "kernel_size", "the feature maps of 1 × 1"),
        (3, {}, "pool_size", "the feature maps of 1 × 1"),
        (61, {"blocks": [Block(filters=1, kernel_size=99)]}, "blocks.0.kernel_size", "the images of 61 × 61"),
        (9, {"blocks": [Block(filters=1, kernel_size=4, dilation=3)]}, "blocks.0.kernel_size", "with dilation 3"),
        (9, {"blocks": [Block(filters=1), Block(filters=1, repeat=4)]}, "blocks.1.kernel_size", "maps of 1 × 1"),
        (9, {"blocks": [Block(filters=1, convolutions=5)]}, "blocks.0.kernel_size", "5 times in succession"),
        (9, {"blocks": [Block(pooling=PoolingConfig(size=(2, 10)))]}, "blocks.0.pooling.size", "2 × 10 pixels"),
    ],
)
def test_a_kernel_larger_than_its_input_is_refused(side: int, options: dict[str, Any], key: str, maps: str) -> None:
    """The error names the setting of the kernel or window, and the size of the images or feature maps."""
    with pytest.raises(ConfigError) as error:
        _build(side, **options)
    assert (error.value.code, error.value.facts["key"]) == ("config-image-size-too-small", f"backbone.options.{key}")
    assert maps in str(error.value)
    assert ("fewer blocks" in str(error.value)) == ("feature maps" in str(error.value))


@pytest.mark.parametrize(
    "blocks",
    [
        [Block(filters=2, kernel_size=(5, 3), strides=(2, 1), convolutions=2), Block(pooling=PoolingConfig(size=3))],
        [Block(filters=2, dilation=3, padding=1, repeat=2), Block(pooling=PoolingConfig(size=3, padding=1, strides=2))],
        [Block(filters=2, padding="same", strides=3), Block(filters=2, kernel_size=2, pooling=PoolingConfig(size=2))],
        [Block(filters=12, kernel_size=4, kind="depthwise", strides=2, pooling=PoolingConfig(kind="sum", size=3))],
    ],
)
def test_sizes_are_checked_as_keras_computes_them(blocks: list[Block]) -> None:
    """An image size is refused exactly where Keras, whose layers know nothing of the check, has no pixels left."""
    options = with_defaults(NETWORKS["ConvNet"].options, {"blocks": blocks})
    keras, model = import_keras(), build(NetworkSpec(NETWORKS["ConvNet"], (64, 64, 3), options)).model
    for side in range(1, 24):
        try:
            (maps,) = replay(model, [keras.Input((side, side, 3))])
            fits = min(maps.shape[1:]) > 0
        except ValueError:
            fits = False
        assert (find_misfit(options, side, side, 3) is None) == fits, side


@pytest.mark.parametrize("padding", ["valid", "same", 1])
@pytest.mark.parametrize("strides", [1, (1, 2)])
@pytest.mark.parametrize("convolutions", [1, 2])
def test_shortcuts_are_checked_as_keras_computes_shapes(padding: Any, strides: Any, convolutions: int) -> None:
    """A shortcut is refused exactly where Keras gives it another shape than the output of the convolutions."""
    keras, input_shape = import_keras(), (11, 10, 4)
    for filters, kernel_size in product((4, 8), (3, 4)):
        block = Block(
            filters=filters, kernel_size=kernel_size, padding=padding, strides=strides, convolutions=convolutions
        )
        options = with_defaults(NETWORKS["ConvNet"].options, {"blocks": [block]})
        output = build(NetworkSpec(NETWORKS["ConvNet"], input_shape, options)).model.output.shape
        projection = keras.layers.Conv2D(filters, 1, strides).compute_output_shape((None, *input_shape))
        for shortcut, shape in (("identity", (None, *input_shape)), ("projection", projection)):
            options["blocks"] = [block.model_copy(update={"shortcut": shortcut})]
            assert (find_misfit(options, *input_shape) is None) == (shape == output), (shortcut, block)

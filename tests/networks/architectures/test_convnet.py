"""ConvNet is built as its options describe."""

from __future__ import annotations

from typing import Any

import pytest

from cnncli.catalogue.networks import NETWORKS
from cnncli.catalogue.settings import with_defaults
from cnncli.config.backbone_settings import BackboneConfig
from cnncli.errors import ConfigError
from cnncli.networks.architectures import NetworkSpec
from cnncli.networks.architectures.convnet import build
from cnncli.networks.backbone import build_backbone
from cnncli.networks.backend import import_keras


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


@pytest.mark.parametrize(("side", "block"), [(2, 1), (20, 3)])
def test_image_too_small_for_the_blocks_is_refused(side: int, block: int) -> None:
    """The error names the block after which no pixels are left."""
    with pytest.raises(ConfigError) as error:
        _build(side)
    assert (error.value.code, error.value.facts["key"]) == ("config-image-size-too-small", "data.image_size")
    assert (error.value.facts["received"], error.value.facts["block"]) == ((side, side), block)

"""The image size and the network for small images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cnncli.catalogue.networks import NETWORKS
from cnncli.config.reader import config_from_mapping
from cnncli.config.schema import Config
from cnncli.config.small_images import SMALL_PX, adapt_to_images, largest_side_of_interest, size_for_images
from cnncli.config.writer import dump_config


def config_of(**settings: Any) -> Config:
    """Return the config with the given settings, without checking that its data exist."""
    return config_from_mapping({"data": {"path": "x"}, **settings}, environment={}, check_paths=False)


SCRATCH = {"mode": "from-scratch", "backbone": {"name": "ConvNet"}}


@pytest.mark.parametrize(
    ("network", "pretrained", "side", "size"),
    [
        ("EfficientNetLite0", True, 8, 128),
        ("EfficientNetLite0", True, SMALL_PX, 128),
        ("EfficientNetLite0", True, SMALL_PX + 1, 224),
        ("VGG16", False, 8, 32),
        ("ConvNet", False, 8, 8),
        ("ConvNet", False, 64, 64),
        ("ConvNet", False, 500, 150),
    ],
)
def test_size_depends_on_images_and_network(network: str, pretrained: bool, side: int, size: int) -> None:
    """With pretrained weights, the size is 128 or the default; otherwise it is that of the images, within limits."""
    assert size_for_images(NETWORKS[network], side, pretrained) == size


@pytest.mark.parametrize(("side", "blocks"), [(2, 1), (8, 2), (15, 2), (28, 3), (32, 4), (45, 4)])
def test_a_small_convnet_has_as_many_blocks_as_the_images_allow(side: int, blocks: int) -> None:
    """A ConvNet for small images has as many blocks as keep its feature maps at 2 × 2 pixels, from one to four."""
    config = adapt_to_images(config_of(**SCRATCH), side)

    assert config.data.image_size == side
    assert config.backbone.options == {"filters": [32, 64, 128, 128][:blocks], "padding": "same"}


def test_large_images_keep_the_defaults() -> None:
    """Configs are adapted only to images smaller than `largest_side_of_interest`."""
    for config in (config_of(), config_of(**SCRATCH)):
        limit = largest_side_of_interest(config)

        assert adapt_to_images(config, limit) is config
        assert adapt_to_images(config, limit - 1) is not config
        assert adapt_to_images(config, 0) is config


def test_settings_of_the_user_are_kept(tmp_path: Path) -> None:
    """An image size or network options set by the user are not changed."""
    sized = config_of(data={"path": "x", "image_size": 96}, **SCRATCH)
    options = config_of(mode="from-scratch", backbone={"name": "ConvNet", "options": {"filters": [4]}})

    assert adapt_to_images(sized, 8) is sized
    adapted = adapt_to_images(options, 8)
    assert (adapted.data.image_size, adapted.backbone.options) == (8, {"filters": [4]})


def test_pretrained_top_layers_keep_their_size() -> None:
    """Dense layers with ImageNet weights take only the default size, so small images are enlarged to it."""
    config = config_of(backbone={"name": "VGG16", "include_top_layers": "fc1"})

    assert adapt_to_images(config, 8) is config


def test_an_adapted_config_can_be_written() -> None:
    """A config adapted to small images can be written, so that the run records its image size."""
    assert "image_size: 8\n" in dump_config(adapt_to_images(config_of(**SCRATCH), 8))

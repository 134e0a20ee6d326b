"""Choose image size and network options for small images, for both `cnncli init` and `cnncli train DIR`.

Pretrained networks recognize more in small images that are moderately enlarged. A network trained from scratch uses the
original pixels, and has only as many blocks as these allow.
"""

from __future__ import annotations

import logging
from typing import Any

from cnncli.catalogue.networks import NetworkInfo
from cnncli.config.backbone_settings import BackboneConfig
from cnncli.config.schema import Config
from cnncli.errors import Message

log = logging.getLogger(__name__)

SMALL_PX = 112
"""Images whose sides are all at most this long are small for a pretrained network."""
PRETRAINED_PX = 128
"""Size of small images for a pretrained network."""


def size_for_images(info: NetworkInfo, largest_side: int, pretrained: bool = True) -> int:
    """Return the image size in pixels for a network and the longest side of all images."""
    if pretrained:
        return max(PRETRAINED_PX, info.min_size) if largest_side <= SMALL_PX else info.input_size
    return min(max(largest_side, info.min_size), info.input_size)


def largest_side_of_interest(config: Config) -> int:
    """Return the side in pixels from which on an image is not small for the config's network."""
    return SMALL_PX + 1 if config.is_pretrained else config.backbones[0].network.input_size


def adapt_to_images(config: Config, largest_side: int) -> Config:
    """Return a config for images that are small for its network; settings that are set explicitly are kept.

    Pretrained dense layers take only the network's own size.
    """
    backbones, default = config.backbones, config.backbones[0].network.input_size
    is_fixed = any(one.include_top_layers is not None and one.is_pretrained for one in backbones)
    if largest_side < 1 or is_fixed or "image_size" in config.data.model_fields_set:
        return config
    size = max(size_for_images(one.network, largest_side, one.is_pretrained) for one in backbones)
    if size >= default:
        return config
    text = f"no side is longer than {largest_side} pixels, so data.image_size is {size} instead of {default}"
    log.info(Message("config-small-images", text, key="data.image_size", received=largest_side, size=size))
    data = config.data.model_copy(update={"image_size": size})
    adapted = tuple(_adapt_options(one, size) for one in backbones)
    return config.model_copy(update={"data": data, "backbone": adapted if len(adapted) > 1 else adapted[0]})


def _adapt_options(backbone: BackboneConfig, size: int) -> BackboneConfig:
    """Return a backbone for images of a size; options that are set are kept."""
    info = backbone.network
    options = backbone.options or (small_convnet(info, size) if "filters" in info.options else {})
    return backbone.model_copy(update={"options": options})


def small_convnet(info: NetworkInfo, size: int) -> dict[str, Any]:
    """Return the options of a ConvNet with as many blocks as leave at least 2 × 2 pixels."""
    filters = info.options["filters"].default
    blocks = max(1, size.bit_length() - 2)
    return {"filters": list(filters[:blocks]), "padding": "same"} if blocks <= len(filters) else {}

"""The backbone of a config: the network without top, with its weights, up to the output layer."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cnncli.catalogue.networks import NetworkInfo, network
from cnncli.catalogue.options import option_problems, with_defaults
from cnncli.config.schema import BackboneConfig
from cnncli.errors import ConfigError
from cnncli.networks.architectures.convnet import build_convnet
from cnncli.networks.architectures.efficientnet_lite import build_efficientnet_lite0
from cnncli.networks.architectures.keras_applications import (
    PublishedFile,
    build_application,
    build_imagenet_application,
)
from cnncli.networks.backend import import_keras
from cnncli.networks.weights.load import load_weights, wants_imagenet_graph

if TYPE_CHECKING:
    import keras


def build_backbone(config: BackboneConfig, input_shape: tuple[int, int, int], seed: int) -> keras.Model:
    """The backbone of a config, with its weights loaded.

    Layers have the same names in every process: generated names (`conv2d_7`) count from the network's first layer.
    Random weights depend on the seed alone; to that end the global generators of Python, NumPy and TensorFlow are
    seeded.

    Args:
        config: name, weights, output layer and options.
        input_shape: (height, width, 3).
        seed: of the weights, where they are random.
    Returns: functional model from preprocessed float32 images (batch, height, width, 3) to feature maps
        (batch, h, w, channels), or to a vector where the output layer gives one.

    Raises:
        ConfigError: unknown network, option or output layer, or images too small.
        WeightsError: weights that cannot be had, read or matched.
    """
    info = network(config.name)
    _check(info, config, input_shape)
    import_keras().utils.set_random_seed(seed)
    with _own_layer_names():
        model, published = build_network(info, config, input_shape)
    backbone = cut_at(model, config.output_layer, info.name)
    load_weights(model, config, published, backbone)
    return backbone


def build_network(
    info: NetworkInfo, config: BackboneConfig, input_shape: tuple[int, int, int]
) -> tuple[keras.Model, PublishedFile | None]:
    """The whole network without top and with random weights; and where Keras has its ImageNet weights, if asked for."""
    options = with_defaults(info.options, config.options)
    as_imagenet = wants_imagenet_graph(info, config)
    if info.builder == "efficientnet-lite":
        return build_efficientnet_lite0(input_shape), None
    if info.builder == "convnet":
        return build_convnet(input_shape, options), None
    if as_imagenet:
        return build_imagenet_application(info.name, input_shape, options)
    return build_application(info.name, input_shape, options), None


def cut_at(model: keras.Model, output_layer: str | None, name: str) -> keras.Model:
    """The model up to one of its layers; the layers are shared with the whole.

    Args:
        model: the whole network without top.
        output_layer: the layer whose output becomes the model's; None: all of it.
        name: of the network, for messages.
    Raises: ConfigError: no layer of this name, or one whose output is neither feature maps nor a vector.
    """
    if output_layer is None:
        return model
    names = [layer.name for layer in model.layers]
    if output_layer not in names:
        close = difflib.get_close_matches(output_layer, names, n=3)
        hint = f"Did you mean {' or '.join(close)}?" if close else f"`cnncli summary {name}` lists them."
        raise ConfigError(f"backbone.output_layer: {name} has no layer called {output_layer!r}. {hint}")
    layer = model.get_layer(output_layer)
    output = layer.output
    if isinstance(output, list | tuple) or len(output.shape) not in (2, 4) or layer is model.layers[0]:
        raise ConfigError(
            f"backbone.output_layer: {output_layer} gives neither feature maps nor a vector; choose another layer"
        )
    return import_keras().Model(model.input, output, name=model.name)


def _check(info: NetworkInfo, config: BackboneConfig, input_shape: tuple[int, int, int]) -> None:
    problems = [
        f"backbone.options.{name}: {sentence}"
        for name, sentence in option_problems(info.name, info.options, config.options)
    ]
    if min(input_shape[:2]) < info.min_size:
        problems.append(
            f"data.image_size: {input_shape[0]} × {input_shape[1]} pixels are too few for {info.name}: "
            f"it takes {info.min_size} × {info.min_size} at least"
        )
    if problems:
        raise ConfigError(problems)


@contextmanager
def _own_layer_names() -> Iterator[None]:
    """Inside, Keras numbers the names that it generates from the start, whatever was built before."""
    from keras.src.backend.common import global_state

    before = global_state.get_global_attribute("object_name_uids")
    global_state.set_global_attribute("object_name_uids", defaultdict(int))
    try:
        yield
    finally:
        global_state.set_global_attribute("object_name_uids", before)

"""Build the backbone of a config: the network, usually without top, with its weights, up to the output layer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cnncli.catalogue.networks import NetworkInfo
from cnncli.catalogue.settings import with_defaults
from cnncli.config.backbone_settings import BackboneConfig
from cnncli.errors import ConfigError, Message
from cnncli.networks.architectures import NetworkSpec, architecture_of
from cnncli.networks.backend import import_keras, standard_settings
from cnncli.networks.graph import output_of
from cnncli.networks.weights.load import load_file, wants_imagenet_graph
from cnncli.terminal.suggestions import did_you_mean

if TYPE_CHECKING:
    import keras


@standard_settings()
def build_backbone(
    config: BackboneConfig,
    input_shape: tuple[int, int, int],
    seed: int,
    *,
    load_weights: bool = True,
    top: bool = False,
) -> keras.Model:
    """Build the backbone of a config and load its weights.

    Layers have the same names in every process: generated names (`conv2d_7`) count from the network's first layer.
    Random weights depend only on the seed; to ensure this, the global generators of Python, NumPy and TensorFlow are
    seeded.

    Args:
        config: Name, weights, output layer and options.
        input_shape: (height, width, channels); only networks without pretrained weights take other than 3 channels.
        seed: Seed of random weights.
        load_weights: Whether to load the weights. Otherwise, the graph is the same with random weights.
        top: Whether to keep the whole top of the network.

    Returns:
        Functional model from preprocessed float32 images (batch, height, width, channels) to feature maps
        (batch, h, w, channels), to a vector (batch, channels) if the output layer gives one, or with top to
        probabilities (batch, classes).

    Raises:
        ConfigError: Unknown output layer, or images too small.
        WeightsError: The weights are not available, cannot be read or do not match.
    """
    info = config.network
    _check_size(info, input_shape)
    import_keras().utils.set_random_seed(seed)
    with _own_layer_names():
        options, imagenet = with_defaults(info.options, config.options), wants_imagenet_graph(info, config)
        top = top or config.include_top_layers is not None
        built = architecture_of(info).build(NetworkSpec(info, input_shape, options, imagenet, top))
    backbone = cut_at(built.model, config.include_top_layers or config.output_layer, info.name)
    if load_weights and config.weights == "imagenet":
        built.load_imagenet()
    elif load_weights and config.weights != "none":
        load_file(built.model, Path(config.weights), info, backbone)
    return backbone


def cut_at(model: keras.Model, output_layer: str | None, name: str) -> keras.Model:
    """Return the model up to one of its layers, sharing these layers.

    Raises:
        ConfigError: There is no layer with this name, or its output is neither feature maps nor a vector.
    """
    if output_layer is None:
        return model
    key, names = "backbone.output_layer", [layer.name for layer in model.layers]
    if output_layer not in names:
        hint = did_you_mean(output_layer, names) or f"`cnncli summary {name}` lists them."
        text = f"{key}: {name} has no layer called {output_layer!r}. {hint}"
        raise ConfigError(Message("config-unknown-layer", text, key=key, received=output_layer, hint=hint))
    try:
        output = output_of(model, output_layer)
    except KeyError:  # it has several
        output = None
    if output is None or len(output.shape) not in (2, 4) or output_layer == names[0]:
        text = f"{key}: {output_layer} has neither feature maps nor a vector as output; choose a different layer"
        raise ConfigError(Message("config-unusable-layer", text, key=key, received=output_layer))
    return import_keras().Model(model.input, output, name=model.name)


def _check_size(info: NetworkInfo, input_shape: tuple[int, int, int]) -> None:
    if min(input_shape[:2]) < info.min_size:
        expected = f"at least {info.min_size} × {info.min_size} pixels"
        text = f"data.image_size: too small for {info.name} (received {list(input_shape[:2])}), expected {expected}."
        facts = {"key": "data.image_size", "received": input_shape[:2], "expected": expected}
        raise ConfigError(Message("config-image-size-too-small", text, **facts))


@contextmanager
def _own_layer_names() -> Iterator[None]:
    """Restart the numbering of Keras's generated names inside the block."""
    from keras.src.backend.common import global_state

    before = global_state.get_global_attribute("object_name_uids")
    global_state.set_global_attribute("object_name_uids", defaultdict(int))
    try:
        yield
    finally:
        global_state.set_global_attribute("object_name_uids", before)

"""`cnncli summary`: the layers of a config's classifier or of a network, their numbers, and comparisons of networks.

Weights are not loaded, because names, shapes and counts do not depend on them, so nothing is downloaded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cnncli.catalogue.datasets import DATASETS, DatasetInfo
from cnncli.catalogue.networks import NETWORKS, is_model_file, network_named
from cnncli.config.modes import run_name, stages_of
from cnncli.config.overrides import Overrides
from cnncli.config.reader import config_from_mapping, load_config
from cnncli.config.schema import Config
from cnncli.dataset.labels.source import count_classes
from cnncli.errors import ConfigError, Message, printable
from cnncli.networks.arithmetic import LayerNumbers, count_layers
from cnncli.networks.backbone import build_backbone
from cnncli.networks.backend import import_keras, uninitialized
from cnncli.networks.classifier import build_auxiliary, build_classifier, image_size
from cnncli.networks.cut import cut_classifier
from cnncli.networks.head import HEAD
from cnncli.networks.receptive_field import Shape
from cnncli.report.network_plot import Drawing, draw_networks

if TYPE_CHECKING:
    import keras

CONVENTIONS = (
    "multiply-adds: a product with its sum is one; biases, normalization, activations and additions are 0",
    "memory: float32 outputs of one image, forward, in KB of 1,024 bytes",
)
"""Notes that follow the numbers."""


@dataclass(frozen=True)
class Summary:
    """The layers of a network in graph order, and their totals.

    Attributes:
        layers: See `LayerNumbers`.
        trainable_parameters, frozen_parameters, parameters: As Keras counts them, with biases and statistics.
        name: Name of the network or of the config.
        input_shape: Height, width and channels.
        parameters_without_biases: Number of parameters that are not biases.
        parameters_with_top: Number of parameters with the published top; None if the network has none, or has a
            different size, options or output layer than that.
        top_classes: Number of classes of that top, or None.
        multiply_adds: Those of convolutions and dense layers.
        multiply_adds_with_pooling: The same with pooling.
        multiply_adds_of_head: Those of the head of a config; 0 for a network.
        memory_kb: Memory of the outputs of convolutions and dense layers.
        memory_with_pooling_kb: The same with pooling.
        memory_of_all_kb: Memory of the outputs of all layers, including the input.
        receptive_field: Height and width of the receptive field of the output, or None; see `LayerNumbers`.
        auxiliary_layers: Layers of auxiliary classifiers, which exist in training only; no other total counts them.
        parameters_in_training: Number of parameters with those of auxiliary classifiers.
    """

    layers: tuple[LayerNumbers, ...]
    trainable_parameters: int
    frozen_parameters: int
    parameters: int
    name: str
    input_shape: Shape
    parameters_without_biases: int
    parameters_with_top: int | None
    top_classes: int | None
    multiply_adds: int
    multiply_adds_with_pooling: int
    multiply_adds_of_head: int
    memory_kb: float
    memory_with_pooling_kb: float
    memory_of_all_kb: float
    receptive_field: tuple[int, int] | None
    auxiliary_layers: tuple[LayerNumbers, ...]
    parameters_in_training: int


TOTALS = (
    *("parameters", "parameters_in_training", "parameters_without_biases"),
    *("multiply_adds", "multiply_adds_with_pooling"),
    *("memory_kb", "memory_with_pooling_kb", "memory_of_all_kb"),
)
"""Totals by which networks are compared."""


@dataclass(frozen=True)
class LayerComparison:
    """Several networks, and the ratios of their totals to those of the first one, by total and then by network."""

    networks: tuple[Summary, ...]
    ratios: dict[str, tuple[float, ...]]


def summarize(source: str, overrides: Overrides = (), *, top: bool = False) -> Summary:
    """Summarize a config or the backbone of a network, also one in a saved model, with overrides of their settings.

    `top` keeps the published top of a network, usually of 1,000 classes; a config has a head instead. The data of a
    config must exist, unless its folder is named after a published dataset, whose number of classes is known.

    Raises:
        ConfigError: There is neither such a file nor such a network, a setting is wrong, or there is no top.
    """
    is_file = Path(source).exists() and source not in NETWORKS and not is_model_file(source)
    if Path(source).suffix in (".yaml", ".yml") or is_file:
        if top:
            raise _no_top(source, "a config has a head instead of a top")
        config = load_config(Path(source), overrides, check_paths=False)
        return summarize_config(config if _absent_dataset(config) else load_config(Path(source), overrides))
    return summarize_backbone(source, overrides, top=top)


def summarize_config(config: Config) -> Summary:
    """Summarize the classifier of a config, with layers marked as trained if its last stage trains them."""
    n_classes = _count_classes(config)
    with uninitialized():
        classifier = build_classifier(config, n_classes, load_weights=False)
    last = stages_of(config)[-1]
    cut = cut_classifier(classifier, last.unfreeze, last.batch_norm)
    auxiliary = classifier.auxiliary if cut.training_tail is not cut.tail else ()
    return _summarize(classifier.model, run_name(config), auxiliary=auxiliary)


def summarize_backbone(name: str, overrides: Overrides = (), *, top: bool = False) -> Summary:
    """Summarize a network, by default at its own image size, as built for ImageNet weights if it has any.

    Raises:
        ConfigError: The catalogue has no such network, a setting is wrong, or the network has no top.
        WeightsError: A saved model cannot be read.
    """
    is_file = is_model_file(name)
    color = "grayscale" if (name in NETWORKS or is_file) and network_named(name).channels == 1 else "rgb"
    settings = {"backbone": {"name": name, "weights": "none"}, "data": {"path": ".", "color": color}}
    config = config_from_mapping(settings, overrides, environment={}, check_paths=is_file)
    if len(config.backbones) > 1:
        text = f"backbone: {printable(name)} is one network; several need a config."
        raise ConfigError(Message("usage-options-conflict", text, key="backbone", received=name))
    (backbone,), (height, width) = config.backbones, image_size(config)
    info, is_default_size = backbone.network, (height, width) == 2 * (backbone.network.input_size,)
    if top and not info.top_classes:
        raise _no_top(name, "it has no published top")
    if info.imagenet_problem(backbone.options) is None and (is_default_size or not top):
        backbone = backbone.model_copy(update={"weights": "imagenet"})
    channels = config.data.channels if backbone.weights == "none" else info.trained_channels
    with uninitialized():
        model = build_backbone(backbone, (height, width, channels), seed=0, load_weights=False, top=top)
        auxiliary = build_auxiliary(model, backbone, info.top_classes)
    is_whole = is_default_size and not (top or backbone.options or backbone.output_layer or backbone.include_top_layers)
    summary = _summarize(model, config.name or name, auxiliary)
    if not (is_whole and info.top_classes):
        return summary
    with_top = model.count_params() + info.parameters - info.notop_parameters
    return replace(summary, parameters_with_top=with_top, top_classes=info.top_classes)


def _no_top(source: str, reason: str) -> ConfigError:
    text = f"--top: {printable(source)}: {reason}."
    return ConfigError(Message("usage-options-conflict", text, received=source))


def compare(networks: Sequence[Summary]) -> LayerComparison:
    """Compare networks with the first one; a ratio to 0 is NaN."""
    first = networks[0]
    ratios = {
        total: tuple(getattr(one, total) / (getattr(first, total) or math.nan) for one in networks) for total in TOTALS
    }
    return LayerComparison(tuple(networks), ratios)


def draw(networks: Sequence[Summary], path: Path, *, whole: bool = False) -> None:
    """Draw the layers of networks beside each other as a PNG or SVG; `whole` draws every layer of large ones."""
    drawings = []
    for one in networks:
        detail = (
            f"input {'×'.join(map(str, one.input_shape))}, {one.parameters:,} parameters, "
            f"{one.multiply_adds:,} multiply-adds; KB = 1,024 bytes, float32"
        )
        totals = {quantity: float(getattr(one, quantity)) for quantity in ("memory_kb", "parameters", "multiply_adds")}
        drawings.append(Drawing(one.name, detail, one.layers, totals))
    draw_networks(drawings, path, whole=whole)


def _summarize(model: keras.Model, name: str, auxiliary: Sequence[keras.KerasTensor] = ()) -> Summary:
    """Count the layers of a functional model, and of auxiliary logits on its graph, with their current `trainable`."""
    layers, auxiliary_layers = count_layers(model), _count_auxiliary(model, auxiliary)
    trainable = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    total = int(model.count_params())
    counted = [layer for layer in layers if layer.kind == "weights"]
    pooling = [layer for layer in layers if layer.kind == "pooling"]
    return Summary(
        layers=layers,
        trainable_parameters=trainable,
        frozen_parameters=total - trainable,
        parameters=total,
        name=name,
        input_shape=layers[0].output_shape,
        parameters_without_biases=total - sum(layer.biases for layer in layers),
        parameters_with_top=None,
        top_classes=None,
        multiply_adds=sum(layer.multiply_adds for layer in counted),
        multiply_adds_with_pooling=sum(layer.multiply_adds for layer in layers),
        multiply_adds_of_head=sum(layer.multiply_adds for layer in counted if layer.name.startswith(HEAD)),
        memory_kb=sum(layer.memory_kb for layer in counted),
        memory_with_pooling_kb=sum(layer.memory_kb for layer in (*counted, *pooling)),
        memory_of_all_kb=sum(layer.memory_kb for layer in layers),
        receptive_field=layers[-1].receptive_field,
        auxiliary_layers=auxiliary_layers,
        parameters_in_training=total + sum(layer.parameters for layer in auxiliary_layers),
    )


def _count_auxiliary(model: keras.Model, auxiliary: Sequence[keras.KerasTensor]) -> tuple[LayerNumbers, ...]:
    """Return the layers from a model to auxiliary logits on its graph."""
    if not auxiliary:
        return ()
    own = {operation.name for operation in model.operations}
    whole = import_keras().Model(model.inputs, list(auxiliary))
    return tuple(layer for layer in count_layers(whole) if layer.name not in own)


def _count_classes(config: Config) -> int:
    """Return the number of classes in the dataset, at least 2, or of labels, at least 1. No image is opened."""
    if known := _absent_dataset(config):
        return known.n_classes
    return count_classes(config.data)


def _absent_dataset(config: Config) -> DatasetInfo | None:
    """Return the published dataset after which the folder of the data is named, if there is no such folder yet."""
    data = config.data
    is_in_folders = data.labels.path is None and not data.labels.is_multi_label
    return DATASETS.get(data.path.name) if is_in_folders and not data.path.exists() else None

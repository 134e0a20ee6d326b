"""`cnncli summary`: list the layers of a config's classifier or of a backbone.

Weights are not loaded, because names, shapes and counts do not depend on them, so nothing is downloaded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnncli.config.modes import stages_of
from cnncli.config.reader import config_from_mapping
from cnncli.config.schema import Config
from cnncli.dataset.labels.source import read_labels
from cnncli.networks.backbone import build_backbone
from cnncli.networks.classifier import build_classifier
from cnncli.networks.cut import cut_classifier
from cnncli.networks.graph import nodes_in_order

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class LayerLine:
    """A layer or operation of a graph, with its name, class and the shape of its first output without the batch."""

    name: str
    type: str
    output_shape: tuple[int | None, ...]
    parameters: int
    trainable: bool


@dataclass(frozen=True)
class Summary:
    """The layers of a network in graph order, and their numbers of parameters."""

    layers: tuple[LayerLine, ...]
    trainable_parameters: int
    frozen_parameters: int
    parameters: int


def summarize_config(config: Config) -> Summary:
    """Summarize the classifier of a config, with layers marked as trained if its last stage trains them."""
    classifier = build_classifier(config, _count_classes(config), load_weights=False)
    last = stages_of(config)[-1]
    cut_classifier(classifier, last.unfreeze, last.batch_norm)
    return _summarize(classifier.model)


def summarize_backbone(name: str) -> Summary:
    """Summarize a backbone without top at its default image size, as built for ImageNet weights if there are any.

    Raises:
        ConfigError: The catalogue has no such network.
    """
    settings = {"backbone": {"name": name, "weights": "none"}, "data": {"path": "."}}
    config = config_from_mapping(settings, environment={}, check_paths=False).backbone
    size = config.network.input_size
    if config.network.has_imagenet:
        config = config.model_copy(update={"weights": "imagenet"})
    return _summarize(build_backbone(config, (size, size, 3), seed=0, load_weights=False))


def _summarize(model: keras.Model) -> Summary:
    """List the layers of a functional model with their current `trainable`."""
    trainable = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    layers = tuple(
        LayerLine(
            name=node.operation.name,
            type=type(node.operation).__name__,
            output_shape=tuple(node.outputs[0].shape[1:]),
            parameters=sum(math.prod(weight.shape) for weight in getattr(node.operation, "weights", ())),
            trainable=bool(getattr(node.operation, "trainable_weights", ())),
        )
        for node in nodes_in_order(model)
    )
    total = int(model.count_params())
    return Summary(layers, trainable, total - trainable, total)


def _count_classes(config: Config) -> int:
    """Return the number of classes in the dataset, at least 2. No image is opened."""
    classes = read_labels(config.data).classes.values()
    return max(2, max((len(names) for names in classes), default=2))

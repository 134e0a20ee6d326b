"""The weights of a backbone: ImageNet's, none (random), or those of a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cnncli.catalogue.networks import NetworkInfo, network
from cnncli.config.schema import BackboneConfig
from cnncli.errors import WeightsError, printable
from cnncli.networks.applications import PublishedFile
from cnncli.networks.download import fetch
from cnncli.networks.lite0_weights import load_lite0_weights
from cnncli.networks.matching import Assignment, match
from cnncli.networks.weight_files import open_weights

if TYPE_CHECKING:
    import keras


def wants_imagenet_graph(info: NetworkInfo, config: BackboneConfig) -> bool:
    """Whether Keras builds the network for its ImageNet weights.

    Raises: WeightsError: there are no ImageNet weights for these options.
    """
    if config.weights != "imagenet":
        return False
    problem = info.imagenet_problem(config.options)
    if problem is not None:
        raise WeightsError(f"backbone.weights: {problem}")
    return True


def load_weights(backbone: keras.Model, config: BackboneConfig, published: PublishedFile | None = None) -> None:
    """Put the weights of a config into a backbone.

    Args:
        backbone: the whole network without top.
        config: its `weights`: imagenet, none or a file.
        published: for imagenet, where Keras has them.
    Raises: WeightsError: they cannot be fetched, cannot be read, or belong to another network. The backbone keeps the
        weights it had.
    """
    if config.weights == "none":
        return
    info = network(config.name)
    if config.weights == "imagenet" and published is None:
        wants_imagenet_graph(info, config)
        load_lite0_weights(backbone)
        return
    path = fetch(published) if published is not None and config.weights == "imagenet" else Path(config.weights)
    load_file(backbone, path, info)


def load_file(backbone: keras.Model, path: Path, info: NetworkInfo) -> None:
    """Put the weights of a file into a backbone, after every shape was compared."""
    with open_weights(path) as stored:
        assignments, problem = match(stored, backbone, info)
        if problem is not None:
            raise WeightsError(f"{printable(path)}: {problem}")
        _assign(assignments)


def _assign(assignments: list[Assignment]) -> None:
    """Read all, then write all: a file that breaks off in the middle changes nothing."""
    values = [assignment.array.read() for assignment in assignments]
    for assignment, value in zip(assignments, values, strict=True):
        if not np.isfinite(value).all():
            raise WeightsError(f"layer {assignment.layer.name} has values that are not finite numbers")
    for assignment, value in zip(assignments, values, strict=True):
        assignment.variable.assign(value)
    for layer in {id(assignment.layer): assignment.layer for assignment in assignments}.values():
        if hasattr(layer, "finalize_state"):
            # Keras's Normalization computes with constants made from its variables.
            layer.finalize_state()

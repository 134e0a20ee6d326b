"""The weights of a backbone: ImageNet's, none (random), or those of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cnncli.catalogue.networks import NetworkInfo, network
from cnncli.config.schema import BackboneConfig
from cnncli.errors import WeightsError, printable
from cnncli.networks.architectures.keras_applications import PublishedFile
from cnncli.networks.weights.download import fetch
from cnncli.networks.weights.files import Stored, open_weights
from cnncli.networks.weights.lite0_weights import load_lite0_weights
from cnncli.networks.weights.matching import Assignment, match

if TYPE_CHECKING:
    import keras


def load_weights(
    backbone: keras.Model,
    config: BackboneConfig,
    published: PublishedFile | None = None,
    part: keras.Model | None = None,
) -> None:
    """Put the weights of a config into a backbone.

    Args:
        backbone: the whole network without top.
        config: its `weights`: imagenet, none or a file.
        published: for imagenet, the file that Keras has them in; None for EfficientNetLite0, whose package has them.
        part: the backbone up to `output_layer`; a file may hold only so much.
    Raises: WeightsError: they cannot be fetched, cannot be read, or belong to another network. The backbone keeps the
        weights it had.
    """
    if config.weights == "none":
        return
    info = network(config.name)
    if config.weights != "imagenet":
        load_file(backbone, Path(config.weights), info, part)
    elif published is None:
        load_lite0_weights(backbone)
    else:
        load_file(backbone, fetch(published), info)


def load_file(backbone: keras.Model, path: Path, info: NetworkInfo, part: keras.Model | None = None) -> None:
    """Put the weights of a file into a backbone, or into a part of it, after every shape was compared.

    Raises: WeightsError: the file cannot be read, or holds another network; nothing was assigned.
    """
    with open_weights(path) as stored:
        attempt = match(stored, backbone, backbone, info)
        if attempt.problem is not None and part is not None:
            in_part = match(stored, part, backbone, info)
            attempt = in_part if in_part.problem is None else attempt
        if attempt.problem is not None:
            raise WeightsError(f"{printable(path)}: {attempt.problem}")
        try:
            values = _read(attempt.assignments)
        except WeightsError as error:
            raise WeightsError([f"{printable(path)}: {problem}" for problem in error.problems]) from error
    _assign(attempt.assignments, values)


def _read(assignments: Sequence[Assignment]) -> list[NDArray[np.float32]]:
    """All the arrays, before any is assigned: a file that breaks off in the middle changes nothing."""
    values = []
    for assignment in assignments:
        value = assignment.array.read()
        if not np.isfinite(value).all():
            raise WeightsError(f"layer {assignment.layer.name} has weights that are not finite numbers")
        values.append(value)
    return values


def _assign(assignments: Sequence[Assignment], values: Sequence[NDArray[np.float32]]) -> None:
    for assignment, value in zip(assignments, values, strict=True):
        assignment.variable.assign(value)
    for layer in {id(assignment.layer): assignment.layer for assignment in assignments}.values():
        if hasattr(layer, "finalize_state"):
            # Keras's Normalization computes with constants that it makes of its variables.
            layer.finalize_state()


def wants_imagenet_graph(info: NetworkInfo, config: BackboneConfig) -> bool:
    """Whether the network has to be built as Keras builds it for its ImageNet weights.

    That is so for `imagenet`, and for files whose weights descend from them: EfficientNetB0–B7 then have one more
    layer, which corrects the normalisation of the pixels; Keras builds it only when it is told `imagenet`.

    Raises: WeightsError: there are no ImageNet weights for these options, or the file cannot be read.
    """
    if config.weights == "imagenet":
        problem = info.imagenet_problem(config.options)
        if problem is not None:
            raise WeightsError(f"backbone.weights: {problem}")
        return info.builder == "applications"
    if config.weights == "none" or info.preprocessing != "none":
        return False
    with open_weights(Path(config.weights)) as stored:
        return _has_imagenet_statistics(stored)


IMAGENET_MEANS = (0.485, 0.456, 0.406)


def _has_imagenet_statistics(stored: Stored) -> bool:
    """Whether a layer that normalises pixels has ImageNet's means, as in Keras's own EfficientNetB files."""
    if isinstance(stored, Sequence):
        first = [arrays[0] for model in stored for path, arrays in model.arrays.items() if "/normalization" in path]
    else:
        first = [weights[0][1] for name, weights in stored.layers if name.startswith("normalization")]
    return any(array.shape == (3,) and np.allclose(array.read(), IMAGENET_MEANS, atol=1e-3) for array in first)

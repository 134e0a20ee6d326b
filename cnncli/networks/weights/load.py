"""Loading a weights file into a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cnncli.catalogue.networks import NetworkInfo
from cnncli.config.schema import BackboneConfig
from cnncli.errors import Message, WeightsError, printable
from cnncli.networks.weights.files import Stored, naming_file, open_weights
from cnncli.networks.weights.matching import Assignment, match

if TYPE_CHECKING:
    import keras


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
            text = f"{printable(path)}: {attempt.problem}"
            raise WeightsError(Message("weights-mismatch", text, path=path, expected=info.name))
        with naming_file(path):
            values = _read(attempt.assignments)
    _assign(attempt.assignments, values)


def _read(assignments: Sequence[Assignment]) -> list[NDArray[np.float32]]:
    """All the arrays, before any is assigned: a file that breaks off in the middle changes nothing."""
    values = []
    for assignment in assignments:
        value = assignment.array.read()
        if not np.isfinite(value).all():
            text = f"layer {assignment.layer.name} has weights that are not finite numbers"
            raise WeightsError(Message("weights-not-finite", text, layer=assignment.layer.name))
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
    """Return whether the network is built as Keras builds it for its ImageNet weights.

    It is for `imagenet`, and for files with weights derived from them: EfficientNetB0–B7 then have an additional layer,
    which corrects the normalization of the pixels and which Keras builds only with weights="imagenet".

    Raises:
        WeightsError: The file cannot be read.
    """
    if config.weights == "imagenet":
        return info.imagenet_problem(config.options) is None
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

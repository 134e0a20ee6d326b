"""Hashes of a graph's computation: structure, settings and weights, but not generated names."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnncli.networks.backend import import_keras
from cnncli.networks.graph import nodes_in_order

if TYPE_CHECKING:
    from collections.abc import Iterable

    import keras

_WITHOUT_EFFECT = ("name", "trainable", "seed", "_initializer", "_regularizer", "_constraint")
"""Suffixes of settings that have no effect once the weights are loaded."""


def fingerprint(model: keras.Model) -> str:
    """Return the SHA-256 of a functional model, equal for equal computations, whatever the layers are called."""
    digest = hashlib.sha256(json.dumps(_structure(model), sort_keys=True, default=str).encode())
    digest.update(bytes.fromhex(hash_weights(model.operations)))
    return digest.hexdigest()


def hash_weights(layers: Iterable[Any]) -> str:
    """Return the SHA-256 of the weights of layers in order, with shapes and dtypes, but without names."""
    return hash_arrays(weight.numpy() for layer in layers for weight in getattr(layer, "weights", ()))


def hash_arrays(arrays: Iterable[NDArray[Any]]) -> str:
    """Return the SHA-256 of arrays in order, with shapes and dtypes."""
    digest = hashlib.sha256()
    for array in map(np.ascontiguousarray, arrays):
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _structure(model: keras.Model) -> list[Any]:
    tensors: dict[int, str] = {}
    structure = []
    for position, node in enumerate(nodes_in_order(model)):
        # An input has no relevant settings, and its arguments are its shape.
        settings, arguments = (None, None) if node.is_input else (_settings(node.operation), _arguments(node, tensors))
        shapes = [f"{tuple(tensor.shape[1:])}{tensor.dtype}" for tensor in node.outputs]
        structure.append([type(node.operation).__name__, settings, arguments, shapes])
        tensors.update({id(tensor): f"{position}:{index}" for index, tensor in enumerate(node.outputs)})
    return [structure, [tensors[id(tensor)] for tensor in model.outputs]]


def _arguments(node: Any, tensors: dict[int, str]) -> Any:
    """Return the arguments of a call, with tensors given by their position in the graph."""
    return import_keras().tree.map_structure(
        lambda value: tensors.get(id(value)) or _described(value),
        [list(node.arguments.args), dict(node.arguments.kwargs)],
    )


def _described(value: Any) -> str:
    """Describe a constant argument, an array by the digest of its bytes, because its text would be abbreviated."""
    if isinstance(value, np.ndarray):
        return f"{value.shape}{value.dtype}{hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
    return str(value)


def _settings(operation: Any) -> Any:
    return {key: value for key, value in operation.get_config().items() if not key.endswith(_WITHOUT_EFFECT)}

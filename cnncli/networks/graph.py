"""Read and replay the graph of a functional Keras model.

Keras keeps, per layer, one node for each call of the layer, and sub-models add nodes to the same layers. `layer.output`
can thus belong to a different model, so this module uses a model's own nodes. Keras offers them only through
underscored names, which are used in this module and nowhere else (keras is pinned for this reason).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cnncli.networks.backend import import_keras

if TYPE_CHECKING:
    import keras


def allow_depth(n_layers: int) -> None:
    """Let Keras build a graph of this many layers in a row: it follows tensors to the input by recursion."""
    # Frames of Python functions do not use the stack of the process.
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 1_000 + 2 * n_layers))


def nodes_in_order(model: keras.Model) -> list[Any]:
    """Return the model's nodes, including inputs, in the order of `model.operations`: producers before consumers."""
    position = {id(operation): index for index, operation in enumerate(model.operations)}
    nodes = [node for depth in sorted(model._nodes_by_depth, reverse=True) for node in model._nodes_by_depth[depth]]
    return sorted(nodes, key=lambda node: position[id(node.operation)])


def output_of(model: keras.Model, layer_name: str) -> keras.KerasTensor:
    """Return the only output tensor of a layer in a model's graph. Raises KeyError."""
    for node in nodes_in_order(model):
        if node.operation.name == layer_name and len(node.outputs) == 1:
            return node.outputs[0]
    raise KeyError(layer_name)


def inputs_of(model: keras.Model, layer_name: str) -> list[keras.KerasTensor]:
    """Return the input tensors of a layer in a model's graph, in the order of its arguments."""
    (node,) = (node for node in nodes_in_order(model) if node.operation.name == layer_name)
    return list(node.input_tensors)


def consumers_of(model: keras.Model, layer_name: str) -> list[Any]:
    """Return the operations of a model's graph that take the output of a layer."""
    return [
        node.operation
        for node in nodes_in_order(model)
        if any(tensor._keras_history.operation.name == layer_name for tensor in node.input_tensors)
    ]


def crossing_tensors(model: keras.Model, at: int) -> list[keras.KerasTensor]:
    """Return the tensors that `model.operations[:at]` pass to later operations, in the order of their creation."""
    below = {id(operation) for operation in model.operations[:at]}
    nodes = nodes_in_order(model)
    used = {id(tensor) for tensor in model.outputs}
    used |= {id(tensor) for node in nodes if id(node.operation) not in below for tensor in node.input_tensors}
    computed = [tensor for node in nodes if id(node.operation) in below for tensor in node.outputs]
    return [tensor for tensor in computed if id(tensor) in used]


def replay(model: keras.Model, inputs: Sequence[keras.KerasTensor]) -> list[keras.KerasTensor]:
    """Call every layer of a model again on different inputs, which gives a new graph with the same weights.

    Nested models (ConvNeXt has four) are expanded, so that the new graph is flat.
    """
    library = import_keras()

    def call(operation: Any, args: Any, kwargs: Any) -> list[keras.KerasTensor]:
        if isinstance(operation, library.Sequential):
            for layer in operation.layers:
                args = call(layer, args, {})
            return list(args)
        if isinstance(operation, library.Model):
            return replay(operation, library.tree.flatten(args))
        return list(library.tree.flatten(operation(*args, **kwargs)))

    given = {id(old): new for old, new in zip(model.inputs, inputs, strict=True)}
    for node in nodes_in_order(model):
        if node.is_input or all(id(tensor) in given for tensor in node.outputs):
            continue
        args, kwargs = library.tree.map_structure(
            lambda value: given.get(id(value), value), (node.arguments.args, node.arguments.kwargs)
        )
        outputs = call(node.operation, args, kwargs)
        given.update({id(old): new for old, new in zip(node.outputs, outputs, strict=True)})
    return [given[id(tensor)] for tensor in model.outputs]

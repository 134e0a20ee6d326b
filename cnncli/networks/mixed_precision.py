"""Copy a network so that it computes in bfloat16 and keeps its weights in float32, or for several devices."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from cnncli.networks.backend import import_keras
from cnncli.networks.graph import crossing_tensors
from cnncli.networks.head import LOGITS

if TYPE_CHECKING:
    import keras


def mixed_bfloat16(model: keras.Model, in_float32: Collection[str] = (), *, synchronized: bool = False) -> keras.Model:
    """Copy a graph with Keras's dtype policy `mixed_bfloat16`, except for the layers named in `in_float32`.

    The copy has its own weights with the same values; names and `trainable` of its layers are those of the originals.
    With `synchronized`, see `copy_network`.
    """
    policies = {one.name: "float32" if one.name in in_float32 else "mixed_bfloat16" for one in model.operations}
    return copy_network(model, policies, synchronized=synchronized)


def copy_network(model: keras.Model, policies: Mapping[str, str] = {}, *, synchronized: bool = False) -> keras.Model:
    """Copy a graph with weights of its own.

    Args:
        model: The graph.
        policies: Dtype policy of layers by name; others keep theirs.
        synchronized: Whether batch normalization takes its statistics from the parts of a batch on all devices.
    """
    keras = import_keras()

    def copy_of(operation: Any) -> Any:
        changes: dict[str, Any] = {}
        if isinstance(operation, keras.Layer) and operation.name in policies:
            changes["dtype"] = policies[operation.name]
        if synchronized and isinstance(operation, keras.layers.BatchNormalization):
            changes["synchronized"] = True
        return type(operation).from_config({**operation.get_config(), **changes})

    copy = keras.models.clone_model(model, clone_function=copy_of)
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):  # the copy's has another name, and no weights
            continue
        twin = copy.get_layer(layer.name)
        twin.set_weights(layer.get_weights())
        twin.trainable = layer.trainable
        if hasattr(twin, "finalize_state"):  # Normalization computes with constants made of its weights
            twin.finalize_state()
    return copy


def is_convolutional(model: keras.Model) -> bool:
    """Return whether a graph contains convolutions, for which bfloat16 saves time."""
    return any("Conv" in type(operation).__name__ for operation in model.operations)


def split_logits(tail: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Return the part of a tail below its last layer, and this layer, for engines with one precision per graph."""
    library = import_keras()
    below = crossing_tensors(tail, [operation.name for operation in tail.operations].index(LOGITS))
    return library.Model(tail.inputs, below), library.Model(below, tail.outputs)


def hand_weights_over(source: keras.Model, target: keras.Model) -> None:
    """Copy the weights of each layer of `source` to the layer of `target` with the same name."""
    given = {layer.name: layer for layer in source.layers}
    for layer in target.layers:
        if layer.weights:
            layer.set_weights(given[layer.name].get_weights())

"""A table of a network's layers: class, output shape, parameters, and whether each is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    """The layers of a network in graph order, and their totals."""

    layers: tuple[LayerLine, ...]
    trainable_parameters: int
    frozen_parameters: int

    @property
    def parameters(self) -> int:
        """Total number of parameters."""
        return self.trainable_parameters + self.frozen_parameters


def summarize(model: keras.Model) -> Summary:
    """List the layers of a functional model with their current `trainable`."""
    trainable = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    total = sum(math.prod(weight.shape) for weight in model.weights)
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
    return Summary(layers, trainable, total - trainable)

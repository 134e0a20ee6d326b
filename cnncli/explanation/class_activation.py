"""Class activation maps, computed by the engine of a run, without gradients and without Keras.

If scores come from one linear layer on averages of feature maps, the score of a class is the average of a map over all
places, plus a bias: the same layer, applied at each place. This map shows exactly where the score comes from. B. Zhou
et al., Learning Deep Features for Discriminative Localization, CVPR 2016, arXiv 1512.04150.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.engines.engine import Array, Precision
from cnncli.engines.linear import LinearEngine
from cnncli.engines.openvino import LOGITS, TAIL, TRUNK, OpenVinoEngine, read_graph
from cnncli.inference.predictor import Predictor
from cnncli.runs.folder import RunFolder


@dataclass(frozen=True)
class ClassActivation:
    """Graph below the average pooling of a run, and the linear layer above it.

    Attributes:
        inputs_of: Computes the inputs of the graph that ends with the average pooling from pixels.
        graph: This graph, whose last output is the feature maps below the pooling.
        channels_axis: Axis of the channels in the feature maps (1, …).
        kernel: Weights of the linear layer, float32 (channels, units).
        is_multi_label: Whether an image can have several labels, so that a single unit is the score of a label.
    """

    inputs_of: Callable[[NDArray[np.uint8]], list[Array]]
    graph: OpenVinoEngine
    channels_axis: int
    kernel: NDArray[np.float32]
    is_multi_label: bool = False

    def maps(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the map of each class for an image (height, width, channels), float32 (classes, rows, columns).

        The average of a map and the bias of its class are the score. One unit for two classes gives two maps with
        opposite signs.
        """
        features = self.graph.run(self.inputs_of(pixels[None]))[-1]
        maps = np.moveaxis(np.moveaxis(features, self.channels_axis, -1)[0] @ self.kernel, -1, 0)
        return np.concatenate([-maps, maps]) if len(maps) == 1 and not self.is_multi_label else maps


def class_activation_of(run: RunFolder, predictor: Predictor) -> ClassActivation | None:
    """Return the class activation of a run, or None if its head is not one linear layer on average pooling.

    There is none either if Keras runs the graph, if there are several backbones, or with averages over flipped images.
    """
    spec, tail = predictor.spec, predictor.tail
    if spec.tta != "none" or len(predictor.trunks) > 1:
        return None
    kernel = tail.kernel if isinstance(tail, LinearEngine) else None
    parts: tuple[tuple[str, Precision], ...] = (
        (LOGITS, "float32"),
        (TAIL, spec.tail_precision),
        (TRUNK, spec.precisions[0]),
    )
    for name, precision in parts:
        if not (path := run.engine / name).exists():
            continue
        graph = read_graph(path, 1)
        found, pooling = _linear_end(graph)
        if found is not None and kernel is not None:
            return None  # two layers, with or without an activation between them
        kernel = found if kernel is None else kernel
        if (axis := _channels_axis(pooling)) is not None and kernel is not None:
            inputs_of = predictor.features if name == TAIL else _as_inputs
            maps = OpenVinoEngine(path, precision, 1, "float32", adapt=_output_maps)
            return ClassActivation(inputs_of, maps, axis, kernel, spec.is_multi_label)
        if pooling.get_type_name() != "Parameter":
            return None
    return None


def _as_inputs(pixels: NDArray[np.uint8]) -> list[Array]:
    return [pixels]


def _linear_end(graph: Any) -> tuple[NDArray[np.float32] | None, Any]:
    """Return the weights (channels, units) of a linear layer at the end of a graph, or None, and what is below it."""
    kernel, node = None, graph.outputs[0].get_node().input_value(0).get_node()
    while _has_constant(node, "Add") or (kernel is None and _has_constant(node, "MatMul")):
        if node.get_type_name() == "MatMul":
            weights = np.array(node.input_value(1).get_node().get_data(), np.float32)
            kernel = weights.T if node.get_attributes()["transpose_b"] else weights
        node = node.input_value(0).get_node()
    return kernel, node


def _has_constant(node: Any, kind: str) -> bool:
    """Return whether a node is an operation of a kind on one tensor and a constant."""
    return bool(node.get_type_name() == kind and node.input_value(1).get_node().get_type_name() == "Constant")


def _channels_axis(node: Any) -> int | None:
    """Return the axis of the channels if an operation averages maps over all places, else None."""
    if node.get_type_name() != "ReduceMean" or node.get_attributes()["keep_dims"]:
        return None
    n_axes = len(node.input_value(0).get_partial_shape())
    others = set(range(1, n_axes)) - {int(axis) % n_axes for axis in node.input_value(1).get_node().get_data()}
    return others.pop() if n_axes == 4 and len(others) == 1 else None


def _output_maps(graph: Any) -> None:
    """Add the feature maps below the average pooling to the outputs of a graph."""
    graph.add_outputs(_linear_end(graph)[1].input_value(0))

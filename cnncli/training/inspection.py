"""Statistics of every trained layer in every epoch, on a fixed batch of training images (`training.inspect`).

They show what happens inside a network: activations that saturate or vanish, channels that are never active, and
gradients that vanish or explode from layer to layer. They are those of a training step: batch normalization uses the
statistics of the batch, dropout is active, and penalties count. Measuring does not change the training in any bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cnncli.engines.engine import Array
from cnncli.networks.backend import import_keras
from cnncli.networks.graph import nodes_in_order
from cnncli.runs.inspection import BINS, LayerStatistics, read_inspection, write_inspection
from cnncli.runs.records import RunWriter
from cnncli.storage.zips import Arrays
from cnncli.training.inputs import Batch
from cnncli.training.objective import Objective
from cnncli.training.steps import TrainStep

PROBE_IMAGES = 32
"""Maximum number of images; a batch of training needs more memory."""
SATURATED = 0.95
"""Absolute output of tanh, and output of a sigmoid, above which it is saturated; a sigmoid also below 1 − this."""
START = "inspect/"
"""Prefix of the names of weights at the start of an epoch, in a checkpoint."""


class Inspection:
    """Measures the layers of a training step, and writes the statistics of a run's epochs."""

    def __init__(self, step: TrainStep, objective: Objective, probe: Batch, stage: str, writer: RunWriter) -> None:
        """Prepare to measure a step on the images and labels of the batch `probe`."""
        self._step, self._probe = step, probe
        self._stage, self._path = stage, writer.run.inspection
        self._layers, self._measure = _compile(step, objective)
        self._start: list[Array] = []

    def begin(self, epoch: int) -> None:
        """Measure the initial weights of the stage, after the given number of epochs of the run."""
        self._remember_start()
        rows = read_inspection(self._path) if self._path.is_file() else ()
        self._write([row for row in rows if row.stage != self._stage], epoch)

    def add(self, epoch: int) -> None:
        """Measure the weights at the end of an epoch of the run, from 1."""
        self._write([row for row in read_inspection(self._path) if row.epoch < epoch], epoch)
        self._remember_start()

    def arrays(self) -> Arrays:
        """Return what a checkpoint needs: the trained weights at the start of the epoch."""
        return {f"{START}{number:04}": weight for number, weight in enumerate(self._start)}

    def load_arrays(self, arrays: Arrays) -> None:
        """Load the result of `arrays` from the arrays of a checkpoint."""
        self._start = [arrays[name] for name in sorted(arrays) if name.startswith(START)]

    def _remember_start(self) -> None:
        self._start = [weight.numpy().copy() for weight in self._step.tail.trainable_variables]

    def _write(self, earlier: Sequence[LayerStatistics], epoch: int) -> None:
        write_inspection(self._path, [*earlier, *self._rows(epoch)])

    def _rows(self, epoch: int) -> list[LayerStatistics]:
        """Return the statistics of each layer, in graph order."""
        inputs, labels = self._probe
        activations, gradients = self._measure(inputs, labels)
        by_layer = self._changes([gradient.numpy() for gradient in gradients])
        return [
            LayerStatistics(
                stage=self._stage,
                epoch=epoch,
                layer=operation.name,
                **{name: float(value) for name, value in numbers.items()},
                histogram=tuple(histogram.numpy().tolist()),
                saturated=float(saturated) if saturated is not None else None,
                **by_layer.get(operation.name, {}),
            )
            for operation, (numbers, saturated, histogram) in zip(self._layers, activations, strict=True)
        ]

    def _changes(self, gradients: Sequence[Array]) -> dict[str, dict[str, float]]:
        """Return norm of the gradient, norm of the weights and relative change since the start, by layer."""
        variables, found = self._step.tail.trainable_variables, {}
        values = {
            id(variable): (gradient, variable.numpy(), start)
            for variable, gradient, start in zip(variables, gradients, self._start, strict=True)
        }
        for layer in self._step.tail.layers:
            own = [values[id(variable)] for variable in layer.trainable_variables]
            if own:
                gradient, weight = (_norm([one[place] for one in own]) for place in (0, 1))
                change = _norm([now - start for _, now, start in own]) / max(weight, 1e-12)
                found[layer.name] = {"gradient_norm": gradient, "weight_norm": weight, "update_ratio": change}
        return found


def _norm(arrays: Sequence[Array]) -> float:
    return float(np.sqrt(sum(float(np.sum(np.square(array.astype(np.float64)))) for array in arrays)))


def _compile(step: TrainStep, objective: Objective) -> tuple[list[Any], Any]:
    """Return the operations that are measured, and a TensorFlow function from a batch to their statistics."""
    import tensorflow as tf

    keras, tail = import_keras(), step.tail
    nodes = [node for node in nodes_in_order(tail) if _is_shown(node)]
    model = keras.Model(tail.inputs, [node.outputs[0] for node in nodes] + list(tail.outputs))
    variables = tail.trainable_variables

    def measure(x: Any, y: Any) -> Any:
        cast = [tf.cast(array, tensor.dtype) for array, tensor in zip(x, tail.inputs, strict=True)]
        with tf.GradientTape() as tape:
            with keras.StatelessScope():  # discards the updates of moving statistics and random states
                outputs = model(cast, training=True)
            _, losses, penalties = step.terms(outputs[len(nodes) :], y, objective)
            value = tf.add_n([*losses, *penalties])
        gradients = tape.gradient(value, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        return [_statistics(node.operation, one) for node, one in zip(nodes, outputs, strict=False)], gradients

    return [node.operation for node in nodes], tf.function(measure, autograph=False)


def _is_shown(node: Any) -> bool:
    """Return whether the output of a node is measured: that of a layer with weights, or of an activation."""
    operation = node.operation
    is_layer = bool(getattr(operation, "weights", None)) or ".activations." in type(operation).__module__
    return is_layer and not node.is_input and len(node.outputs) == 1


def _statistics(operation: Any, output: Any) -> tuple[dict[str, Any], Any, Any]:
    """Return numbers, the saturated fraction (None if the activation does not saturate) and a histogram of outputs."""
    import tensorflow as tf

    values = tf.cast(output, tf.float32)
    axes = list(range(len(values.shape) - 1))
    low, high = tf.reduce_min(values), tf.reduce_max(values)
    numbers = {
        "mean": tf.reduce_mean(values),
        "std": tf.math.reduce_std(values),
        "low": low,
        "high": high,
        "zeros": tf.reduce_mean(tf.cast(values == 0, tf.float32)),
        "dead": tf.reduce_mean(tf.cast(tf.reduce_all(values == 0, axis=axes), tf.float32)),
    }
    name = getattr(getattr(operation, "activation", None), "__name__", "")
    bounds = {"tanh": (-SATURATED, SATURATED), "sigmoid": (1 - SATURATED, SATURATED)}.get(name)
    is_saturated = (values < bounds[0]) | (values > bounds[1]) if bounds else None
    saturated = None if is_saturated is None else tf.reduce_mean(tf.cast(is_saturated, tf.float32))
    edges = tf.stack([low, tf.maximum(high, low + 1e-6)])
    return numbers, saturated, tf.histogram_fixed_width(tf.reshape(values, [-1]), edges, BINS)

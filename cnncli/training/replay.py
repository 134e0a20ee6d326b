"""Find where a training step became NaN or Inf: repeat it layer by layer, forward and then backward."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cnncli.engines.engine import Array
from cnncli.networks.backend import import_keras
from cnncli.networks.graph import nodes_in_order
from cnncli.storage.zips import Arrays
from cnncli.training.steps import TrainStep

Part = Literal["input", "output", "loss", "penalty", "gradient", "update", "nothing"]
"""First broken part: the input of the trained layers, the output of a layer, the loss or a penalty, the gradient
at the output or the weights of a layer, or the weights by the update; `nothing`: no part of this step, but after it, in
validation."""


@dataclass(frozen=True)
class Breakdown:
    """The first values of a step that are NaN or Inf.

    Attributes:
        part: What broke.
        layer, kind: Name of the layer and of its class; None for the loss and the penalties.
        n_nan, n_inf, n: Numbers of values that are NaN and Inf, and of all values.
        largest: Largest finite absolute value before: of the inputs of the layer, the scores that enter the loss, the
            weights, or the gradient at the layer above.
    """

    part: Part
    layer: str | None = None
    kind: str | None = None
    n_nan: int = 0
    n_inf: int = 0
    n: int = 0
    largest: float = 0.0

    @property
    def text(self) -> str:
        """One sentence."""
        if self.part == "nothing":
            return "Every value of this step is finite; the weights after it give NaN or Inf in validation."
        where = f" of layer {self.layer} ({self.kind})" if self.layer else ""
        kinds = " and ".join(f"{n:,} are {name}" for n, name in ((self.n_nan, "NaN"), (self.n_inf, "Inf")) if n)
        subject = {
            "input": "input of the trained layers",
            "output": f"output{where}",
            "loss": "loss",
            "penalty": "weight penalty",
            "gradient": f"gradient{where}",
            "update": f"weights{where} after the update",
        }[self.part]
        before = f"; the largest value before is {self.largest:.3g}" if self.largest else ""
        return f"The first values that break are in the {subject}: of {self.n:,}, {kinds}{before}."


class StepRecorder:
    """Keeps the batch of the last step, and the weights, optimizer slots and random states before it.

    Attributes:
        step: The training step.
        arrays: See `TrainStep.arrays`.
        inputs, labels: The batch.
    """

    def __init__(self) -> None:
        self.step: TrainStep | None = None
        self.arrays: Arrays = {}
        self.inputs: list[Array] = []
        self.labels: Any = None

    def __call__(self, step: TrainStep, inputs: list[Array], labels: Any) -> None:
        """Keep what the step starts from."""
        self.step, self.arrays, self.inputs, self.labels = step, step.arrays(), inputs, labels

    def saved(self) -> Arrays:
        """Return everything that was kept, by name, for a file."""
        labels = self.labels._asdict() if hasattr(self.labels, "_asdict") else {"own": self.labels}
        inputs = {f"inputs/{number}": array for number, array in enumerate(self.inputs)}
        return {**self.arrays, **inputs, **{f"labels/{name}": np.asarray(array) for name, array in labels.items()}}


def find_breakdown(step: TrainStep, arrays: Arrays, inputs: Sequence[Array], labels: Any) -> Breakdown:
    """Repeat a step on a batch, starting from `arrays`, and return what breaks first.

    The forward pass is repeated in training mode with the same random states. Without a value that breaks there, the
    gradients are examined from the loss down to the input, and then the update. The training step ends in its state
    after the update.
    """
    step.load_arrays(arrays)
    if found := _first_broken([("input", None, array) for array in inputs]):
        return found
    forward = _Forward(step, inputs, labels)
    if found := forward.broken_output() or forward.broken_loss() or forward.broken_gradient():
        return found
    step.load_arrays(arrays)
    step.repeat(list(inputs), labels)
    weights = (("update", layer, weight.numpy()) for layer in step.tail.layers for weight in layer.trainable_weights)
    return _first_broken(weights) or Breakdown("nothing")


class _Forward:
    """The outputs of all layers for a batch, the objective, and the gradients by both."""

    def __init__(self, step: TrainStep, inputs: Sequence[Array], labels: Any) -> None:
        import tensorflow as tf

        tail = step.tail
        self._nodes = [node for node in nodes_in_order(tail) if not node.is_input]
        outputs = [tensor for node in self._nodes for tensor in node.outputs]
        model = import_keras().Model(tail.inputs, [*outputs, *tail.outputs])
        variables = tail.trainable_variables
        cast = [tf.cast(array, tensor.dtype) for array, tensor in zip(inputs, tail.inputs, strict=True)]
        with tf.GradientTape() as tape:
            tape.watch(cast)
            values = model(cast, training=True)
            self._outputs, ends = values[: len(outputs)], values[len(outputs) :]
            self._logits = ends[0]
            # Gradients are those by the outputs of the layers, which the tape only knows if they were watched.
            _, losses, self._penalties = step.terms(ends, labels)
            self._loss = tf.add_n(losses)
            total = tf.add_n([self._loss, *self._penalties])
        found = tape.gradient(total, [*self._outputs, *variables])
        self._gradients = dict(zip(map(id, outputs), found[: len(outputs)], strict=True))
        self._of_weights = dict(zip(map(id, variables), found[len(outputs) :], strict=True))
        self._values = dict(zip(map(id, outputs), self._outputs, strict=True))
        self._given = dict(zip(map(id, tail.inputs), cast, strict=True))

    def broken_output(self) -> Breakdown | None:
        """Return the first layer whose output breaks; its inputs are finite."""
        for node in self._nodes:
            inputs = [({**self._values, **self._given})[id(tensor)] for tensor in node.input_tensors]
            outputs = [("output", node.operation, self._values[id(tensor)]) for tensor in node.outputs]
            if found := _first_broken(outputs, _largest(inputs)):
                return found
        return None

    def broken_loss(self) -> Breakdown | None:
        """Return the loss or the penalty, if it breaks."""
        loss = _first_broken([("loss", None, self._loss)], _largest([self._logits]))
        return loss or _first_broken([("penalty", None, one) for one in self._penalties])

    def broken_gradient(self) -> Breakdown | None:
        """Return the layer nearest to the loss whose gradients break: at its output, or by its weights."""
        above = 0.0
        for node in reversed(self._nodes):
            at_output = [self._gradients[id(tensor)] for tensor in node.outputs]
            by_weights = [
                self._of_weights.get(id(weight)) for weight in getattr(node.operation, "trainable_weights", ())
            ]
            known = [("gradient", node.operation, one) for one in (*at_output, *by_weights) if one is not None]
            if found := _first_broken(known, above):
                return found
            above = _largest(at_output) or above
        return None


def _first_broken(values: Iterable[tuple[Any, Any, Any]], largest: float = 0.0) -> Breakdown | None:
    """Return the first of some values (part, layer, array) that is not finite, with the largest value before it."""
    for part, layer, value in values:
        array = np.asarray(value, np.float32)
        n_nan, n_inf = int(np.isnan(array).sum()), int(np.isinf(array).sum())
        if n_nan or n_inf:
            name, kind = (layer.name, type(layer).__name__) if layer is not None else (None, None)
            return Breakdown(part, name, kind, n_nan, n_inf, array.size, largest)
    return None


def _largest(values: Iterable[Any]) -> float:
    """Return the largest finite absolute value of arrays; 0 if there is none."""
    return max((_peak(np.asarray(value, np.float32)) for value in values if value is not None), default=0.0)


def _peak(array: NDArray[np.float32]) -> float:
    finite = array[np.isfinite(array)]
    return float(np.abs(finite).max()) if finite.size else 0.0

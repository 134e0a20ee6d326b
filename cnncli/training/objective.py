"""The training objective as a graph: cross-entropy from logits with label smoothing and class weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnncli.networks.backend import import_keras


class Measures(NamedTuple):
    """Objective of a batch (scalar), plain loss of each image (n,), number of correct predictions; float32."""

    objective: Any
    plain_losses: Any
    n_correct: Any


@dataclass(frozen=True)
class Objective:
    """The training objective without weight penalties, which are losses of the tail's layers.

    Attributes:
        activation: Activation of the head; `sigmoid` means binary cross-entropy.
        label_smoothing: Fraction of the label that is spread over all classes, as in Keras's losses.
        class_weights: Weight of each class, or None. The weighted losses of a batch are divided by its size.
    """

    activation: str
    n_classes: int
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None

    def signature(self) -> Any:
        """Return the type of a batch's labels for TensorFlow."""
        import tensorflow as tf

        return tf.TensorSpec((None,), tf.int64)

    def measure(self, logits: Any, labels: Any) -> Measures:
        """Measure a batch; logits are float32 (n, units), labels int64 (n,). Ties go to the lower class index."""
        ops = import_keras().ops
        if self.activation == "sigmoid" and self.n_classes == 2:
            targets = ops.expand_dims(ops.cast(labels, "float32"), 1)
            predicted = ops.cast(logits[:, 0] > 0, "int64")
        else:
            targets = ops.one_hot(labels, self.n_classes, dtype="float32")
            predicted = ops.cast(ops.argmax(logits, axis=1), "int64")
        uniform = 0.5 if self.activation == "sigmoid" else 1.0 / self.n_classes
        smoothed = targets * (1.0 - self.label_smoothing) + uniform * self.label_smoothing
        losses = self._losses(logits, smoothed)
        if self.class_weights is not None:
            losses = losses * ops.take(ops.convert_to_tensor(self.class_weights, "float32"), labels)
        n_correct = ops.sum(ops.cast(ops.equal(predicted, labels), "float32"))
        return Measures(ops.mean(losses), self._losses(logits, targets), n_correct)

    def _losses(self, logits: Any, targets: Any) -> Any:
        losses = import_keras().losses
        if self.activation == "sigmoid":
            return losses.binary_crossentropy(targets, logits, from_logits=True)
        return losses.categorical_crossentropy(targets, logits, from_logits=True)


def balanced_weights(labels: NDArray[np.int64], n_classes: int) -> tuple[float, ...]:
    """Return n / (n_classes · n of the class) for each class, like scikit-learn's `class_weight="balanced"`."""
    counts = np.bincount(labels, minlength=n_classes)
    return tuple(float(weight) for weight in len(labels) / (n_classes * np.maximum(counts, 1)))

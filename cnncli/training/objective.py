"""The training objective as a graph: cross-entropy from logits with label smoothing and class weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.networks.backend import import_keras


@dataclass(frozen=True)
class Objective:
    """The training objective, without the weight penalties, which are losses of the tail's layers.

    Attributes:
        activation: The head's; `sigmoid` means binary cross-entropy.
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

    def of(self, logits: Any, labels: Any) -> Any:
        """Return the objective of a batch, a float32 scalar; logits are float32 (n, units), labels int64 (n,)."""
        ops = import_keras().ops
        losses = self._losses(logits, self._targets(labels))
        if self.class_weights is not None:
            losses = losses * ops.take(ops.convert_to_tensor(self.class_weights, "float32"), labels)
        return ops.mean(losses)

    def plain(self, logits: Any, labels: Any) -> Any:
        """Return the plain loss of each image in a batch, float32 (n,)."""
        return self._losses(logits, self._hard_targets(labels))

    def n_correct(self, logits: Any, labels: Any) -> Any:
        """Return the number of correctly classified images, int64. Ties go to the lower class index."""
        ops = import_keras().ops
        if self.activation == "sigmoid" and self.n_classes == 2:
            predicted = ops.cast(logits[:, 0] > 0, "int64")
        else:
            predicted = ops.cast(ops.argmax(logits, axis=1), "int64")
        return ops.sum(ops.cast(ops.equal(predicted, labels), "int64"))

    def _hard_targets(self, labels: Any) -> Any:
        ops = import_keras().ops
        if self.activation == "sigmoid" and self.n_classes == 2:
            return ops.expand_dims(ops.cast(labels, "float32"), 1)
        return ops.one_hot(labels, self.n_classes, dtype="float32")

    def _targets(self, labels: Any) -> Any:
        targets = self._hard_targets(labels)
        uniform = 0.5 if self.activation == "sigmoid" else 1.0 / self.n_classes
        return targets * (1.0 - self.label_smoothing) + uniform * self.label_smoothing

    def _losses(self, logits: Any, targets: Any) -> Any:
        losses = import_keras().losses
        if self.activation == "sigmoid":
            return losses.binary_crossentropy(targets, logits, from_logits=True)
        return losses.categorical_crossentropy(targets, logits, from_logits=True)


def balanced_weights(labels: NDArray[np.int64], n_classes: int) -> tuple[float, ...]:
    """Return n / (n_classes · n of the class) for each class, as scikit-learn's `balanced`."""
    counts = np.bincount(labels, minlength=n_classes)
    return tuple(float(weight) for weight in len(labels) / (n_classes * np.maximum(counts, 1)))

"""The training objective as a graph: a loss from logits with label smoothing and class weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from cnncli.catalogue.losses import CROSS_ENTROPY
from cnncli.networks.backend import import_keras
from cnncli.networks.losses import compute_losses

if TYPE_CHECKING:
    from cnncli.config.schema import Config


class Measures(NamedTuple):
    """Objective of a batch (scalar), plain loss of each image (n,), number of correct predictions; float32."""

    objective: Any
    plain_losses: Any
    n_correct: Any


ClassWeights = tuple[float, ...] | tuple[tuple[float, ...], ...]
"""Weight of each class; if multi-label, those of the images without and with each label."""


@dataclass(frozen=True)
class Objective:
    """The training objective without weight penalties, which are losses of the tail's layers.

    Attributes:
        activation: Activation of the head; `sigmoid` means binary cross-entropy.
        label_smoothing: Fraction of the label that is spread over all classes, as in Keras's losses.
        class_weights: See `balanced_weights`; None for none. The weighted losses of a batch are divided by its size.
        loss: Name of the loss, see `cnncli.catalogue.losses`.
        is_multi_label: Whether labels are 0 and 1 for each class, uint8 (n, classes), instead of int64 (n,).
    """

    activation: str
    n_classes: int
    label_smoothing: float = 0.0
    class_weights: ClassWeights | None = None
    is_multi_label: bool = False
    loss: str = CROSS_ENTROPY

    @classmethod
    def from_config(cls, config: Config, n_classes: int, class_weights: ClassWeights | None = None) -> Self:
        """Return the objective of a config."""
        smoothing, is_multi_label = config.training.label_smoothing, config.data.labels.is_multi_label
        return cls(config.head.activation, n_classes, smoothing, class_weights, is_multi_label, config.training.loss)

    def signature(self) -> Any:
        """Return the type of a batch's labels for TensorFlow."""
        import tensorflow as tf

        if self.is_multi_label:
            return tf.TensorSpec((None, self.n_classes), tf.uint8)
        return tf.TensorSpec((None,), tf.int64)

    def measure(self, logits: Any, labels: Any) -> Measures:
        """Measure a batch with logits float32 (n, units). Ties go to the lower class index.

        An image with several labels is correct if all of its labels are, at a probability of 0.5.
        """
        ops = import_keras().ops
        if self.is_multi_label:
            targets = ops.cast(labels, "float32")
            is_correct = ops.all(ops.equal(logits > 0, labels > 0), axis=1)
        elif self.activation == "sigmoid" and self.n_classes == 2:
            targets = ops.expand_dims(ops.cast(labels, "float32"), 1)
            is_correct = ops.equal(ops.cast(logits[:, 0] > 0, "int64"), labels)
        else:
            targets = ops.one_hot(labels, self.n_classes, dtype="float32")
            is_correct = ops.equal(ops.cast(ops.argmax(logits, axis=1), "int64"), labels)
        is_binary = self.activation == "sigmoid" or self.loss.startswith("Binary")
        smoothed = smooth_targets(targets, self.label_smoothing, 2 if is_binary else self.n_classes)
        n_correct = ops.sum(ops.cast(is_correct, "float32"))
        return Measures(ops.mean(self._weighted(logits, smoothed, labels)), self._losses(logits, targets), n_correct)

    def _weighted(self, logits: Any, targets: Any, labels: Any) -> Any:
        """Return the loss of each image with its class weight, or the cross-entropy with those of each label."""
        if self.class_weights is None:
            return self._losses(logits, targets)
        ops = import_keras().ops
        weights = ops.convert_to_tensor(self.class_weights, "float32")
        if not self.is_multi_label:
            return self._losses(logits, targets) * ops.take(weights, labels)
        losses = ops.binary_crossentropy(targets, logits, from_logits=True)
        return ops.mean(losses * ops.where(labels > 0, weights[1], weights[0]), axis=1)

    def _losses(self, logits: Any, targets: Any) -> Any:
        return compute_losses(self.loss, logits, targets, self.activation)


def smooth_targets(targets: Any, smoothing: float, n_outcomes: int) -> Any:
    """Spread a fraction of the targets (n, units) evenly over all outcomes, as Keras's losses do.

    There are as many outcomes as classes, or two if each unit is a decision of its own.
    """
    return targets * (1.0 - smoothing) + smoothing * (1.0 / n_outcomes)


def balanced_weights(labels: NDArray[Any], n_classes: int) -> ClassWeights:
    """Return n / (n_classes · n of the class) for each class, like scikit-learn's `class_weight="balanced"`.

    With several labels per image, each label is such a problem of two classes: the images without and with it.
    """
    n = len(labels)
    if labels.ndim == 1:
        return tuple((n / (n_classes * np.maximum(np.bincount(labels, minlength=n_classes), 1))).tolist())
    n_with = labels.sum(axis=0, dtype=np.int64)
    return tuple(tuple((n / (2 * np.maximum(counts, 1))).tolist()) for counts in (n - n_with, n_with))

"""The compiled steps of a stage: one that trains on a batch, one that only looks.

Public Keras and TensorFlow alone (gradient tape, `optimizer.apply`) and not `fit`, which can neither resume exactly
nor say at which step a loss ceased to be a number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cnncli.config.schema import ScheduleConfig
from cnncli.engines.engine import Array, Precision
from cnncli.errors import TrainingError
from cnncli.keyed import key_of
from cnncli.networks.head import LOGITS
from cnncli.networks.mixed import hand_weights_over, mixed_bfloat16
from cnncli.networks.scores import plain_losses, ranking_scores
from cnncli.training.feed import Batch
from cnncli.training.mixing import MixedBatch
from cnncli.training.objective import Objective
from cnncli.training.schedule import learning_rate_factor

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Scores:
    """Mean plain loss in nats, and accuracy 0-1, over all the pictures of a pass."""

    loss: float
    accuracy: float


class TailTrainer:
    """A tail with its optimizer, compiled.

    The graph is traced after `trainable` has been set: Keras and TensorFlow both fix what trains when they trace.
    """

    def __init__(
        self,
        tail: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        objective: Objective,
        precision: Precision = "float32",
    ) -> None:
        """Build the optimizer's slots.

        Args:
            tail: what is trained. In float32 it is itself; in bfloat16 a copy is, and `hand_over` gives it the weights.
            optimizer: not used before.
            objective: what is minimised.
            precision: of the arithmetic. Weights and logits are float32 in both.
        """
        self._tail = tail
        self.tail = tail if precision == "float32" else mixed_bfloat16(tail, in_float32=(LOGITS,))
        self.optimizer = optimizer
        self._objective = objective
        self._compiled: dict[tuple[str, ...], tuple[Any, Any]] = {}
        optimizer.build(self.tail.trainable_variables)
        self._base_learning_rate = self._learning_rate = float(optimizer.learning_rate)

    @property
    def base_learning_rate(self) -> float:
        """The optimizer's learning rate, before schedule and plateau."""
        return self._base_learning_rate

    @property
    def learning_rate(self) -> float:
        """The rate of the last step."""
        return self._learning_rate

    def train_epoch(
        self,
        batches: Iterable[Batch | MixedBatch],
        learning_rates: Iterator[float],
        where: str,
        advance: Callable[[int], None] = lambda _: None,
    ) -> Scores:
        """One pass with an update per batch.

        Args:
            batches: of the epoch; mixed ones where the objective is a `MixedObjective`.
            learning_rates: one factor of the base learning rate per step.
            where: stage and epoch, for the message of an error.
            advance: told the number of pictures after each step.

        Raises:
            TrainingError: the objective became infinite or no number; names the step.
        """
        losses, right, pictures = 0.0, 0.0, 0
        for step, ((inputs, labels), factor) in enumerate(zip(batches, learning_rates, strict=True), start=1):
            self._set_learning_rate(self._base_learning_rate * factor)
            objective, loss, correct = self._functions(inputs)[0](inputs, labels)
            if not np.isfinite(float(objective)):
                raise TrainingError(
                    f"{where}, step {step}: the loss became {float(objective)}. "
                    "Lower training.optimizer.learning_rate, or clip gradients with training.optimizer.clipnorm."
                )
            losses, right, pictures = losses + float(loss), right + float(correct), pictures + len(inputs[0])
            advance(len(inputs[0]))
        return Scores(losses / pictures, right / pictures)

    def _set_learning_rate(self, rate: float) -> None:
        """Assigning costs as much as a small step does, so it is done only where the rate changes."""
        if rate != self._learning_rate:
            self.optimizer.learning_rate = self._learning_rate = rate

    def score(self, batches: Iterable[Batch], where: str) -> Scores:
        """One pass that changes nothing: plain loss and accuracy, as `evaluate` computes them.

        Args:
            batches: of the pictures.
            where: stage and epoch, for the message of an error.

        Raises:
            TrainingError: a logit is infinite or no number, so the weights are not worth keeping.
        """
        losses, right, pictures = 0.0, 0, 0
        for inputs, labels in batches:
            logits = self._functions(inputs)[1](inputs).numpy()
            if not np.isfinite(logits).all():
                raise TrainingError(
                    f"{where}, validation: the scores became infinite or no numbers. "
                    "Lower training.optimizer.learning_rate, or clip gradients with training.optimizer.clipnorm."
                )
            activation = self._objective.activation
            losses += float(plain_losses(logits, labels, activation).sum())
            right += int((ranking_scores(logits, activation).argmax(axis=1) == labels).sum())
            pictures += len(labels)
        return Scores(losses / pictures, right / pictures)

    def seed(self, *key: str | int) -> None:
        """Start every random layer of the tail, such as dropout, from a state that depends on this key alone.

        A backbone's own dropout has no seed in its config: Keras draws one from Python's global generator whenever the
        model is built or loaded.
        """
        for operation in self.tail.operations:
            generator = getattr(operation, "seed_generator", None)
            if generator is not None:
                state = key_of("random layer", *key, operation.name) & 0x7FFFFFFF
                generator.state.assign(np.array([state, 0], dtype=generator.state.dtype))

    def snapshot(self) -> list[Array]:
        """A copy of all weights of the tail."""
        return [weight.numpy().copy() for weight in self.tail.weights]

    def restore(self, snapshot: list[Array]) -> None:
        """Put a snapshot's weights back, and hand them over."""
        for weight, value in zip(self.tail.weights, snapshot, strict=True):
            weight.assign(value)
        self.hand_over()

    def hand_over(self) -> None:
        """Give the tail itself, and with it the classifier, the weights that are trained."""
        if self.tail is not self._tail:
            hand_weights_over(self.tail, self._tail)

    def _functions(self, inputs: list[Array]) -> tuple[Any, Any]:
        """The training and the inference step for inputs of these dtypes, traced once."""
        dtypes = tuple(str(array.dtype) for array in inputs)
        if dtypes not in self._compiled:
            self._compiled[dtypes] = _compile(self.tail, self.optimizer, self._objective, dtypes)
        return self._compiled[dtypes]


def learning_rates(
    schedule: ScheduleConfig, epoch: int, epochs: int, steps_per_epoch: int, plateau_factor: float
) -> Iterator[float]:
    """The factor of the learning rate at each step of an epoch (counted from 1)."""
    first = (epoch - 1) * steps_per_epoch
    for step in range(first, first + steps_per_epoch):
        yield plateau_factor * learning_rate_factor(schedule, step, steps_per_epoch, epochs)


def _compile(
    tail: keras.Model, optimizer: keras.optimizers.Optimizer, objective: Objective, dtypes: Sequence[str]
) -> tuple[Any, Any]:
    """The training step and the inference step as TensorFlow functions, for batches of any size."""
    import tensorflow as tf

    shapes = [(None, *tensor.shape[1:]) for tensor in tail.inputs]
    inputs = [tf.TensorSpec(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
    variables = tail.trainable_variables

    def logits_of(x: Any, training: bool) -> Any:
        given = [tf.cast(array, tensor.dtype) for array, tensor in zip(x, tail.inputs, strict=True)]
        return tail(given, training=training)

    def step(x: Any, y: Any) -> tuple[Any, Any, Any]:
        with tf.GradientTape() as tape:
            logits = logits_of(x, training=True)
            value = tf.add_n([objective.of(logits, y), *tail.losses])
        optimizer.apply(tape.gradient(value, variables), variables)
        return value, tf.reduce_sum(objective.plain(logits, y)), objective.correct(logits, y)

    def infer(x: Any) -> Any:
        return logits_of(x, training=False)

    return (
        tf.function(step, input_signature=[inputs, objective.signature()], autograph=False),
        tf.function(infer, input_signature=[inputs], autograph=False),
    )

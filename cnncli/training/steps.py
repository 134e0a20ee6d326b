"""The compiled steps of a stage: one that trains on a batch, one that only looks.

Public Keras and TensorFlow alone (gradient tape, `optimizer.apply`) and not `fit`, which can neither resume exactly
nor say at which step a loss ceased to be a number.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cnncli.config.schema import ScheduleConfig
from cnncli.engines.engine import Array, Precision
from cnncli.errors import NonFiniteError
from cnncli.metrics.scores import plain_losses, ranking_scores
from cnncli.networks.head import LOGITS
from cnncli.networks.mixed_precision import hand_weights_over, mixed_bfloat16
from cnncli.runtime.random_keys import key_of
from cnncli.training.feed import Batch
from cnncli.training.mixing import MixedBatch
from cnncli.training.objective import Objective
from cnncli.training.schedule import learning_rate_factor

if TYPE_CHECKING:
    import keras

OUT_OF_MEMORY = ("bad_alloc", "bad allocation", "out of memory", "OOM when", "could not create a memory")
"""What TensorFlow, oneDNN and OpenVINO say in errors of other kinds."""
REMEDY = "Lower training.optimizer.learning_rate, or clip gradients with training.optimizer.clipnorm."


@dataclass(frozen=True)
class Scores:
    """Mean plain loss in nats, and accuracy 0-1, over all the images of a pass."""

    loss: float
    accuracy: float


@dataclass(frozen=True)
class Sums:
    """What the steps of an epoch have added up so far.

    Attributes:
        steps: that are done.
        loss: plain losses, added.
        right: images that were classified right; mixed ones count in shares.
        images: that were seen.
        seconds: that all of it took, also before an interruption.
    """

    steps: int = 0
    loss: float = 0.0
    right: float = 0.0
    images: int = 0
    seconds: float = 0.0

    @property
    def scores(self) -> Scores:
        """Of an epoch whose steps are all done."""
        return Scores(self.loss / self.images, self.right / self.images)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory could not be had."""
    import tensorflow as tf

    is_kind = isinstance(error, MemoryError | tf.errors.ResourceExhaustedError)
    return is_kind or any(words in str(error) for words in OUT_OF_MEMORY)


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
        sums: Sums = Sums(),
        after_step: Callable[[Sums], None] = lambda _: None,
    ) -> Sums:
        """One pass with an update per batch, or the rest of one.

        Args:
            batches: that are left of the epoch; mixed ones where the objective is a `MixedObjective`.
            learning_rates: one factor of the base learning rate for each of them.
            where: stage and epoch, for the message of an error.
            sums: of the steps that were done before.
            after_step: told the sums after each step; an exception of it leaves the step done.

        Raises:
            NonFiniteError: the objective became infinite or no number; names the step.
        """
        started = time.monotonic() - sums.seconds
        for (inputs, labels), factor in zip(batches, learning_rates, strict=True):
            self._set_learning_rate(self._base_learning_rate * factor)
            objective, loss, correct = self._functions(inputs)[0](inputs, labels)
            if not np.isfinite(float(objective)):
                raise NonFiniteError(f"{where}, step {sums.steps + 1}: the loss became {float(objective)}. {REMEDY}")
            sums = Sums(
                steps=sums.steps + 1,
                loss=sums.loss + float(loss),
                right=sums.right + float(correct),
                images=sums.images + len(inputs[0]),
                seconds=time.monotonic() - started,
            )
            after_step(sums)
        return sums

    def _set_learning_rate(self, rate: float) -> None:
        """Assigning costs as much as a small step does, so it is done only where the rate changes."""
        if rate != self._learning_rate:
            self.optimizer.learning_rate = self._learning_rate = rate

    def score(self, batches: Iterable[Batch], where: str, after_batch: Callable[[], None] = lambda: None) -> Scores:
        """One pass that changes nothing: plain loss and accuracy, as `evaluate` computes them.

        Args:
            batches: of the images.
            where: stage and epoch, for the message of an error.
            after_batch: called after each batch.

        Raises:
            NonFiniteError: a logit is infinite or no number, so the weights are not worth keeping.
        """
        losses, right, images = 0.0, 0, 0
        for inputs, labels in batches:
            logits = self._functions(inputs)[1](inputs).numpy()
            if not np.isfinite(logits).all():
                raise NonFiniteError(f"{where}, validation: the scores became infinite or no numbers. {REMEDY}")
            activation = self._objective.activation
            losses += float(plain_losses(logits, labels, activation).sum())
            right += int((ranking_scores(logits, activation).argmax(axis=1) == labels).sum())
            images += len(labels)
            after_batch()
        return Scores(losses / images, right / images)

    def check_weights(self, where: str) -> None:
        """Make sure that what would be kept is made of numbers.

        Raises:
            NonFiniteError: a weight or a slot of the optimizer is infinite or no number; names it.
        """
        for variable in (*self.tail.weights, *self.optimizer.variables):
            if not np.isfinite(variable.numpy()).all():
                raise NonFiniteError(f"{where}: {variable.path} became infinite or no number. {REMEDY}")

    def seed(self, *key: str | int) -> None:
        """Start every random layer of the tail, such as dropout, from a state that depends on this key alone.

        A backbone's own dropout has no seed in its config: Keras draws one from Python's global generator whenever the
        model is built or loaded.
        """
        for name, state in self._random_states().items():
            first = key_of("random layer", *key, name) & 0x7FFFFFFF
            state.assign(np.array([first, 0], dtype=state.dtype))

    def arrays(self) -> dict[str, Array]:
        """Everything of it that steps change, by name: weights, the optimizer's variables, random layers' states."""
        arrays = {name: variable.numpy().copy() for name, variable in self._variables().items()}
        return {**arrays, "learning_rate": np.array(self._learning_rate)}

    def load_arrays(self, arrays: Mapping[str, Array]) -> None:
        """Become what `arrays` told, in a trainer made in the same way."""
        for name, variable in self._variables().items():
            variable.assign(arrays[name])
        self._learning_rate = float(arrays["learning_rate"])

    def _variables(self) -> dict[str, Any]:
        return {
            **{f"weight/{number:04}": weight for number, weight in enumerate(self.tail.weights)},
            **{f"optimizer/{number:04}": slot for number, slot in enumerate(self.optimizer.variables)},
            **{f"random/{name}": state for name, state in self._random_states().items()},
        }

    def _random_states(self) -> dict[str, Any]:
        """The states of random layers, by the layer's name."""
        generators = {operation.name: getattr(operation, "seed_generator", None) for operation in self.tail.operations}
        return {name: generator.state for name, generator in generators.items() if generator is not None}

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
    schedule: ScheduleConfig, epoch: int, epochs: int, steps_per_epoch: int, factor: float, done: int = 0
) -> Iterator[float]:
    """The factor of the learning rate at each step of an epoch (counted from 1) that is not done yet.

    Args:
        schedule: over the stage.
        epoch: counted from 1 within the stage.
        epochs: of the stage.
        steps_per_epoch: in each.
        factor: of a plateau, beside the schedule.
        done: steps of the epoch that are over.
    """
    first = (epoch - 1) * steps_per_epoch
    for step in range(first + done, first + steps_per_epoch):
        yield factor * learning_rate_factor(schedule, step, steps_per_epoch, epochs)


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

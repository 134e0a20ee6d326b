"""The compiled steps of a stage: one that trains on a batch, and one that only predicts.

Keras's `fit` can neither resume exactly nor report the step at which a loss became NaN.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cnncli.engines.engine import Array, Precision
from cnncli.errors import Message, NonFiniteError
from cnncli.metrics.classification import are_correct, ranking_scores
from cnncli.metrics.table import METRICS, Predictions, compute_metrics
from cnncli.networks.keras_metrics import compute_keras_metrics
from cnncli.networks.losses import evaluate_losses
from cnncli.networks.mixed_precision import copy_network, hand_weights_over, mixed_bfloat16
from cnncli.runtime.random_keys import key_of
from cnncli.training.inputs import Batch
from cnncli.training.mixing import MixedBatch, MixedLabels
from cnncli.training.objective import Measures, Objective
from cnncli.training.penalties import kernel_penalties
from cnncli.training.replicas import ONE_DEVICE, Replicas
from cnncli.training.update import Update, UpdateSettings

if TYPE_CHECKING:
    import keras

AUXILIARY_WEIGHT = 0.3
"""Weight of the loss of an auxiliary classifier in the training objective (GoogLeNet, arXiv 1409.4842)."""

RANDOM = "random/"
"""Prefix of the states of random layers in a checkpoint."""
RANDOM_STATE = "seed_generator_state"
"""Keras's name of the variable that is the state of a random layer, or of a part of one such as attention."""

NotInDocument = Annotated[list[Any], Field(exclude=True)]
"""Arrays, which a checkpoint keeps apart from its JSON document."""


@dataclass
class EpochTotals:
    """Running totals over the steps of an epoch.

    Attributes:
        loss: Sum of plain losses.
        n_correct: Number of correctly classified images; mixed images count in fractions.
        seconds: Duration of all steps, including those before an interruption.
        logits, labels: Predictions and labels of each step, if a metric needs them.
        keeps_logits: Whether a metric outside the table needs them.
    """

    steps: int = 0
    loss: float = 0.0
    n_correct: float = 0.0
    images: int = 0
    seconds: float = 0.0
    logits: NotInDocument = field(default_factory=list)
    labels: NotInDocument = field(default_factory=list)
    keeps_logits: bool = False

    def add(self, loss: float, n_correct: float, logits: Array, labels: NDArray[Any] | MixedLabels) -> None:
        """Add a step."""
        self.steps += 1
        self.loss += loss
        self.n_correct += n_correct
        self.images += len(logits)
        if self.keeps_logits or any(metric.needs_scores for metric in METRICS.values()):
            self.logits.append(logits)
            self.labels.append(labels.dominant if isinstance(labels, MixedLabels) else labels)

    def metrics(self, activation: str) -> dict[str, float]:
        """Return the metrics of a completed pass by name, for the activation of the head; none without images."""
        if not self.images:
            return {}
        scores, labels = np.empty((0, 0)), np.empty(0, np.int64)
        if self.logits:
            scores = ranking_scores(np.concatenate(self.logits), activation)
            labels = np.concatenate(self.labels)
        return compute_metrics(Predictions(self.images, self.loss / self.images, self.n_correct, scores, labels))


BeforeStep = Callable[["TrainStep", list[Array], Any], None]
"""A function that is called before a step with the training step, the inputs and the labels of the batch."""


class ObjectiveTerms(NamedTuple):
    """Terms of which the training objective is the sum.

    Attributes:
        measures: Measures of the main output.
        losses: Its loss, and the weighted ones of auxiliary classifiers.
        penalties: Penalties of the weights.
    """

    measures: Measures
    losses: list[Any]
    penalties: list[Any]


class TrainStep:
    """A compiled tail with its optimizer. Trainable variables are fixed when Keras and TensorFlow trace the tail.

    Attributes:
        objective: What the steps minimize, apart from penalties.
        settings: Settings of the update, with those of the penalties.
        tail: The model that is trained: in bfloat16 or on several devices a copy of the given tail, which gets its
            weights from `hand_over`.
            Its first output are the logits; others are those of auxiliary classifiers.
        base_learning_rate: Learning rate of the optimizer before schedule and plateau.
        learning_rate: Learning rate of the last step.
    """

    def __init__(
        self,
        tail: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        objective: Objective,
        precision: Precision = "float32",
        update: UpdateSettings | None = None,
        metrics: Sequence[str] = (),
        replicas: Replicas = ONE_DEVICE,
    ) -> None:
        """Prepare the tail and the optimizer. Weights and logits are float32 regardless of precision.

        `metrics` are those of Keras that are computed in addition to the table. The optimizer must be built in the
        scope of `replicas`.
        """
        self._tail, self._replicas = tail, replicas
        self.optimizer = optimizer
        self.objective, self._metrics = objective, metrics
        self._compiled: dict[tuple[str, ...], tuple[Any, Any]] = {}
        self.settings = update or UpdateSettings()
        with replicas.scope():
            self.tail = _copy_for(tail, precision, replicas)
            self._update = Update(self.tail, optimizer, self.settings, replicas)
        self._apply_sums: Callable[[], None] | None = None
        self.base_learning_rate = self.learning_rate = float(optimizer.learning_rate.numpy())

    def train_epoch(
        self,
        batches: Iterable[Batch | MixedBatch],
        learning_rates: Iterator[float],
        where: str,
        totals: EpochTotals | None = None,
        after_step: Callable[[int], None] = lambda _: None,
        before_step: BeforeStep | None = None,
    ) -> EpochTotals:
        """Train on the remaining batches of an epoch; update and return its totals.

        Args:
            batches: Batches; mixed ones if the objective is a `MixedObjective`.
            learning_rates: Factor of the base learning rate for each batch.
            where: Stage and epoch, for error messages.
            totals: Totals of earlier steps of the epoch.
            after_step: Called after each step with its number of images. If it raises, the step remains done.
            before_step: Called before each step.

        Raises:
            NonFiniteError: The objective became NaN or Inf.
        """
        totals = totals or EpochTotals()
        totals.keeps_logits = bool(self._metrics)
        started = time.monotonic() - totals.seconds
        for (inputs, labels), factor in zip(batches, learning_rates, strict=True):
            rate = self.base_learning_rate * factor
            if rate != self.learning_rate:  # an assignment takes as long as a small step
                self.optimizer.learning_rate = self.learning_rate = rate
            if before_step:
                before_step(self, inputs, labels)
            objective, loss, n_correct, logits = self._functions(inputs)[0](inputs, labels)
            if not np.isfinite(float(objective)):
                raise _not_finite(f"{where}, step {totals.steps + 1}", f"the loss became {float(objective)}")
            totals.add(float(loss), float(n_correct), logits.numpy(), labels)
            if self._update.is_due(totals.steps):
                self._update_accumulated()
            totals.seconds = time.monotonic() - started
            after_step(len(logits))
        if self._update.is_pending:  # the last batches of an epoch make an update of their own
            self._update_accumulated()
        return totals

    def repeat(self, inputs: list[Array], labels: Any) -> None:
        """Train on a batch at the learning rate of the last step, and check nothing."""
        self._functions(inputs)[0](inputs, labels)

    def _update_accumulated(self) -> None:
        """Update the weights with the gradients of several batches."""
        import tensorflow as tf

        if self._apply_sums is None:
            self._apply_sums = tf.function(self._update.apply_sums, autograph=False)
        self._apply_sums()

    def evaluate(
        self, batches: Iterable[Batch], where: str, after_batch: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """Return the metrics of a pass without training, as `cnncli evaluate` does. Raises NonFiniteError."""
        totals, activation = EpochTotals(keeps_logits=bool(self._metrics)), self.objective.activation
        for inputs, labels in batches:
            logits = self._functions(inputs)[1](inputs).numpy()
            if not np.isfinite(logits).all():
                raise _not_finite(f"{where}, validation", "class scores became NaN or Inf")
            loss = float(evaluate_losses(self.objective.loss, logits, labels, activation).sum())
            totals.add(loss, int(are_correct(logits, labels, activation).sum()), logits, labels)
            after_batch()
        return self.metrics(totals)

    def metrics(self, totals: EpochTotals) -> dict[str, float]:
        """Return the metrics of a completed pass by name; none without images."""
        found = totals.metrics(self.objective.activation)
        if totals.logits and self._metrics:
            logits, labels = np.concatenate(totals.logits), np.concatenate(totals.labels)
            found |= compute_keras_metrics(self._metrics, logits, labels, self.objective.activation)
        return found

    def penalty(self) -> float | None:
        """Return the sum of the weight penalties, or None if there are none."""
        penalties = self._penalties()
        return float(sum(penalties)) if penalties else None

    def terms(self, outputs: Sequence[Any], labels: Any, objective: Objective | None = None) -> ObjectiveTerms:
        """Return the terms of the training objective, as tensors.

        Args:
            outputs: Logits (n, units) of the tail and of auxiliary classifiers.
            labels: Labels of the images.
            objective: What the labels are for; None: `self.objective`.
        """
        objective = objective or self.objective
        logits, *auxiliary = outputs
        measures = objective.measure(logits, labels)
        others = [AUXILIARY_WEIGHT * objective.measure(one, labels).objective for one in auxiliary]
        return ObjectiveTerms(measures, [measures.objective, *others], self._penalties())

    def _penalties(self) -> list[Any]:
        """Return the penalties of a head's layers and those of all trained kernels."""
        own = kernel_penalties(self.tail.trainable_variables, self.settings.l1, self.settings.l2)
        return [*self.tail.losses, *own]

    def check_weights(self, where: str) -> None:
        """Raise NonFiniteError if a weight, its average or a slot of the optimizer is NaN or Inf."""
        for variable in (*self.tail.weights, *self.optimizer.variables, *self._update.variables().values()):
            if not np.isfinite(variable.numpy()).all():
                raise _not_finite(where, f"{variable.path} became NaN or Inf")

    def seed(self, *key: str | int) -> None:
        """Start every random layer of the tail, such as dropout, from a state that depends only on this key.

        Otherwise, Keras draws the seed of a backbone's own dropout from a global generator when the model is built or
        loaded.
        """
        for name, state in self._random_states().items():
            first = key_of("random layer", *key, name) & 0x7FFFFFFF
            self._replicas.assign_random(state, np.array([first, 0], dtype=state.dtype))

    def arrays(self) -> dict[str, Array]:
        """Return copies of everything that steps change: weights, variables of the update, states of random layers."""
        arrays = {name: variable.numpy().copy() for name, variable in self._variables().items()}
        return {**arrays, "learning_rate": np.array(self.learning_rate)}

    def load_arrays(self, arrays: Mapping[str, Array]) -> None:
        """Load the result of `arrays`. Raises ValueError if the arrays belong to a different training step."""
        variables = self._variables()
        if odd := arrays.keys() ^ {*variables, "learning_rate"}:
            raise ValueError(f"{min(odd)} is only in one of the two")
        for name, variable in variables.items():
            if name.startswith(RANDOM):
                self._replicas.assign_random(variable, arrays[name])
            else:
                variable.assign(arrays[name])
        self.learning_rate = float(arrays["learning_rate"])

    def _variables(self) -> dict[str, Any]:
        return {
            **{f"weight/{number:04}": weight for number, weight in enumerate(self.tail.weights)},
            **{f"optimizer/{number:04}": slot for number, slot in enumerate(self.optimizer.variables)},
            **{f"{RANDOM}{name}": state for name, state in self._random_states().items()},
            **self._update.variables(),
        }

    def _random_states(self) -> dict[str, Any]:
        """Return the states of random layers by layer name, those of parts of a layer with a number."""
        states: dict[str, Any] = {}
        for operation in self.tail.operations:
            own = [one for one in getattr(operation, "non_trainable_variables", ()) if one.name == RANDOM_STATE]
            states |= {f"{operation.name}{f'/{place}' if place else ''}": one for place, one in enumerate(own)}
        return states

    def weights(self) -> list[Array]:
        """Return copies of all weights of the tail, those that `evaluate` uses: averages, if there are any."""
        trained = self.tail.trainable_variables
        averages = {id(weight): average for weight, average in zip(trained, self._update.averages, strict=False)}
        return [averages.get(id(weight), weight).numpy().copy() for weight in self.tail.weights]

    def load_weights(self, weights: Sequence[Array]) -> None:
        """Load the result of `weights`, and hand them over."""
        for weight, value in zip(self.tail.weights, weights, strict=True):
            weight.assign(value)
        self.hand_over()

    def hand_over(self) -> None:
        """Copy the trained weights to the original tail, and thereby to the classifier."""
        if self.tail is not self._tail:
            hand_weights_over(self.tail, self._tail)

    def _functions(self, inputs: list[Array]) -> tuple[Any, Any]:
        """Return the training and the inference step for inputs of these dtypes, traced once."""
        dtypes = tuple(str(array.dtype) for array in inputs)
        if dtypes not in self._compiled:
            self._compiled[dtypes] = self._compile(dtypes)
        return self._compiled[dtypes]

    def _compile(self, dtypes: Sequence[str]) -> tuple[Any, Any]:
        """Return the training step and the inference step as TensorFlow functions, for batches of any size."""
        import tensorflow as tf

        tail, objective, variables, update = self.tail, self.objective, self.tail.trainable_variables, self._update
        replicas = self._replicas
        shapes = [(None, *tensor.shape[1:]) for tensor in tail.inputs]
        inputs = [tf.TensorSpec(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]

        def cast(x: Any) -> list[Any]:
            return [tf.cast(array, tensor.dtype) for array, tensor in zip(x, tail.inputs, strict=True)]

        def infer_part(x: Any) -> Any:
            x, _ = replicas.part(x)
            if not update.averages:
                return _as_list(tail(cast(x), training=False))[0]
            averaged = tail.stateless_call(update.averages, tail.non_trainable_variables, cast(x), training=False)
            return _as_list(averaged[0])[0]

        def train_part(x: Any, y: Any) -> tuple[Any, Any, Any, Any, Any]:
            (x, y), fraction = replicas.part((x, y))
            with tf.GradientTape() as tape:
                outputs = _as_list(tail(cast(x), training=True))
                measures, losses, penalties = self.terms(outputs, y)
                value = tf.add_n([*(fraction * loss for loss in losses), *replicas.fractions(penalties)])
            is_real = tf.sign(fraction)
            loss, n_correct = is_real * tf.reduce_sum(measures.plain_losses), is_real * measures.n_correct
            return tape.gradient(value, variables), value, loss, n_correct, outputs[0]

        def train(x: Any, y: Any) -> tuple[Any, Any, Any, Any]:
            gradients, value, loss, n_correct, logits = replicas.run(train_part, x, y)
            n = tf.shape(x[0])[0]
            update.add(gradients, tf.cast(n, tf.float32))
            return *map(replicas.total, (value, loss, n_correct)), replicas.join(logits, n)

        def infer(x: Any) -> Any:
            return replicas.join(replicas.run(infer_part, x), tf.shape(x[0])[0])

        return (
            tf.function(train, input_signature=[inputs, objective.signature()], autograph=False),
            tf.function(infer, input_signature=[inputs], autograph=False),
        )


def _copy_for(tail: keras.Model, precision: Precision, replicas: Replicas) -> keras.Model:
    """Return a tail for a precision and devices: itself, or a copy of it with weights of its own."""
    is_divided = replicas.strategy is not None
    if precision == "float32":
        return copy_network(tail, synchronized=True) if is_divided else tail
    return mixed_bfloat16(tail, in_float32=tail.output_names, synchronized=is_divided)


def _as_list(outputs: Any) -> list[Any]:
    """Return the outputs of a tail, of which the first are the logits."""
    return outputs if isinstance(outputs, list) else [outputs]


def _not_finite(where: str, problem: str) -> NonFiniteError:
    remedy = "Lower training.optimizer.learning_rate, or clip gradients with training.optimizer.clipnorm."
    return NonFiniteError(Message("training-not-finite", f"{where}: {problem}. {remedy}", where=where))

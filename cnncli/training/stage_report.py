"""The report of a stage: what it trained, and proof that nothing else changed."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cnncli.config.modes import Stage
from cnncli.engines.engine import Array
from cnncli.errors import Message, TrainingError
from cnncli.networks.classifier import Classifier
from cnncli.networks.cut import Cut
from cnncli.networks.fingerprint import hash_weights
from cnncli.terminal.formatting import counted, decimal
from cnncli.training.solvers.problem import Solution

START_TOLERANCE = {"float32": 1e-4, "bfloat16": 1e-2, "int8": 1e-1}
"""Maximum difference between a stage's first validation loss and the earlier one of the same weights.

float32 sums the same numbers in another order. In bfloat16, layers that move from the trunk's engine to Keras are
rounded differently: at any depth of four networks, this changed the loss of 1,000 photographs by at most 2.1e-3 (see
scripts/measure_hand_over.py)."""
DIVERGED = 1e4
"""Larger weights indicate that training diverged."""
SMALL_LEARNING_RATE = 1e-7
"""With such a learning rate, steps can be too small to change a float32 weight."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StagePlan:
    """Plan of a stage: its cut, and the trained layers in graph order.

    Attributes:
        cut_at: First operation of the tail.
        crossing: Name and shape of each tensor that crosses the cut.
        layer_parameters: Number of weights of each trained layer, including batch-norm statistics.
    """

    name: str
    unfreeze: int | str
    cut_at: str
    crossing: tuple[tuple[str, tuple[int, ...]], ...]
    trained_layers: tuple[str, ...]
    layer_parameters: tuple[int, ...]
    trainable_parameters: int
    frozen_parameters: int

    @classmethod
    def of(cls, stage: Stage, classifier: Classifier, cut: Cut) -> StagePlan:
        """Describe the cut of a classifier, whose layers have its `trainable` flags."""
        trainable = sum(math.prod(weight.shape) for weight in cut.tail.trainable_weights)
        total = sum(math.prod(weight.shape) for weight in classifier.model.weights)
        sizes = tuple(int(classifier.model.get_layer(layer).count_params()) for layer in cut.trained)
        return cls(stage.name, stage.unfreeze, cut.at, cut.crossing, cut.trained, sizes, trainable, total - trainable)


@dataclass(frozen=True)
class StageReport:
    """Report of a finished stage.

    Attributes:
        learning_rate: Learning rate of the optimizer, before the schedule; None if the head was solved exactly.
        best_epoch: Epoch whose weights the stage ends with, counted across the run; 0: those of a parent.
        inherited_val_loss: Validation loss of the initial weights as measured by the previous stage or run, if any.
        start_val_loss: The same, measured with this stage's trunk and tail; None without validation images.
        end_val_loss: Validation loss of the best epoch; None without validation images.
        frozen_weights_sha256: Hash of all frozen weights, before and after; equal.
        trained_weights_sha256: Hash of all trained weights, before and after the last epoch; different.
        solution: How the head was solved exactly; None if it was trained by gradients.
    """

    plan: StagePlan
    learning_rate: float | None
    epochs: int
    best_epoch: int
    inherited_val_loss: float | None
    start_val_loss: float | None
    end_val_loss: float | None
    frozen_weights_sha256: tuple[str, str]
    trained_weights_sha256: tuple[str, str]
    solution: Solution | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the record for stages.json."""
        record = {name: value for name, value in asdict(self).items() if name != "solution" or value is not None}
        return {**record.pop("plan"), **record}

    def describe(self, word: str = "best") -> str:
        """Return one line for the screen; stages.json contains the rest. `word`: whether it keeps the best or last."""
        frozen = self.frozen_weights_sha256[1]
        unchanged = "" if frozen == hash_weights([]) else f"frozen weights unchanged ({frozen[:8]}), "
        trained = f"{unchanged}{self.plan.trainable_parameters:,} weights trained"
        if self.solution:
            return f"{self.solution.describe()} · {trained}"
        losses = "no validation images · "
        if self.start_val_loss is not None and self.end_val_loss is not None:
            losses = f"val_loss {decimal(self.start_val_loss)} → {decimal(self.end_val_loss)} · "
        kept = f"best epoch {self.best_epoch}" if word == "best" else "the last is kept"
        return f"{counted(self.epochs, 'epoch')}, {kept} · {losses}{trained}"


@dataclass(frozen=True)
class WeightHashes:
    """SHA-256 hashes of all frozen weights, and of each trained layer by name."""

    frozen: str
    layers: dict[str, str]

    @classmethod
    def of(cls, classifier: Classifier, trained: Sequence[str]) -> WeightHashes:
        """Hash all weights of a classifier, given the names of the trained layers."""
        layers = classifier.model.layers
        return cls(
            frozen=hash_weights(layer for layer in layers if layer.name not in trained),
            layers={layer.name: hash_weights([layer]) for layer in layers if layer.name in trained},
        )

    @property
    def trained(self) -> str:
        """A single hash of all trained layers."""
        return hashlib.sha256("".join(self.layers.values()).encode()).hexdigest()


def warn_about_start(stage: str, loss: float, inherited: float, precision: str) -> None:
    """Warn if the first validation loss of a stage differs from the inherited one by more than rounding explains."""
    tolerance = START_TOLERANCE[precision]
    if abs(inherited - loss) > tolerance:
        text = (
            f"stage {stage}: the validation loss of its initial weights is {loss:.6f}, but was {inherited:.6f} before. "
            f"{precision} explains a difference of at most {tolerance:g}."
        )
        facts = {"stage": stage, "received": loss, "expected": inherited, "tolerance": tolerance}
        log.warning(Message("training-start-differs", text, **facts))


def check_changes(before: WeightHashes, after: WeightHashes, stage: Stage, weights: Sequence[Array]) -> None:
    """Check that a stage changed its trained layers and nothing else; `weights` are those of the tail.

    A layer that did not change causes a warning: if all its units are dead, it gets no gradient.

    Raises:
        TrainingError: Frozen weights changed, or no weights did.
    """
    if before.frozen != after.frozen:
        text = f"stage {stage.name}: frozen weights changed. This is a bug in cnncli; the model is not saved."
        raise TrainingError(Message("training-frozen-weights-changed", text, stage=stage.name))
    unchanged = [name for name, digest in before.layers.items() if after.layers[name] == digest]
    if len(unchanged) == len(before.layers):
        learning_rate = stage.optimizer.learning_rate
        largest = max((float(np.abs(weight).max()) for weight in weights if weight.size), default=0.0)
        if largest > DIVERGED:
            cause, hint = "diverged", f"Weights have grown to {largest:.2g}. Lower training.optimizer.learning_rate."
        elif learning_rate < SMALL_LEARNING_RATE:
            cause, hint = "rounding", f"float32 needs a higher training.optimizer.learning_rate than {learning_rate:g}."
        else:
            cause, hint = "no-gradient", "No gradient reaches them. Try another seed, activation or learning rate."
        text = f"stage {stage.name}: training did not change any weights. {hint}"
        raise TrainingError(Message("training-no-weights-changed", text, stage=stage.name, cause=cause))
    if unchanged:
        text = f"stage {stage.name}: training did not change the weights of these layers: {', '.join(unchanged)}"
        log.warning(Message("training-layers-unchanged", text, stage=stage.name, layers=unchanged))

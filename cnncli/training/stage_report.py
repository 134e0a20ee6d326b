"""The report of a stage: what it trained, and the proof that it changed nothing else."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cnncli.engines.engine import Array
from cnncli.errors import Message, TrainingError
from cnncli.networks.classifier import Classifier
from cnncli.networks.cut import Cut
from cnncli.networks.fingerprint import hash_weights
from cnncli.terminal.formatting import decimal

START_TOLERANCE = {"float32": 1e-4, "bfloat16": 1e-2}
"""Largest difference between a stage's first validation loss and the one that was measured for the same weights before:
for float32, if neither trunk nor tail computed either of them in bfloat16.

In float32 both paths compute the same sums in another order. In bfloat16 moving the cut moves layers from the engine of
the trunk to Keras, which rounds elsewhere: with 1,000 photographs it moved the loss of a frozen network with a linear
head, at depths from one layer to all of them, by at most 2.1e-3 (MobileNetV2), 1.2e-3 (MobileNet), 7.8e-4
(EfficientNetLite0) and 5.7e-5 (ResNet50; 8.4e-5 fine-tuned), OpenVINO's trunks and Keras's tails both in bfloat16
(see scripts/measure_hand_over.py)."""
DIVERGED = 1e4
"""Weights above this are those of a training that diverged."""
SMALL_LEARNING_RATE = 1e-7
"""Steps of such a learning rate can be too small to change a float32 weight."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StagePlan:
    """Plan of a stage: layers, weights and cut.

    Attributes:
        name: Name of the stage.
        unfreeze: As in the config.
        cut_at: First operation of the tail.
        crossing: Name and shape of each tensor that crosses the cut.
        trained_layers: Names, in the graph's order.
        layer_parameters: Number of weights of each of them, including the statistics of batch normalization.
        trainable_parameters: Number of trainable weights of the classifier.
        frozen_parameters: Number of frozen weights of the classifier.
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
    def of(cls, name: str, unfreeze: int | str, classifier: Classifier, cut: Cut) -> StagePlan:
        """Describe a cut. The classifier's layers must have its `trainable` flags."""
        trainable = sum(math.prod(weight.shape) for weight in cut.tail.trainable_weights)
        total = sum(math.prod(weight.shape) for weight in classifier.model.weights)
        sizes = tuple(int(classifier.model.get_layer(layer).count_params()) for layer in cut.trained)
        return cls(name, unfreeze, cut.at, cut.crossing, cut.trained, sizes, trainable, total - trainable)

    @property
    def trains_from(self) -> str:
        """The first layer with weights to train. The tail can begin below it, with layers that have none."""
        return self.trained_layers[0]


@dataclass(frozen=True)
class StageReport:
    """Report of a finished stage.

    Attributes:
        plan: What it was to train.
        learning_rate: The optimizer's, before the schedule.
        epochs: Number of epochs that ran.
        best_epoch: Epoch whose weights the stage ends with, counted across the run; 0: the weights that a fine-tuning
            started from.
        inherited_val_loss: Validation loss of the initial weights as the stage or run before measured it; None for new
            weights.
        start_val_loss: Validation loss of the same weights, measured with this stage's trunk and tail.
        end_val_loss: Validation loss of the weights the stage ends with.
        frozen_weights_sha256: Hash of all frozen weights, before and after; equal.
        trained_weights_sha256: Hash of all trained weights, before and after the last epoch; different.
    """

    plan: StagePlan
    learning_rate: float
    epochs: int
    best_epoch: int
    inherited_val_loss: float | None
    start_val_loss: float
    end_val_loss: float
    frozen_weights_sha256: tuple[str, str]
    trained_weights_sha256: tuple[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return the record for stages.json."""
        record = asdict(self)
        return {**record.pop("plan"), **record}

    def describe(self) -> str:
        """Return one line for the screen; stages.json has the rest."""
        plan, frozen = self.plan, self.frozen_weights_sha256[1]
        unchanged = "" if frozen == hash_weights([]) else f"frozen weights unchanged ({frozen[:8]}), "
        return (
            f"{self.epochs} epochs, best {self.best_epoch} · "
            f"val_loss {decimal(self.start_val_loss)} → {decimal(self.end_val_loss)} · "
            f"{unchanged}{plan.trainable_parameters:,} weights trained"
        )

    def warn_about_start(self, precision: str) -> None:
        """Warn if the first validation loss differs from the inherited one by more than the tolerance.

        Args:
            precision: bfloat16 if anything that computed either loss did so in it.
        """
        tolerance, inherited = START_TOLERANCE[precision], self.inherited_val_loss
        if inherited is None or abs(inherited - self.start_val_loss) <= tolerance:
            return
        log.warning(
            Message(
                "training-start-differs",
                f"stage {self.plan.name}: its first validation loss is {self.start_val_loss:.6f}, but {inherited:.6f} "
                f"was measured for the same weights before. {precision} explains a difference of at most "
                f"{tolerance:g}.",
                stage=self.plan.name,
                received=self.start_val_loss,
                expected=inherited,
                tolerance=tolerance,
            )
        )


@dataclass(frozen=True)
class WeightHashes:
    """SHA-256 hashes of the weights that a stage must not change, and of each layer that it must.

    Attributes:
        frozen: Hash of all weights of layers that do not train.
        layers: Hash of each layer that trains, by name.
    """

    frozen: str
    layers: dict[str, str]

    @classmethod
    def of(cls, classifier: Classifier, trained: Sequence[str]) -> WeightHashes:
        """Hash all weights of a classifier, given the names of the layers that train."""
        layers = classifier.model.layers
        return cls(
            frozen=hash_weights(layer for layer in layers if layer.name not in trained),
            layers={layer.name: hash_weights([layer]) for layer in layers if layer.name in trained},
        )

    @property
    def trained(self) -> str:
        """One hash of all layers that train."""
        return hashlib.sha256("".join(self.layers.values()).encode()).hexdigest()


def check_changes(
    before: WeightHashes, after: WeightHashes, stage: str, learning_rate: float, weights: Callable[[], Sequence[Array]]
) -> None:
    """Check that a stage changed what it was to train, and nothing else.

    A layer that did not change is a warning: no gradient flows through a layer whose units are all dead.

    Args:
        before: Hashes before the stage.
        after: Hashes after it.
        stage: Name of the stage.
        learning_rate: The optimizer's.
        weights: Returns all weights of the tail.

    Raises:
        TrainingError: Frozen weights changed, or no weights did.
    """
    if before.frozen != after.frozen:
        raise TrainingError(
            Message(
                "training-frozen-weights-changed",
                f"stage {stage}: frozen weights changed. This is a bug in cnncli; the model is not saved.",
                stage=stage,
            )
        )
    unchanged = [name for name, digest in before.layers.items() if after.layers[name] == digest]
    if len(unchanged) == len(before.layers):
        raise TrainingError(_nothing_changed(stage, learning_rate, weights()))
    if unchanged:
        log.warning(
            Message(
                "training-layers-unchanged",
                f"stage {stage}: training did not change these layers: {', '.join(unchanged)}",
                stage=stage,
                layers=unchanged,
            )
        )


def _nothing_changed(stage: str, learning_rate: float, weights: Sequence[Array]) -> Message:
    largest = max((float(np.abs(weight).max()) for weight in weights if weight.size), default=0.0)
    if largest > DIVERGED:
        return Message(
            "training-diverged",
            f"stage {stage}: training changed no weights, since they have grown to {largest:.2g} and no gradient is "
            "left. Lower training.optimizer.learning_rate.",
            stage=stage,
            received=largest,
        )
    if learning_rate < SMALL_LEARNING_RATE:
        return Message(
            "training-learning-rate-too-small",
            f"stage {stage}: training changed no weights; a learning rate of {learning_rate:g} is too small for "
            "float32. Raise training.optimizer.learning_rate.",
            stage=stage,
            received=learning_rate,
        )
    return Message(
        "training-no-gradient",
        f"stage {stage}: training changed no weights, since no gradient reaches them: all units of a layer are dead, "
        "or the loss is exactly 0. Try another initialization (seed), activation or learning rate.",
        stage=stage,
    )

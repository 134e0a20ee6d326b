"""The stage ledger: what each stage trained, and the proof that it trained that and nothing else."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from cnncli.errors import TrainingError
from cnncli.networks.classifier import Classifier
from cnncli.networks.cut import Cut
from cnncli.networks.fingerprint import hash_weights

HANDED_ON_TOLERANCE = {"float32": 1e-4, "bfloat16": 1e-2}
"""How far a stage's first validation loss may lie from the one it was handed: in float32 where nothing that computes
either of them, trunk or tail, does so in bfloat16.

In float32 both paths compute the same sums in another order. In bfloat16 moving the cut moves layers from the engine of
the trunk to Keras, which rounds elsewhere: with 1,000 photographs it moved the loss of a frozen network with a linear
head, at depths from one layer to all of them, by at most 2.1e-3 (MobileNetV2), 1.2e-3 (MobileNet), 7.8e-4
(EfficientNetLite0) and 5.7e-5 (ResNet50; 8.4e-5 fine-tuned), OpenVINO's trunks and Keras's tails both in bfloat16
(see scripts/measure_hand_over.py)."""


@dataclass(frozen=True)
class StagePlan:
    """What a stage would train, before it does.

    Attributes:
        name: the stage's.
        unfreeze: as in the config.
        cut_at: first operation of the tail.
        crossing: name and shape of each tensor that crosses the cut.
        trained_layers: names, in the graph's order.
        layer_parameters: how many weights each of them has; a batch normalisation's statistics count too.
        trainable_parameters, frozen_parameters: of the whole classifier.
    """

    name: str
    unfreeze: int | str
    cut_at: str
    crossing: tuple[tuple[str, tuple[int, ...]], ...]
    trained_layers: tuple[str, ...]
    layer_parameters: tuple[int, ...]
    trainable_parameters: int
    frozen_parameters: int

    @property
    def trains_from(self) -> str:
        """The first layer that has weights to train; the tail may begin below it, with some that has none."""
        return self.trained_layers[0]


@dataclass(frozen=True)
class LedgerEntry:
    """A stage as it was.

    Attributes:
        plan: what it meant to train.
        learning_rate: the optimizer's, before the schedule.
        epochs: epochs that ran.
        best_epoch: the epoch (counted across the run) whose weights the stage handed on.
        handed_val_loss: validation loss of the weights it was handed, as the stage before measured it; None at first.
        start_val_loss: the same weights, measured on this stage's path.
        end_val_loss: of the weights it handed on.
        frozen_weights_sha256: of all frozen weights, before and after; equal.
        trained_weights_sha256: of all trained weights, before and after the last epoch; different.
    """

    plan: StagePlan
    learning_rate: float
    epochs: int
    best_epoch: int
    handed_val_loss: float | None
    start_val_loss: float
    end_val_loss: float
    frozen_weights_sha256: tuple[str, str]
    trained_weights_sha256: tuple[str, str]

    def to_dict(self) -> dict[str, Any]:
        """As plain data for `stages.json`."""
        entry = asdict(self)
        return {**entry.pop("plan"), **entry}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> LedgerEntry:
        """What `to_dict` gave, read back from JSON."""
        plan = {one.name: facts[one.name] for one in fields(StagePlan)}
        rest = {one.name: facts[one.name] for one in fields(cls) if one.name != "plan"}
        plan["crossing"] = tuple((name, tuple(shape)) for name, shape in plan["crossing"])
        for name in ("trained_layers", "layer_parameters"):
            plan[name] = tuple(plan[name])
        for name in ("frozen_weights_sha256", "trained_weights_sha256"):
            rest[name] = tuple(rest[name])
        return cls(plan=StagePlan(**plan), **rest)

    def hand_over_problem(self, precision: str) -> str | None:
        """A sentence where the stage did not start from the loss it was handed, within the tolerance.

        Args:
            precision: bfloat16 where anything that computed either loss did so in it.
        """
        tolerance = HANDED_ON_TOLERANCE[precision]
        if self.handed_val_loss is None or abs(self.start_val_loss - self.handed_val_loss) <= tolerance:
            return None
        return (
            f"stage {self.plan.name} starts at a validation loss of {self.start_val_loss:.6f} and was handed "
            f"{self.handed_val_loss:.6f}: more than {tolerance:g} apart, the most that {precision} explains."
        )


LEDGER_COLUMNS = ("stage", "trains from", "trainable", "frozen", "learning rate", "epochs", "best", "val_loss", "proof")


def ledger_cells(entry: LedgerEntry) -> tuple[str, ...]:
    """An entry as a row of text under `LEDGER_COLUMNS`."""
    plan, handed = entry.plan, entry.handed_val_loss
    frozen = entry.frozen_weights_sha256[1]
    proofs = ["trained moved"] if frozen == hash_weights([]) else [f"frozen {frozen[:8]} unmoved", "trained moved"]
    losses = [] if handed is None else [f"handed {handed:.4f}"]
    return (
        plan.name,
        plan.trains_from,
        f"{plan.trainable_parameters:,}",
        f"{plan.frozen_parameters:,}",
        f"{entry.learning_rate:g}",
        f"{entry.epochs}",
        f"{entry.best_epoch}",
        ", ".join([*losses, f"start {entry.start_val_loss:.4f}", f"end {entry.end_val_loss:.4f}"]),
        ", ".join(proofs),
    )


def plan_of(name: str, unfreeze: int | str, classifier: Classifier, cut: Cut) -> StagePlan:
    """Describe a cut as a stage's plan; the classifier's layers carry the cut's `trainable` flags."""
    trainable = sum(math.prod(weight.shape) for weight in cut.tail.trainable_weights)
    total = sum(math.prod(weight.shape) for weight in classifier.model.weights)
    sizes = tuple(int(classifier.model.get_layer(layer).count_params()) for layer in cut.trained)
    return StagePlan(name, unfreeze, cut.at, cut.crossing, cut.trained, sizes, trainable, total - trainable)


@dataclass(frozen=True)
class WeightHashes:
    """SHA-256 of what a stage must not move, and of each layer that it must.

    Attributes:
        frozen: of all weights of layers that do not train, together.
        layers: of each layer that trains, by name.
    """

    frozen: str
    layers: Mapping[str, str]

    @classmethod
    def of(cls, classifier: Classifier, trained: Sequence[str]) -> WeightHashes:
        """Hash all weights of a classifier, split by the names of the layers that train."""
        layers = classifier.model.layers
        return cls(
            frozen=hash_weights(layer for layer in layers if layer.name not in trained),
            layers={layer.name: hash_weights([layer]) for layer in layers if layer.name in trained},
        )

    @property
    def trained(self) -> str:
        """One hash over the layers that train."""
        return hashlib.sha256("".join(self.layers.values()).encode()).hexdigest()

    def check_moved(self, after: WeightHashes, stage: str) -> list[str]:
        """Compare with the hashes after training.

        Returns:
            Names of layers that were to train and did not: nothing flows through a layer whose units are all dead.

        Raises:
            TrainingError: frozen weights moved, or nothing at all did.
        """
        if self.frozen != after.frozen:
            raise TrainingError(
                f"stage {stage}: frozen weights moved. This is a bug of cnncli; the model is not saved."
            )
        still = [name for name, digest in self.layers.items() if after.layers[name] == digest]
        if len(still) == len(self.layers):
            raise TrainingError(
                f"stage {stage}: no weight moved in training. Is the learning rate too small for float32?"
            )
        return still

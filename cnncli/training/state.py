"""Training state: everything that determines how training continues, with one codec.

A checkpoint contains the state as JSON (`TrainState`) and these arrays:

    moved/LAYER/NUMBER       weights of layers trained by finished stages
    best/NUMBER              weights of the tail at the best epoch
    trainer/NAME             weights, optimizer variables and random states of the training step
    epoch/logits, /labels    predictions of the current epoch, if a metric needs them
    inspect/NUMBER           trained weights at the start of the epoch, if layers are inspected
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from cnncli.engines.engine import Array
from cnncli.errors import Message, RunError, printable
from cnncli.networks.classifier import Classifier
from cnncli.runs.checkpoints import Checkpoint
from cnncli.runs.records import HistoryRow
from cnncli.storage.zips import Arrays
from cnncli.training.optimizer import Patience, Plateau
from cnncli.training.stage_report import StageReport, WeightHashes
from cnncli.training.steps import EpochTotals, TrainStep

BEST, STEP, EPOCH = "best/", "trainer/", "epoch/"


@dataclass(frozen=True)
class BestEpoch:
    """The best epoch of a run so far, counted across stages; 0 stands for the initial weights of fine-tuning.

    Attributes:
        value: Value of the monitored metric; None if the last epoch is kept, or if the initial weights of fine-tuning
            have none.
        validation: Its validation metrics, by name without prefix; empty without validation images.
    """

    epoch: int
    value: float | None
    validation: dict[str, float]


@dataclass
class StageState:
    """The state of the current stage, except arrays.

    Attributes:
        start: Validation metrics of the initial weights, measured with this stage's trunk and tail; empty without
            validation images.
        before: Hashes of the initial weights.
        best: Best epoch of the run so far; None before the first.
        features: Checksums of the cached features used for training and validation.
        epoch: Current epoch, counted from 1 within the stage.
        has_stopped: Whether early stopping has ended the stage.
    """

    start: dict[str, float]
    before: WeightHashes
    best: BestEpoch | None
    features: list[str]
    epoch: int = 1
    totals: EpochTotals = field(default_factory=EpochTotals)
    plateau: Plateau | None = None
    stopping: Patience | None = None
    has_stopped: bool = False


@dataclass
class TrainState:
    """The state of training, except arrays.

    Attributes:
        stages: Reports of finished stages.
        best: Best epoch of these stages, or of the parent.
        lowered: Stage (counted from 0) and epoch of each rollback, from which on the stage's learning rate is lower.
        stage: The current stage; None between two stages.
    """

    history: list[HistoryRow] = field(default_factory=list)
    stages: list[StageReport] = field(default_factory=list)
    best: BestEpoch | None = None
    lowered: list[tuple[int, int]] = field(default_factory=list)
    stage: StageState | None = None

    def to_checkpoint(self, classifier: Classifier, current: Arrays) -> Checkpoint:
        """Return a checkpoint: the state, the layers trained by finished stages, and arrays of the current stage."""
        arrays = {
            f"moved/{layer.name}/{number}": weight
            for layer in self._trained_layers(classifier)
            for number, weight in enumerate(layer.get_weights())
        }
        is_between_epochs = self.stage is None or self.stage.totals.steps == 0
        return Checkpoint(_CODEC.dump_python(self, mode="json"), {**arrays, **current}, is_between_epochs)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, classifier: Classifier) -> TrainState:
        """Return the state of a checkpoint, and load the layers that finished stages trained into the classifier."""
        document = checkpoint.document
        state = _CODEC.validate_python(_from_format_1(document) if document.get("format", 1) == 1 else document)
        for layer in state._trained_layers(classifier):
            names = [f"moved/{layer.name}/{number}" for number in range(len(layer.weights))]
            layer.set_weights([checkpoint.arrays[name] for name in names])
        return state

    def _trained_layers(self, classifier: Classifier) -> list[Any]:
        names = dict.fromkeys(layer for report in self.stages for layer in report.plan.trained_layers)
        auxiliary = classifier.auxiliary_layers if names else []
        return [*(classifier.model.get_layer(name) for name in names), *auxiliary]


_CODEC = TypeAdapter(TrainState)


def _from_format_1(document: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a document from before metrics came from a table."""
    metrics, stage = ("loss", "accuracy", "val_loss", "val_accuracy"), document["stage"]
    return {
        "history": [{**row, "metrics": {name: row[name] for name in metrics}} for row in document["history"]],
        "stages": [{**row, "plan": row, "inherited_val_loss": row["handed_val_loss"]} for row in document["ledger"]],
        "best": document["best"],
        "lowered": document["lowered"],
        "stage": stage and {**stage, "totals": {**stage["sums"], "n_correct": stage["sums"]["right"]}},
    }


def stage_arrays(step: TrainStep, best_weights: Sequence[Array], totals: EpochTotals) -> Arrays:
    """Return the arrays of the current stage."""
    predictions = {"logits": totals.logits, "labels": totals.labels} if totals.logits else {}
    return {
        **{f"{BEST}{number:04}": weight for number, weight in enumerate(best_weights)},
        **{f"{STEP}{name}": array for name, array in step.arrays().items()},
        **{f"{EPOCH}{name}": np.concatenate(parts) for name, parts in predictions.items()},
    }


def load_stage_arrays(step: TrainStep, totals: EpochTotals, arrays: Arrays) -> list[Array]:
    """Load the result of `stage_arrays`, and return the weights of the best epoch."""
    step.load_arrays({name.removeprefix(STEP): array for name, array in arrays.items() if name.startswith(STEP)})
    if f"{EPOCH}logits" in arrays:
        totals.logits, totals.labels = [arrays[f"{EPOCH}logits"]], [arrays[f"{EPOCH}labels"]]
    return [arrays[name] for name in sorted(arrays) if name.startswith(BEST)]


@contextmanager
def matching_checkpoint() -> Iterator[None]:
    """Convert errors in the block to RunError: a valid checkpoint can belong to a different run."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = printable(" ".join(str(error).split()))[:200]
        text = f"A checkpoint in state/ belongs to a different run ({reason}). Delete state/ to train from scratch."
        raise RunError(Message("run-checkpoint-mismatch", text, reason=reason)) from error

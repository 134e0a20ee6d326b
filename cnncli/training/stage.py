"""One stage: epochs of one cut, one optimizer and one schedule, watched and proven."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from cnncli.config.modes import Stage
from cnncli.console import Console
from cnncli.engines.engine import Precision
from cnncli.networks.classifier import Classifier
from cnncli.networks.cut import Cut
from cnncli.runs.records import HistoryRow
from cnncli.training.feed import Batch, Feed
from cnncli.training.ledger import LedgerEntry, WeightHashes, plan_of
from cnncli.training.loop import Scores, TailTrainer, learning_rates
from cnncli.training.mixing import MixedBatch, Mixing
from cnncli.training.objective import Objective
from cnncli.training.optimizer import build_optimizer
from cnncli.training.stopping import EarlyStopping, Plateau, is_better


@dataclass(frozen=True)
class StageWork:
    """Everything a stage trains with.

    Attributes:
        stage: its settings.
        classifier: the whole graph.
        cut: the classifier divided for this stage.
        training: gives the batches of an epoch.
        validation: the validation pictures, cut at the same place.
        objective: what is minimised.
        batch_size: pictures in a step.
        monitor: metric of the best epoch.
        seed: the run's.
        precision: in which the tail computes.
        mixing: how batches are mixed, where the objective is for mixed ones.
        handed: validation scores of the weights that the stage starts from, as whoever trained them measured them;
            None where they are new.
    """

    stage: Stage
    classifier: Classifier
    cut: Cut
    training: Feed
    validation: Feed
    objective: Objective
    batch_size: int
    monitor: str
    seed: int
    precision: Precision
    mixing: Mixing | None
    handed: Scores | None


@dataclass(frozen=True)
class Incumbent:
    """The best epoch of a run so far.

    Attributes:
        epoch: counted across the run.
        value: of the monitored metric.
        validation: its validation scores.
    """

    epoch: int
    value: float
    validation: Scores


class Recorder(Protocol):
    """Takes a row of history as soon as an epoch is over."""

    def add(self, row: HistoryRow) -> None:
        """Keep a row."""
        ...


def train_stage(
    work: StageWork, incumbent: Incumbent | None, first_epoch: int, recorder: Recorder, console: Console
) -> tuple[Incumbent, LedgerEntry]:
    """Train one stage and leave the classifier with the weights of the best epoch so far.

    Args:
        work: what is trained on what.
        incumbent: the best epoch of the stages before. Its weights are the classifier's; it is scored again on this
            stage's path before it competes.
        first_epoch: number of the stage's first epoch, counted across the run from 1.
        recorder: takes the history.
        console: shows the progress.

    Returns:
        The best epoch so far, and the stage's entry in the ledger.

    Raises:
        TrainingError: a loss that is no number, or weights that moved and should not have.
    """
    trainer = TailTrainer(work.cut.tail, build_optimizer(work.stage.optimizer), work.objective, work.precision)
    trainer.seed(work.seed, work.stage.name)
    before = WeightHashes.of(work.classifier, work.cut.trained)
    start = trainer.score(work.validation.in_order(work.batch_size), f"stage {work.stage.name}, before its first epoch")
    best = _scored_again(incumbent, start, work.monitor)
    weights, epochs = trainer.snapshot(), 0
    for row in _epochs(work, trainer, first_epoch, console):
        recorder.add(row)
        epochs += 1
        value = float(getattr(row, work.monitor))
        if best is None or is_better(work.monitor, value, best.value):
            best = Incumbent(row.epoch, value, Scores(row.val_loss, row.val_accuracy))
            weights = trainer.snapshot()
    trainer.hand_over()
    after = WeightHashes.of(work.classifier, work.cut.trained)
    if still := before.check_moved(after, work.stage.name):
        console.warn(f"stage {work.stage.name}: these layers were to train and did not move: {', '.join(still)}")
    trainer.restore(weights)
    if best is None:
        raise RuntimeError("a stage has at least one epoch")
    return best, LedgerEntry(
        plan=plan_of(work.stage.name, work.stage.unfreeze, work.classifier, work.cut),
        learning_rate=work.stage.optimizer.learning_rate,
        epochs=epochs,
        best_epoch=best.epoch,
        handed_val_loss=work.handed.loss if work.handed else None,
        start_val_loss=start.loss,
        end_val_loss=best.validation.loss,
        frozen_weights_sha256=(before.frozen, after.frozen),
        trained_weights_sha256=(before.trained, after.trained),
    )


def _scored_again(incumbent: Incumbent | None, start: Scores, monitor: str) -> Incumbent | None:
    """The incumbent with the score of this stage's path; a metric of the training pictures keeps its old value."""
    if incumbent is None:
        return None
    value = {"val_loss": start.loss, "val_accuracy": start.accuracy}.get(monitor, incumbent.value)
    return Incumbent(incumbent.epoch, value, start)


def _epochs(work: StageWork, trainer: TailTrainer, first_epoch: int, console: Console) -> Iterator[HistoryRow]:
    """Train epoch after epoch, until the last one or until early stopping ends the stage."""
    stage = work.stage
    plateau = Plateau(stage.reduce_on_plateau) if stage.reduce_on_plateau else None
    stopping = EarlyStopping(stage.early_stopping) if stage.early_stopping else None
    pictures = len(work.training.pictures.labels)
    steps = math.ceil(pictures / work.batch_size)
    with console.training(stage.name, stage.epochs, pictures) as progress:
        for epoch in range(1, stage.epochs + 1):
            started = time.monotonic()
            factors = learning_rates(stage.schedule, epoch, stage.epochs, steps, plateau.factor if plateau else 1.0)
            where = f"stage {stage.name}, epoch {epoch}"
            trained = trainer.train_epoch(_batches(work, epoch), factors, where, progress.advance)
            validation = trainer.score(work.validation.in_order(work.batch_size), where)
            seconds = time.monotonic() - started
            row = HistoryRow(
                stage=stage.name,
                epoch=first_epoch + epoch - 1,
                learning_rate=trainer.learning_rate,
                loss=trained.loss,
                accuracy=trained.accuracy,
                val_loss=validation.loss,
                val_accuracy=validation.accuracy,
                seconds=seconds,
                pictures_per_s=pictures / seconds,
            )
            progress.epoch_done(row)
            yield row
            metrics = _monitored(row)
            if plateau:
                plateau.see(metrics, trainer.base_learning_rate)
            if stopping and stage.early_stopping and stopping.should_stop(metrics):
                if epoch < stage.epochs:
                    console.say(
                        f"{stage.name} stops early: {stage.early_stopping.monitor} has not improved for "
                        f"{stage.early_stopping.patience} epochs"
                    )
                return


def _batches(work: StageWork, epoch: int) -> Iterator[Batch | MixedBatch]:
    batches = work.training.epoch(work.stage.name, epoch, work.batch_size)
    return work.mixing.epoch(batches, work.stage.name, epoch) if work.mixing else batches


def _monitored(row: HistoryRow) -> dict[str, float]:
    return {name: getattr(row, name) for name in ("loss", "accuracy", "val_loss", "val_accuracy")}

"""One stage: epochs of one cut, one optimizer and one schedule, watched and proven."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from cnncli.config.modes import Stage
from cnncli.engines.engine import Precision
from cnncli.errors import CnncliError, NonFiniteError, TrainingError
from cnncli.networks.classifier import Classifier
from cnncli.networks.cut import Cut
from cnncli.runs.records import HistoryRow
from cnncli.runtime.signals import Stop, noted
from cnncli.storage.npz import Arrays
from cnncli.terminal.console import Console
from cnncli.training.callbacks import is_better
from cnncli.training.feed import Batch, Feed
from cnncli.training.mixing import MixedBatch, Mixing
from cnncli.training.objective import Objective
from cnncli.training.optimizer import build_optimizer
from cnncli.training.stage_report import LedgerEntry, WeightHashes, plan_of
from cnncli.training.state import Incumbent, StageState
from cnncli.training.steps import Scores, Sums, TailTrainer, is_out_of_memory, learning_rates

LOWER = 0.1
"""What the learning rate is multiplied by where a training was set back, because its loss ceased to be a number."""


@dataclass(frozen=True)
class StageWork:
    """Everything a stage trains with.

    Attributes:
        stage: its settings.
        classifier: the whole graph.
        cut: the classifier divided for this stage.
        training: gives the batches of an epoch.
        validation: the validation images, cut at the same place.
        objective: what is minimised.
        batch_size: images in a step.
        monitor: metric of the best epoch.
        seed: the run's.
        precision: in which the tail computes.
        mixing: how batches are mixed, where the objective is for mixed ones.
        handed: validation scores of the weights that the stage starts from, as whoever trained them measured them;
            None where they are new.
        incumbent: the best epoch of the stages before, whose weights the classifier has; it is scored again on this
            stage's path before it competes.
        first_epoch: number of the stage's first epoch, counted across the run from 1.
        lowered_at: epochs of the stage from which on its learning rate is a tenth of what it was.
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
    incumbent: Incumbent | None
    first_epoch: int
    lowered_at: tuple[int, ...] = ()


class Keeper(Protocol):
    """Keeps what a stage has done."""

    def add(self, row: HistoryRow) -> None:
        """Keep a row of history, as soon as its epoch is over."""
        ...

    def is_due(self, state: StageState) -> bool:
        """Whether it is time for a checkpoint."""
        ...

    def save(self, state: StageState, trainer: TailTrainer) -> None:
        """Write a checkpoint."""
        ...


def train_stage(
    work: StageWork, keeper: Keeper, console: Console, resumed: tuple[StageState, Arrays] | None = None
) -> tuple[Incumbent, LedgerEntry]:
    """Train one stage and leave the classifier with the weights of the best epoch so far.

    A signal that asks to stop is obeyed between two steps, with a checkpoint.

    Args:
        work: what is trained on what.
        keeper: takes the history and the checkpoints.
        console: shows the progress.
        resumed: where the stage goes on, with the arrays of its checkpoint; None: from its beginning.

    Returns:
        The best epoch so far, and the stage's entry in the ledger.

    Raises:
        NonFiniteError: a loss, a score or a weight that is no number.
        TrainingError: weights moved that should not have, or none did.
        KeyboardInterrupt, Terminated: by a signal.
    """
    trainer = TailTrainer(work.cut.tail, build_optimizer(work.stage.optimizer), work.objective, work.precision)
    if resumed is None:
        with naming_a_batch_too_large(work):
            state = _begin(work, trainer)
        keeper.save(state, trainer)
    else:
        state, arrays = resumed
        state.load_trainer(trainer, arrays)
        arrays.clear()  # whoever holds them still would hold them for the whole stage
        if state.features != checksums_of(work):
            console.warn(
                f"stage {work.stage.name}: features had to be computed again, and are not those it began with, bit for "
                "bit: what it ends with will differ in its last digits"
            )
        if state.has_stopped and state.epoch <= work.stage.epochs:
            console.say(f"{work.stage.name} has stopped early, after {state.epoch - 1} epochs: more change nothing")
    with noted() as stop, naming_a_batch_too_large(work):
        try:
            Epochs(work, trainer, state, keeper, console, stop).run()
        except NonFiniteError:
            stop.obey()
            raise
    stop.obey()  # one that came after the last checkpoint
    return _end(work, trainer, state, console)


@contextmanager
def naming_a_batch_too_large(work: StageWork) -> Iterator[None]:
    """Turn what runs out of memory inside the block into a `TrainingError` that says what to change."""
    try:
        yield
    except Exception as error:
        if isinstance(error, CnncliError) or not is_out_of_memory(error):
            raise
        raise TrainingError(
            f"stage {work.stage.name}: a batch of {work.batch_size:,} images does not fit into memory. Lower "
            "training.batch_size, or let training.batch_size=auto find one that fits."
        ) from error


def _begin(work: StageWork, trainer: TailTrainer) -> StageState:
    trainer.seed(work.seed, work.stage.name)
    before = WeightHashes.of(work.classifier, work.cut.trained)
    where = f"stage {work.stage.name}, before its first epoch"
    start = trainer.score(work.validation.in_order(work.batch_size), where)
    trainer.check_weights(where)
    best = _scored_again(work.incumbent, start, work.monitor)
    state = StageState.begin(work.stage, start, before, best, trainer.snapshot())
    state.features = checksums_of(work)
    return state


def checksums_of(work: StageWork) -> list[str]:
    """What stands for the stored features of a stage."""
    return [*work.training.checksums(), *work.validation.checksums()]


def _end(work: StageWork, trainer: TailTrainer, state: StageState, console: Console) -> tuple[Incumbent, LedgerEntry]:
    trainer.hand_over()
    after = WeightHashes.of(work.classifier, work.cut.trained)
    if still := state.before.check_moved(after, work.stage.name):
        console.warn(f"stage {work.stage.name}: these layers were to train and did not move: {', '.join(still)}")
    trainer.restore(state.best_weights)
    if state.best is None:
        raise RuntimeError("a stage has at least one epoch")
    return state.best, LedgerEntry(
        plan=plan_of(work.stage.name, work.stage.unfreeze, work.classifier, work.cut),
        learning_rate=work.stage.optimizer.learning_rate,
        epochs=state.epoch - 1,
        best_epoch=state.best.epoch,
        handed_val_loss=work.handed.loss if work.handed else None,
        start_val_loss=state.start.loss,
        end_val_loss=state.best.validation.loss,
        frozen_weights_sha256=(state.before.frozen, after.frozen),
        trained_weights_sha256=(state.before.trained, after.trained),
    )


def _scored_again(incumbent: Incumbent | None, start: Scores, monitor: str) -> Incumbent | None:
    """The incumbent with the score of this stage's path; a metric of the training images keeps its old value."""
    if incumbent is None:
        return None
    value = {"val_loss": start.loss, "val_accuracy": start.accuracy}.get(monitor, incumbent.value)
    return Incumbent(incumbent.epoch, value, start)


@dataclass(frozen=True)
class Epochs:
    """The epochs of a stage, from where its state says, until the last one or until early stopping ends them."""

    work: StageWork
    trainer: TailTrainer
    state: StageState
    keeper: Keeper
    console: Console
    stop: Stop

    def run(self) -> None:
        """Train what is left."""
        stage, state, images = self.work.stage, self.state, len(self.work.training.images.labels)
        with self.console.training(stage.name, stage.epochs, images, done=state.epoch - 1) as progress:
            while not self._is_over:
                self._train(progress.advance)
                row = self._validate()
                self._check_weights()
                progress.epoch_done(row.scores())
                self._take(row)
                self.keeper.add(row)
                self._keep()

    def _keep(self) -> None:
        """Write a checkpoint where it is time for one, time to stop, or the stage is over."""
        if self.stop or self._is_over or self.keeper.is_due(self.state):
            self._check_weights()
            self.keeper.save(self.state, self.trainer)
        self.stop.obey()

    def _check_weights(self) -> None:
        steps = self.state.sums.steps
        self.trainer.check_weights(f"{self._where}, step {steps}" if steps else self._where)

    @property
    def _is_over(self) -> bool:
        return self.state.epoch > self.work.stage.epochs or self.state.has_stopped

    def _keep_if_stopped(self) -> None:
        if self.stop:
            self._keep()

    @property
    def _where(self) -> str:
        return f"stage {self.work.stage.name}, epoch {self.state.epoch}"

    def _train(self, advance: Callable[[int], None]) -> None:
        """The steps of the epoch under way that are not done yet."""
        work, state = self.work, self.state

        def after_step(sums: Sums) -> None:
            advance(sums.images - state.sums.images)
            state.sums = sums
            self._keep()

        steps = math.ceil(len(work.training.images.labels) / work.batch_size)
        factor = LOWER ** sum(state.epoch >= epoch for epoch in work.lowered_at)
        factor *= state.plateau.factor if state.plateau else 1.0
        done = state.sums.steps
        advance(state.sums.images)
        rates = learning_rates(work.stage.schedule, state.epoch, work.stage.epochs, steps, factor, done)
        self.trainer.train_epoch(self._batches(done), rates, self._where, state.sums, after_step)

    def _batches(self, done: int) -> Iterator[Batch | MixedBatch]:
        work, epoch = self.work, self.state.epoch
        batches = work.training.epoch(work.stage.name, epoch, work.batch_size, done)
        return work.mixing.epoch(batches, work.stage.name, epoch, done) if work.mixing else batches

    def _validate(self) -> HistoryRow:
        work, sums = self.work, self.state.sums

        started = time.monotonic()
        validation = self.trainer.score(work.validation.in_order(work.batch_size), self._where, self._keep_if_stopped)
        seconds = sums.seconds + time.monotonic() - started
        return HistoryRow(
            stage=work.stage.name,
            epoch=work.first_epoch + self.state.epoch - 1,
            learning_rate=self.trainer.learning_rate,
            loss=sums.scores.loss,
            accuracy=sums.scores.accuracy,
            val_loss=validation.loss,
            val_accuracy=validation.accuracy,
            seconds=seconds,
            images_per_s=sums.images / seconds,
        )

    def _take(self, row: HistoryRow) -> None:
        """Let an epoch that is over decide about the best one, the plateau and the end."""
        work, state, stage = self.work, self.state, self.work.stage
        value = float(getattr(row, work.monitor))
        if state.best is None or is_better(work.monitor, value, state.best.value):
            state.best = Incumbent(row.epoch, value, Scores(row.val_loss, row.val_accuracy))
            state.best_weights = self.trainer.snapshot()
        metrics = _monitored(row)
        if state.plateau:
            state.plateau.see(metrics, self.trainer.base_learning_rate)
        if state.stopping and stage.early_stopping and state.stopping.should_stop(metrics):
            state.has_stopped = True
            if state.epoch < stage.epochs:
                self.console.say(
                    f"{stage.name} stops early: {stage.early_stopping.monitor} has not improved for "
                    f"{stage.early_stopping.patience} epochs"
                )
        state.epoch, state.sums = state.epoch + 1, Sums()


def _monitored(row: HistoryRow) -> dict[str, float]:
    return {name: getattr(row, name) for name in ("loss", "accuracy", "val_loss", "val_accuracy")}

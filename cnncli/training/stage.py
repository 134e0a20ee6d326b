"""One stage: the epochs of one cut, one optimizer and one schedule, monitored and verified."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cnncli.engines.engine import Array
from cnncli.errors import CnncliError, Message, NonFiniteError, TrainingError
from cnncli.metrics.table import as_validation
from cnncli.networks.classifier import Classifier
from cnncli.runs.checkpoints import Checkpoint
from cnncli.runs.records import HistoryRow
from cnncli.runs.writer import RunWriter
from cnncli.runtime.signals import Stop, noted
from cnncli.storage.npz import Arrays
from cnncli.training.callbacks import Patience, Plateau
from cnncli.training.context import StageGraph, TrainingContext
from cnncli.training.inputs import Batch, BatchSource
from cnncli.training.mixing import MixedBatch, MixedObjective, Mixing
from cnncli.training.objective import Objective, balanced_weights
from cnncli.training.optimizer import build_optimizer, learning_rates
from cnncli.training.stage_report import StagePlan, StageReport, WeightHashes, check_changes
from cnncli.training.state import (
    BestEpoch,
    StageState,
    TrainState,
    layer_arrays,
    load_stage_arrays,
    matching_checkpoint,
    stage_arrays,
)
from cnncli.training.steps import EpochTotals, TrainStep, is_out_of_memory

ROLLBACK_FACTOR = 0.1
"""Factor of the learning rate after a rollback."""

log = logging.getLogger(__name__)


class StageRun:
    """The epochs of one stage, from where the training's state says to the last one or until early stopping.

    Attributes:
        step: The compiled training step.
    """

    def __init__(
        self,
        classifier: Classifier,
        graph: StageGraph,
        train: BatchSource,
        validation: BatchSource,
        context: TrainingContext,
        state: TrainState,
        writer: RunWriter,
    ) -> None:
        """Build the optimizer and the training step.

        Args:
            classifier: The whole graph, with the weights of the best epoch so far.
            graph: The classifier cut for this stage.
            train: Training images.
            validation: Validation images.
            context: Context of the training.
            state: State of the training, which the stage updates.
            writer: Writes history and checkpoints.
        """
        self._classifier, self._graph, self._stage = classifier, graph, graph.stage
        self._train, self._validation = train, validation
        self._context, self._state, self._writer = context, state, writer
        self._monitor = context.config.training.best.monitor
        self._mixing = Mixing.from_config(context.config.augmentation, context.config.seed)
        self._rollbacks = [epoch for stage, epoch in state.lowered if stage == len(state.stages)]
        objective = _build_objective(context, train)
        self.step = TrainStep(graph.cut.tail, build_optimizer(self._stage.optimizer), objective, graph.precision)
        self._activation = objective.activation
        self._best_weights: list[Array] = []
        self._stop = Stop()

    def run(self, arrays: Arrays | None) -> StageReport:
        """Train the stage, and leave the classifier with the weights of the best epoch so far.

        A signal that asks to stop is obeyed between two steps, after writing a checkpoint.

        Args:
            arrays: Arrays of the checkpoint that the stage resumes from; None: from its beginning.

        Raises:
            NonFiniteError: A loss, a class score or a weight became NaN or Inf.
            TrainingError: Frozen weights changed, or no weights did, or a batch does not fit into memory.
            KeyboardInterrupt, Terminated: By a signal.
        """
        with self._named_memory_error():
            inherited = self._state.best
            self._current = self._begin() if arrays is None else self._resume(arrays)
        with noted() as self._stop, self._named_memory_error():
            try:
                self._train_epochs()
            except NonFiniteError:
                self._stop.obey()
                raise
        self._stop.obey()  # for a signal after the last checkpoint
        return self._end(inherited)

    def _begin(self) -> StageState:
        self.step.seed(self._context.config.seed, self._stage.name)
        before = WeightHashes.of(self._classifier, self._graph.cut.trained)
        where = f"stage {self._stage.name}, before its first epoch"
        start = self.step.evaluate(self._validation.in_order(self._context.batch_size), where)
        self.step.check_weights(where)
        best = self._state.best and self._state.best.measured_again(start, self._monitor)
        self._best_weights = self.step.weights()
        plateau, stopping = self._stage.reduce_on_plateau, self._stage.early_stopping
        self._state.stage = StageState(
            start=start,
            before=before,
            best=best,
            features=self._checksums(),
            plateau=Plateau.from_config(plateau) if plateau else None,
            stopping=Patience.from_config(stopping) if stopping else None,
        )
        self._save()
        return self._state.stage

    def _resume(self, arrays: Arrays) -> StageState:
        state, name = self._state.stage, self._stage.name
        if state is None:
            raise ValueError("a stage resumes from its state")
        with matching_checkpoint():
            self._best_weights = load_stage_arrays(self.step, state.totals, arrays)
        arrays.clear()  # other references would keep them in memory for the whole stage
        if state.features != self._checksums():
            log.warning(
                Message(
                    "training-features-differ",
                    f"stage {name}: recomputed features are not bit-identical to the original ones; the final weights "
                    "may differ slightly.",
                    stage=name,
                )
            )
        if state.has_stopped and state.epoch <= self._stage.epochs:
            log.info(
                Message(
                    "training-stopped-early-before",
                    f"stage {name} was stopped early after {state.epoch - 1} epochs; more epochs change nothing.",
                    stage=name,
                    epochs=state.epoch - 1,
                )
            )
        return state

    def _checksums(self) -> list[str]:
        """Return the checksums of the cached features of the stage."""
        return [*self._train.checksums(), *self._validation.checksums()]

    def _end(self, inherited: BestEpoch | None) -> StageReport:
        state, stage = self._current, self._stage
        if state.best is None:
            raise RuntimeError("a stage has at least one epoch")
        self.step.hand_over()
        after = WeightHashes.of(self._classifier, self._graph.cut.trained)
        check_changes(state.before, after, stage.name, stage.optimizer.learning_rate, self.step.weights)
        self.step.load_weights(self._best_weights)
        self._state.best, self._state.stage = state.best, None
        return StageReport(
            plan=StagePlan.of(stage.name, stage.unfreeze, self._classifier, self._graph.cut),
            learning_rate=stage.optimizer.learning_rate,
            epochs=state.epoch - 1,
            best_epoch=state.best.epoch,
            inherited_val_loss=inherited.validation.get("loss") if inherited else None,
            start_val_loss=state.start["loss"],
            end_val_loss=state.best.validation["loss"],
            frozen_weights_sha256=(state.before.frozen, after.frozen),
            trained_weights_sha256=(state.before.trained, after.trained),
        )

    def _train_epochs(self) -> None:
        stage, state = self._stage, self._current
        with self._context.console.training(
            stage.name, stage.epochs, len(self._train.labels), done=state.epoch - 1
        ) as progress:
            while not self._is_over:
                self._train_epoch(progress.advance)
                row = self._validate()
                self._check_weights()
                progress.epoch_done(row.scores())
                self._update(row)
                self._state.history.append(row)
                self._writer.write_epoch(self._state.history)
                self._save_if_due()

    def _train_epoch(self, advance: Callable[[int], None]) -> None:
        """Train the remaining steps of the epoch under way."""
        stage, state, batch_size = self._stage, self._current, self._context.batch_size
        advance(state.totals.images)
        shown = state.totals.images

        def after_step(totals: EpochTotals) -> None:
            nonlocal shown
            advance(totals.images - shown)
            shown = totals.images
            self._save_if_due()

        done = state.totals.steps
        factor = ROLLBACK_FACTOR ** sum(state.epoch >= epoch for epoch in self._rollbacks)
        factor *= state.plateau.factor if state.plateau else 1.0
        steps = math.ceil(len(self._train.labels) / batch_size)
        rates = learning_rates(stage.schedule, state.epoch, stage.epochs, steps, factor, done)
        self.step.train_epoch(self._batches(done), rates, self._where, state.totals, after_step)

    def _batches(self, done: int) -> Iterator[Batch | MixedBatch]:
        name, epoch = self._stage.name, self._current.epoch
        batches = self._train.epoch(name, epoch, self._context.batch_size, done)
        return self._mixing.epoch(batches, name, epoch, done) if self._mixing else batches

    def _validate(self) -> HistoryRow:
        state, started = self._current, time.monotonic()
        batches = self._validation.in_order(self._context.batch_size)
        validation = self.step.evaluate(batches, self._where, self._save_if_stopped)
        seconds = state.totals.seconds + time.monotonic() - started
        return HistoryRow(
            stage=self._stage.name,
            epoch=self._state.first_epoch + state.epoch - 1,
            learning_rate=self.step.learning_rate,
            metrics={**state.totals.metrics(self._activation), **as_validation(validation)},
            seconds=seconds,
            images_per_s=state.totals.images / seconds,
        )

    def _update(self, row: HistoryRow) -> None:
        """Let a finished epoch decide about the best epoch, the plateau and early stopping."""
        state, stage = self._current, self._stage
        value = row.metrics[self._monitor]
        if state.best is None or state.best.is_beaten_by(self._monitor, value):
            state.best = BestEpoch(row.epoch, value, row.validation)
            self._best_weights = self.step.weights()
        if state.plateau and stage.reduce_on_plateau:
            state.plateau.update(stage.reduce_on_plateau, row.metrics, self.step.base_learning_rate)
        if state.stopping and stage.early_stopping:
            state.has_stopped = state.stopping.update(row.metrics) >= stage.early_stopping.patience
            if state.has_stopped and state.epoch < stage.epochs:
                settings = stage.early_stopping
                log.info(
                    Message(
                        "training-stopped-early",
                        f"{stage.name} stops early: {settings.monitor} has not improved for {settings.patience} epochs",
                        stage=stage.name,
                        monitor=settings.monitor,
                        patience=settings.patience,
                    )
                )
        state.epoch, state.totals = state.epoch + 1, EpochTotals()

    def _save_if_due(self) -> None:
        """Write a checkpoint if one is due, the stage is over or a signal asks to stop; then obey the signal."""
        in_epoch = self._current.totals.steps > 0
        if self._stop or self._is_over or self._writer.is_checkpoint_due(in_epoch):
            self._check_weights()
            self._save()
        self._stop.obey()

    def _save_if_stopped(self) -> None:
        if self._stop:
            self._save_if_due()

    def _save(self) -> None:
        state = self._state
        if state.stage is None:
            raise ValueError("a stage is saved while it is under way")
        arrays = layer_arrays(self._classifier, state.trained_layers)
        arrays.update(stage_arrays(self.step, self._best_weights, state.stage.totals))
        in_epoch = state.stage.totals.steps > 0
        self._writer.save_checkpoint(Checkpoint(state.to_document(), arrays, is_between_epochs=not in_epoch))

    def _check_weights(self) -> None:
        steps = self._current.totals.steps
        self.step.check_weights(f"{self._where}, step {steps}" if steps else self._where)

    @property
    def _is_over(self) -> bool:
        return self._current.epoch > self._stage.epochs or self._current.has_stopped

    @property
    def _where(self) -> str:
        return f"stage {self._stage.name}, epoch {self._current.epoch}"

    @contextmanager
    def _named_memory_error(self) -> Iterator[None]:
        """Turn exhausted memory in the block into a TrainingError that says what to change."""
        try:
            yield
        except Exception as error:
            if isinstance(error, CnncliError) or not is_out_of_memory(error):
                raise
            size = self._context.batch_size
            raise TrainingError(
                Message(
                    "training-out-of-memory",
                    f"stage {self._stage.name}: a batch of {size:,} images does not fit into memory. Lower "
                    "training.batch_size, or use training.batch_size=auto.",
                    stage=self._stage.name,
                    key="training.batch_size",
                    received=size,
                )
            ) from error


def _build_objective(context: TrainingContext, train: BatchSource) -> Objective:
    config, n_classes = context.config, context.n_classes
    weights = balanced_weights(train.labels, n_classes) if config.data.class_weights == "balanced" else None
    kind = MixedObjective if config.augmentation.mixes else Objective
    return kind(config.head.activation, n_classes, config.training.label_smoothing, weights)

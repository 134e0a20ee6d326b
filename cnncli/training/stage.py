"""A stage: the epochs of one cut, one optimizer and one schedule, monitored and verified."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.config.modes import metrics_of
from cnncli.engines.engine import Array
from cnncli.errors import Message, NonFiniteError
from cnncli.metrics.table import LAST, as_validation, is_better
from cnncli.networks.classifier import Classifier
from cnncli.runs.records import HistoryRow, RunWriter
from cnncli.runtime.signals import Stop, noted
from cnncli.storage.zips import Arrays
from cnncli.training.batch_size import require_memory
from cnncli.training.context import StageSetup
from cnncli.training.inspection import PROBE_IMAGES, Inspection
from cnncli.training.mixing import MixedObjective, Mixing
from cnncli.training.objective import Objective, balanced_weights
from cnncli.training.optimizer import Patience, Plateau, build_optimizer, learning_rate_factor
from cnncli.training.stage_report import START_TOLERANCE, StageReport, WeightHashes, check_changes, warn_about_start
from cnncli.training.state import (
    BestEpoch,
    StageState,
    TrainState,
    load_stage_arrays,
    matching_checkpoint,
    stage_arrays,
)
from cnncli.training.steps import BeforeStep, EpochTotals, TrainStep
from cnncli.training.update import UpdateSettings

ROLLBACK_FACTOR = 0.1
"""Factor of the learning rate after a rollback."""

log = logging.getLogger(__name__)


def build_step(classifier: Classifier, setup: StageSetup, labels: NDArray[Any]) -> TrainStep:
    """Build the optimizer and the training step of a stage for training images with labels."""
    config, n_classes = setup.context.config, len(setup.context.manifest.classes)
    kind = MixedObjective if Mixing.from_config(config.augmentation, config.seed) else Objective
    weights = balanced_weights(labels, n_classes) if config.data.class_weights == "balanced" else None
    objective = kind.from_config(config, n_classes, weights)
    update, replicas = UpdateSettings.from_config(config, classifier), setup.replicas
    with replicas.scope():
        optimizer = build_optimizer(setup.stage.optimizer)
    tail, metrics = setup.cut.training_tail, metrics_of(config)
    return TrainStep(tail, optimizer, objective, setup.precision, update, metrics, replicas)


class StageRun:
    """The remaining epochs of a stage, up to the last one or until early stopping.

    Attributes:
        features: Numbers of features that were computed for it and found in the cache.
    """

    def __init__(
        self,
        classifier: Classifier,
        setup: StageSetup,
        state: TrainState,
        writer: RunWriter,
        before_step: BeforeStep | None = None,
    ) -> None:
        """Load the images, and build the optimizer and the training step.

        The classifier has the best weights so far. The stage updates the state of training.
        """
        config = setup.context.config
        self._classifier, self._setup, self._stage = classifier, setup, setup.stage
        self._context, self._state, self._writer = setup.context, state, writer
        self._before_step = before_step
        self._train, train_counts = setup.load("train")
        self._validation, validation_counts = setup.load("validation")  # can be empty
        self.features = train_counts + validation_counts
        self._checksums = [*self._train.checksums(), *self._validation.checksums()]
        self._monitor = config.training.best.monitor
        self._mixing = Mixing.from_config(config.augmentation, config.seed)
        self._step = build_step(classifier, setup, self._train.labels)
        self._inspection: Inspection | None = None
        if config.training.inspect:
            plain = Objective(**vars(self._step.objective))  # the probe is not mixed
            probe = self._train.sample(min(PROBE_IMAGES, self._context.batch_size))
            self._inspection = Inspection(self._step, plain, probe, self._stage.name, writer)
        self._best_weights: list[Array] = []
        self._stop = Stop()

    def run(self, arrays: Arrays | None) -> StageReport:
        """Train the stage, and leave the classifier with the best weights so far.

        A signal is obeyed between two steps, after writing a checkpoint. `arrays` are those of the checkpoint from
        which training resumes. For errors, see `Trainer.train`.
        """
        largest = min(self._context.batch_size, len(self._train.labels))
        try:
            with require_memory(self._step, largest, self._stage.name):
                if self._state.stage is None or arrays is None:
                    self._begin()
                else:
                    self._resume(self._state.stage, arrays)
                with noted() as self._stop:
                    self._train_epochs()
        except NonFiniteError:
            self._stop.obey()
            raise
        self._stop.obey()  # for a signal after the last checkpoint
        return self._end()

    def _begin(self) -> None:
        stage, best = self._stage, self._state.best
        self._step.seed(self._context.config.seed, stage.name)
        before = WeightHashes.of(self._classifier, self._setup.cut.trained)
        where = f"stage {stage.name}, before its first epoch"
        start = self._step.evaluate(self._validation.in_order(self._context.batch_size), where)
        self._step.check_weights(where)
        self._best_weights = self._step.weights()
        if best and "loss" in best.validation:
            # An earlier stage, or the parent, may have run in int8.
            precision = "int8" if self._context.may_quantize else self._context.choice.precision
            precision = max(precision, self._setup.choice.precision, key=lambda one: START_TOLERANCE[one])
            warn_about_start(stage.name, start["loss"], best.validation["loss"], precision)
        if best and start:  # the same weights, measured with this stage's trunk and tail
            best = BestEpoch(best.epoch, as_validation(start).get(self._monitor, best.value), start)
        self._state.stage = self._current = StageState(
            start=start,
            before=before,
            best=best,
            features=self._checksums,
            plateau=Plateau() if stage.reduce_on_plateau else None,
            stopping=Patience() if stage.early_stopping else None,
        )
        if self._inspection:
            self._inspection.begin(len(self._state.history))
        self._save()

    def _resume(self, state: StageState, arrays: Arrays) -> None:
        self._current, name = state, self._stage.name
        with matching_checkpoint():
            self._best_weights = load_stage_arrays(self._step, state.totals, arrays)
            if self._inspection:
                self._inspection.load_arrays(arrays)
        arrays.clear()  # otherwise they would stay in memory for the whole stage
        if state.features != self._checksums:
            text = f"stage {name}: recomputed features are not bit-identical; the final weights may differ slightly."
            log.warning(Message("training-features-differ", text, stage=name))
        if state.has_stopped and (trained := state.epoch - 1) < self._stage.epochs:
            text = f"stage {name} was stopped early after {trained} epochs; more epochs have no effect."
            log.info(Message("training-stopped-early-before", text, stage=name, epochs=trained))

    def _end(self) -> StageReport:
        state, stage, inherited = self._current, self._stage, self._state.best
        if state.best is None:
            raise RuntimeError("a stage has at least one epoch")
        self._step.hand_over()
        after = WeightHashes.of(self._classifier, self._setup.cut.trained)
        check_changes(state.before, after, stage, self._step.weights())
        self._step.load_weights(self._best_weights)
        self._state.best, self._state.stage = state.best, None
        return StageReport(
            plan=self._setup.plan,
            learning_rate=stage.optimizer.learning_rate,
            epochs=state.epoch - 1,
            best_epoch=state.best.epoch,
            inherited_val_loss=inherited.validation.get("loss") if inherited else None,
            start_val_loss=state.start.get("loss"),
            end_val_loss=state.best.validation.get("loss"),
            frozen_weights_sha256=(state.before.frozen, after.frozen),
            trained_weights_sha256=(state.before.trained, after.trained),
        )

    def _train_epochs(self) -> None:
        stage, images = self._stage, len(self._train.labels)
        with self._context.console.training(stage.name, stage.epochs, images, self._current.epoch - 1) as progress:
            while not self._is_over:
                self._train_epoch(progress.advance)
                row = self._validate()
                self._check_weights()
                progress.epoch_done(row.scores())
                self._update(row)
                self._state.history.append(row)
                self._writer.write_epoch(self._state.history)
                if self._inspection:
                    self._inspection.add(row.epoch)
                self._save_if_due()
                if after_epoch := self._context.machines.after_epoch:
                    after_epoch(self._state.history)

    def _train_epoch(self, advance: Callable[[int], None]) -> None:
        """Train the remaining steps of the current epoch."""
        stage, state, batch_size = self._stage, self._current, self._context.batch_size
        done = state.totals.steps

        def after_step(images: int) -> None:
            advance(images)
            self._save_if_due()

        advance(state.totals.images)
        batches = self._train.epoch(stage.name, state.epoch, batch_size, done)
        mixed = self._mixing.epoch(batches, stage.name, state.epoch, done) if self._mixing else batches
        rollbacks = [epoch for number, epoch in self._state.lowered if number == len(self._state.stages)]
        factor = ROLLBACK_FACTOR ** sum(state.epoch >= epoch for epoch in rollbacks)
        factor *= state.plateau.factor if state.plateau else 1.0
        n_steps = math.ceil(len(self._train.labels) / batch_size)
        first = (state.epoch - 1) * n_steps
        rates = (
            factor * learning_rate_factor(stage.schedule, step, n_steps, stage.epochs)
            for step in range(first + done, first + n_steps)
        )
        self._step.train_epoch(mixed, rates, self._where, state.totals, after_step, self._before_step)

    def _validate(self) -> HistoryRow:
        totals, started = self._current.totals, time.monotonic()
        batches = self._validation.in_order(self._context.batch_size)
        validation = self._step.evaluate(batches, self._where, self._save_if_stopped)
        seconds = totals.seconds + time.monotonic() - started
        self._log_times(1e3 * totals.seconds / totals.images, 1e3 * (seconds - totals.seconds))
        return HistoryRow(
            stage=self._stage.name,
            epoch=len(self._state.history) + 1,
            learning_rate=_shortest(self._step.learning_rate),
            metrics={**self._step.metrics(totals), **as_validation(validation)},
            seconds=seconds,
            images_per_s=totals.images / seconds,
            penalty=self._step.penalty(),
        )

    def _log_times(self, step_ms: float, validation_ms: float) -> None:
        """Log the time per image of training steps, and of the forward pass, which is all of validation."""
        forward = f", the forward pass {validation_ms / n:.3g} ms" if (n := len(self._validation.labels)) else ""
        text = f"{self._where}: a training step takes {step_ms:.3g} ms per image{forward}"
        log.debug(Message("training-times", text, step_ms=step_ms, validation_ms=validation_ms, images=n))

    def _update(self, row: HistoryRow) -> None:
        """Update the best epoch, the plateau and early stopping after an epoch."""
        state, stage = self._current, self._stage
        value = None if self._monitor == LAST else row.metrics[self._monitor]
        if value is None or state.best is None or is_better(self._monitor, value, state.best.value):
            state.best = BestEpoch(row.epoch, value, row.validation)
            self._best_weights = self._step.weights()
        if state.plateau and stage.reduce_on_plateau:
            state.plateau.update(stage.reduce_on_plateau, row.metrics, self._step.base_learning_rate)
        if state.stopping and (settings := stage.early_stopping):
            state.has_stopped = state.stopping.update(settings, row.metrics) >= settings.patience
            if state.has_stopped and state.epoch < stage.epochs:
                text = f"{stage.name} stops early: {settings.monitor} has not improved for {settings.patience} epochs"
                log.info(Message("training-stopped-early", text, stage=stage.name, monitor=settings.monitor))
        state.epoch, state.totals = state.epoch + 1, EpochTotals()

    def _save_if_due(self) -> None:
        """Write a checkpoint if one is due, the stage is over or a signal has arrived; then obey the signal."""
        if self._stop or self._is_over or self._writer.is_checkpoint_due(in_epoch=self._current.totals.steps > 0):
            self._check_weights()
            self._save()
        self._stop.obey()

    def _save_if_stopped(self) -> None:
        if self._stop:
            self._save_if_due()

    def _save(self) -> None:
        arrays = stage_arrays(self._step, self._best_weights, self._current.totals)
        if self._inspection:
            arrays |= self._inspection.arrays()
        self._writer.save_checkpoint(self._state.to_checkpoint(self._classifier, arrays))

    def _check_weights(self) -> None:
        steps = self._current.totals.steps
        self._step.check_weights(f"{self._where}, step {steps}" if steps else self._where)

    @property
    def _is_over(self) -> bool:
        return self._current.epoch > self._stage.epochs or self._current.has_stopped

    @property
    def _where(self) -> str:
        return f"stage {self._stage.name}, epoch {self._current.epoch}"


def _shortest(rate: float) -> float:
    """Return a learning rate, which optimizers hold in float32, with the fewest digits that tell it from others.

    >>> _shortest(0.0010000000474974513)
    0.001
    """
    return float(str(np.float32(rate)))

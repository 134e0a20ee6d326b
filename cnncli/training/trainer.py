"""Train the stages of a classifier one after another, and end with the weights of the best epoch."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from cnncli.config.modes import Stage
from cnncli.errors import Message, NonFiniteError
from cnncli.features.extract import Counts
from cnncli.metrics.table import kept_epoch
from cnncli.networks.classifier import Classifier
from cnncli.runs.records import HistoryRow, RunWriter
from cnncli.training.context import StageSetup, TrainingContext
from cnncli.training.stage import StageRun
from cnncli.training.stage_report import StageReport
from cnncli.training.state import BestEpoch, TrainState, matching_checkpoint
from cnncli.training.steps import BeforeStep

MAX_ROLLBACKS = 2

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """Result of training, in addition to the weights in the classifier.

    Attributes:
        features: Numbers of features that were computed and found in the cache.
        last: Setup of the last stage.
    """

    best: BestEpoch
    history: tuple[HistoryRow, ...]
    stages: tuple[StageReport, ...]
    features: Counts
    last: StageSetup


class Trainer:
    """Trains the stages of a config."""

    def __init__(
        self,
        classifier: Classifier,
        context: TrainingContext,
        writer: RunWriter,
        parent_metrics: Mapping[str, float] | None = None,
        before_step: BeforeStep | None = None,
    ) -> None:
        """Prepare to resume from the newest checkpoint of the run, if there is one.

        The classifier has the initial weights. With `parent_metrics`, they are those of a parent run and count as epoch
        0, which can remain the best; its validation metrics may be empty. `before_step` is called before each step.
        """
        self._classifier, self._context, self._writer = classifier, context, writer
        self._parent_metrics, self._before_step = parent_metrics, before_step
        self._state = TrainState()
        self._features = Counts()
        self._resumed = writer.checkpoints.newest()

    def train(self) -> Outcome:
        """Train the remaining stages. The classifier ends with the weights of the best epoch.

        Resumed training ends with the same weights as uninterrupted training.

        Raises:
            TrainingError: NaN or Inf even with a lower learning rate, no weights changed, or a batch is too large.
            DataError: Images can no longer be decoded.
            RunError: A checkpoint cannot be written, or belongs to a different run.
            KeyboardInterrupt, Terminated: By a signal, after a checkpoint was written.
        """
        while True:
            try:
                return self._train_stages()
            except NonFiniteError as error:
                if not self._roll_back(error):
                    raise

    def _train_stages(self) -> Outcome:
        stages, setup = self._context.stages, None
        state = self._state = self._restore()
        while len(state.stages) < len(stages):
            setup = self._train_stage(stages[len(state.stages)])
        if state.best is None:
            raise ValueError("a training has at least one stage")
        setup = setup or StageSetup.build(self._classifier, stages[-1], self._context)
        return Outcome(state.best, tuple(state.history), tuple(state.stages), self._features, setup)

    def _restore(self) -> TrainState:
        """Return the initial state: that of the checkpoint, or of a new run."""
        checkpoint, parent = self._resumed, self._parent_metrics
        if checkpoint is None:
            return TrainState(best=None if parent is None else BestEpoch(0, None, dict(parent)))
        with matching_checkpoint():
            state = TrainState.from_checkpoint(checkpoint, self._classifier)
        self._writer.restore(state.history, [report.to_dict() for report in state.stages])
        self._report_resume(state)
        return state

    def _report_resume(self, state: TrainState) -> None:
        stages, n_done = self._context.stages, len(state.stages)
        if n_done == len(stages):
            log.info(Message("training-resumed", "Resuming after the last epoch."))
            return
        stage = stages[n_done]
        epoch, step = (state.stage.epoch, state.stage.totals.steps) if state.stage else (1, 0)
        where = f"epoch {epoch} of {stage.epochs}" if epoch <= stage.epochs else "at its end"
        text = f"Resuming in stage {stage.name}, {where}" + (f", after step {step}." if step else ".")
        log.info(Message("training-resumed", text, stage=stage.name, epoch=epoch, step=step))

    def _train_stage(self, stage: Stage) -> StageSetup:
        context, state = self._context, self._state
        setup = StageSetup.build(self._classifier, stage, context)
        context.store.keep_only(key for features in setup.feature_sets() for key in features.keys)
        setup.announce()
        resumed, self._resumed = self._resumed, None
        stage_run = StageRun(self._classifier, setup, state, self._writer, self._before_step)
        self._features = self._features + stage_run.features
        report = stage_run.run(resumed.arrays if resumed else None)
        state.stages.append(report)
        self._writer.write_stages([report.to_dict() for report in state.stages])
        text = f"stage {stage.name}: {report.describe(kept_epoch(context.config.training.best.monitor))}"
        log.info(Message("training-stage-finished", text, stage=stage.name, best_epoch=report.best_epoch))
        if len(state.stages) < len(context.stages):  # the last stage's checkpoint is kept, so that it can be extended
            self._writer.save_checkpoint(state.to_checkpoint(self._classifier, {}))
        return setup

    def _roll_back(self, error: NonFiniteError) -> bool:
        """Prepare to repeat the failed epoch with a lower learning rate; return whether that is possible.

        Training continues from the newest checkpoint between two epochs; the epochs since then are reproduced exactly.
        """
        state = self._state
        if self._context.config.training.on_nan != "rollback" or len(state.lowered) >= MAX_ROLLBACKS:
            return False
        if (checkpoint := self._writer.checkpoints.newest(between_epochs=True)) is None:
            return False
        stage, epoch = len(state.stages), state.stage.epoch if state.stage else 1
        lowered = [*map(list, state.lowered), [stage, epoch]]
        self._resumed = replace(checkpoint, document={**checkpoint.document, "lowered": lowered})
        self._writer.save_checkpoint(self._resumed)
        text = f"{error.problems[0]} Rolled back to the start of the epoch, with a tenth of the learning rate."
        log.warning(Message("training-rolled-back", text, stage=stage, epoch=epoch))
        return True

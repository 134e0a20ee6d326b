"""Records that a run gets while it trains: history, TensorBoard logs, stage report, checkpoints."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from cnncli.errors import Message, printable
from cnncli.metrics.table import METRICS
from cnncli.runs.checkpoints import Checkpoint, Checkpoints
from cnncli.runs.folder import RunFolder
from cnncli.runs.records import HistoryRow, write_history
from cnncli.storage.atomic import write_atomically

CHECKPOINT_EVERY_S = 60.0
"""Time after which a checkpoint is due in the middle of an epoch."""
MAX_CHECKPOINT_FRACTION = 0.05
"""Largest fraction of the training time that checkpoints may take. If writing one takes long, fewer are written."""

log = logging.getLogger(__name__)


class RunWriter:
    """Writes the records of a run. What a method writes is on disk when it returns. A context manager."""

    def __init__(self, run: RunFolder) -> None:
        """Create a writer for a run directory that exists."""
        import tensorflow as tf

        self.run = run
        self.checkpoints = Checkpoints(run.state)
        self.checkpoint_s = 0.0  # time spent in this process
        self._saved_at, self._last_cost_s = time.monotonic(), 0.0
        self._tf: Any = tf
        self._tensorboard_errors = (tf.errors.OpError, OSError)
        self._tensorboards: dict[str, Any] = {}

    def write_epoch(self, history: Sequence[HistoryRow]) -> None:
        """Write the history, whose last row is new."""
        write_history(self.run.history, history)
        row = history[-1]
        train = {name: row.metrics[name] for name in METRICS if name in row.metrics}
        try:
            self._write_scalars("train", row.epoch, {**train, "learning_rate": row.learning_rate})
            self._write_scalars("validation", row.epoch, row.validation)
        except self._tensorboard_errors as error:  # the training is worth more than its curves
            text = f"{printable(self.run.tensorboard)}: TensorBoard logs cannot be written ({error})."
            log.warning(Message("run-tensorboard-unwritable", text, path=self.run.tensorboard))

    def _write_scalars(self, split: str, epoch: int, scalars: Mapping[str, float]) -> None:
        """Write the scalars of one epoch for TensorBoard, which draws training and validation in one chart."""
        if split not in self._tensorboards:
            self._tensorboards[split] = self._tf.summary.create_file_writer(str(self.run.tensorboard / split))
        with self._tensorboards[split].as_default(step=epoch):
            for name, value in scalars.items():
                self._tf.summary.scalar(f"epoch/{name}", value)
        self._tensorboards[split].flush()

    def write_stages(self, stages: Sequence[Mapping[str, Any]]) -> None:
        """Write the stage report: one record for each stage that is over."""
        write_atomically(self.run.stages, json.dumps(list(stages), indent=2) + "\n")

    def restore(self, history: Sequence[HistoryRow], stages: Sequence[Mapping[str, Any]]) -> None:
        """Replace the records of a run that had proceeded further than the checkpoint from which it resumes."""
        write_history(self.run.history, history)
        self.write_stages(stages)

    def is_checkpoint_due(self, in_epoch: bool) -> bool:
        """Return whether enough time has passed since the last one; between epochs, as soon as its cost allows."""
        passed = time.monotonic() - self._saved_at
        return passed >= max(CHECKPOINT_EVERY_S if in_epoch else 0.0, self._last_cost_s / MAX_CHECKPOINT_FRACTION)

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint as `Checkpoints.save` does, and measure the time that takes."""
        started = time.monotonic()
        self.checkpoints.save(checkpoint)
        self._saved_at = time.monotonic()
        self._last_cost_s = self._saved_at - started
        self.checkpoint_s += self._last_cost_s

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self._tensorboards.values():
            with suppress(*self._tensorboard_errors):
                writer.close()

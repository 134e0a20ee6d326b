"""Records written during training: history, TensorBoard logs, stage reports, checkpoints."""

from __future__ import annotations

import csv
import io
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnncli.errors import Message, printable
from cnncli.metrics.table import VALIDATION, metric_named, result_names
from cnncli.runs.checkpoints import Checkpoint, Checkpoints
from cnncli.runs.documents import RENAMED, damaged
from cnncli.runs.folder import RunFolder
from cnncli.storage.atomic import write_atomically
from cnncli.terminal.formatting import decimal

CHECKPOINT_EVERY_S = 60.0
"""Time after which a checkpoint is due in the middle of an epoch."""
MAX_CHECKPOINT_FRACTION = 0.05
"""Maximum fraction of the training time for checkpoints. If writing one takes long, fewer are written."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HistoryRow:
    """An epoch.

    Attributes:
        epoch: Number from 1, counted across the stages of the run.
        learning_rate: Learning rate of its last step; None if the head was solved exactly.
        metrics: Results on the training images over the epoch, and on the validation images at its end (`val_…`).
        images_per_s: Training images divided by the seconds of training and validation.
        penalty: Weight penalties at the end of the epoch, which no loss includes; None if there are none.
    """

    stage: str
    epoch: int
    learning_rate: float | None
    metrics: dict[str, float]
    seconds: float
    images_per_s: float
    penalty: float | None = None

    @property
    def validation(self) -> dict[str, float]:
        """The metrics of the validation images, without the prefix."""
        validation = [name for name in self.metrics if name.startswith(VALIDATION)]
        return {name.removeprefix(VALIDATION): self.metrics[name] for name in validation}

    @property
    def training(self) -> dict[str, float]:
        """The metrics of the training images."""
        return {name: value for name, value in self.metrics.items() if not name.startswith(VALIDATION)}

    def scores(self) -> str:
        """Return the metrics as text for an epoch line: `loss 0.120 (val 0.101) · accuracy 97.4 % (val …)`."""
        parts = []
        for name in self.training:
            metric = metric_named(name)
            keys = [key for key in (name, VALIDATION + name) if metric and key in self.metrics]
            values = [metric.text(self.metrics[key]) for key in keys if metric]
            validation = f" (val {values[1]})" if len(values) == 2 else ""
            parts += [f"{name} {values[0]}{validation}"] if values else []
        parts += [f"penalty {decimal(self.penalty)}"] if self.penalty is not None else []
        return " · ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return the row as a flat mapping of names to values, in the order of the columns."""
        values = {**vars(self), **self.metrics}
        return {name: values[name] for name in columns([self]) if values.get(name) is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> HistoryRow:
        """Return the row from the result of `to_dict`, also as text. Raises KeyError, TypeError or ValueError."""
        return cls(
            stage=values["stage"],
            epoch=int(values["epoch"]),
            learning_rate=float(values["learning_rate"]) if values.get("learning_rate") not in (None, "") else None,
            metrics={
                name: float(value)
                for name, value in values.items()
                if value not in (None, "") and metric_named(str(name).removeprefix(VALIDATION))
            },
            seconds=float(values["seconds"]),
            images_per_s=float(values["images_per_s"]),
            penalty=float(values["penalty"]) if values.get("penalty") not in (None, "") else None,
        )


def columns(rows: Sequence[HistoryRow] = ()) -> tuple[str, ...]:
    """Return the columns of history.csv: the metrics of the table, others that the rows have, and penalties if any."""
    names = dict.fromkeys([*result_names(), *(name for row in rows for name in row.metrics)])
    penalty = ("penalty",) if any(row.penalty is not None for row in rows) else ()
    return ("stage", "epoch", "learning_rate", *names, *penalty, "seconds", "images_per_s")


def write_history(path: Path, rows: Sequence[HistoryRow]) -> None:
    """Write history.csv atomically, with all digits of every number."""
    text = io.StringIO()
    table = csv.DictWriter(text, columns(rows), lineterminator="\n")
    table.writeheader()
    table.writerows(row.to_dict() for row in rows)
    write_atomically(path, text.getvalue())


def read_history(path: Path) -> tuple[HistoryRow, ...]:
    """Read history.csv. Unknown columns are ignored. Raises RunError if the file is damaged."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file)
            table.fieldnames = [RENAMED.get(name, name) for name in table.fieldnames or ()]
            return tuple(HistoryRow.from_dict(line) for line in table)
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from None


AfterEpoch = Callable[[Sequence[HistoryRow]], None]
"""Called with the history after an epoch."""


class RunWriter(AbstractContextManager["RunWriter"]):
    """Writes the records of a run, as a context manager. When a method returns, its data is on disk."""

    def __init__(self, run: RunFolder, after_epoch: AfterEpoch | None = None) -> None:
        """Create a writer for an existing run directory, which calls a function with the history after each epoch."""
        self.run, self._after_epoch = run, after_epoch
        self.checkpoints = Checkpoints(run.state)
        self.checkpoint_s = 0.0  # time spent in this process
        self._saved_at, self._last_cost_s = time.monotonic(), 0.0
        self._tensorboards: dict[str, Any] = {}

    def write_epoch(self, history: Sequence[HistoryRow]) -> None:
        """Write the history, whose last row is new; TensorBoard plots epochs, so it has nothing of a solved head."""
        write_history(self.run.history, history)
        if self._after_epoch is not None:
            self._after_epoch(history)
        row = history[-1]
        if row.learning_rate is None:
            return
        import tensorflow as tf

        penalty = {} if row.penalty is None else {"penalty": row.penalty}
        try:
            self._write_scalars("train", row.epoch, {**row.training, **penalty, "learning_rate": row.learning_rate})
            self._write_scalars("validation", row.epoch, row.validation)
        except (tf.errors.OpError, OSError) as error:  # a failed plot must not fail the run
            text = f"{printable(self.run.tensorboard)}: TensorBoard logs cannot be written ({error})."
            log.warning(Message("run-tensorboard-unwritable", text, path=self.run.tensorboard))

    def _write_scalars(self, split: str, epoch: int, scalars: Mapping[str, float]) -> None:
        """Write the scalars of an epoch for TensorBoard, which plots training and validation in one chart."""
        import tensorflow as tf

        if split not in self._tensorboards:
            self._tensorboards[split] = tf.summary.create_file_writer(str(self.run.tensorboard / split))
        with self._tensorboards[split].as_default(step=epoch):
            for name, value in scalars.items():
                tf.summary.scalar(f"epoch/{name}", value)
        self._tensorboards[split].flush()

    def write_stages(self, stages: Sequence[Mapping[str, Any]]) -> None:
        """Write the stage reports, one record for each finished stage."""
        write_atomically(self.run.stages, json.dumps(list(stages), indent=2) + "\n")

    def restore(self, history: Sequence[HistoryRow], stages: Sequence[Mapping[str, Any]]) -> None:
        """Replace the records of a run that had progressed beyond the checkpoint from which it resumes."""
        write_history(self.run.history, history)
        self.write_stages(stages)

    def is_checkpoint_due(self, in_epoch: bool) -> bool:
        """Return whether enough time has passed since the last one or, between epochs, whether it costs little."""
        passed = time.monotonic() - self._saved_at
        return passed >= max(CHECKPOINT_EVERY_S if in_epoch else 0.0, self._last_cost_s / MAX_CHECKPOINT_FRACTION)

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint as `Checkpoints.save` does, and measure the time it takes."""
        started = time.monotonic()
        self.checkpoints.save(checkpoint)
        self._saved_at = time.monotonic()
        self._last_cost_s = self._saved_at - started
        self.checkpoint_s += self._last_cost_s

    def __exit__(self, *_: object) -> None:
        for writer in self._tensorboards.values():
            with suppress(Exception):  # TensorFlow's error for a full disk is none of Python's
                writer.close()

"""The epochs of a run as a table and as TensorBoard's curves."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from cnncli.errors import RunError, printable
from cnncli.runs.folder import RunFolder
from cnncli.runs.renamed import RENAMED
from cnncli.storage.atomic import write_atomically
from cnncli.terminal.console import LOGGER
from cnncli.terminal.formatting import decimal, percent


@dataclass(frozen=True)
class HistoryRow:
    """One epoch.

    Attributes:
        stage: name of its stage.
        epoch: number from 1, counted across the stages of the run.
        learning_rate: at its end.
        loss: plain loss on the training images, over the epoch.
        accuracy: on the training images, over the epoch, 0-1.
        val_loss: plain loss on the validation images, at its end.
        val_accuracy: on the validation images, at its end, 0-1.
        seconds: training and validation.
        images_per_s: training images by those seconds.
    """

    stage: str
    epoch: int
    learning_rate: float
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float
    images_per_s: float

    def scores(self) -> str:
        """Return the metrics as text for a line about the epoch."""
        return (
            f"loss {decimal(self.loss)} (val {decimal(self.val_loss)}) · "
            f"accuracy {percent(self.accuracy)} (val {percent(self.val_accuracy)})"
        )


COLUMNS = tuple(field.name for field in fields(HistoryRow))


def write_history(path: Path, rows: Sequence[HistoryRow]) -> None:
    """Write history.csv in one step, every number with all its digits."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(astuple(row) for row in rows)
    write_atomically(path, text.getvalue())


def read_history(path: Path) -> tuple[HistoryRow, ...]:
    """The rows of history.csv, equal to those that were written; columns it has beside are left out.

    Raises:
        RunError: the file cannot be read, or lacks a column or a number.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file)
            table.fieldnames = [RENAMED.get(name, name) for name in table.fieldnames or ()]
            return tuple(_row(line) for line in table)
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{printable(path)}: this history cannot be read ({type(error).__name__}: {error})") from None


def _row(line: dict[str, str]) -> HistoryRow:
    numbers = {name: float(line[name]) for name in COLUMNS if name not in ("stage", "epoch")}
    return HistoryRow(stage=line["stage"], epoch=int(line["epoch"]), **numbers)


class TensorBoard:
    """Writes the scalars of each epoch for TensorBoard, training and validation as two curves of one chart.

    Args:
        folder: gets train/ and validation/ with the first row. TensorFlow is imported here, by whoever trains.
    """

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        self._tf: Any = tf
        self._folder = folder
        self._writers: dict[str, Any] = {}
        self.errors: tuple[type[Exception], ...] = (tf.errors.OpError, OSError)

    def add(self, row: HistoryRow) -> None:
        """Write the scalars of one epoch, at once."""
        self._write("train", row.epoch, loss=row.loss, accuracy=row.accuracy, learning_rate=row.learning_rate)
        self._write("validation", row.epoch, loss=row.val_loss, accuracy=row.val_accuracy)

    def _write(self, split: str, epoch: int, **scalars: float) -> None:
        if split not in self._writers:
            self._writers[split] = self._tf.summary.create_file_writer(str(self._folder / split))
        with self._writers[split].as_default(step=epoch):
            for name, value in scalars.items():
                self._tf.summary.scalar(f"epoch/{name}", value)
        self._writers[split].flush()

    def close(self) -> None:
        """Close the files."""
        for writer in self._writers.values():
            with suppress(*self.errors):
                writer.close()


class History:
    """Keeps the rows of a run and writes each to history.csv and for TensorBoard as soon as it is there.

    A context manager; `rows` are those kept so far.
    """

    def __init__(self, run: RunFolder) -> None:
        self._path, self._tensorboard = run.history, TensorBoard(run.tensorboard)
        self.rows: list[HistoryRow] = []

    def begin_with(self, rows: Sequence[HistoryRow]) -> None:
        """Have these rows and no others, where a training goes on that had got further when it was interrupted."""
        self.rows = list(rows)
        write_history(self._path, self.rows)

    def add(self, row: HistoryRow) -> None:
        """Keep a row, on disk when this returns."""
        self.rows.append(row)
        write_history(self._path, self.rows)
        try:
            self._tensorboard.add(row)
        except self._tensorboard.errors as error:  # a training is worth more than its curves
            LOGGER.warning("%s: TensorBoard's logs could not be written (%s)", printable(self._path.parent), error)

    def __enter__(self) -> History:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tensorboard.close()

"""The history of a run: one row per epoch, as history.csv holds it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnncli.metrics.table import METRICS, VALIDATION, result_names
from cnncli.runs.documents import damaged
from cnncli.storage.atomic import write_atomically
from cnncli.terminal.formatting import decimal, percent

RENAMED = {"pictures": "images", "pictures_per_s": "images_per_s"}
"""Names of numbers in the files of older runs, with their current names."""


def with_current_names(values: Any) -> Any:
    """Return JSON values in which numbers have their current names, at any depth.

    Only names of numbers are replaced: a layer may be called "pictures".
    """
    if isinstance(values, dict):
        return {
            RENAMED.get(name, name) if isinstance(value, int | float) else name: with_current_names(value)
            for name, value in values.items()
        }
    return [with_current_names(value) for value in values] if isinstance(values, list) else values


@dataclass(frozen=True)
class HistoryRow:
    """One epoch.

    Attributes:
        epoch: Number from 1, counted across the stages of the run.
        learning_rate: Learning rate of its last step.
        metrics: Results on the training images over the epoch, and on the validation images at its end (`val_…`), by
            the names of `cnncli.metrics.table`. The loss is the plain loss.
        images_per_s: Training images divided by the seconds of training and validation.
    """

    stage: str
    epoch: int
    learning_rate: float
    metrics: dict[str, float]
    seconds: float
    images_per_s: float

    @property
    def validation(self) -> dict[str, float]:
        """The metrics of the validation images, without the prefix of their names."""
        names = {name: VALIDATION + name for name in METRICS}
        return {name: self.metrics[key] for name, key in names.items() if key in self.metrics}

    def scores(self) -> str:
        """Return the metrics as text for a line about the epoch: `loss 0.120 (val 0.101) · accuracy 97.4 % (val …)`."""
        parts = []
        for name, metric in METRICS.items():
            as_text = percent if metric.is_fraction else decimal
            values = [as_text(self.metrics[key]) for key in (name, VALIDATION + name) if key in self.metrics]
            parts += [f"{name} {values[0]} (val {values[1]})"] if len(values) == 2 else []
        return " · ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return the row as one level of names and values, in the order of the columns."""
        values = {**vars(self), **self.metrics}
        return {name: values[name] for name in columns() if name in values}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> HistoryRow:
        """Return the row that `to_dict` made, also from text. Raises KeyError, TypeError or ValueError if it cannot."""
        return cls(
            stage=values["stage"],
            epoch=int(values["epoch"]),
            learning_rate=float(values["learning_rate"]),
            metrics={name: float(values[name]) for name in result_names() if values.get(name) not in (None, "")},
            seconds=float(values["seconds"]),
            images_per_s=float(values["images_per_s"]),
        )


def columns() -> tuple[str, ...]:
    """Return the columns of history.csv."""
    return ("stage", "epoch", "learning_rate", *result_names(), "seconds", "images_per_s")


def write_history(path: Path, rows: Sequence[HistoryRow]) -> None:
    """Write history.csv atomically, every number with all its digits."""
    text = io.StringIO()
    table = csv.DictWriter(text, columns(), lineterminator="\n")
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

"""inspect.csv of a run: statistics of every trained layer in every epoch."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from cnncli.runs.documents import damaged
from cnncli.storage.atomic import write_atomically

BINS = 30
"""Number of bins of a histogram."""


@dataclass(frozen=True)
class LayerStatistics:
    """A layer at the end of an epoch, on a fixed batch of training images. Numbers that it does not have are None.

    Attributes:
        epoch: Number from 1, counted across the stages of the run; at the start of a stage, that of the epoch before.
        mean, std, low, high: Of its outputs.
        zeros: Fraction of its outputs that are 0.
        dead: Fraction of its channels that are 0 for all images and places.
        histogram: Counts of its outputs in equal bins from `low` to `high`.
        saturated: Fraction of the outputs of tanh beyond ±0.95, or of a sigmoid outside 0.05–0.95.
        gradient_norm: Norm of the gradient of the loss with respect to its weights.
        weight_norm: Norm of its weights.
        update_ratio: Norm of the change of its weights in the epoch, divided by the norm of the weights.
    """

    stage: str
    epoch: int
    layer: str
    mean: float
    std: float
    low: float
    high: float
    zeros: float
    dead: float
    histogram: tuple[int, ...]
    saturated: float | None = None
    gradient_norm: float | None = None
    weight_norm: float | None = None
    update_ratio: float | None = None

    def cells(self) -> list[str]:
        """Return the values as text; the counts of the histogram are separated by spaces."""
        values = {**vars(self), "histogram": " ".join(map(str, self.histogram))}
        return ["" if values[name] is None else str(values[name]) for name in COLUMNS]

    @classmethod
    def from_cells(cls, cells: Mapping[str, str]) -> LayerStatistics:
        """Return the statistics from a row of the file. Raises KeyError or ValueError."""
        texts = ("stage", "epoch", "layer", "histogram")
        numbers = {name: float(cells[name]) if cells[name] else None for name in COLUMNS if name not in texts}
        histogram = tuple(map(int, cells["histogram"].split()))
        return cls(cells["stage"], int(cells["epoch"]), cells["layer"], histogram=histogram, **numbers)  # type: ignore[arg-type]


COLUMNS = tuple(field.name for field in fields(LayerStatistics))


def write_inspection(path: Path, rows: Sequence[LayerStatistics]) -> None:
    """Write inspect.csv atomically, with all digits of every number."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(row.cells() for row in rows)
    write_atomically(path, text.getvalue())


def read_inspection(path: Path) -> tuple[LayerStatistics, ...]:
    """Read inspect.csv. Raises RunError if it is damaged."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return tuple(map(LayerStatistics.from_cells, csv.DictReader(file)))
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from None

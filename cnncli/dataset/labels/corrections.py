"""A table of labels that a person has reviewed. `data.labels` reads it; images are neither moved nor deleted.

It has a row for each image of a run, except those that are left out, with its label, its split and the decision.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cnncli.dataset.labels.folders import labels_in
from cnncli.dataset.labels.table import load_table
from cnncli.dataset.records import LABEL_SEPARATOR, ImageRecord
from cnncli.storage.atomic import write_atomically

COLUMNS = ("path", "label", "split", "given_label", "decision")

Decision = Literal["confirmed", "corrected", "excluded"]


@dataclass
class Corrections:
    """The decisions about the labels of a run's images, and the table that contains them.

    Attributes:
        path: The table.
        rows: All images of the run, with the labels that it was trained with.
        is_multi_label: Whether an image can have any number of labels.
        group_column: Column of the groups, if the config reads them from a table.
        labels: Decided labels by file; None: the image is left out.
    """

    path: Path
    rows: Sequence[ImageRecord]
    is_multi_label: bool
    group_column: str | None = None
    labels: dict[str, tuple[str, ...] | None] = field(default_factory=dict)

    def load(self) -> None:
        """Read the decisions of an earlier review, if there is one. Raises DataError if the table is damaged."""
        if not self.path.is_file():
            return
        table = load_table(self.path)
        decided = zip(table.column("path"), table.column("label"), table.column("decision"), strict=True)
        cells = {file: (cell, decision) for file, cell, decision in decided}
        for file in (row.file for row in self.rows):
            if file not in cells:
                self.labels[file] = None
            elif cells[file][1]:
                self.labels[file] = self._labels_in(cells[file][0])

    def decision(self, row: ImageRecord) -> Decision | None:
        """Return what was decided about an image; None: nothing yet."""
        if row.file not in self.labels:
            return None
        labels = self.labels[row.file]
        return "excluded" if labels is None else "confirmed" if labels == row.labels else "corrected"

    def counts(self) -> dict[str, int]:
        """Return the number of images by decision."""
        found = [self.decision(row) for row in self.rows if row.file in self.labels]
        return {name: found.count(name) for name in ("confirmed", "corrected", "excluded")}

    def save(self) -> None:
        """Write the table."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow([*COLUMNS, *([self.group_column] if self.group_column else [])])
        writer.writerows(self._cells())
        write_atomically(self.path, text.getvalue())

    def _cells(self) -> Iterator[tuple[str, ...]]:
        for row in self.rows:
            labels = self.labels.get(row.file, row.labels)
            if labels is not None:
                group = (row.group,) if self.group_column else ()
                given, decision = LABEL_SEPARATOR.join(row.labels), self.decision(row) or ""
                yield row.file, LABEL_SEPARATOR.join(labels), row.split, given, decision, *group

    def _labels_in(self, cell: str) -> tuple[str, ...]:
        return labels_in(cell, LABEL_SEPARATOR) if self.is_multi_label else (cell,)

    @property
    def setting(self) -> str:
        """The setting that reads the table, as KEY=VALUE."""
        path = json.dumps(str(self.path), ensure_ascii=False)
        separator = f', separator: "{LABEL_SEPARATOR}"' if self.is_multi_label else ""
        return f"data.labels={{path: {path}{separator}}}"

"""A table of labels that a person has reviewed. `data.labels` reads it; images are neither moved nor deleted.

It has a row for each image of a run, except those that are left out, with its label, its split and the decision. A
second table lists the images that are left out. Both keep their rows about images that the run does not have, such as
those that an earlier run had, or that were left out of its training.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cnncli.dataset.labels.folders import labels_in
from cnncli.dataset.labels.table import REVIEW_COLUMNS, Table, load_table
from cnncli.dataset.records import LABEL_SEPARATOR, ImageRecord
from cnncli.errors import DataError, Message, printable
from cnncli.storage.atomic import write_atomically
from cnncli.storage.locks import exclusive

COLUMNS = ("path", "label", "split", *REVIEW_COLUMNS)
EXCLUDED_COLUMNS = ("path", "given_label")

Labels = tuple[str, ...]
Decision = Literal["confirmed", "corrected", "excluded"]


@dataclass
class Corrections:
    """The decisions about the labels of a run's images, and the table that contains them.

    Attributes:
        path: The table; that of the images that are left out is next to it.
        rows: All images of the run, with the labels that it was trained with.
        is_multi_label: Whether an image can have any number of labels.
        group_column: Column of the groups, if the config reads them from a table.
        labels: Decided labels by file; None: the image is left out.
    """

    path: Path
    rows: Sequence[ImageRecord]
    is_multi_label: bool
    group_column: str | None = None
    labels: dict[str, Labels | None] = field(default_factory=dict)
    _saved: dict[str, Labels | None] = field(default_factory=dict)  # `labels` as they were read or written last

    def load(self) -> None:
        """Read the decisions of an earlier review, if there is one. Raises DataError if the table is damaged."""
        self.labels = self._read()
        self._saved = dict(self.labels)

    @property
    def excluded(self) -> Path:
        """The table of the images that are left out; it exists if there are any."""
        return self.path.with_name(f"{self.path.stem}-excluded.csv")

    @property
    def is_label_source(self) -> bool:
        """Whether the table was written and has images, so that `data.labels` can read it."""
        return self.path.is_file() and any(self.labels.get(row.file, row.labels) is not None for row in self.rows)

    def _read(self) -> dict[str, Labels | None]:
        """Return the decisions in the tables about images of the run."""
        if not self.path.is_file():
            return {}
        table = self._load_own()
        decided = zip(table.column("path"), table.column("label"), table.column("decision"), strict=True)
        found: dict[str, Labels | None] = {file: self._labels_in(cell) for file, cell, decision in decided if decision}
        if self.excluded.is_file():
            found |= dict.fromkeys(load_table(self.excluded).column("path"))
        return {row.file: found[row.file] for row in self.rows if row.file in found}

    def _load_own(self) -> Table:
        """Return the table of the run's corrections, which can be without images."""
        table = load_table(self.path, can_be_empty=True)
        if missing := [name for name in ("path", "label", *REVIEW_COLUMNS) if name not in table.columns]:
            text = f"{printable(self.path)}: cannot be read as a table of corrections (no column {missing[0]!r})"
            raise DataError(Message("data-table-unreadable", f"{text}. Move or delete it.", path=self.path))
        return table

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
        """Write the tables, with the decisions that another review has saved in the meantime.

        Raises:
            DataError: A table has been damaged in the meantime.
        """
        with exclusive(self.path.with_name(f"{self.path.stem}.lock")):
            if self.path.is_file():
                self._merge(self._read())
            header = (*COLUMNS, *([self.group_column] if self.group_column else []))
            excluded = [row for row in self.rows if self.decision(row) == "excluded"]
            cells = self._of_others(self.excluded, EXCLUDED_COLUMNS)
            cells += [(row.file, LABEL_SEPARATOR.join(row.labels)) for row in excluded]
            if cells:
                write_atomically(self.excluded, _csv_text([EXCLUDED_COLUMNS, *cells]))
            else:
                self.excluded.unlink(missing_ok=True)
            write_atomically(self.path, _csv_text([header, *self._cells(), *self._of_others(self.path, header)]))
            self._saved = dict(self.labels)

    def _merge(self, found: dict[str, Labels | None]) -> None:
        """Apply the changes since the tables were read or written to the decisions in the tables."""
        before = self._saved
        changes = {one: new for one, new in self.labels.items() if one not in before or before[one] != new}
        undone = before.keys() - self.labels.keys()
        self.labels = {file: labels for file, labels in found.items() if file not in undone} | changes

    def _of_others(self, path: Path, columns: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the cells of a table about images that the run does not have, in some columns."""
        if not path.is_file():
            return []
        known, table = {row.file for row in self.rows}, load_table(path, can_be_empty=True)
        empty = [""] * len(table.rows)
        cells = zip(*(table.column(name) if name in table.columns else empty for name in columns), strict=True)
        return [one for one in cells if one[0] not in known]

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


def _csv_text(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    return text.getvalue()

"""A table of labels that a person has reviewed. `data.labels` reads it; images are neither moved nor deleted.

It has a row for each image of a run, except those that are left out, with its label, its split, the decision and, if
there is one, the digest of the image. A second table lists the images that are left out. Both keep their rows about
images that the run does not have, such as those that an earlier run had, or that were left out of its training.

In the review of a run that was trained with such a table, the labels that were confirmed or corrected are confirmed.
"""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cnncli.dataset.labels.folders import labels_in
from cnncli.dataset.labels.table import REVIEW_COLUMNS, Table, can_be_review, load_table
from cnncli.dataset.records import LABEL_SEPARATOR, ImageRecord
from cnncli.errors import DataError, Message, printable
from cnncli.storage.atomic import write_atomically
from cnncli.storage.locks import exclusive
from cnncli.terminal.console import ONCE

if TYPE_CHECKING:
    from cnncli.config.data_settings import DataConfig
    from cnncli.dataset.manifest import Manifest

CORRECTIONS = "corrections.csv"
"""Name of the table in the folder of a review."""
COLUMNS = ("path", "label", "split", *REVIEW_COLUMNS, "digest")
EXCLUDED_COLUMNS = ("path", "given_label")

Labels = tuple[str, ...]
Decision = Literal["confirmed", "corrected", "excluded"]

log = logging.getLogger(__name__)

_Confirmed = set[tuple[str, Labels]]
"""Confirmed labels, with the digest of their image; the file, if the digest is unknown."""


@dataclass(frozen=True)
class _Decided:
    """A row with a decision: its labels now, and those that were given when it was decided."""

    file: str
    labels: Labels
    given: Labels
    decision: str
    digest: str


def load_corrections(folder: Path, manifest: Manifest, data: DataConfig) -> Corrections:
    """Return the decisions about the images of a run, from the folder of its review and from the table of its labels.

    Raises:
        DataError: The table is damaged.
    """
    column = data.groups.column if data.groups else None
    found = Corrections(folder / CORRECTIONS, manifest.rows, manifest.is_multi_label, column, data.labels.path)
    found.load()
    return found


@dataclass
class Corrections:
    """The decisions about the labels of a run's images, and the table that contains them.

    Attributes:
        path: The table; that of the images that are left out is next to it.
        rows: All images of the run, with the labels that it was trained with.
        is_multi_label: Whether an image can have any number of labels.
        group_column: Column of the groups, if the config reads them from a table.
        trained_with: Table of labels that the run was trained with; its decisions hold if it is one of corrections.
        labels: Decided labels by file; None: the image is left out.
    """

    path: Path
    rows: Sequence[ImageRecord]
    is_multi_label: bool
    group_column: str | None = None
    trained_with: Path | None = None
    labels: dict[str, Labels | None] = field(default_factory=dict)
    _saved: dict[str, Labels | None] = field(default_factory=dict)  # `labels` as they were read or written last
    _confirmed_before: _Confirmed = field(default_factory=set)

    def load(self) -> None:
        """Read the decisions of earlier reviews, if there are any. Raises DataError if the run's table is damaged."""
        self._confirmed_before = self._load_confirmed()
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

    def confirmed_files(self) -> set[str]:
        """Return the images whose labels were confirmed."""
        return {row.file for row in self.rows if row.file in self.labels and self.decision(row) == "confirmed"}

    def _read(self) -> dict[str, Labels | None]:
        """Return the decisions in the run's tables and, for images that are not in them, in the one of its labels."""
        decided: dict[str, Labels | None] = {}
        in_tables, confirmed = set[str](), _Confirmed()
        if self.path.is_file():
            table = self._load_own()
            excluded = load_table(self.excluded).column("path") if self.excluded.is_file() else []
            in_tables = {*table.column("path"), *excluded}
            decided = {one.file: one.labels for one in self._decisions_in(table)} | dict.fromkeys(excluded)
            confirmed = self._confirmed_in(table)
        found: dict[str, Labels | None] = {}
        for row in self.rows:
            if row.file in decided and (decided[row.file] != row.labels or _is_in(confirmed, row)):
                found[row.file] = decided[row.file]
            elif row.file not in in_tables and _is_in(self._confirmed_before, row):
                found[row.file] = row.labels
        return found

    def _load_own(self) -> Table:
        """Return the table of the run's corrections, which can be without images."""
        table = load_table(self.path, can_be_empty=True)
        if missing := [name for name in ("path", "label", *REVIEW_COLUMNS) if name not in table.columns]:
            text = f"{printable(self.path)}: cannot be read as a table of corrections (no column {missing[0]!r})"
            raise DataError(Message("data-table-unreadable", f"{text}. Move or delete it.", path=self.path))
        return table

    def _load_confirmed(self) -> _Confirmed:
        """Return the labels that were decided in the table that the run was trained with."""
        if self.trained_with is None or not can_be_review(self.trained_with):
            return set()
        try:
            table = load_table(self.trained_with, can_be_empty=True)
        except DataError as error:
            text = f"{error.problems[0]}. Labels that were confirmed in it count as not confirmed."
            log.warning(Message("data-review-table-unreadable", text, path=self.trained_with), extra=ONCE)
            return set()
        is_review = {"path", "label", *REVIEW_COLUMNS} <= set(table.columns)
        return self._confirmed_in(table) if is_review else set()

    def _confirmed_in(self, table: Table) -> _Confirmed:
        """Return the labels that were confirmed or corrected, without those that were edited afterwards."""
        return {
            (one.digest or one.file, one.labels)
            for one in self._decisions_in(table)
            if one.decision == ("confirmed" if one.labels == one.given else "corrected")
        }

    def _decisions_in(self, table: Table) -> Iterator[_Decided]:
        """Yield the rows of a table that have a decision."""
        digests = table.column("digest") if "digest" in table.columns else [""] * len(table.rows)
        columns = (table.column(name) for name in ("path", "label", *REVIEW_COLUMNS))
        for file, label, given, decision, digest in zip(*columns, digests, strict=True):
            if decision:
                yield _Decided(file, self._labels_in(label), self._labels_in(given), decision, digest)

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
                digest = row.digest if decision else ""
                yield row.file, LABEL_SEPARATOR.join(labels), row.split, given, decision, digest, *group

    def _labels_in(self, cell: str) -> tuple[str, ...]:
        return labels_in(cell, LABEL_SEPARATOR) if self.is_multi_label else (cell,)

    @property
    def setting(self) -> str:
        """The setting that reads the table, as KEY=VALUE."""
        path = json.dumps(str(self.path), ensure_ascii=False)
        separator = f', separator: "{LABEL_SEPARATOR}"' if self.is_multi_label else ""
        return f"data.labels={{path: {path}{separator}}}"


def _is_in(confirmed: _Confirmed, row: ImageRecord) -> bool:
    return (row.digest, row.labels) in confirmed or (row.file, row.labels) in confirmed


def _csv_text(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    return text.getvalue()

"""The manifest: a table of a run's images with path, label, split and digest."""

from __future__ import annotations

import csv
import io
import logging
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.dataset.issues import Issue
from cnncli.dataset.records import LABEL_SEPARATOR, SPLITS, ImageRecord
from cnncli.dataset.table import ImageTable
from cnncli.errors import DataError, Message, printable, reason_of
from cnncli.images.verify import ImageFacts
from cnncli.runtime.threads import batched
from cnncli.storage.safe_io import open_regular
from cnncli.terminal.console import ONCE

log = logging.getLogger(__name__)

LABEL, LABELS = "label", "labels"  # names of the second column: one label, or any number
GROUP = "group"  # name of the last column, only if the images have groups

_DIGEST = re.compile("[0-9a-f]{64}")
_BLOCK, _ROWS = 2**20, 1_024  # bytes read, and rows written, at a time
MOST_BYTES = 8 * 2**30  # maximum size of manifest.csv, about thirty million images


@dataclass(frozen=True)
class Manifest:
    """All images of a run.

    Attributes:
        rows: Images, sorted by split, label and path.
        classes: Names, sorted; a class's index in the scores is its index here.
        skipped: Unreadable images that were left out, with reasons.
        issues: Warnings and notes about the dataset.
        is_multi_label: Whether an image can have any number of labels.
        similar: Pairs of similar images in different splits, with the correlation of their brightness (0-1); of many,
            only the most similar.
    """

    rows: ImageTable
    classes: tuple[str, ...]
    skipped: tuple[tuple[Path, Message], ...] = ()
    issues: tuple[Issue, ...] = ()
    similar: tuple[tuple[ImageRecord, ImageRecord, float], ...] = ()
    is_multi_label: bool = False

    def __post_init__(self) -> None:
        """Convert other sequences of records to a table."""
        if not isinstance(self.rows, ImageTable):
            object.__setattr__(self, "rows", ImageTable(self.rows))

    def log_issues(self) -> None:
        """Log warnings and notes about the dataset and, at debug level, each image that was left out.

        The runs of a sweep log the same issues; each is shown once.
        """
        for issue in self.issues:
            log.log(logging.WARNING if issue.severity == "warning" else logging.INFO, issue.message, extra=ONCE)
        for path, reason in self.skipped:
            text = f"left out: {printable(path)}: {reason}"
            log.debug(Message("data-image-left-out", text, path=path, reason=reason))

    def split(self, name: str) -> ImageTable:
        """Return the images of one split, or none if there is no such split."""
        return self.rows.in_split(name)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of images by split and class, without empty splits."""
        found = self.rows.counts()
        splits = [name for name in SPLITS if len(self.split(name))]
        return {split: {label: found[split, label] for label in self.classes} for split in splits}

    def labels(self, rows: Sequence[ImageRecord]) -> NDArray[Any]:
        """Return the class index of each row, int64 (n,); if multi-label, 0 or 1 for each class, uint8 (n, classes).

        The number of dimensions tells the two apart everywhere.
        """
        index = {name: place for place, name in enumerate(self.classes)}
        table = rows if isinstance(rows, ImageTable) else ImageTable(rows)
        if not self.is_multi_label:
            return table.by_labels(lambda labels: index[labels[0]], np.int64, ())
        ones = np.eye(len(index), dtype=np.uint8)
        return table.by_labels(lambda labels: ones[[index[one] for one in labels]].sum(axis=0), np.uint8, (len(index),))

    def csv_text(self) -> str:
        """Return the rows as CSV with a header; path bytes that are not UTF-8 remain surrogate escapes."""
        return "".join(self.csv_parts())

    def csv_parts(self) -> Iterator[str]:
        """Yield the text of `csv_text` in parts, because that of a million images takes several hundred megabytes."""
        header = columns(self.is_multi_label, has_groups=self.rows.has_groups)
        yield _table([header])
        for batch in batched(self.rows, _ROWS):
            yield _table(_cells(row, header) for row in batch)

    def skipped_text(self) -> str:
        """Return the images that were left out as CSV with a header (path, reason, code)."""
        return _table([("path", "reason", "code"), *((path, reason, reason.code) for path, reason in self.skipped)])

    def similar_text(self) -> str:
        """Return the pairs of similar images as CSV with a header."""
        columns = ("path", "label", "split", "path_2", "label_2", "split_2", "correlation")
        pairs = [(*_identity(one), *_identity(other), round(score, 4)) for one, other, score in self.similar]
        return _table([columns, *pairs])

    @classmethod
    def from_csv(cls, path: Path) -> Manifest:
        """Read a manifest; its classes are those of the rows.

        Raises:
            DataError: The file is missing, damaged, or not a manifest.
        """
        try:
            with open_regular(path) as file:
                rows, is_multi_label = _read_rows(file)
        except (OSError, ValueError, OverflowError, csv.Error) as error:
            text = f"{printable(path)}: not a valid cnncli manifest ({reason_of(error)})"
            raise DataError(Message("data-manifest-invalid", text, path=path)) from None
        classes = tuple(sorted({label for _, label in rows.counts()}))
        return cls(rows, classes, is_multi_label=is_multi_label)


def _read_rows(file: io.BufferedReader) -> tuple[ImageTable, bool]:
    """Return the rows of a manifest, and whether an image can have any number of labels; see `from_csv`."""
    if file.seek(0, io.SEEK_END) > MOST_BYTES:
        raise ValueError(f"larger than {MOST_BYTES:,} bytes")
    file.seek(0)
    n_lines = sum(block.count(b"\n") for block in iter(lambda: file.read(_BLOCK), b""))
    file.seek(0)
    with io.TextIOWrapper(file, "utf-8", sys.getfilesystemencodeerrors(), newline="") as text:
        lines = csv.reader(text, strict=True)
        header = tuple(next(lines, ()))
        expected = columns(LABELS in header, has_groups=GROUP in header)
        if header != expected:
            raise ValueError(f"expected the columns {', '.join(expected)}")
        return ImageTable((_row(line, header) for line in lines), most=n_lines + 1), LABELS in header


def columns(is_multi_label: bool, *, has_groups: bool = False) -> tuple[str, ...]:
    """Return the columns of manifest.csv."""
    label, group = LABELS if is_multi_label else LABEL, (GROUP,) if has_groups else ()
    return ("path", label, "split", "digest", "size_bytes", "width", "height", *group)


def _table(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO(newline="")
    # All text is quoted: with minimal quoting, a carriage return in a name would end the line.
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerows(rows)
    return text.getvalue()


def _identity(row: ImageRecord) -> tuple[str, str, str]:
    return row.file, row.label, row.split


def _cells(row: ImageRecord, header: Sequence[str]) -> tuple[str | int, ...]:
    facts, label = row.facts, LABEL_SEPARATOR.join(row.labels) if LABELS in header else row.label
    group = (row.group,) if GROUP in header else ()
    return row.file, label, row.split, facts.digest, facts.size_bytes, facts.width, facts.height, *group


def _row(line: Sequence[str], header: Sequence[str]) -> ImageRecord:
    cells = dict(zip(header, line, strict=True))
    split, digest = cells["split"], cells["digest"]
    size_bytes, width, height = (int(cells[name]) for name in ("size_bytes", "width", "height"))
    if split not in SPLITS or not _DIGEST.fullmatch(digest) or size_bytes < 0 or min(width, height) < 1:
        raise ValueError(f"invalid row: {','.join(line)[:120]}")
    labels = tuple(filter(None, cells[LABELS].split(LABEL_SEPARATOR))) if LABELS in cells else (cells[LABEL],)
    return ImageRecord(
        cells["path"], labels, split, ImageFacts(digest, size_bytes, width, height), cells.get(GROUP, "")
    )

"""The manifest: the table of a run's images with the path, label, split and digest of each."""

from __future__ import annotations

import csv
import io
import logging
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnncli.dataset.issues import Issue, log_issues
from cnncli.dataset.records import SPLITS, ImageRecord
from cnncli.errors import DataError, Message, printable
from cnncli.images.verify import ImageFacts
from cnncli.storage.atomic import write_atomically
from cnncli.storage.safe_io import read_bytes

log = logging.getLogger(__name__)

COLUMNS = ("path", "label", "split", "digest", "size_bytes", "width", "height")
"""Columns of manifest.csv."""

_DIGEST = re.compile("[0-9a-f]{64}")
MOST_BYTES = 8 * 2**30
"""Maximum size of manifest.csv, about thirty million images."""


@dataclass(frozen=True)
class Manifest:
    """All images of a run.

    Attributes:
        rows: images, sorted by split, label and path.
        classes: names, sorted; the index of a class in the scores is its index here.
        left_out: number of files and folders that were left out, by reason.
        skipped: unreadable images that were left out, with the reason of each.
        issues: warnings and notes about the dataset.
        similar: pairs of similar images in different splits, with the correlation of their brightness (0-1).
    """

    rows: tuple[ImageRecord, ...]
    classes: tuple[str, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    skipped: tuple[tuple[Path, Message], ...] = ()
    issues: tuple[Issue, ...] = ()
    similar: tuple[tuple[ImageRecord, ImageRecord, float], ...] = ()

    def log_issues(self) -> None:
        """Log warnings and notes about the dataset, and at debug level each image that was left out."""
        log_issues(self.issues)
        for path, reason in self.skipped:
            log.debug(
                Message("data-image-left-out", f"left out: {printable(path)}: {reason}", path=path, reason=reason)
            )

    def split(self, name: str) -> tuple[ImageRecord, ...]:
        """Return the images of one split; none if there is no such split."""
        return tuple(row for row in self.rows if row.split == name)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of images by split and class; splits without images are absent."""
        found = Counter((row.split, row.label) for row in self.rows)
        splits = [name for name in SPLITS if any(split == name for split, _ in found)]
        return {split: {label: found[split, label] for label in self.classes} for split in splits}

    def labels(self, rows: Sequence[ImageRecord]) -> NDArray[np.int64]:
        """Return the class index of each row: int64, shape (n,)."""
        index = {name: place for place, name in enumerate(self.classes)}
        return np.array([index[row.label] for row in rows], dtype=np.int64)

    def csv_text(self) -> str:
        """Return the rows as CSV with a header; bytes of a path that are not UTF-8 stay surrogate escapes."""
        return _table(COLUMNS, map(_cells, self.rows))

    def skipped_text(self) -> str:
        """Return the images that were left out as CSV with a header: path, reason and code."""
        return _table(("path", "reason", "code"), ((path, reason, reason.code) for path, reason in self.skipped))

    def similar_text(self) -> str:
        """Return the pairs of similar images as CSV with a header."""
        columns = [f"{name}{number}" for number in ("", "_2") for name in ("path", "label", "split")]
        pairs = (
            (*(value for row in (one, other) for value in (row.file, row.label, row.split)), round(correlation, 4))
            for one, other, correlation in self.similar
        )
        return _table((*columns, "correlation"), pairs)

    def to_csv(self, path: Path) -> None:
        """Write the rows as CSV, every path in the bytes of the file system."""
        write_atomically(path, self.csv_text().encode("utf-8", sys.getfilesystemencodeerrors()))

    @classmethod
    def from_csv(cls, path: Path) -> Manifest:
        """Read a manifest; its classes are those of the rows.

        Raises:
            DataError: the file is missing, damaged, or not a manifest.
        """
        try:
            text = read_bytes(path, MOST_BYTES).decode("utf-8", sys.getfilesystemencodeerrors())
            lines = csv.reader(io.StringIO(text, newline=""), strict=True)
            if tuple(next(lines, ())) != COLUMNS:
                raise ValueError(f"expected the columns {', '.join(COLUMNS)}")
            rows = tuple(_row(line) for line in lines)
        except OSError as error:
            text = f"{printable(path)}: cannot be read ({error.strerror})"
            raise DataError(Message("data-manifest-unreadable", text, path=path)) from None
        except (ValueError, csv.Error) as error:
            text = f"{printable(path)}: is not a manifest of cnncli ({printable(str(error))})"
            raise DataError(Message("data-manifest-invalid", text, path=path)) from None
        return cls(rows, tuple(sorted({row.label for row in rows})))


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO(newline="")
    # All text is quoted: with minimal quoting, a carriage return in a name would end the line.
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def _cells(row: ImageRecord) -> tuple[str | int, ...]:
    return row.file, row.label, row.split, row.digest, row.size_bytes, row.width, row.height


def _row(line: Sequence[str]) -> ImageRecord:
    path, label, split, digest, *numbers = line
    size_bytes, width, height = map(int, numbers)
    if split not in SPLITS or not _DIGEST.fullmatch(digest) or size_bytes < 0 or min(width, height) < 1:
        raise ValueError(f"invalid row: {','.join(line)[:120]}")
    return ImageRecord(path, label, split, ImageFacts(digest, size_bytes, width, height))

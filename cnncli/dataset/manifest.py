"""The manifest: the table of images of a run, with the split, label and digest of each."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnncli.dataset.scan import SPLITS
from cnncli.errors import DataError, printable
from cnncli.storage.atomic import write_atomically
from cnncli.storage.safe_io import read_bytes


@dataclass(frozen=True, slots=True)
class Row:
    """One image.

    Attributes:
        file: its absolute path as text, which takes a quarter of the memory of a `Path`.
        label: name of its class.
        split: train, validation or test.
        digest: SHA-256 of its bytes, hexadecimal.
        size_bytes: of the file.
        width, height: pixels as seen, EXIF orientation applied.
    """

    file: str
    label: str
    split: str
    digest: str
    size_bytes: int
    width: int
    height: int

    @property
    def path(self) -> Path:
        """Where it lies."""
        return Path(self.file)


COLUMNS = ("path", "label", "split", "digest", "size_bytes", "width", "height")
"""Of a manifest's file: a row's fields, in their order."""

_DIGEST = re.compile("[0-9a-f]{64}")
MOST_BYTES = 8 * 2**30
"""Some thirty million images."""


@dataclass(frozen=True)
class Manifest:
    """All images of a run.

    Attributes:
        rows: sorted by split, label and path.
        classes: names, sorted; a class's index in the scores is its place here.
        left_out: how many files and folders were no images, by reason.
        skipped: unreadable images that were left out, with the reason of each.
        notes: sentences to show.
        warnings: sentences to show even where little is to be said.
        near: pairs that look alike in different splits, with the correlation of their brightness (0-1).
    """

    rows: tuple[Row, ...]
    classes: tuple[str, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    skipped: tuple[tuple[Path, str], ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    near: tuple[tuple[Row, Row, float], ...] = ()

    def split(self, name: str) -> tuple[Row, ...]:
        """The images of one split; none where there is no such split."""
        return tuple(row for row in self.rows if row.split == name)

    def counts(self) -> dict[str, dict[str, int]]:
        """Number of images by split and class; splits without images are absent."""
        found = Counter((row.split, row.label) for row in self.rows)
        splits = [name for name in SPLITS if any(split == name for split, _ in found)]
        return {split: {label: found[split, label] for label in self.classes} for split in splits}

    def labels(self, rows: Sequence[Row]) -> NDArray[np.int64]:
        """Class index of each row, int64, shape (n,)."""
        index = {name: place for place, name in enumerate(self.classes)}
        return np.array([index[row.label] for row in rows], dtype=np.int64)

    def csv_text(self) -> str:
        """The rows as CSV with a header; bytes of a path that are no UTF-8 stay Python's surrogate escapes."""
        return _table(COLUMNS, (astuple(row) for row in self.rows))

    def skipped_text(self) -> str:
        """The images that were left out as CSV with a header: path and reason."""
        return _table(("path", "reason"), self.skipped)

    def near_text(self) -> str:
        """The pairs that look alike as CSV with a header."""
        columns = [f"{name}{number}" for number in ("", "_2") for name in ("path", "label", "split")]
        pairs = (
            (*(value for row in (one, other) for value in (row.file, row.label, row.split)), round(correlation, 4))
            for one, other, correlation in self.near
        )
        return _table((*columns, "correlation"), pairs)

    def to_csv(self, path: Path) -> None:
        """Write the rows as CSV, every name in the bytes the file system has for it."""
        write_atomically(path, self.csv_text().encode("utf-8", sys.getfilesystemencodeerrors()))

    @classmethod
    def from_csv(cls, path: Path) -> Manifest:
        """Read what `to_csv` wrote; the classes are those of the rows.

        Raises: DataError: no manifest, or a damaged one.
        """
        try:
            text = read_bytes(path, MOST_BYTES).decode("utf-8", sys.getfilesystemencodeerrors())
            lines = csv.reader(io.StringIO(text, newline=""), strict=True)
            if tuple(next(lines, ())) != COLUMNS:
                raise ValueError(f"expected the columns {', '.join(COLUMNS)}")
            rows = tuple(_row(line) for line in lines)
        except OSError as error:
            raise DataError(f"{printable(path)}: cannot be read ({error.strerror})") from None
        except (ValueError, csv.Error) as error:
            raise DataError(f"{printable(path)}: is no manifest of cnncli ({printable(str(error))})") from None
        return cls(rows, tuple(sorted({row.label for row in rows})))


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO(newline="")
    # Quoting all text, for with minimal quoting a carriage return in a name would end the line.
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def _row(line: Sequence[str]) -> Row:
    path, label, split, digest, *numbers = line
    size_bytes, width, height = map(int, numbers)
    if split not in SPLITS or not _DIGEST.fullmatch(digest) or size_bytes < 0 or min(width, height) < 1:
        raise ValueError(f"a row that is none: {','.join(line)[:120]}")
    return Row(path, label, split, digest, size_bytes, width, height)

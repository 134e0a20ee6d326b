"""Images in Parquet files in the layout of Hugging Face: a column of images as bytes, and a column of labels."""

from __future__ import annotations

import json
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from cnncli.storage.safe_io import open_regular
from cnncli.storage.tables import import_parquet

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

IMAGE_NAMES, LABEL_NAMES = ("image", "img", "picture"), ("label", "labels", "fine_label", "class", "category")
MAX_GROUPS = 4
"""Maximum number of row groups in memory. Writers for images make them of 100 rows, or of 100 MB."""

MAX_GROUP_BYTES = 2**30
"""Maximum size of the images of a row group, and of all groups in memory, uncompressed."""

MIN_ROW_BYTES, FEW_ROWS = 16, 100_000
"""Minimum size of a file per row, and the number of rows that are accepted in a file of any size.

A run-length code can state a billion labels in a few bytes; an image takes more than this even if compressed.
"""

MAX_BATCH_ROWS = 2**16
MAX_LABELS_BYTES = 2**24
"""Size of all labels together that is accepted in a file of any size; in others, they are no larger than the file."""


@dataclass(frozen=True)
class ParquetColumns:
    """The columns of a Parquet file that are used.

    Attributes:
        image: Name of the column of images, followed by `.bytes` if it is a struct.
        label: Name of the column of labels.
        names: Names of the classes, if labels are their indexes and the file states them.
    """

    image: str
    label: str
    names: tuple[str, ...] = ()


def parquet_columns(schema: Any) -> ParquetColumns | str:
    """Return the columns of images and labels of a schema of Arrow, or the reason why there are none."""
    import pyarrow as pa

    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        features = {name: one for name, one in features.items() if isinstance(one, dict)}
    except (ValueError, KeyError, TypeError, AttributeError):
        features = {}
    images = _image_columns(schema)
    classes = [name for name, one in features.items() if one.get("_type") == "ClassLabel"]
    labels = [one.name for one in schema if pa.types.is_integer(one.type) or pa.types.is_string(one.type)]
    image = _chosen(images, IMAGE_NAMES)
    labels = [name for name in classes if name in labels] or labels
    label = _chosen(labels, LABEL_NAMES)
    for kind, chosen, found in (("image", image, list(images)), ("label", label, labels)):
        if chosen is None and found:
            return f"has several columns that can be the {kind}; rename one of {', '.join(found[:30])} to {kind}"
    if image is None:
        return f"has no column of images as bytes; columns: {', '.join(schema.names[:30])}"
    if label is None:
        return f"has no column of labels; columns: {', '.join(schema.names[:30])}"
    names = features.get(label, {}).get("names", ())
    return ParquetColumns(images[image], label, tuple(map(str, names)) if isinstance(names, list) else ())


def _image_columns(schema: Any) -> dict[str, str]:
    """Return the columns of images as bytes by their name, followed by `.bytes` if they are structs."""
    import pyarrow as pa

    return {
        one.name: f"{one.name}.bytes" if pa.types.is_struct(one.type) else one.name
        for one in schema
        if (pa.types.is_struct(one.type) and one.type.get_field_index("bytes") >= 0) or _is_binary(one.type)
    }


def has_images(path: str) -> bool:
    """Return whether a local Parquet file has a column of images as bytes; False if it cannot be read.

    If its columns cannot be used, only their names and types distinguish it from a table with other bytes.
    """
    try:
        with open_regular(Path(path)) as file:
            schema = open_parquet(file, path).schema_arrow
            images = _image_columns(schema)
            is_usable = isinstance(parquet_columns(schema), ParquetColumns)
    except Exception:  # pyarrow can raise anything for a hostile file
        return False
    return is_usable or any(name in IMAGE_NAMES or name != column for name, column in images.items())


def open_parquet(file: BinaryIO, path: str) -> ParquetFile:
    """Open a Parquet file.

    Raises:
        DataError: pyarrow is not installed.
        ValueError: The file is damaged.
    """
    pyarrow, parquet = import_parquet(Path(path))
    try:
        found: ParquetFile = parquet.ParquetFile(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(str(error).partition("\n")[0]) from None
    return found


def require_bounded(file: ParquetFile, columns: ParquetColumns, size_bytes: int) -> None:
    """Raise ValueError if a Parquet file states more rows, or larger row groups, than are read into memory."""
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    n_rows = sum(group.num_rows for group in groups)
    if n_rows > max(FEW_ROWS, size_bytes // MIN_ROW_BYTES):
        raise ValueError(f"{n_rows:,} rows in {size_bytes:,} bytes, which is too little for images")
    for number in range(len(groups)):
        for column in (columns.image, columns.label):
            if (size := _size_of(file, number, column)) > MAX_GROUP_BYTES:
                raise ValueError(_too_large(size))


def read_labels(file: ParquetFile, column: str, size_bytes: int) -> Iterator[str]:
    """Yield the label of each row, an empty text if there is none. Raises ValueError if they are larger than images."""
    import pyarrow as pa

    most = max(MAX_LABELS_BYTES, size_bytes)
    n_rows = MAX_BATCH_ROWS if pa.types.is_integer(file.schema_arrow.field(column).type) else 1  # see RowGroups
    for batch in file.iter_batches(n_rows, columns=[column], use_threads=False):
        for cell in batch.column(0).to_pylist():
            label = "" if cell is None or cell == -1 else str(cell)
            if (most := most - len(label)) < 0:
                raise ValueError("labels that are larger than the file")
            yield label


def n_null(file: ParquetFile, column: str) -> int:
    """Return the number of rows of a column that are null, as far as the file states it."""
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    parts = [group.column(n) for group in groups for n in range(group.num_columns)]
    found = [part.statistics for part in parts if part.path_in_schema == column]
    return sum(one.null_count for one in found if one is not None and one.has_null_count)


def _size_of(file: ParquetFile, number: int, column: str) -> int:
    """Return the encoded size of a column, or of the fields of a struct, without compression."""
    group = file.metadata.row_group(number)
    parts = [group.column(n) for n in range(group.num_columns)]
    return sum(
        int(part.total_uncompressed_size) for part in parts if f"{part.path_in_schema}.".startswith(f"{column}.")
    )


def _too_large(size: int) -> str:
    return f"a row group of {size:,} bytes; at most {MAX_GROUP_BYTES:,} are read, so write smaller row groups"


def _is_binary(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _chosen(names: Any, usual: tuple[str, ...]) -> str | None:
    """Return the only name, or the first usual one."""
    found = list(names)
    return found[0] if len(found) == 1 else next((name for name in usual if name in found), None)


@dataclass
class RowGroups:
    """The images of a Parquet file, a few row groups of which are kept in memory. Threads can share it."""

    file: ParquetFile
    column: str
    _kept: OrderedDict[int, list[bytes | None]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Find the first row of each group."""
        metadata, self._starts = self.file.metadata, [0]
        for number in range(metadata.num_row_groups):
            self._starts.append(self._starts[-1] + metadata.row_group(number).num_rows)

    def read(self, row: int) -> bytes | None:
        """Return the bytes of the image in a row, or None if it has none."""
        group = bisect_right(self._starts, row) - 1
        with self._lock:
            if group not in self._kept:
                self._kept[group] = self._read_group(group)
                while len(self._kept) > MAX_GROUPS or (len(self._kept) > 1 and self._n_bytes() > MAX_GROUP_BYTES):
                    self._kept.popitem(last=False)
            self._kept.move_to_end(group)
            return self._kept[group][row - self._starts[group]]

    def _read_group(self, number: int) -> list[bytes | None]:
        """Return the images of a row group, read row by row: with a dictionary, each row can repeat a large image."""
        images: list[bytes | None] = []
        size = 0
        for batch in self.file.iter_batches(1, row_groups=[number], columns=[self.column], use_threads=False):
            cell = batch.column(0)[0].as_py()
            content = cell.get("bytes") if isinstance(cell, dict) else cell
            images.append(content if isinstance(content, bytes) else None)
            if (size := size + len(images[-1] or b"")) > MAX_GROUP_BYTES:
                raise ValueError(_too_large(size))
        return images

    def _n_bytes(self) -> int:
        return sum(len(image or b"") for images in self._kept.values() for image in images)

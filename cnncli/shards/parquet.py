"""Images in Parquet files in the layout of Hugging Face: a column of images as bytes, and a column of labels."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from cnncli.errors import DataError, Message
from cnncli.storage.safe_io import open_regular

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

IMAGE_NAMES, LABEL_NAMES = ("image", "img", "picture"), ("label", "labels", "fine_label", "class", "category")
MAX_GROUPS = 4
"""Maximum number of row groups in memory. Writers for images make them of 100 rows, or of 100 MB."""


@dataclass(frozen=True)
class Columns:
    """The columns of a Parquet file that are used.

    Attributes:
        image: Name of the column of images, followed by `.bytes` if it is a struct.
        label: Name of the column of labels.
        names: Names of the classes, if labels are their indexes and the file states them.
    """

    image: str
    label: str
    names: tuple[str, ...] = ()


def parquet_columns(schema: Any) -> Columns | str:
    """Return the columns of images and labels of a schema of Arrow, or the reason why there are none."""
    import pyarrow as pa

    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        features = {name: one for name, one in features.items() if isinstance(one, dict)}
    except (ValueError, KeyError, TypeError, AttributeError):
        features = {}
    images = {
        one.name: f"{one.name}.bytes" if pa.types.is_struct(one.type) else one.name
        for one in schema
        if (pa.types.is_struct(one.type) and one.type.get_field_index("bytes") >= 0) or _is_binary(one.type)
    }
    classes = [name for name, one in features.items() if one.get("_type") == "ClassLabel"]
    labels = [one.name for one in schema if pa.types.is_integer(one.type) or pa.types.is_string(one.type)]
    image = _chosen(images, IMAGE_NAMES)
    label = _chosen([name for name in classes if name in labels] or labels, LABEL_NAMES)
    if image is None:
        return f"has no column of images as bytes; columns: {', '.join(schema.names[:30])}"
    if label is None:
        return f"has no column of labels; columns: {', '.join(schema.names[:30])}"
    names = features.get(label, {}).get("names", ())
    return Columns(images[image], label, tuple(map(str, names)) if isinstance(names, list) else ())


def has_images(path: str) -> bool:
    """Return whether a local Parquet file has a column of images as bytes; False if it cannot be read."""
    try:
        with open_regular(Path(path)) as file:
            columns = parquet_columns(open_parquet(file, path).schema_arrow)
    except (OSError, ValueError, DataError):
        return False
    return isinstance(columns, Columns)


def open_parquet(file: BinaryIO, path: str) -> ParquetFile:
    """Open a Parquet file.

    Raises:
        DataError: pyarrow is not installed.
        ValueError: The file is damaged.
    """
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        text = f"{path}: Parquet needs pyarrow. Install it with: pip install 'cnncli[parquet]'"
        raise DataError(Message("data-parquet-not-installed", text, path=path)) from None
    try:
        return parquet.ParquetFile(file)
    except (ArrowException, OSError) as error:
        raise ValueError(str(error).partition("\n")[0]) from None


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
    _kept: OrderedDict[int, Any] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Find the first row of each group."""
        metadata, self._starts = self.file.metadata, [0]
        for number in range(metadata.num_row_groups):
            self._starts.append(self._starts[-1] + metadata.row_group(number).num_rows)

    def read(self, row: int) -> bytes | None:
        """Return the bytes of the image in a row, or None if it has none."""
        from bisect import bisect_right

        group = bisect_right(self._starts, row) - 1
        with self._lock:
            if group not in self._kept:
                table = self.file.read_row_group(group, columns=[self.column])
                column = table.column(0).combine_chunks()
                self._kept[group] = column.field("bytes") if self.column.endswith(".bytes") else column
            self._kept.move_to_end(group)
            while len(self._kept) > MAX_GROUPS:
                self._kept.popitem(last=False)
            found = self._kept[group][row - self._starts[group]].as_py()
        return found if isinstance(found, bytes) else None

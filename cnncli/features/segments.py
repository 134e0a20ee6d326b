"""One segment: rows of features that were written together and never change; read, checked and mapped into memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnncli.engines.engine import Array
from cnncli.features.digests import Digests, from_bytes
from cnncli.features.layout import INDEX, ROWS

FORMAT = 2
NAME_LENGTH = 32
"""Hexadecimal digits of an index's checksum that name a segment's folder."""


@dataclass(frozen=True)
class Tensor:
    """One of the tensors in a row: its shape and dtype."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def numpy(self) -> np.dtype[Any]:
        """Its dtype for NumPy, which knows bfloat16 by another package."""
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16 if self.dtype == "bfloat16" else self.dtype)

    @property
    def size_bytes(self) -> int:
        """Of one row."""
        return int(np.prod(self.shape)) * self.numpy.itemsize


@dataclass(frozen=True, eq=False)
class Segment:
    """What an index says, digests apart.

    Attributes:
        path: the segment's folder.
        n_rows: how many rows there are.
        tensors: what a row consists of, one tensor after the other.
        checksum: SHA-256 of the index, and by what stands in there of the whole segment.
        rows_checksum: SHA-256 of the rows.
    """

    path: Path
    n_rows: int
    tensors: tuple[Tensor, ...]
    checksum: str
    rows_checksum: str

    @property
    def record(self) -> np.dtype[Any]:
        """A row as NumPy sees it: the bytes of each tensor, under its number."""
        return np.dtype([(str(number), f"V{tensor.size_bytes}") for number, tensor in enumerate(self.tensors)])


def index_text(digests: bytes, tensors: Sequence[Tensor], rows_checksum: str, created: str) -> str:
    """The text of an index.

    Args:
        digests: 32 bytes each, in the order of the rows.
        tensors: of a row.
        rows_checksum: SHA-256 of the rows.
        created: when.
    """
    index = {
        "format": FORMAT,
        "created": created,
        "rows": len(digests) // 32,
        "tensors": [{"shape": tensor.shape, "dtype": tensor.dtype} for tensor in tensors],
        "sha256": rows_checksum,
        "digests": digests.hex(),
    }
    return json.dumps(index) + "\n"


def checksum_of(index: bytes) -> str:
    """What stands for a segment; its beginning is the name of the folder."""
    return hashlib.sha256(index).hexdigest()


def read_segment(folder: Path) -> tuple[Segment, Digests] | None:
    """A segment and the digests of its rows; None where its index is not what was written. Rows are not looked at.

    Raises:
        OSError: the index is there and cannot be read now, which says nothing about what is in it.
    """
    try:
        data = (folder / INDEX).read_bytes()
    except FileNotFoundError:
        return None
    checksum = checksum_of(data)
    if checksum[:NAME_LENGTH] != folder.name:
        return None
    index: Mapping[str, Any] = json.loads(data)
    tensors = tuple(Tensor(tuple(tensor["shape"]), tensor["dtype"]) for tensor in index["tensors"])
    segment = Segment(folder, index["rows"], tensors, checksum, index["sha256"])
    return segment, from_bytes(bytes.fromhex(index["digests"]))


def is_whole(segment: Segment) -> bool:
    """Whether the rows are what was written.

    Raises:
        OSError: they are there and cannot be read now, which says nothing about what they are.
    """
    try:
        with (segment.path / ROWS).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == segment.rows_checksum
    except FileNotFoundError:
        return False


def map_rows(segment: Segment) -> Array:
    """The rows, mapped into memory: structured, shape (n,), a field of bytes for each tensor under its number.

    Python keeps a file open for as long as it is mapped.

    Raises:
        OSError, ValueError: the file is gone or has become shorter.
    """
    return np.asarray(np.memmap(segment.path / ROWS, segment.record, "r", shape=(segment.n_rows,)))

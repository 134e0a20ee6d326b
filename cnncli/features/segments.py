"""Segments of the feature cache on disk: rows of features that were written together and never change.

    <cache>/lock                           held alone by a process that deletes something
    <cache>/<key>/lock                     shared by all processes that have opened the key
    <cache>/<key>/recipe.json              description of the key; its time is when the key was last used
    <cache>/<key>/<segment>/index.json     digests, shapes, dtypes, checksum of the rows
    <cache>/<key>/<segment>/rows.bin       one row per digest, in the order of the index

The name of a segment's folder is the checksum of its index. Temporary folders have a name with a leading dot and are
never read.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.engines.engine import Array

LOCK = "lock"
DESCRIPTION = "recipe.json"
INDEX = "index.json"
ROWS = "rows.bin"

FORMAT = 2
NAME_LENGTH = 32
"""Number of hexadecimal digits of an index's checksum that name the segment's folder."""

Digests = NDArray[np.bytes_]
"""SHA-256 digests of images, dtype S32, shape (n,): 32 bytes each, where a str takes 113."""


def pack(digests: Sequence[str]) -> Digests:
    """Return hexadecimal SHA-256 digests as 32 bytes each, shape (n,).

    Raises:
        ValueError: one of them is not a SHA-256 digest.
    """
    if any(len(digest) != 64 for digest in digests):
        raise ValueError("a SHA-256 digest has 64 hexadecimal digits")
    return np.frombuffer(bytes.fromhex("".join(digests)), "S32")


@dataclass(frozen=True)
class Tensor:
    """Shape and dtype of one of the tensors in a row."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def numpy(self) -> np.dtype[Any]:
        """The dtype for NumPy, which gets bfloat16 from another package."""
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16 if self.dtype == "bfloat16" else self.dtype)

    @property
    def size_bytes(self) -> int:
        """Size in one row."""
        return int(np.prod(self.shape)) * self.numpy.itemsize


@dataclass(frozen=True, eq=False)
class Segment:
    """What an index says about its segment.

    Attributes:
        path: folder of the segment.
        digests: digest of the image of each row, shape (n,).
        tensors: the tensors of a row, in the order of its bytes.
        rows_checksum: SHA-256 of the rows.
    """

    path: Path
    digests: Digests
    tensors: tuple[Tensor, ...]
    rows_checksum: str

    @property
    def record(self) -> np.dtype[Any]:
        """The dtype of a row: a field of bytes for each tensor, named by its number."""
        return np.dtype([(str(number), f"V{tensor.size_bytes}") for number, tensor in enumerate(self.tensors)])

    def is_valid(self) -> bool:
        """Return whether the rows are as they were written.

        Raises:
            OSError: they cannot be read now, which says nothing about their content.
        """
        try:
            with (self.path / ROWS).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.rows_checksum
        except FileNotFoundError:
            return False

    def map_rows(self) -> Array:
        """Map the rows into memory: structured with dtype `record`, shape (n,). Keeps the file open.

        Raises:
            OSError: the file is gone.
            ValueError: the file has become shorter.
        """
        return np.asarray(np.memmap(self.path / ROWS, self.record, "r", shape=(len(self.digests),)))


def index_text(digests: bytes, tensors: Sequence[Tensor], rows_checksum: str, created: str) -> str:
    """Return the text of an index.

    Args:
        digests: 32 bytes per row.
        tensors: tensors of a row.
        rows_checksum: SHA-256 of the rows.
        created: current time.
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


def segment_name(index: bytes) -> str:
    """Return the name of a segment's folder, which is the checksum of its index."""
    return hashlib.sha256(index).hexdigest()[:NAME_LENGTH]


def read_segment(folder: Path) -> Segment | None:
    """Read the index of a segment, or return None if it is not as it was written. The rows are not read.

    Raises:
        OSError: the index cannot be read now, which says nothing about its content.
    """
    try:
        data = (folder / INDEX).read_bytes()
    except FileNotFoundError:
        return None
    if segment_name(data) != folder.name:
        return None
    index: Mapping[str, Any] = json.loads(data)
    tensors = tuple(Tensor(tuple(tensor["shape"]), tensor["dtype"]) for tensor in index["tensors"])
    digests = np.frombuffer(bytes.fromhex(index["digests"]), "S32")
    return Segment(folder, digests, tensors, index["sha256"])


def subfolders(folder: Path) -> Iterator[Path]:
    """Yield the keys of a cache or the segments of a key by name; nothing if the folder does not exist."""
    return (path for path in _folders(folder) if not path.name.startswith("."))


def temporary_in(folder: Path) -> Path:
    """Return a new temporary path in a folder."""
    return folder / f".{secrets.token_hex(8)}"


def delete(path: Path) -> None:
    """Delete a key or a segment. It disappears in one step; if the process is killed, `sweep` deletes the rest.

    Raises:
        OSError: it cannot be deleted.
    """
    temporary = temporary_in(path.parent)
    path.rename(temporary)
    shutil.rmtree(temporary, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Delete the temporary folders in a folder. The caller must hold its lock alone."""
    for path in _folders(folder):
        if path.name.startswith("."):
            shutil.rmtree(path, ignore_errors=True)


def needs_sweep(folder: Path) -> bool:
    """Return whether a folder has temporary folders."""
    return any(path.name.startswith(".") for path in _folders(folder))


def _folders(folder: Path) -> list[Path]:
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    return []

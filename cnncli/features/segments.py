"""Segments of the feature cache: rows of features that were written together and never change.

    <cache>/lock                           held exclusively by a process that deletes entries
    <cache>/<key>/lock                     shared by all processes that have opened the key
    <cache>/<key>/recipe.json              description of the key; its modification time is that of the last use
    <cache>/<key>/<segment>/index.json     digests, shapes, dtypes, checksum of the rows
    <cache>/<key>/<segment>/rows.bin       one row per digest, in the order of the index

A segment's folder is named by the checksum of its index. Temporary folders have a leading dot and are never read.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.engines.engine import Array
from cnncli.storage.atomic import sync_file, sync_folder
from cnncli.storage.safe_io import read_bytes

LOCK = "lock"
DESCRIPTION = "recipe.json"
INDEX = "index.json"
ROWS = "rows.bin"

FORMAT = 2
NAME_LENGTH = 32
"""Number of hexadecimal digits of an index's checksum that name the segment's folder."""

MOST_INDEX_BYTES = 2**28
"""Maximum size of an index, about three million images; a segment of a killed extraction has 2,048 or so."""

MAX_MAPPED = 128
"""Number of segments mapped at a time: each holds a file descriptor, and some systems allow a process only 256."""

Digests = NDArray[np.bytes_]
"""SHA-256 digests of images, dtype S32, shape (n,); each takes 32 bytes instead of 113 as a str."""


def pack(digests: Sequence[str]) -> Digests:
    """Return hexadecimal SHA-256 digests as 32 bytes each, shape (n,); raise ValueError if one is not a digest."""
    if any(len(digest) != 64 for digest in digests):
        raise ValueError("a SHA-256 digest has 64 hexadecimal digits")
    return np.frombuffer(bytes.fromhex("".join(digests)), "S32")


@dataclass(eq=False)
class Segment:
    """The index of a segment.

    Attributes:
        path: Folder of the segment.
        digests: Digest of the image of each row, shape (n,).
        record: dtype of a row, with a field for each tensor.
        rows_checksum: SHA-256 of the rows.
        is_checked: Whether this process has written the rows or verified their checksum.
    """

    path: Path
    digests: Digests
    record: np.dtype[Any]
    rows_checksum: str
    is_checked: bool = False

    def problem_of_rows(self) -> OSError | ValueError | None:
        """Verify the checksum of the rows; return the reason if they cannot be used."""
        try:
            with (self.path / ROWS).open("rb") as file:
                self.is_checked = hashlib.file_digest(file, "sha256").hexdigest() == self.rows_checksum
        except OSError as error:
            return error
        return None if self.is_checked else ValueError("damaged rows")


@lru_cache(MAX_MAPPED)
def map_rows(segment: Segment) -> Array:
    """Map the rows of a segment into memory, dtype `Segment.record`, shape (n,).

    Raises:
        OSError: The file is missing.
        ValueError: The file is too short.
    """
    return np.asarray(np.memmap(segment.path / ROWS, segment.record, "r", shape=(len(segment.digests),)))


def read_segment(folder: Path) -> Segment:
    """Read the index of a segment, but not its rows.

    Raises:
        OSError: The index cannot be read.
        ValueError: The index is damaged.
    """
    data = read_bytes(folder / INDEX, MOST_INDEX_BYTES)
    if _segment_name(data) != folder.name:
        raise ValueError("damaged index")
    index = json.loads(data)
    digests = np.frombuffer(bytes.fromhex(index["digests"]), "S32")
    fields = [(str(n), _dtype(tensor["dtype"]), tuple(tensor["shape"])) for n, tensor in enumerate(index["tensors"])]
    return Segment(folder, digests, np.dtype(fields), index["sha256"])


def write_segment(key: Path, digests: Digests, arrays: Sequence[Array]) -> Segment:
    """Write a segment to the folder of an open key atomically: one array per tensor, shape (n, …).

    Raises:
        OSError: The segment cannot be written; no part of it is left.
    """
    record = np.dtype([(str(number), array.dtype, array.shape[1:]) for number, array in enumerate(arrays)])
    rows = np.empty(len(digests), record)
    for number, array in enumerate(arrays):
        rows[str(number)] = array
    data = rows.view(np.uint8).data
    index = {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="microseconds"),
        "rows": len(digests),
        "tensors": [{"shape": array.shape[1:], "dtype": str(array.dtype)} for array in arrays],
        "sha256": hashlib.sha256(data).hexdigest(),
        "digests": digests.tobytes().hex(),
    }
    text = (json.dumps(index) + "\n").encode()
    segment = Segment(key / _segment_name(text), digests, record, str(index["sha256"]), is_checked=True)
    temporary = _temporary_in(key)
    try:
        temporary.mkdir()
        for path, content in ((temporary / ROWS, data), (temporary / INDEX, text)):
            path.write_bytes(content)
            sync_file(path)
        sync_folder(temporary)
        temporary.rename(segment.path)
        sync_folder(key)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return segment


def _dtype(name: str) -> np.dtype[Any]:
    if name != "bfloat16":
        return np.dtype(name)
    import ml_dtypes

    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype


def _segment_name(index: bytes) -> str:
    return hashlib.sha256(index).hexdigest()[:NAME_LENGTH]


def subfolders(folder: Path, *, temporary: bool = False) -> list[Path]:
    """Return the keys of a cache or the segments of a key by name, or their temporary folders."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        found = sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
        return [path for path in found if path.name.startswith(".") == temporary]
    return []


def delete(path: Path) -> None:
    """Delete a key or a segment. It disappears atomically; if the process is killed, `sweep` deletes the rest."""
    temporary = _temporary_in(path.parent)
    path.rename(temporary)
    shutil.rmtree(temporary, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Delete the temporary folders in a folder whose exclusive lock the caller holds."""
    for path in subfolders(folder, temporary=True):
        shutil.rmtree(path, ignore_errors=True)


def _temporary_in(folder: Path) -> Path:
    return folder / f".{secrets.token_hex(8)}"

"""Writing a segment: rows go to a file as they come, aside, and appear in one step when the segment is closed.

A kill leaves what nobody reads and the next process deletes. Where the disk is full, room is made once.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np

from cnncli.engines.engine import Array
from cnncli.errors import CacheError, printable
from cnncli.features.digests import Digests, from_bytes, packed
from cnncli.features.layout import INDEX, ROWS, aside_in
from cnncli.features.segments import NAME_LENGTH, Segment, Tensor, checksum_of, index_text
from cnncli.storage.atomic import sync_file, sync_folder

Result = TypeVar("Result")
_FULL = (errno.ENOSPC, errno.EDQUOT)

Room = Callable[[int], bool]
"""Frees so many bytes of disk, or some, and says whether it did."""
Keep = Callable[[Segment, Digests], None]
"""Takes a segment that has appeared."""


@dataclass(frozen=True)
class _Rows:
    """The rows so far.

    Attributes:
        digests: 32 bytes each.
        tensors: of a row.
        size_bytes: of all of them.
        checksum: SHA-256 of them.
    """

    digests: bytes = b""
    tensors: tuple[Tensor, ...] = ()
    size_bytes: int = 0
    checksum: hashlib._Hash = field(default_factory=hashlib.sha256)

    def more(self, digests: bytes, tensors: tuple[Tensor, ...], rows: memoryview) -> _Rows:
        """These with others behind them."""
        checksum = self.checksum.copy()
        checksum.update(rows)
        return _Rows(self.digests + digests, tensors, self.size_bytes + rows.nbytes, checksum)


class SegmentWriter:
    """Takes the rows of one segment; memory holds their digests and no row.

    As a context it closes where all went well, and keeps nothing where there was an exception.
    """

    def __init__(self, key: Path, make_room: Room, keep: Keep) -> None:
        """Write into a key's folder, which is there and in use; nothing is written before the first row.

        Args:
            key: the folder.
            make_room: called where the disk is full.
            keep: given the segment at the end.
        """
        self._key, self._make_room, self._keep = key, make_room, keep
        self._aside = aside_in(key)
        self._file: FileIO | None = None
        self._rows = _Rows()
        self._is_open = True

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def __len__(self) -> int:
        """How many rows there are so far."""
        return len(self._rows.digests) // 32

    @property
    def size_bytes(self) -> int:
        """Of the rows so far."""
        return self._rows.size_bytes

    def add(self, digests: Sequence[str], arrays: Sequence[Array]) -> None:
        """Add rows: row i of each array belongs to the i-th digest.

        Raises:
            CacheError: they cannot be written; nothing of the segment is kept.
            ValueError: they are not as many as the digests, of another form than those before, or come too late.
        """
        if not self._is_open:
            raise ValueError("the segment is closed")
        if not digests:
            return
        words, rows = packed(digests).tobytes(), _joined(digests, arrays)
        tensors = tuple(Tensor(array.shape[1:], str(array.dtype)) for array in arrays)
        if len(self) and tensors != self._rows.tensors:
            raise ValueError(f"rows of {tensors} after rows of {self._rows.tensors}")
        self._trying(lambda: self._append(rows), rows.nbytes)
        # In one step: Ctrl-C may come between any two, and digests, checksum and file are to tell of the same rows.
        self._rows = self._rows.more(words, tensors, rows)

    def close(self) -> None:
        """Let the rows that were added appear as a segment, forced to disk; without rows there is none.

        Raises:
            CacheError: it cannot be written; nothing of it is kept.
        """
        try:
            if len(self):
                segment = self._trying(self._published, 2 * len(self._rows.digests))
                self._keep(segment, from_bytes(self._rows.digests))
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Keep nothing of what was added and is not a segment yet; there is no more to come."""
        self._close_file()
        shutil.rmtree(self._aside, ignore_errors=True)
        self._rows = _Rows()
        self._is_open = False

    def _trying(self, action: Callable[[], Result], needed_bytes: int) -> Result:
        try:
            return with_room(action, needed_bytes, self._make_room, self._key)
        except CacheError:
            self.abandon()
            raise

    def _append(self, rows: memoryview) -> None:
        """Write rows behind those before, over what an attempt that failed has left."""
        if self._file is None:
            self._aside.mkdir(exist_ok=True)
            self._file = (self._aside / ROWS).open("wb", buffering=0)
        self._file.seek(self.size_bytes)
        self._file.truncate()
        write_all(self._file, rows)

    def _published(self) -> Segment:
        """The segment, in its place and on the disk."""
        self._close_file()
        rows, index = self._aside / ROWS, self._aside / INDEX
        os.truncate(rows, self.size_bytes)  # what an interrupted attempt has left goes
        sync_file(rows)
        tensors, rows_checksum = self._rows.tensors, self._rows.checksum.hexdigest()
        created = datetime.now(UTC).isoformat(timespec="microseconds")
        text = index_text(self._rows.digests, tensors, rows_checksum, created).encode()
        index.write_bytes(text)
        sync_file(index)
        sync_folder(self._aside)
        checksum = checksum_of(text)
        place = self._key / checksum[:NAME_LENGTH]
        if not place.exists():  # or else another process wrote the same in the same moment
            self._aside.rename(place)
        sync_folder(self._key)
        return Segment(place, len(self), tensors, checksum, rows_checksum)

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()


def with_room(action: Callable[[], Result], needed_bytes: int, make_room: Room, folder: Path) -> Result:
    """Do something that takes disk space; where there is none, once more with room made.

    Args:
        action: may be repeated.
        needed_bytes: at most.
        make_room: called where the disk is full.
        folder: named where no file is.

    Raises:
        CacheError: it cannot be done.
    """
    try:
        try:
            return action()
        except OSError as error:
            if error.errno not in _FULL or not make_room(needed_bytes):
                raise
            return action()
    except OSError as error:
        raise CacheError(_told(error, folder)) from error


def write_all(file: FileIO, data: memoryview) -> None:
    """Write bytes to an unbuffered file, which may take fewer at a time."""
    while data:
        data = data[file.write(data) :]


def _joined(digests: Sequence[str], arrays: Sequence[Array]) -> memoryview:
    """The bytes of rows as they are stored: in each those of one tensor after the other."""
    if not arrays or any(len(array) != len(digests) for array in arrays):
        raise ValueError(f"{len(digests)} digests for arrays of {[len(array) for array in arrays]} rows")
    parts = [np.ascontiguousarray(array).view(np.uint8).reshape(len(digests), -1) for array in arrays]
    return (parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)).reshape(-1).data


def _told(error: OSError, folder: Path) -> str:
    """The sentence about features that cannot be written."""
    where = printable(error.filename or folder)
    if error.errno in _FULL:
        remedy = "`cnncli cache clear` frees what no run uses, and a smaller cache.max_gb keeps more of the disk free."
    else:
        remedy = "CNNCLI_CACHE names another folder for the cache."
    return f"{where}: {error.strerror or error}; features cannot be stored. {remedy}"

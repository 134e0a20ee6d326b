"""Writing a segment: rows go to a temporary file as they come and appear in one step when the segment is closed.

If the process is killed, the temporary folder is never read, and the next process deletes it. If the disk is full, room
is made once.
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
from cnncli.errors import CacheError, Message, printable
from cnncli.features.segments import INDEX, ROWS, Segment, Tensor, index_text, pack, segment_name, temporary_in
from cnncli.storage.atomic import sync_file, sync_folder

Result = TypeVar("Result")
_FULL = (errno.ENOSPC, errno.EDQUOT)

MakeRoom = Callable[[int], bool]
"""Frees up to N bytes of disk space and returns whether it freed any."""


@dataclass(frozen=True)
class _Rows:
    """The rows that were added.

    Attributes:
        digests: 32 bytes per row.
        tensors: tensors of a row.
        size_bytes: size of all rows.
        checksum: SHA-256 of all rows.
    """

    digests: bytes = b""
    tensors: tuple[Tensor, ...] = ()
    size_bytes: int = 0
    checksum: hashlib._Hash = field(default_factory=hashlib.sha256)

    def plus(self, digests: bytes, tensors: tuple[Tensor, ...], rows: memoryview) -> _Rows:
        """Return these rows followed by others."""
        checksum = self.checksum.copy()
        checksum.update(rows)
        return _Rows(self.digests + digests, tensors, self.size_bytes + rows.nbytes, checksum)


class SegmentWriter:
    """Writes one segment; memory holds the digests of its rows, but no rows.

    As a context manager it closes the segment, or discards it after an exception. Nothing is written before the first
    row.

    Args:
        key: folder of the key, which exists and is open.
        make_room: called if the disk is full.
        keep: called with the segment when it has been written.
    """

    def __init__(self, key: Path, make_room: MakeRoom, keep: Callable[[Segment], None]) -> None:
        self._key, self._make_room, self._keep = key, make_room, keep
        self._folder = temporary_in(key)
        self._file: FileIO | None = None
        self._rows = _Rows()
        self._is_open = True

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._rows.digests) // 32

    @property
    def size_bytes(self) -> int:
        """Size of the rows."""
        return self._rows.size_bytes

    def add(self, digests: Sequence[str], arrays: Sequence[Array]) -> None:
        """Add rows.

        Args:
            digests: hexadecimal SHA-256 digests of the images, n.
            arrays: one array per tensor, shape (n, …).

        Raises:
            CacheError: they cannot be written; the segment is discarded.
            ValueError: the numbers differ, shapes or dtypes are not those of earlier rows, or the segment is closed.
        """
        if not self._is_open:
            raise ValueError("the segment is closed")
        if not digests:
            return
        packed, rows = pack(digests).tobytes(), _row_bytes(digests, arrays)
        tensors = tuple(Tensor(array.shape[1:], str(array.dtype)) for array in arrays)
        if len(self) and tensors != self._rows.tensors:
            raise ValueError(f"rows of {tensors} after rows of {self._rows.tensors}")
        self._try(lambda: self._append(rows), rows.nbytes)
        # In one step: Ctrl-C may come between any two, and digests, checksum and file must describe the same rows.
        self._rows = self._rows.plus(packed, tensors, rows)

    def close(self) -> None:
        """Let the rows appear as a segment on disk. Without rows there is no segment.

        Raises:
            CacheError: it cannot be written; the segment is discarded.
        """
        try:
            if len(self):
                self._keep(self._try(self._publish, 2 * len(self._rows.digests)))
        finally:
            self.discard()

    def discard(self) -> None:
        """Delete the rows that have not appeared as a segment; nothing can be added afterwards."""
        self._close_file()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._rows = _Rows()
        self._is_open = False

    def _try(self, action: Callable[[], Result], needed_bytes: int) -> Result:
        try:
            return with_room(action, needed_bytes, self._make_room, self._key)
        except CacheError:
            self.discard()
            raise

    def _append(self, rows: memoryview) -> None:
        """Write rows behind the earlier ones, over what a failed attempt has left."""
        if self._file is None:
            self._folder.mkdir(exist_ok=True)
            self._file = (self._folder / ROWS).open("wb", buffering=0)
        self._file.seek(self.size_bytes)
        self._file.truncate()
        write_all(self._file, rows)

    def _publish(self) -> Segment:
        """Write the index, force everything to disk and rename the folder."""
        self._close_file()
        rows, index = self._folder / ROWS, self._folder / INDEX
        os.truncate(rows, self.size_bytes)  # an interrupted attempt may have left more
        sync_file(rows)
        rows_checksum = self._rows.checksum.hexdigest()
        created = datetime.now(UTC).isoformat(timespec="microseconds")
        text = index_text(self._rows.digests, self._rows.tensors, rows_checksum, created).encode()
        index.write_bytes(text)
        sync_file(index)
        sync_folder(self._folder)
        place = self._key / segment_name(text)
        if not place.exists():  # another process may have written the same at the same moment
            self._folder.rename(place)
        sync_folder(self._key)
        return Segment(place, np.frombuffer(self._rows.digests, "S32"), self._rows.tensors, rows_checksum)

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()


def with_room(action: Callable[[], Result], needed_bytes: int, make_room: MakeRoom, folder: Path) -> Result:
    """Run an action that needs disk space; if the disk is full, make room and run it once more.

    Args:
        action: may be repeated.
        needed_bytes: space that it needs at most.
        make_room: called if the disk is full.
        folder: named in the error if no file is.

    Raises:
        CacheError: the action failed.
    """
    try:
        try:
            return action()
        except OSError as error:
            if error.errno not in _FULL or not make_room(needed_bytes):
                raise
            return action()
    except OSError as error:
        raise CacheError(_not_writable(error, folder)) from error


def write_all(file: FileIO, data: memoryview) -> None:
    """Write bytes to an unbuffered file, which may accept fewer at a time."""
    while data:
        data = data[file.write(data) :]


def _row_bytes(digests: Sequence[str], arrays: Sequence[Array]) -> memoryview:
    """Return the bytes of rows, in each row one tensor after the other."""
    if not arrays or any(len(array) != len(digests) for array in arrays):
        raise ValueError(f"{len(digests)} digests for arrays of {[len(array) for array in arrays]} rows")
    parts = [np.ascontiguousarray(array).view(np.uint8).reshape(len(digests), -1) for array in arrays]
    return (parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)).reshape(-1).data


def _not_writable(error: OSError, folder: Path) -> Message:
    path, reason = error.filename or folder, error.strerror or str(error)
    text = f"{printable(path)}: {reason}. Features cannot be cached."
    if error.errno in _FULL:
        remedy = "Free disk space with `cnncli cache clear`, or keep more of it free with a smaller cache.max_gb."
        return Message("cache-disk-full", f"{text} {remedy}", path=path, reason=reason)
    remedy = "Set CNNCLI_CACHE to another folder."
    return Message("cache-not-writable", f"{text} {remedy}", path=path, reason=reason)

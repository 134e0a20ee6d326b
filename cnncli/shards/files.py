"""Shards as files: local ones from the disk, remote ones in blocks, a bounded number of which are kept in memory."""

from __future__ import annotations

import errno
import io
import os
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, cast

from cnncli.shards.object_stores import fetch, remote_key
from cnncli.shards.places import is_remote
from cnncli.storage.safe_io import open_regular

BLOCK_BYTES = 8 * 2**20
"""Size of a block: large enough that the latency of a request, some 50 ms, does not matter."""

MAX_BLOCKS = 24
"""Maximum number of blocks in memory, those of all shards together: 192 MB."""

FileKey = tuple[int, int, int]
"""Size in bytes, and two numbers that change with the content; see `file_key`."""


class StreamWindow(io.RawIOBase):
    """A part of a file, as a file of its own."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place in the window."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer, up to the end of the window."""
        n = max(0, min(len(buffer), self._size - self._at))
        self._file.seek(self._start + self._at)
        data = self._file.read(n)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        """Close the file as well."""
        if not self.closed:
            self._file.close()
        super().close()


class _RemoteFile(io.RawIOBase):
    """A remote file whose content comes from `_blocks`."""

    def __init__(self, path: str) -> None:
        self._path, self._size, self._at = path, file_key(path)[0], 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        stop = min(self._size, self._at + len(buffer))
        data = _blocks.read(self._path, self._at, stop, self._size) if stop > self._at else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class _Blocks:
    """Blocks of remote files, fetched ahead by threads while a file is read from start to end.

    Reads out of order fetch only the bytes that they need.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int], Future[bytes]] = OrderedDict()
        self._latest: dict[str, int] = {}  # the last block that was read in order, by path
        self._pool: ThreadPoolExecutor | None = None

    def read(self, path: str, start: int, stop: int, size: int) -> bytes:
        """Return the bytes from start to stop of a file of a size."""
        first, last = start // BLOCK_BYTES, (stop - 1) // BLOCK_BYTES
        with self._lock:
            latest = self._latest.get(path, -1)
            is_in_order = latest - 1 <= first <= latest + 1
            if is_in_order:
                self._latest[path] = max(latest, last)
                ahead = [n for n in range(first, last + 2) if n * BLOCK_BYTES < size]
                parts = {n: self._block(path, n, size) for n in ahead}
        if not is_in_order:
            return fetch(path, start, stop)
        data = b"".join(parts[n].result() for n in range(first, last + 1))
        return data[start - first * BLOCK_BYTES : stop - first * BLOCK_BYTES]

    def forget(self) -> None:
        """Drop all blocks."""
        with self._lock:
            self._kept.clear()
            self._latest.clear()

    def _block(self, path: str, number: int, size: int) -> Future[bytes]:
        key = (path, number)
        found = self._kept.get(key)
        if found is None or (found.done() and found.exception() is not None):
            self._pool = self._pool or ThreadPoolExecutor(4, "cnncli-shards")
            start = number * BLOCK_BYTES
            found = self._kept[key] = self._pool.submit(fetch, path, start, min(size, start + BLOCK_BYTES))
        self._kept.move_to_end(key)
        while len(self._kept) > MAX_BLOCKS:
            self._kept.popitem(last=False)
        return found


_blocks = _Blocks()


def open_shard(path: str) -> BinaryIO:
    """Open a shard for reading at any place.

    Raises:
        OSError: It cannot be read.
    """
    if not is_remote(path):
        return open_regular(Path(path))
    return cast(BinaryIO, io.BufferedReader(_RemoteFile(path), 2**16))


def read_part(path: str, start: int, size: int) -> bytes:
    """Return some bytes of a shard; fewer if it ends before.

    Raises:
        OSError: It cannot be read.
    """
    if is_remote(path):
        return _blocks.read(path, start, start + size, file_key(path)[0]) if size else b""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - millions of reads
        file.seek(start)
        data = file.read(size)
        while len(data) < size and (more := file.read(size - len(data))):
            data += more
    return data


def file_key(path: str) -> FileKey:
    """Return the size of a file with its times of change, or with a hash of its entity tag if it is remote.

    Raises:
        OSError: There is no such file.
    """
    if is_remote(path):
        return remote_key(path)
    facts = os.stat(path)  # noqa: PTH116 - millions of paths
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def forget_remote() -> None:
    """Look up remote files again, because they may have changed."""
    remote_key.cache_clear()
    _blocks.forget()


def read_beside(path: str, most: int) -> bytes | None:
    """Return the content of a file next to shards, or None if there is none.

    Raises:
        OSError: It is larger than `most`, or cannot be read.
    """
    try:
        with open_shard(path) as file:
            data = file.read(most + 1)
    except FileNotFoundError:
        return None
    if len(data) > most:
        raise OSError(errno.EFBIG, f"larger than {most:,} bytes", path)
    return data

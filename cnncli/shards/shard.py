"""Images in shards: where each of them is, and its content."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import threading
import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnncli.shards.files import FileKey, StreamWindow, file_key, open_shard, read_part
from cnncli.shards.index import ShardIndex, read_index
from cnncli.shards.parquet import RowGroups, open_parquet, parquet_columns
from cnncli.shards.places import PARQUET, split_place
from cnncli.storage.safe_io import read_bytes

MAX_IMAGE_BYTES = 2**31
"""Maximum size of an image file, whatever its manifest says."""


@dataclass
class Shard:
    """A shard with the places of its images, 24 bytes each; names and labels are read from the cache when needed."""

    path: str
    key: FileKey
    n_images: int
    _hashes: NDArray[np.uint64]
    _offsets: NDArray[np.int64]
    _sizes: NDArray[np.int64]

    @classmethod
    def of(cls, path: str, key: FileKey, index: ShardIndex) -> Shard:
        """Keep the places of an index."""
        if path.lower().endswith(PARQUET):
            nothing = np.empty(0, np.int64)
            return cls(path, key, len(index.names), np.empty(0, np.uint64), nothing, nothing)
        hashes = np.fromiter(map(_hash, index.names), np.uint64, len(index.names))
        order = np.argsort(hashes, kind="stable")
        return cls(path, key, len(index.names), hashes[order], index.offsets[order], index.sizes[order])

    def locate(self, name: str) -> tuple[int, int]:
        """Return the place of an image in the shard and its size, or row and 0 in a Parquet file.

        Raises:
            FileNotFoundError: There is no such image.
        """
        if self.path.lower().endswith(PARQUET):
            if name.isdecimal() and str(int(name)) == name and int(name) < self.n_images:
                return int(name), 0
        else:
            wanted = np.uint64(_hash(name))
            place = int(np.searchsorted(self._hashes, wanted))
            if place < len(self._hashes) and self._hashes[place] == wanted:
                return int(self._offsets[place]), int(self._sizes[place])
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{self.path}/{name}")

    def open(self, name: str) -> io.BufferedReader | io.BytesIO:
        """Open an image for reading.

        Raises:
            OSError: There is no such image, or it cannot be read.
        """
        offset, size = self.locate(name)
        if not self.path.lower().endswith(PARQUET):
            window = StreamWindow(open_shard(self.path), offset, size)
            return io.BufferedReader(window, min(max(size, 1), 2**20))
        try:
            content = self._rows.read(offset)
        except Exception as error:  # pyarrow can raise anything for a hostile file
            raise OSError(errno.EIO, f"damaged ({str(error).partition(chr(10))[0][:200]})") from None
        if content is None:
            raise OSError(errno.EIO, "the image is not embedded in the Parquet file")
        return io.BytesIO(content)

    def read(self, name: str, most: int) -> bytes:
        """Return the content of an image; faster than `open` for small ones.

        Raises:
            OSError: It is larger than `most` bytes, or cannot be read.
        """
        offset, size = self.locate(name)
        if self.path.lower().endswith(PARQUET):
            with self.open(name) as rows:
                data = rows.read()
        else:
            data = read_part(self.path, offset, size) if size <= most else b""
        if max(size, len(data)) > most:
            raise OSError(errno.EFBIG, f"larger than {most:,} bytes", f"{self.path}/{name}")
        return data

    @cached_property
    def _rows(self) -> RowGroups:
        with ExitStack() as opened:
            content = opened.enter_context(open_shard(self.path))
            file = open_parquet(content, self.path)
            columns = parquet_columns(file.schema_arrow)
            if isinstance(columns, str):
                raise ValueError(columns)
            rows = RowGroups(file, columns.image)
            weakref.finalize(rows, opened.pop_all().close)  # pyarrow leaves a file open that it has not opened
        return rows


_opened: dict[str, Shard] = {}
_lock = threading.Lock()


def open_image_file(place: Path) -> io.BufferedReader | io.BytesIO | None:
    """Open an image in a shard, or return None for the path of an ordinary file.

    Raises:
        OSError: There is no such image, or it cannot be read.
    """
    found = split_place(place)
    return None if found is None else shard_at(found[0]).open(found[1])


def read_image(place: Path, most: int = MAX_IMAGE_BYTES) -> bytes:
    """Return the content of an image file, which can be in a shard.

    Raises:
        OSError: It is larger than `most` bytes, or cannot be read.
    """
    found = split_place(place)
    return read_bytes(place, most) if found is None else shard_at(found[0]).read(found[1], most)


def is_there(place: Path) -> bool:
    """Return whether there is an image file, which can be in a shard."""
    try:
        found = split_place(place)
        return place.is_file() if found is None else bool(shard_at(found[0]).locate(found[1]))
    except OSError:
        return False


def place_key(place: Path) -> FileKey:
    """Return a key that changes with the file of an image, which can be a shard.

    Raises:
        OSError: There is no such file.
    """
    found = split_place(place)
    return file_key(os.fspath(place) if found is None else found[0])


def reading_order(places: Sequence[str]) -> list[int]:
    """Return the order in which images are read fastest: those of a shard one after the other, as they are stored."""

    def key(number: int) -> tuple[str, int]:
        found = split_place(places[number])
        try:
            return ("", 0) if found is None else (found[0], shard_at(found[0]).locate(found[1])[0])
        except OSError:
            return found[0] if found else "", -1

    return sorted(range(len(places)), key=key)


def shard_at(path: str) -> Shard:
    """Return a shard; its index is read if the file has changed since the last time.

    Raises:
        OSError: It cannot be read.
    """
    key = file_key(path)
    with _lock:
        found = _opened.get(path)
    if found is None or found.key != key:
        found = Shard.of(path, key, read_index(path))
        with _lock:
            _opened[path] = found
    return found


def _hash(name: str) -> int:
    digest = hashlib.blake2b(os.fsencode(name), digest_size=8).digest()
    return int.from_bytes(digest, "big")

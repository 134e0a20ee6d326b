"""Read untrusted zip archives, and the arrays of NumPy's `.npz`, within limits, whatever sizes they declare.

An archive can declare a kilobyte and unpack to gigabytes, list millions of entries, or list a name twice so that two
readers see different files. Names from an archive are never used for writing.
"""

from __future__ import annotations

import io
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cnncli.errors import printable
from cnncli.runtime.threads import HEADER_LOCK
from cnncli.storage.safe_io import open_regular

Arrays = dict[str, NDArray[Any]]

SUFFIX = ".npy"

ARCHIVE_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError),
    *(OSError, RuntimeError, ValueError, OverflowError),
)
"""Exceptions from reading an archive that is damaged, truncated, encrypted, or out of bounds."""

MOST_LIST_BYTES = 32 * 2**20
"""Maximum size of the list of entries (about 400,000), which takes a dozen times as much memory."""


class ArchiveRefusedError(ValueError):
    """An archive or an entry exceeds a limit, which the message states."""


class _Bounded(io.BufferedReader):
    """A reader of at most `MOST_LIST_BYTES` at a time; only the list of entries is read in one piece."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MOST_LIST_BYTES:
            raise ArchiveRefusedError(f"its list of entries has {size:,} bytes")
        return super().read(size)


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive for reading.

    Raises:
        Exception: One of `ARCHIVE_ERRORS`: the file is not a zip archive, is truncated, or lists too many entries.
    """
    with _Bounded(open_regular(path).detach()) as file, zipfile.ZipFile(file) as archive:
        yield archive


def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    """Return the bytes of an entry, at most `most`. For errors, see `unpack_entry`."""
    target = io.BytesIO()
    unpack_entry(archive, entry, target, most)
    return target.getvalue()


def unpack_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: BinaryIO, most: int) -> None:
    """Write the bytes of an entry, at most `most`, to an open file, block by block.

    Raises:
        Exception: One of `ARCHIVE_ERRORS`: the entry is too large, whatever it declares, or cannot be unpacked.
    """
    name = printable(entry.filename)[:80]
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # zipfile unpacks other methods without a limit, however few bytes are requested.
        raise ArchiveRefusedError(f"{name} is packed by method {entry.compress_type}, expected deflate")
    if entry.file_size > most:
        raise ArchiveRefusedError(f"{name} would unpack to {entry.file_size:,} bytes")
    with archive.open(entry) as packed:
        shutil.copyfileobj(packed, target)


def most_unpacked(archive_bytes: int) -> int:
    """Return the maximum size of an entry of an archive: half a gigabyte, or four times a larger archive's size.

    Weights and photographs are hardly compressible, and small archives are harmless.
    """
    return min(100 * archive_bytes, 2**29 + 4 * archive_bytes)


def read_arrays(path: Path) -> Arrays:
    """Read the arrays of an uncompressed `.npz` by name.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is not an `.npz`, or an array is compressed, contains objects, or exceeds its data.
    """
    try:
        with open_zip(path) as archive:
            return {entry.filename.removesuffix(SUFFIX): _array(archive, entry) for entry in archive.infolist()}
    except (OSError, ValueError):
        raise
    except ARCHIVE_ERRORS as error:
        raise ValueError(str(error)) from error


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    if entry.compress_type != zipfile.ZIP_STORED or not entry.filename.endswith(SUFFIX):
        raise ValueError(f"{entry.filename} is not an uncompressed array")
    try:
        # NumPy reads in blocks: memory is used only for data that is there.
        with archive.open(entry) as file, HEADER_LOCK:
            values: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # NumPy parses the header as a Python literal, which may raise anything
        raise ValueError(f"{entry.filename} is not a valid array") from error
    if not values.dtype.itemsize:
        raise ValueError(f"{entry.filename} has values without bytes")
    return values

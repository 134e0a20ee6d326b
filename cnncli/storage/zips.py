"""Zip archives from anywhere: read within bounds, whatever they declare about themselves.

An archive can say that an entry has a kilobyte and unpack to gigabytes, list millions of entries, or list one name
twice for two readers to disagree about. Nothing of it is ever written under a name of its own.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cnncli.errors import printable
from cnncli.storage.safe_io import open_regular

ARCHIVE_ERRORS = (
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    RuntimeError,
    NotImplementedError,
    ValueError,
    OverflowError,
)
"""What reading an archive or an entry can raise: damaged, cut off, encrypted, packed in another way, out of bounds."""

MOST_LIST_BYTES = 32 * 2**20
"""Of an archive's list of entries, which takes a dozen times as much in memory; some 400,000 entries."""

BLOCK_BYTES = 2**20

_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


class ArchiveRefusedError(ValueError):
    """An archive, or an entry, that is out of bounds; the message says what and by how much."""


class _Bounded(io.BufferedReader):
    """Reads at most `MOST_LIST_BYTES` at a time: only the list of entries is read in one piece."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MOST_LIST_BYTES:
            raise ArchiveRefusedError(f"its list of entries has {size:,} bytes")
        return super().read(size)


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """An archive, open for reading while inside.

    Raises: one of `ARCHIVE_ERRORS`: no zip, cut off, or with a list of entries that no such archive has.
    """
    with _Bounded(open_regular(path).detach()) as file, zipfile.ZipFile(file) as archive:
        yield archive


def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    """An entry's bytes, at most so many.

    Raises: one of `ARCHIVE_ERRORS`: it has more, whatever it declares, or cannot be unpacked.
    """
    target = io.BytesIO()
    unpack_entry(archive, entry, target, most)
    return target.getvalue()


def unpack_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: BinaryIO, most: int) -> None:
    """Write an entry's bytes into an open file, block by block, at most so many.

    Raises: as `read_entry`.
    """
    shown = printable(entry.filename)[:80]
    if entry.compress_type not in _METHODS:
        # zipfile unpacks these without a limit, however few bytes are asked for.
        raise ArchiveRefusedError(f"{shown} is packed by method {entry.compress_type}, expected deflate")
    if entry.file_size > most:
        raise ArchiveRefusedError(f"{shown} would unpack to {entry.file_size:,} bytes")
    with archive.open(entry) as packed:
        while block := packed.read(BLOCK_BYTES):
            target.write(block)


def most_unpacked(archive_bytes: int) -> int:
    """How many bytes an entry of an archive of this size may have: beyond half a gigabyte, four times as many.

    Weights and photographs are hardly packed at all, and small archives are harmless at any rate.
    """
    return min(100 * archive_bytes, 2**29 + 4 * archive_bytes)


def repeated_names(archive: zipfile.ZipFile) -> list[str]:
    """The names that stand in the list more than once."""
    counts = Counter(entry.filename for entry in archive.infolist())
    return sorted(name for name, count in counts.items() if count > 1)

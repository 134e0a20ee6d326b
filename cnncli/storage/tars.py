"""Unpack untrusted tar archives, plain or compressed with gzip, within limits, whatever sizes they declare.

Regular files are written under new names into one folder. Links, devices and sparse files are left out, and names from
the archive are never used for writing.
"""

from __future__ import annotations

import errno
import gzip
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from cnncli.storage.safe_io import open_regular
from cnncli.storage.zips import ArchiveRefusedError, most_unpacked

SUFFIXES = (".tar", ".tar.gz", ".tgz")
_GZIP = b"\x1f\x8b"
_MOST_HEADER_BYTES = 2**20
"""Maximum size of an extended header, which tarfile reads in one piece; names are shorter than a kilobyte."""
_BLOCK_BYTES = 2**18


class _Bounded:
    """A binary file that is read in small pieces up to a limit, for any tar header and however well it compresses."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file, self._most = file, most
        self.tell, self.close = file.tell, file.close

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MOST_HEADER_BYTES:
            raise ArchiveRefusedError(f"it has a header of {size:,} bytes")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if offset > self._most:
            raise ArchiveRefusedError(f"it would unpack to more than {self._most:,} bytes")
        return self._file.seek(offset, whence)


def unpack_tar(path: Path, folder: Path, most_files: int) -> dict[str, Path]:
    """Unpack the regular files of an archive into an existing folder; return their paths by their names in the archive.

    Raises:
        Exception: One of `ARCHIVE_ERRORS`: the file is not a tar archive, is truncated, has too many files, or would
            unpack to more bytes than allowed or free.
    """
    size_bytes = path.stat().st_size
    most = most_unpacked(size_bytes)
    _require_free(folder, size_bytes)
    files: dict[str, Path] = {}
    with _open(path, most) as archive:
        for number, entry in enumerate(archive):
            if number >= most_files:
                raise ArchiveRefusedError(f"it has more than {most_files:,} files")
            if entry.isreg() and not entry.issparse() and (content := archive.extractfile(entry)):
                files[entry.name] = target = folder / f"{len(files)}"
                _require_free(folder, entry.size)
                with content, target.open("wb") as file:
                    shutil.copyfileobj(content, file, _BLOCK_BYTES)
            archive.members = []  # type: ignore[attr-defined] # tarfile otherwise remembers every entry
    return files


@contextmanager
def _open(path: Path, most: int) -> Iterator[tarfile.TarFile]:
    """Open an archive; tarfile's exceptions become ValueError."""
    with open_regular(path) as raw:
        is_packed = raw.peek(2)[:2] == _GZIP
        content = cast(BinaryIO, gzip.GzipFile(fileobj=raw) if is_packed else raw)
        try:
            with tarfile.open(fileobj=cast(BinaryIO, _Bounded(content, most)), mode="r:") as archive:
                yield archive
        except tarfile.TarError as error:
            raise ValueError(str(error)) from error


def _require_free(folder: Path, size_bytes: int) -> None:
    if shutil.disk_usage(folder).free < size_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))

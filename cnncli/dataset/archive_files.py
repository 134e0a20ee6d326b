"""The files of a dataset as it was downloaded: a folder, a zip, or zips inside a zip."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

from cnncli.errors import DataError, ImageError, printable
from cnncli.images.formats import regular_file
from cnncli.storage.zips import ARCHIVE_ERRORS, ArchiveRefusedError, most_unpacked, open_zip, read_entry, unpack_entry

LARGEST_FILE = 200_000_000
"""Bytes; a larger entry of an archive is no photograph and is not unpacked."""
HARMLESS, MOST_PACKED = 2**25, 20
"""Bytes below which it may be packed at will; above, an image is hardly packed at all."""
MOST_FILES, MOST_ZIPS = 500_000, 100
"""In a download; Kaggle's has 37,500 images in two zips."""

Files = Mapping[str, Callable[[], bytes]]
"""How to read each file, by its name in the download, with `/` between folders."""

# Kaggle packs its unlabelled test images in a zip of their own.
_UNLABELLED = "test"


@contextmanager
def files_of(source: Path, scratch: Path) -> Iterator[Files]:
    """The files of a download, hidden ones and those of `__MACOSX` left out; nothing is written but inner zips.

    Args:
        source: a folder or a zip.
        scratch: a folder that exists, for zips inside the zip.
    Raises: DataError: no such file, or no zip. Reading a file that cannot be read raises ImageError.
    """
    if source.is_dir():
        yield _files_in_folder(source)
        return
    if not source.exists():
        raise DataError(f"{printable(source)}: there is no such file or folder")
    with ExitStack() as archives:
        yield _files_in_zip(source, "", scratch, archives)


def _files_in_folder(source: Path) -> Files:
    files: dict[str, Callable[[], bytes]] = {}
    for folder, _, names in os.walk(source):
        for name in names:
            path = Path(folder, name)
            within = path.relative_to(source).as_posix()
            if _is_visible(within):
                files[within] = partial(_read_file, path)
    return files


def _files_in_zip(source: Path, prefix: str, scratch: Path, archives: ExitStack) -> Files:
    try:
        archive = archives.enter_context(open_zip(source))
    except ARCHIVE_ERRORS as error:
        named = f"{printable(source)}{f' (in the zip as {prefix[:-1]})' if prefix else ''}"
        raise DataError(f"{named}: is no zip, or the download broke off ({error})") from None
    files: dict[str, Callable[[], bytes]] = {}
    for entry in archive.infolist():
        name = entry.filename.replace("\\", "/")
        if entry.is_dir() or not _is_visible(name):
            continue
        inner = PurePosixPath(name)
        if inner.suffix.lower() != ".zip":
            files[prefix + name] = partial(_read_entry, archive, entry)
        elif not prefix and not inner.stem.lower().startswith(_UNLABELLED):
            files.update(_files_in_zip(_unpacked(archive, entry, scratch, source), f"{name}/", scratch, archives))
        if len(files) > MOST_FILES:
            raise DataError(f"{printable(source)}: holds more than {MOST_FILES:,} files, which no such download does")
    return files


def _is_visible(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return "__MACOSX" not in parts and not any(part.startswith(".") and part not in (".", "..") for part in parts)


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, scratch: Path, source: Path) -> Path:
    """A zip inside a zip as a file, under a name of ours."""
    others = list(scratch.iterdir())
    path = scratch / f"{len(others)}.zip"
    left = most_unpacked(source.stat().st_size) - sum(other.stat().st_size for other in others)
    try:
        if len(others) == MOST_ZIPS:
            raise ArchiveRefusedError(f"there are more than {MOST_ZIPS} zips in it")
        with path.open("wb") as file:
            unpack_entry(archive, entry, file, left)
    except ARCHIVE_ERRORS as error:
        raise DataError(
            f"{printable(source)}: {printable(entry.filename)} cannot be unpacked ({printable(str(error))})"
        ) from None
    return path


def _read_file(path: Path) -> bytes:
    with regular_file(path) as file:
        return file.read()


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    if entry.file_size > min(LARGEST_FILE, max(HARMLESS, MOST_PACKED * entry.compress_size)):
        raise ImageError(entry.filename, f"has {entry.file_size:,} bytes, which no photograph has")
    try:
        return read_entry(archive, entry, LARGEST_FILE)
    except ARCHIVE_ERRORS as error:
        raise ImageError(entry.filename, f"cannot be unpacked ({printable(str(error))})") from None

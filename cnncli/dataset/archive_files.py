"""Files of a downloaded dataset: a folder, a zip, or zips inside a zip."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

from cnncli.errors import DataError, ImageError, Message, printable
from cnncli.images.formats import regular_file
from cnncli.storage.zips import ARCHIVE_ERRORS, ArchiveRefusedError, most_unpacked, open_zip, read_entry, unpack_entry

LARGEST_FILE = 200_000_000
"""Maximum size in bytes; a larger entry of an archive is not a photograph and is not unpacked."""
HARMLESS, MOST_PACKED = 2**25, 20
"""Entries of at most `HARMLESS` bytes may have any compression ratio; larger ones at most `MOST_PACKED`."""
MOST_FILES, MOST_ZIPS = 500_000, 100
"""Limits of a download; Kaggle's has 37,500 images in two zips."""

Files = Mapping[str, Callable[[], bytes]]
"""Functions that read each file, by its name in the download with `/` as separator."""

# Kaggle packs its unlabeled test images in a separate zip.
_UNLABELED = "test"


@contextmanager
def files_of(source: Path, scratch: Path) -> Iterator[Files]:
    """List the files of a download without hidden ones and those of `__MACOSX`. Only inner zips are unpacked.

    Args:
        source: a folder or a zip.
        scratch: an existing folder for zips inside the zip.

    Yields:
        The files. Reading one that cannot be read raises ImageError.

    Raises:
        DataError: the source does not exist or is not a zip.
    """
    if source.is_dir():
        yield _files_in_folder(source)
        return
    if not source.exists():
        raise DataError(Message("data-path-missing", f"{printable(source)}: no such file or folder", path=source))
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
        text = f"{named}: is not a zip file, or the download is incomplete ({error})"
        raise DataError(Message("data-prepare-not-a-zip", text, path=source)) from None
    files: dict[str, Callable[[], bytes]] = {}
    for entry in archive.infolist():
        name = entry.filename.replace("\\", "/")
        if entry.is_dir() or not _is_visible(name):
            continue
        inner = PurePosixPath(name)
        if inner.suffix.lower() != ".zip":
            files[prefix + name] = partial(_read_entry, archive, entry)
        elif not prefix and not inner.stem.lower().startswith(_UNLABELED):
            files.update(_files_in_zip(_unpack(archive, entry, scratch, source), f"{name}/", scratch, archives))
        if len(files) > MOST_FILES:
            text = f"{printable(source)}: has more than {MOST_FILES:,} files, more than any such download"
            raise DataError(Message("data-prepare-too-many-files", text, path=source))
    return files


def _is_visible(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return "__MACOSX" not in parts and not any(part.startswith(".") and part not in (".", "..") for part in parts)


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, scratch: Path, source: Path) -> Path:
    """Unpack a zip inside a zip into a file with a safe name."""
    others = list(scratch.iterdir())
    path = scratch / f"{len(others)}.zip"
    left = most_unpacked(source.stat().st_size) - sum(other.stat().st_size for other in others)
    try:
        if len(others) == MOST_ZIPS:
            raise ArchiveRefusedError(f"more than {MOST_ZIPS} zips")
        with path.open("wb") as file:
            unpack_entry(archive, entry, file, left)
    except ARCHIVE_ERRORS as error:
        text = f"{printable(source)}: {printable(entry.filename)} cannot be unpacked ({printable(str(error))})"
        raise DataError(Message("data-prepare-unpacking-failed", text, path=source)) from None
    return path


def _read_file(path: Path) -> bytes:
    with regular_file(path) as file:
        return file.read()


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    if entry.file_size > min(LARGEST_FILE, max(HARMLESS, MOST_PACKED * entry.compress_size)):
        reason = f"has {entry.file_size:,} bytes, more than a photograph"
        raise ImageError(entry.filename, Message("image-too-many-bytes", reason, received=entry.file_size))
    try:
        return read_entry(archive, entry, LARGEST_FILE)
    except ARCHIVE_ERRORS as error:
        reason = f"cannot be unpacked ({printable(str(error))})"
        raise ImageError(entry.filename, Message("image-damaged", reason)) from None

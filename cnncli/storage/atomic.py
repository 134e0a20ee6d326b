"""Files that appear whole or not at all: written aside, forced to disk, renamed.

What is aside starts with a dot and ends in the suffix of the file it will be, since some writers choose their format
by it. A reader never meets half a file, and after a crash there is the old one or the new one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a whole file in one step; text as UTF-8 with the line ends it has."""
    with replacing(path) as aside:
        aside.write_bytes(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to; the file that lies there when the block ends takes the place of `path` in one step.

    An exception inside the block leaves `path` as it was, and nothing beside it.
    """
    aside = path.with_name(f".{path.stem}.{os.urandom(4).hex()}{path.suffix}")
    try:
        with naming(path):
            yield aside
            sync_file(aside)
            aside.replace(path)
    except BaseException:
        with suppress(OSError):
            aside.unlink()
        raise
    sync_folder(path.parent)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError that comes out of the block name this path, where it names none or one that is aside.

    What fails is often a call that knows no name, such as the one that forces a file to disk.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None or Path(os.fsdecode(error.filename)).name.startswith("."):
            error.filename, error.filename2 = str(path), None
        raise


def touch(path: Path) -> None:
    """Note that a file was used now; on a read-only disk nothing is noted."""
    with suppress(OSError):
        os.utime(path)


def sync_file(path: Path) -> None:
    """Force a file's bytes to disk."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Force a folder's list of names to disk, as far as the platform can: what was renamed stays renamed."""
    # Windows opens no folder, and some network file systems force none; the rename has happened all the same.
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

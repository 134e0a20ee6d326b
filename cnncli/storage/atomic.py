"""Files that appear complete or not at all: written to a temporary name, forced to disk, renamed.

A temporary name has a leading dot and the suffix of the final name, since some writers choose their format by it. A
reader never finds a partial file, and after a crash there is the old file or the new one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a file in one step; text as UTF-8 with its own line ends."""
    with replacing(path) as temporary:
        temporary.write_bytes(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, which replaces `path` in one step after the block, unless that raises."""
    temporary = path.with_name(f".{path.stem}.{os.urandom(4).hex()}{path.suffix}")
    try:
        with naming(path):
            yield temporary
            sync_file(temporary)
            temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError raised inside the block name `path` if it names no path, as that of fsync, or a temporary one."""
    try:
        yield
    except OSError as error:
        if error.filename is None or Path(os.fsdecode(error.filename)).name.startswith("."):
            error.filename, error.filename2 = str(path), None
        raise


def touch(path: Path) -> None:
    """Set a file's modification time to now, if the disk allows it."""
    with suppress(OSError):
        os.utime(path)


def sync_file(path: Path, flags: int = os.O_RDWR) -> None:
    """Force a file's bytes to disk."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Force a folder's list of names to disk, so that a rename survives a crash, as far as the platform can."""
    with suppress(OSError):  # Windows cannot open folders, and some network file systems cannot sync them
        sync_file(path, os.O_RDONLY)

"""The store on disk: the names in it, what is in use, and how something is deleted in one step.

    <store>/lock                           held alone by whoever deletes
    <store>/<key>/lock                     held by every process that has opened the key
    <store>/<key>/recipe.json              what the key stands for, for people
    <store>/<key>/<segment>/index.json     digests, shapes, dtypes, checksum of the rows
    <store>/<key>/<segment>/rows.bin       one row per digest, in the index's order

A segment's folder is named by the checksum of its index. What is being written or deleted has a name with a dot in
front and is never read.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

LOCK = "lock"
RECIPE = "recipe.json"
INDEX = "index.json"
ROWS = "rows.bin"


def subfolders(folder: Path) -> Iterator[Path]:
    """The keys of a store or the segments of a key, in the order of their names; none where there is no folder."""
    return (path for path in _folders(folder) if not path.name.startswith("."))


def aside_in(folder: Path) -> Path:
    """A new name in a folder for what nobody is to read."""
    return folder / f".{secrets.token_hex(8)}"


def discard(path: Path) -> None:
    """Delete a key or a segment; it is gone in one step, and a kill leaves what `sweep` deletes.

    Raises:
        OSError: it cannot be deleted.
    """
    aside = aside_in(path.parent)
    path.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Delete what was being written or deleted in a folder; only for who holds its lock alone."""
    for path in _folders(folder):
        if path.name.startswith("."):
            shutil.rmtree(path, ignore_errors=True)


def needs_sweep(folder: Path) -> bool:
    """Whether something is being written or deleted there, or was when a process was killed."""
    return any(path.name.startswith(".") for path in _folders(folder))


def _folders(folder: Path) -> list[Path]:
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    return []

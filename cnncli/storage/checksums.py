"""Folders with the checksums of their files, so that damaged ones are never used.

A flipped bit in the weights of a graph or a checkpoint would raise no error: it would give wrong results.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cnncli.errors import printable
from cnncli.storage.atomic import naming, sync_file, sync_folder, write_atomically
from cnncli.storage.safe_io import read_json

CHECKSUMS = "sha256.json"


def write_checksums(folder: Path) -> None:
    """Force a folder's files to disk and write their checksums; nothing is added afterwards."""
    files = sorted(path for path in folder.iterdir() if path.name != CHECKSUMS)
    for path in files:
        sync_file(path)
    write_atomically(folder / CHECKSUMS, json.dumps({path.name: _checksum(path) for path in files}, indent=1) + "\n")
    sync_folder(folder)


@contextmanager
def checksummed(folder: Path) -> Iterator[Path]:
    """Yield an empty temporary folder to fill; after the block it gets checksums and is renamed to `folder`.

    An exception inside the block leaves nothing.

    Raises:
        OSError: `folder` exists, or cannot be written to.
    """
    temporary = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    try:
        with naming(folder):
            temporary.mkdir(parents=True)
            yield temporary
            write_checksums(temporary)
            temporary.rename(folder)
            sync_folder(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def damage(folder: Path) -> str | None:
    """Return what is wrong with a checksummed folder, or None if its files are as they were written."""
    try:
        checksums = read_json(folder / CHECKSUMS)
        if foreign := _foreign(folder, checksums):
            return f"{CHECKSUMS} names {', '.join(map(printable, foreign[:8]))}, not a file of this folder"
        changed = [name for name, checksum in checksums.items() if _checksum(folder / name) != checksum]
    except FileNotFoundError as error:
        return f"{printable(Path(error.filename).name)} is missing"
    except OSError as error:
        return f"{CHECKSUMS}: {error.strerror}"
    except ValueError as error:
        return f"{CHECKSUMS}: {printable(str(error))}"
    return f"{', '.join(map(printable, changed))} changed since it was written" if changed else None


def _foreign(folder: Path, checksums: object) -> list[str]:
    """Return the names that are not plain files of this folder: paths outside of it, links, pipes.

    Raises:
        FileNotFoundError: one of them is missing.
        ValueError: there are no checksums.
    """
    if not isinstance(checksums, dict):
        raise ValueError("holds no checksums")
    return [name for name in checksums if Path(name).name != name or not stat.S_ISREG((folder / name).lstat().st_mode)]


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

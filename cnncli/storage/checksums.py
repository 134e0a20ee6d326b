"""Folders sealed with the checksums of their files, so that what is damaged is never used.

A flipped bit in a graph's weights, or in a checkpoint's, would not fail: it would give wrong figures.
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

SEAL = "sha256.json"


def seal(folder: Path) -> None:
    """Force a folder's files to disk and write their checksums beside them; nothing is added afterwards."""
    files = sorted(path for path in folder.iterdir() if path.name != SEAL)
    for path in files:
        sync_file(path)
    write_atomically(folder / SEAL, json.dumps({path.name: _checksum(path) for path in files}, indent=1) + "\n")
    sync_folder(folder)


@contextmanager
def sealed(folder: Path) -> Iterator[Path]:
    """An empty folder to fill; when the block ends it is sealed and takes the place of `folder` in one step.

    An exception inside the block leaves nothing.

    Raises:
        OSError: there is such a folder already, or nothing can be written.
    """
    aside = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    try:
        with naming(folder):
            aside.mkdir(parents=True)
            yield aside
            seal(aside)
            aside.rename(folder)
            sync_folder(folder.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def damage(folder: Path) -> str | None:
    """What is wrong with a sealed folder, in words that fit behind a colon; None where every file is as it was."""
    try:
        checksums = read_json(folder / SEAL)
        if outside := _outside(folder, checksums):
            return f"{SEAL} names {', '.join(map(printable, outside[:8]))}, which is no file of its own"
        changed = [name for name, checksum in checksums.items() if _checksum(folder / name) != checksum]
    except FileNotFoundError as error:
        return f"{printable(Path(error.filename).name)} is missing"
    except OSError as error:
        return f"{SEAL}: {error.strerror}"
    except ValueError as error:
        return f"{SEAL}: {printable(str(error))}"
    return f"{', '.join(map(printable, changed))} changed since it was written" if changed else None


def _outside(folder: Path, checksums: object) -> list[str]:
    """The names in a seal that are no plain files of this folder: paths that lead out of it, links, pipes.

    Raises:
        FileNotFoundError: one of them is missing.
        ValueError: the seal holds no checksums.
    """
    if not isinstance(checksums, dict):
        raise ValueError("holds no checksums")
    return [name for name in checksums if Path(name).name != name or not stat.S_ISREG((folder / name).lstat().st_mode)]


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Folders with checksums of their files, so that damaged files are never used.

A flipped bit in the weights of a graph or a checkpoint would not raise an error, but give wrong results.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cnncli.errors import printable
from cnncli.storage.atomic import naming, sync_file, sync_folder, write_atomically
from cnncli.storage.safe_io import read_json

CHECKSUMS = "sha256.json"
MAX_NAMED = 8


@contextmanager
def checksummed(folder: Path) -> Iterator[Path]:
    """Yield an empty temporary folder to fill; after the block, checksums are added and it is renamed to `folder`.

    If the block raises, no folder is left.

    Raises:
        OSError: `folder` exists, or cannot be written to.
    """
    temporary = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    try:
        with naming(folder):
            temporary.mkdir(parents=True)
            yield temporary
            files = sorted(temporary.iterdir())
            checksums = {path.name: _checksum(path) for path in files}
            (temporary / CHECKSUMS).write_text(json.dumps(checksums, indent=1) + "\n", "utf-8")
            for path in (*files, temporary / CHECKSUMS):
                sync_file(path)
            sync_folder(temporary)
            temporary.rename(folder)
            sync_folder(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def update_checksum(*paths: Path) -> None:
    """Update the checksums of files in a checksummed folder that were added or whose content was replaced.

    Until this returns, the folder counts as damaged.
    """
    file = paths[0].with_name(CHECKSUMS)
    changed = {path.name: _checksum(path) for path in paths}
    write_atomically(file, json.dumps({**read_json(file), **changed}, indent=1) + "\n")


def damage(folder: Path) -> str | None:
    """Return the problem with a checksummed folder, or None if its files are unchanged.

    Only regular files in the folder itself are read: no outside paths, links or pipes.
    """
    try:
        checksums = read_json(folder / CHECKSUMS)
        if not isinstance(checksums, dict):
            return f"{CHECKSUMS}: no checksums"
        own = {path.name: path for path in folder.iterdir() if path.is_file() and not path.is_symlink()}
        changed = [name for name, checksum in checksums.items() if name not in own or _checksum(own[name]) != checksum]
    except OSError as error:
        return f"{printable(Path(error.filename or folder).name)}: {error.strerror}"
    except ValueError as error:
        return f"{CHECKSUMS}: {printable(str(error))}"
    return f"{CHECKSUMS}: {', '.join(map(printable, changed[:MAX_NAMED]))} missing or changed" if changed else None


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

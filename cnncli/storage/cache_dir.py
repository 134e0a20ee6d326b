"""The cache folder, for data that cnncli can compute again."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

from cnncli.errors import CacheError, Message, printable, reason_of
from cnncli.runtime.machine import expand_home, require_utf8

log = logging.getLogger(__name__)

VARIABLE = "CNNCLI_CACHE"

FEATURES, GRAPHS, IMAGES, SHARDS = "features", "graphs", "images.sqlite", "shards"
"""Names in the cache directory: feature cache, converted graphs, index of images, indexes of shards."""

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def cache_dir() -> Path:
    """Return the cache folder: `CNNCLI_CACHE`, else `$XDG_CACHE_HOME/cnncli`, else the platform's. It need not exist.

    An empty variable counts as unset, and so does a relative `XDG_CACHE_HOME`, as its specification requires.

    Raises:
        MachineError: There is no home folder.
    """
    if named := os.environ.get(VARIABLE):
        return expand_home(named, VARIABLE)
    import platformdirs

    try:
        return platformdirs.user_cache_path("cnncli", appauthor=False)
    except RuntimeError:  # there is no home folder
        return expand_home("~/.cache/cnncli", VARIABLE)


def make_cache_dir() -> Path:
    """Create the cache folder and return it, so that commands fail before they start to work.

    Raises:
        CacheError: The folder cannot be created.
        MachineError: Its path is unknown or not UTF-8.
    """
    folder = require_utf8(require_no_file(cache_dir()))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(folder, reason_of(error)) from error
    return folder


def require_no_file(folder: Path) -> Path:
    """Return the cache folder, which need not exist; raise CacheError if it or a folder above it is a file."""
    existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not existing.is_dir():
        raise _unusable(folder, "not a folder" if existing == folder else f"{printable(existing)} is not a folder")
    return folder


def not_writable(error: OSError, folder: Path) -> CacheError:
    """Return the error for a file that could not be written to the cache."""
    path, reason = error.filename or folder, reason_of(error)
    code, remedy = "cache-not-writable", f"Set {VARIABLE} to a different folder."
    if error.errno in DISK_FULL:
        code, remedy = "cache-disk-full", "Free disk space with `cnncli cache clear`, or set a smaller cache.max_gb."
    return CacheError(Message(code, f"{printable(path)}: {reason}. {remedy}", path=path, reason=reason))


def warn_of_damage(path: Path, reason: str) -> None:
    """Report a damaged entry of the cache, which is not used."""
    text = f"{printable(path)}: damaged ({reason}), so it is not used and computed again"
    log.warning(Message("cache-damaged", text, path=path, reason=reason))


def _unusable(folder: Path, reason: str) -> CacheError:
    text = f"{printable(folder)}: cannot be used as the cache folder ({reason}). Set {VARIABLE} to a different folder."
    return CacheError(Message("cache-folder-unusable", text, path=folder, reason=reason))

"""Where cnncli keeps what can be computed again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cnncli.errors import CacheError, printable


def cache_dir() -> Path:
    """The cache folder: `CNNCLI_CACHE`, else `$XDG_CACHE_HOME/cnncli`, else the platform's. It need not exist yet.

    An empty variable counts as absent, and so does a relative `XDG_CACHE_HOME`, as its specification asks.
    """
    if named := os.environ.get("CNNCLI_CACHE"):
        return Path(named).expanduser().absolute()
    xdg = Path(os.environ.get("XDG_CACHE_HOME") or ".")
    return xdg / "cnncli" if xdg.is_absolute() else _platform_cache_dir()


def make_cache_dir() -> Path:
    """The cache folder, made where it is missing: for commands that would find out later, with work half done.

    Raises:
        CacheError: it cannot be made.
    """
    folder = require_no_file(cache_dir())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CacheError(_useless(folder, error.strerror or str(error))) from error
    return folder


def require_no_file(folder: Path) -> Path:
    """A cache folder, there or not yet, in whose way no file lies.

    Raises:
        CacheError: it is a file, or would lie below one.
    """
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not there.is_dir():
        raise CacheError(_useless(folder, "is no folder" if there == folder else f"{printable(there)} is no folder"))
    return folder


def _useless(folder: Path, reason: str) -> str:
    return f"{printable(folder)}: cannot be the cache folder ({reason}). CNNCLI_CACHE names another."


def _platform_cache_dir() -> Path:
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "cnncli"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "cnncli" / "Cache"
    return home / ".cache" / "cnncli"

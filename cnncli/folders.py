"""Where cnncli keeps what can be computed again."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_dir() -> Path:
    """The cache folder: `CNNCLI_CACHE`, else `$XDG_CACHE_HOME/cnncli`, else the platform's. It need not exist yet.

    An empty variable counts as absent, and so does a relative `XDG_CACHE_HOME`, as its specification asks.
    """
    if named := os.environ.get("CNNCLI_CACHE"):
        return Path(named).expanduser().absolute()
    xdg = Path(os.environ.get("XDG_CACHE_HOME") or ".")
    return xdg / "cnncli" if xdg.is_absolute() else _platform_cache_dir()


def _platform_cache_dir() -> Path:
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "cnncli"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "cnncli" / "Cache"
    return home / ".cache" / "cnncli"

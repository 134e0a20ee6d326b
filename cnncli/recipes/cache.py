"""`cnncli cache`: list and clear the cache."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR
from typing import Any

from cnncli.config.reader import config_from_mapping
from cnncli.config.schema import CacheConfig
from cnncli.engines.build import GRAPHS_LOCK
from cnncli.features.eviction import Eviction, default_cap, evict
from cnncli.features.listing import KeySummary, list_keys
from cnncli.features.segments import delete, subfolders, sweep
from cnncli.storage.cache_dir import FEATURES, GRAPHS, IMAGES, require_no_file
from cnncli.storage.locks import try_exclusive
from cnncli.terminal.formatting import size

SETTINGS = "CNNCLI_CACHE__"
"""Prefix of the environment variables that set the settings of the cache."""


@dataclass(frozen=True)
class CacheContents:
    """The contents of the cache.

    Attributes:
        folder: the cache folder.
        features: keys of the feature cache.
        max_bytes: cap of the feature cache.
        graphs: number of converted graphs.
        graphs_bytes: size of the converted graphs.
        index_bytes: size of the image index.
    """

    folder: Path
    features: tuple[KeySummary, ...]
    max_bytes: int
    graphs: int
    graphs_bytes: int
    index_bytes: int

    @property
    def features_bytes(self) -> int:
        """Size of the feature cache."""
        return sum(key.size_bytes for key in self.features)

    def to_dict(self) -> dict[str, Any]:
        """Return the contents for `cache list --json`."""
        return {
            "folder": str(self.folder),
            "max_bytes": self.max_bytes,
            "features_bytes": self.features_bytes,
            "features": [key.to_dict() for key in self.features],
            "graphs": self.graphs,
            "graphs_bytes": self.graphs_bytes,
            "index_bytes": self.index_bytes,
        }

    def total(self) -> str:
        """Return the sizes in one line."""
        parts = [f"features {size(self.features_bytes)} of at most {size(self.max_bytes)}"]
        parts += [f"converted graphs {self.graphs:,}, {size(self.graphs_bytes)}"] if self.graphs else []
        parts += [f"image index {size(self.index_bytes)}"] if self.index_bytes else []
        return " · ".join(parts)


@dataclass(frozen=True)
class Cleared:
    """The result of `clear_cache`.

    Attributes:
        freed_bytes: size of what was deleted.
        pinned_bytes: size of what would have been deleted, but is in use.
    """

    freed_bytes: int
    pinned_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Return the result for `cache clear --json`."""
        return {"freed_bytes": self.freed_bytes, "pinned_bytes": self.pinned_bytes}

    def text(self) -> str:
        """Return the result in one line."""
        kept = f"; {size(self.pinned_bytes)} in use by running commands were kept" if self.pinned_bytes else ""
        return f"freed {size(self.freed_bytes)}{kept}"


def list_cache(folder: Path, environment: Mapping[str, str] | None = None) -> CacheContents:
    """Return the contents of a cache folder.

    Args:
        folder: the cache folder, which may not exist.
        environment: variables that may set the cap; default: those of this process.

    Raises:
        CacheError: it is a file, or would be below one.
        ConfigError: the cap in the environment is invalid.
    """
    require_no_file(folder)
    keys = list_keys(folder / FEATURES)
    graphs = list(subfolders(folder / GRAPHS))
    held = sum(key.size_bytes for key in keys)
    cap = cache_settings(environment=environment).max_bytes
    return CacheContents(
        folder=folder,
        features=keys,
        max_bytes=default_cap(folder, held) if cap is None else cap,
        graphs=len(graphs),
        graphs_bytes=sum(map(_size_of, graphs)),
        index_bytes=sum(_size_of(path) for path in folder.glob(f"{IMAGES}*")),
    )


def clear_cache(folder: Path, used_before: float = math.inf) -> Cleared:
    """Delete everything in a cache folder that is not in use.

    Args:
        folder: the cache folder.
        used_before: what was used since then (seconds since 1970) is kept.

    Raises:
        CacheError: it is a file, or would be below one.
    """
    require_no_file(folder)
    features = evict(folder / FEATURES, 0, used_before)
    graphs = _clear_graphs(folder / GRAPHS, used_before)
    freed = features.freed_bytes + graphs.freed_bytes + _clear_index(folder, used_before)
    return Cleared(freed, features.pinned_bytes + graphs.pinned_bytes)


def cache_settings(recorded: CacheConfig | None = None, environment: Mapping[str, str] | None = None) -> CacheConfig:
    """Return the cache settings of this machine: those of its environment, else those of a run's config.

    Args:
        recorded: settings of a run, which may come from another machine; default: the defaults.
        environment: environment variables; default: those of this process.

    Raises:
        ConfigError: the cap in the environment is invalid.
    """
    environment = os.environ if environment is None else environment
    ours = {name: value for name, value in environment.items() if name.startswith(SETTINGS)}
    settings = {"data": {"path": "."}, "cache": recorded.model_dump() if recorded else {}}
    return config_from_mapping(settings, environment=ours, check_paths=False).cache


def _clear_graphs(graphs: Path, used_before: float) -> Eviction:
    """Delete converted graphs. If one is in use, all of them are."""
    if not graphs.is_dir():
        return Eviction()
    old = {path: _size_of(path) for path in subfolders(graphs) if _used(path) < used_before}
    lock = try_exclusive(graphs / GRAPHS_LOCK)
    if lock is None:
        return Eviction(pinned_bytes=sum(old.values()))
    with lock:
        for path in old:
            delete(path)
        sweep(graphs)
    return Eviction(freed_bytes=sum(old.values()))


def _clear_index(folder: Path, used_before: float) -> int:
    """Delete the image index and return its size. It is only a cache and will be rebuilt."""
    freed = 0
    for path in folder.glob(f"{IMAGES}*"):
        if _used(path) < used_before:
            freed += _size_of(path)
            path.unlink(missing_ok=True)
    return freed


def _files_of(path: Path) -> list[os.stat_result]:
    """Return the status of a path and of all files below it, without those that disappear meanwhile."""
    found = []
    for file in (path, *(Path(folder, name) for folder, _, names in os.walk(path) for name in names)):
        with suppress(OSError):
            found.append(file.stat())
    return found


def _size_of(path: Path) -> int:
    return sum(facts.st_size for facts in _files_of(path) if not S_ISDIR(facts.st_mode))


def _used(path: Path) -> float:
    return max((facts.st_mtime for facts in _files_of(path)), default=0.0)

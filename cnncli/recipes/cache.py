"""`cnncli cache`: what is stored to be found again, and clearing it."""

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
from cnncli.errors import CacheError, printable
from cnncli.features.eviction import Eviction, default_cap, evict
from cnncli.features.layout import LOCK, discard, subfolders, sweep
from cnncli.features.listing import KeySummary, list_keys
from cnncli.storage.cache_dir import require_no_file
from cnncli.storage.locks import Lock, shared, try_exclusive
from cnncli.terminal.formatting import size

FEATURES = "features"
GRAPHS = "graphs"
IMAGES = "images.sqlite"
SETTINGS = "CNNCLI_CACHE__"
"""What the names of environment variables begin with that set a cache's settings."""


@dataclass(frozen=True)
class CacheContents:
    """What is in the cache.

    Attributes:
        folder: the cache folder.
        features: the keys of the feature store.
        max_bytes: how much stored features may take.
        graphs: how many converted graphs there are.
        graphs_bytes: what they take.
        index_bytes: what the index of known images takes.
    """

    folder: Path
    features: tuple[KeySummary, ...]
    max_bytes: int
    graphs: int
    graphs_bytes: int
    index_bytes: int

    @property
    def features_bytes(self) -> int:
        """What stored features take."""
        return sum(key.size_bytes for key in self.features)

    def to_dict(self) -> dict[str, Any]:
        """As `cache list --json` prints it."""
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
        """What all of it takes, in one line."""
        parts = [f"stored features {size(self.features_bytes)} of at most {size(self.max_bytes)}"]
        parts += [f"converted graphs {self.graphs:,}, {size(self.graphs_bytes)}"] if self.graphs else []
        parts += [f"index of images {size(self.index_bytes)}"] if self.index_bytes else []
        return " · ".join(parts)


@dataclass(frozen=True)
class Cleared:
    """What `clear_cache` did.

    Attributes:
        freed_bytes: deleted.
        pinned_bytes: would have been deleted, but is in use.
    """

    freed_bytes: int
    pinned_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """As `cache clear --json` prints it."""
        return {"freed_bytes": self.freed_bytes, "pinned_bytes": self.pinned_bytes}

    def text(self) -> str:
        """In one line."""
        stays = f"; {size(self.pinned_bytes)} in use by running commands stay" if self.pinned_bytes else ""
        return f"freed {size(self.freed_bytes)}{stays}"


def list_cache(folder: Path, environment: Mapping[str, str] | None = None) -> CacheContents:
    """What is in a cache folder.

    Args:
        folder: see `cache_dir`; it need not exist.
        environment: may name a cap, as for every config; default: that of this process.

    Raises:
        CacheError: it is a file, or would lie below one.
        ConfigError: the cap in the environment is none.
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
    """Delete what is in a cache folder and not in use.

    Args:
        folder: see `cache_dir`.
        used_before: what was used since then (seconds since 1970) stays.

    Raises:
        CacheError: it is a file, or would lie below one.
    """
    require_no_file(folder)
    features = evict(folder / FEATURES, 0, used_before)
    graphs = _clear_graphs(folder / GRAPHS, used_before)
    freed = features.freed_bytes + graphs.freed_bytes + _clear_index(folder, used_before)
    return Cleared(freed, features.pinned_bytes + graphs.pinned_bytes)


def graphs_in_use(folder: Path) -> Lock:
    """Keep the converted graphs in a cache folder from being deleted, until the lock is released.

    Raises:
        CacheError: nothing can be written there.
    """
    graphs = folder / GRAPHS
    try:
        graphs.mkdir(parents=True, exist_ok=True)
        return shared(graphs / LOCK)
    except OSError as error:
        where, why = printable(error.filename or graphs), error.strerror or error
        raise CacheError(f"{where}: {why}. CNNCLI_CACHE names another folder for the cache.") from error


def cache_settings(recorded: CacheConfig | None = None, environment: Mapping[str, str] | None = None) -> CacheConfig:
    """What holds for the cache of this machine: what its environment sets, else what a run's config says.

    Args:
        recorded: of a run that was trained some time, somewhere; default: the defaults.
        environment: default: that of this process.

    Raises:
        ConfigError: the cap in the environment is none.
    """
    environment = os.environ if environment is None else environment
    ours = {name: value for name, value in environment.items() if name.startswith(SETTINGS)}
    settings = {"data": {"path": "."}, "cache": recorded.model_dump() if recorded else {}}
    return config_from_mapping(settings, environment=ours, check_paths=False).cache


def _clear_graphs(graphs: Path, used_before: float) -> Eviction:
    """Delete converted graphs; all of them are in use where one is."""
    if not graphs.is_dir():
        return Eviction()
    old = {path: _size_of(path) for path in subfolders(graphs) if _used(path) < used_before}
    lock = try_exclusive(graphs / LOCK)
    if lock is None:
        return Eviction(pinned_bytes=sum(old.values()))
    with lock:
        for path in old:
            discard(path)
        sweep(graphs)
    return Eviction(freed_bytes=sum(old.values()))


def _clear_index(folder: Path, used_before: float) -> int:
    """Delete the index of known images, of which no process misses more than time; gives its size."""
    freed = 0
    for path in folder.glob(f"{IMAGES}*"):
        if _used(path) < used_before:
            freed += _size_of(path)
            path.unlink(missing_ok=True)
    return freed


def _files_of(path: Path) -> list[os.stat_result]:
    """The facts about a file, or about all files below a folder; what disappears meanwhile is left out."""
    found = []
    for file in (path, *(Path(folder, name) for folder, _, names in os.walk(path) for name in names)):
        with suppress(OSError):
            found.append(file.stat())
    return found


def _size_of(path: Path) -> int:
    return sum(facts.st_size for facts in _files_of(path) if not S_ISDIR(facts.st_mode))


def _used(path: Path) -> float:
    return max((facts.st_mtime for facts in _files_of(path)), default=0.0)

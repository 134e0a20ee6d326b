"""`cnncli cache`: list and clear the cache."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cnncli.config.reader import cache_settings
from cnncli.engines.build import GRAPHS_LOCK
from cnncli.features.eviction import Cleared, default_cap, evict
from cnncli.features.listing import KeySummary, list_keys
from cnncli.features.segments import delete, subfolders, sweep
from cnncli.storage.cache_dir import FEATURES, GRAPHS, IMAGES, require_no_file
from cnncli.storage.locks import try_exclusive


@dataclass(frozen=True)
class CacheContents:
    """The contents of the cache: features by key with their total size and cap, converted graphs, the image index."""

    folder: Path
    max_bytes: int
    features_bytes: int
    features: tuple[KeySummary, ...]
    graphs: int
    graphs_bytes: int
    index_bytes: int


def list_cache(folder: Path) -> CacheContents:
    """Return the contents of a cache folder, which may not exist.

    Raises:
        CacheError: it is a file, or would be below one.
        ConfigError: the cap in the environment is invalid.
    """
    require_no_file(folder)
    keys = list_keys(folder / FEATURES)
    graphs = list(subfolders(folder / GRAPHS))
    features_bytes = sum(key.size_bytes for key in keys)
    cap = cache_settings().max_bytes
    return CacheContents(
        folder=folder,
        max_bytes=default_cap(folder, features_bytes) if cap is None else cap,
        features_bytes=features_bytes,
        features=keys,
        graphs=len(graphs),
        graphs_bytes=sum(map(_size_of, graphs)),
        index_bytes=sum(map(_size_of, folder.glob(f"{IMAGES}*"))),
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
    index_bytes = _clear_index(folder, used_before)
    return Cleared(features.freed_bytes + graphs.freed_bytes + index_bytes, features.pinned_bytes + graphs.pinned_bytes)


def _clear_graphs(graphs: Path, used_before: float) -> Cleared:
    """Delete converted graphs. If one is in use, all of them are."""
    old = {path: _size_of(path) for path in subfolders(graphs) if _last_use(path) < used_before}
    lock = try_exclusive(graphs / GRAPHS_LOCK) if graphs.is_dir() else None
    if lock is None:
        return Cleared(0, sum(old.values()))
    with lock:
        for path in old:
            delete(path)
        sweep(graphs)
    return Cleared(sum(old.values()), 0)


def _clear_index(folder: Path, used_before: float) -> int:
    """Delete the image index and return its size. It is only a cache and will be rebuilt."""
    old = {path: _size_of(path) for path in folder.glob(f"{IMAGES}*") if _last_use(path) < used_before}
    for path in old:
        path.unlink(missing_ok=True)
    return sum(old.values())


def _status_of_files(path: Path) -> list[os.stat_result]:
    """Return the status of a file, or of all files in a folder, as far as they do not disappear meanwhile."""
    found = []
    with suppress(OSError):
        for file in path.iterdir() if path.is_dir() else [path]:
            found.append(file.stat())
    return found


def _size_of(path: Path) -> int:
    return sum(file.st_size for file in _status_of_files(path))


def _last_use(path: Path) -> float:
    """Return when a file or folder was last used, in seconds since 1970."""
    return max((file.st_mtime for file in _status_of_files(path)), default=0.0)

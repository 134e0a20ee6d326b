"""`cnncli cache`: list, clear and merge caches."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cnncli.config.reader import cache_settings
from cnncli.engines.build import GRAPHS_LOCK
from cnncli.errors import CacheError, Message, printable
from cnncli.features.eviction import Cleared, default_cap, evict
from cnncli.features.listing import KeySummary, list_keys
from cnncli.features.merge import Merged, merge_features
from cnncli.features.segments import delete, subfolders, sweep
from cnncli.features.store import FeatureStore
from cnncli.storage.cache_dir import FEATURES, GRAPHS, IMAGES, SHARDS, require_no_file
from cnncli.storage.locks import try_exclusive

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CacheContents:
    """Contents of the cache: features by key with their total size and cap, graphs, indexes of images and shards."""

    folder: Path
    max_bytes: int
    features_bytes: int
    features: tuple[KeySummary, ...]
    graphs: int
    graphs_bytes: int
    index_bytes: int


def list_cache(folder: Path) -> CacheContents:
    """Return the contents of a cache folder, which need not exist.

    Raises:
        CacheError: The folder is a file, or below a file.
        ConfigError: The cap in the environment is invalid.
    """
    require_no_file(folder)
    keys = list_keys(folder / FEATURES)
    graphs = _sizes_of(subfolders(folder / GRAPHS))
    features_bytes = sum(key.size_bytes for key in keys)
    cap = cache_settings().max_bytes
    return CacheContents(
        folder=folder,
        max_bytes=default_cap(folder, features_bytes) if cap is None else cap,
        features_bytes=features_bytes,
        features=keys,
        graphs=len(graphs),
        graphs_bytes=sum(graphs.values()),
        index_bytes=sum(_sizes_of(_indexes(folder)).values()),
    )


def clear_cache(folder: Path, used_before: float = math.inf) -> Cleared:
    """Delete everything in a cache folder that is not in use.

    Args:
        folder: The cache folder.
        used_before: Entries used since then (seconds since 1970) are kept.

    Raises:
        CacheError: The folder is a file, or below a file.
    """
    require_no_file(folder)
    features = evict(folder / FEATURES, 0, used_before)
    graphs = _clear_graphs(folder / GRAPHS, used_before)
    index = _sizes_of(_indexes(folder), used_before)
    for path in index:
        path.unlink(missing_ok=True)
    freed_bytes = features.freed_bytes + graphs.freed_bytes + sum(index.values())
    return Cleared(freed_bytes, features.pinned_bytes + graphs.pinned_bytes)


def _indexes(folder: Path) -> list[Path]:
    """Return the files that remember images and shards."""
    return [*folder.glob(f"{IMAGES}*"), *(folder / SHARDS).glob("*")]


def _clear_graphs(graphs: Path, used_before: float) -> Cleared:
    """Delete converted graphs, unless one of them is in use."""
    sizes = _sizes_of(subfolders(graphs), used_before)
    lock = try_exclusive(graphs / GRAPHS_LOCK) if graphs.is_dir() else None
    if lock is None:
        return Cleared(0, sum(sizes.values()))
    with lock:
        for path in sizes:
            delete(path)
        sweep(graphs)
    return Cleared(sum(sizes.values()), 0)


def _sizes_of(paths: Iterable[Path], used_before: float = math.inf) -> dict[Path, int]:
    """Return the sizes of files and folders last used before a time; another process may be deleting them."""
    sizes = {}
    for path in paths:
        files: list[os.stat_result] = []
        with suppress(OSError):
            files.extend(file.stat() for file in (path.iterdir() if path.is_dir() else [path]))
        if max((file.st_mtime for file in files), default=0.0) < used_before:
            sizes[path] = sum(file.st_size for file in files)
    return sizes


def merge_caches(sources: Sequence[Path], folder: Path) -> Merged:
    """Add the features in other cache folders to a cache folder.

    Raises:
        CacheError: A source is no cache, or the same one; the features do not fit, or cannot be written.
        ConfigError: The cap in the environment is invalid.
    """
    require_no_file(folder)
    _require_other_caches(sources, folder)
    merged = Merged()
    with FeatureStore(folder / FEATURES, cache_settings().max_bytes) as store:
        for source in sources:
            merge_features(source / FEATURES, store, merged)
    for name in sorted(merged.foreign):
        text = f"Features were computed on another processor ({printable(name)}), and only such a machine uses them."
        log.warning(Message("cache-merge-processor", text, received=name))
    return merged


def _require_other_caches(sources: Sequence[Path], folder: Path) -> None:
    """Raise CacheError if a source is not a cache folder, or is the cache itself."""
    problems = []
    for source in sources:
        if not any((source / name).exists() for name in (FEATURES, GRAPHS, IMAGES)):
            text = f"{printable(source)}: not a cache folder, because it contains no {FEATURES}, {GRAPHS} or {IMAGES}"
            problems.append(Message("cache-merge-no-cache", text, path=source))
        elif folder.is_dir() and source.samefile(folder):
            text = (
                f"{printable(source)}: this is the cache itself; set CNNCLI_CACHE to the one that others are added to"
            )
            problems.append(Message("cache-merge-itself", text, path=source))
    if problems:
        raise CacheError(problems)

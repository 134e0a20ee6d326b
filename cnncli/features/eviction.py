"""The cap of the feature cache: the least recently used keys are deleted first, those in use never."""

from __future__ import annotations

import logging
import math
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cnncli.errors import Message
from cnncli.features.segments import DESCRIPTION, LOCK, delete, subfolders, sweep
from cnncli.storage.locks import exclusive, try_exclusive
from cnncli.terminal.formatting import size

log = logging.getLogger(__name__)

MIN_ROOM_BYTES = 256 * 2**20
"""Freed at a time when the disk is full, if that much can be freed."""


@dataclass(frozen=True)
class StoredKey:
    """A key on disk.

    Attributes:
        path: folder of the key.
        size_bytes: size of its segments.
        used: when it was last read or written, in seconds since 1970.
    """

    path: Path
    size_bytes: int
    used: float


@dataclass(frozen=True)
class Capacity:
    """How much a cache can hold if everything in it may be deleted.

    Attributes:
        size_bytes: maximum size.
        is_cap: whether the cap sets the limit, rather than the disk.
    """

    size_bytes: int
    is_cap: bool


@dataclass(frozen=True)
class Eviction:
    """The result of an eviction.

    Attributes:
        freed_bytes: size of what was deleted.
        pinned_bytes: size of what would have been deleted, but is in use.
        held_bytes: size of what is left, including what is in use.
    """

    freed_bytes: int = 0
    pinned_bytes: int = 0
    held_bytes: int = 0


def stored_keys(cache: Path) -> list[StoredKey]:
    """Return the keys of a cache; those that another process deletes meanwhile are left out."""
    found = []
    for path in subfolders(cache):
        with suppress(OSError):
            found.append(stored_key(path))
    return found


def stored_key(path: Path) -> StoredKey:
    """Return size and last use of a key.

    Raises:
        FileNotFoundError: it does not exist.
    """
    description = path / DESCRIPTION
    used = (description if description.exists() else path).stat().st_mtime
    return StoredKey(path, sum(map(_segment_bytes, subfolders(path))), used)


def _segment_bytes(segment: Path) -> int:
    with suppress(OSError):
        return sum(file.stat().st_size for file in segment.iterdir())
    return 0


def default_cap(cache: Path, held_bytes: int) -> int:
    """Return the cap that holds if none is set: half of the free disk space and what the cache holds already."""
    folder = next(folder for folder in (cache, *cache.parents) if folder.exists())
    return (shutil.disk_usage(folder).free + held_bytes) // 2


def evict(cache: Path, keep_bytes: int, used_before: float = math.inf) -> Eviction:
    """Delete keys, the least recently used first, until a cache is small enough.

    Args:
        cache: folder of the feature cache.
        keep_bytes: size that may be left; 0 deletes everything that is not in use.
        used_before: keys that were used since then (seconds since 1970) stay in any case.
    """
    if not cache.is_dir():
        return Eviction()
    with exclusive(cache / LOCK):
        keys = sorted(stored_keys(cache), key=lambda key: key.used)
        held = sum(key.size_bytes for key in keys)
        freed = pinned = 0
        for key in keys:
            if held - freed <= keep_bytes or key.used >= used_before:
                break
            if _delete_unused(key.path):
                freed += key.size_bytes
            else:
                pinned += key.size_bytes
        sweep(cache)
        _tidy(cache)
    return Eviction(freed, pinned, held - freed)


def _delete_unused(key: Path) -> bool:
    """Delete a key unless a process uses it; return whether it was deleted."""
    with suppress(OSError):
        lock = try_exclusive(key / LOCK)
        if lock is not None:
            with lock:
                delete(key)
                return True
    return False


def _tidy(cache: Path) -> None:
    """Delete what killed processes have left in the keys that are not in use, and keys without segments."""
    for key in subfolders(cache):
        with suppress(OSError):
            lock = try_exclusive(key / LOCK)
            if lock is not None:
                with lock:
                    sweep(key)
                    if not any(subfolders(key)):
                        delete(key)


class CacheLimit:
    """Keeps a cache below its cap while one process writes into it.

    Args:
        cache: folder of the feature cache.
        max_bytes: the cap; None: see `default_cap`.
    """

    def __init__(self, cache: Path, max_bytes: int | None) -> None:
        self._cache, self._max_bytes = cache, max_bytes
        self._held_bytes: int | None = None
        self._freed_bytes = 0
        self._has_warned = False

    def capacity(self) -> Capacity:
        """Return the cap, or what the disk allows if that is less."""
        allowed = default_cap(self._cache, self._measure())
        if self._max_bytes is None or self._max_bytes > allowed:
            return Capacity(allowed, is_cap=False)
        return Capacity(self._max_bytes, is_cap=True)

    def add(self, segment: Path) -> None:
        """Count a segment that was written, and evict keys if the cap is exceeded.

        The disk is measured for the first segment and at every eviction; what other processes have written in between
        counts from then on.
        """
        self._held_bytes = self._measure() if self._held_bytes is None else self._held_bytes + _segment_bytes(segment)
        self._enforce(self._cap(self._held_bytes))

    def settle(self) -> None:
        """Evict down to the cap when this process uses nothing anymore, and log how much was evicted in all."""
        self._held_bytes = self._measure()
        cap = self._cap(self._held_bytes)
        with suppress(OSError):  # the cache may be read-only
            self._enforce(cap)
        if self._freed_bytes:
            text = f"Removed {size(self._freed_bytes)} from the feature cache to stay below its cap of {size(cap)}"
            log.info(Message("cache-evicted", text, received=self._freed_bytes, expected=cap))
            self._freed_bytes = 0

    def make_room(self, needed_bytes: int) -> bool:
        """Evict keys because the disk is full; return whether anything was deleted."""
        evicted = evict(self._cache, self._measure() - max(needed_bytes, MIN_ROOM_BYTES))
        self._held_bytes = evicted.held_bytes
        return evicted.freed_bytes > 0

    def _measure(self) -> int:
        return sum(key.size_bytes for key in stored_keys(self._cache))

    def _cap(self, held_bytes: int) -> int:
        return default_cap(self._cache, held_bytes) if self._max_bytes is None else self._max_bytes

    def _enforce(self, cap: int) -> None:
        if self._held_bytes is None or self._held_bytes <= cap:
            return
        evicted = evict(self._cache, cap)
        self._held_bytes = evicted.held_bytes
        self._freed_bytes += evicted.freed_bytes
        if evicted.held_bytes > cap and not self._has_warned:
            self._has_warned = True
            text = f"Cached features in use take {size(evicted.held_bytes)}, more than the cap of {size(cap)}"
            log.warning(Message("cache-over-cap", text, received=evicted.held_bytes, expected=cap))

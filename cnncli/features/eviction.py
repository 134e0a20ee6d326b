"""The cap of the feature cache: the least recently used keys are deleted first, those in use never."""

from __future__ import annotations

import logging
import math
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cnncli.errors import Message
from cnncli.features.segments import DESCRIPTION, LOCK, delete, subfolders, sweep
from cnncli.storage.locks import exclusive, try_exclusive
from cnncli.terminal.formatting import size

log = logging.getLogger(__name__)

ROOM_BYTES = 2**29
"""Freed when the disk is full, if that much can be freed: more than a segment takes."""


class StoredKey(NamedTuple):
    """A key on disk: its folder, the size of its segments, and when it was last used, in seconds since 1970."""

    path: Path
    size_bytes: int
    used: float


@dataclass(frozen=True)
class Cleared:
    """Size of what was deleted, and of what would have been deleted, but is in use."""

    freed_bytes: int
    pinned_bytes: int


def stored_keys(cache: Path) -> list[StoredKey]:
    """Return the keys of a cache; those that another process deletes meanwhile are left out."""
    found = []
    for path in subfolders(cache):
        with suppress(OSError):
            description = path / DESCRIPTION
            used = (description if description.exists() else path).stat().st_mtime
            found.append(StoredKey(path, sum(map(_segment_bytes, subfolders(path))), used))
    return found


def _segment_bytes(segment: Path) -> int:
    with suppress(OSError):
        return sum(file.stat().st_size for file in segment.iterdir())
    return 0


def default_cap(cache: Path, held_bytes: int) -> int:
    """Return the cap that holds if none is set: half of the free disk space and what the cache holds already."""
    folder = next(folder for folder in (cache, *cache.parents) if folder.exists())
    return (shutil.disk_usage(folder).free + held_bytes) // 2


def evict(cache: Path, keep_bytes: int, used_before: float = math.inf) -> Cleared:
    """Delete keys, the least recently used first, until a cache is small enough.

    Args:
        cache: folder of the feature cache.
        keep_bytes: size that may be left.
        used_before: keys that were used since then, in seconds since 1970, stay in any case.
    """
    if not cache.is_dir():
        return Cleared(0, 0)
    with exclusive(cache / LOCK):
        keys = sorted(stored_keys(cache), key=lambda key: key.used)
        held = sum(key.size_bytes for key in keys)
        freed = pinned = 0
        for key in keys:
            is_surplus = held - freed > keep_bytes and key.used < used_before
            is_deleted = _clean(key.path, is_surplus)
            if is_surplus and is_deleted:
                freed += key.size_bytes
            elif is_surplus:
                pinned += key.size_bytes
        sweep(cache)
    return Cleared(freed, pinned)


def _clean(key: Path, is_surplus: bool) -> bool:
    """Delete what killed processes have left in an unused key; if it is surplus or empty, delete it and return True."""
    with suppress(OSError):
        lock = try_exclusive(key / LOCK)
        if lock is not None:
            with lock:
                sweep(key)
                if is_surplus or not subfolders(key):
                    delete(key)
                    return True
    return False


class CacheLimit:
    """Keeps a cache below its cap, by default `default_cap`, while one process writes into it."""

    def __init__(self, cache: Path, max_bytes: int | None) -> None:
        self._cache, self._max_bytes = cache, max_bytes
        self._freed_bytes = 0
        self._has_warned = False

    def capacity(self) -> int:
        """Return the cap, or what the disk allows if that is less."""
        allowed = default_cap(self._cache, self._measure())
        return allowed if self._max_bytes is None else min(self._max_bytes, allowed)

    def enforce(self) -> None:
        """Evict keys if the cap is exceeded, whichever process has written them."""
        held = self._measure()
        cap = self._cap(held)
        if held <= cap:
            return
        freed = evict(self._cache, cap).freed_bytes
        self._freed_bytes += freed
        if (left := held - freed) > cap and not self._has_warned:
            self._has_warned = True
            text = f"Cached features in use take {size(left)}, more than the cap of {size(cap)}"
            log.warning(Message("cache-over-cap", text, received=left, expected=cap))

    def settle(self) -> None:
        """Evict down to the cap when this process uses nothing anymore, and log how much was evicted in all."""
        with suppress(OSError):  # the cache may be read-only
            self.enforce()
        if self._freed_bytes:
            cap = self._cap(self._measure())
            text = f"Removed {size(self._freed_bytes)} from the feature cache to stay below its cap of {size(cap)}"
            log.info(Message("cache-evicted", text, received=self._freed_bytes, expected=cap))
            self._freed_bytes = 0

    def make_room(self) -> bool:
        """Evict keys because the disk is full; return whether anything was deleted."""
        return evict(self._cache, self._measure() - ROOM_BYTES).freed_bytes > 0

    def _measure(self) -> int:
        return sum(key.size_bytes for key in stored_keys(self._cache))

    def _cap(self, held_bytes: int) -> int:
        return default_cap(self._cache, held_bytes) if self._max_bytes is None else self._max_bytes

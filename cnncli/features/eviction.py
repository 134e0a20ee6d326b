"""The cap of the feature cache: the least recently used keys are deleted first, and keys in use are kept."""

from __future__ import annotations

import math
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cnncli.features.segments import DESCRIPTION, LOCK, delete, subfolders, sweep
from cnncli.storage.locks import exclusive, try_exclusive


class StoredKey(NamedTuple):
    """A key on disk: its folder, the size of its segments, and the time of its last use, in seconds since 1970."""

    path: Path
    size_bytes: int
    used: float


@dataclass(frozen=True)
class Cleared:
    """Size of deleted entries, and of entries that were kept because they are in use."""

    freed_bytes: int
    pinned_bytes: int


def stored_keys(cache: Path) -> list[StoredKey]:
    """Return the keys of a cache, except those that another process is deleting."""
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
    """Return the cap if none is set: half the sum of the cache's size and the free disk space."""
    folder = next(folder for folder in (cache, *cache.parents) if folder.exists())
    return (shutil.disk_usage(folder).free + held_bytes) // 2


def evict(cache: Path, keep_bytes: int, used_before: float = math.inf) -> Cleared:
    """Delete keys, the least recently used first, until a cache is small enough.

    Args:
        cache: Folder of the feature cache.
        keep_bytes: Size that may remain.
        used_before: Keys used since then, in seconds since 1970, are kept in any case.
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
    """Delete leftovers of killed processes in an unused key; if it is surplus or empty, delete it and return True."""
    with suppress(OSError):
        lock = try_exclusive(key / LOCK)
        if lock is not None:
            with lock:
                sweep(key)
                if is_surplus or not subfolders(key):
                    delete(key)
                    return True
    return False

"""How much disk the store takes, and what goes first when that is too much: what was not used for longest.

What a living process uses never goes, whatever its size.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cnncli.features.layout import INDEX, LOCK, discard, subfolders, sweep
from cnncli.storage.locks import exclusive, try_exclusive
from cnncli.terminal.formatting import size

LEAST_ROOM_BYTES = 256 * 2**20
"""Freed at once where the disk is full, if there is as much to free."""


@dataclass(frozen=True)
class StoredSegment:
    """A segment on the disk, whole or not.

    Attributes:
        path: its folder.
        size_bytes: of its files.
        used: when it was last read or written, in seconds since 1970.
    """

    path: Path
    size_bytes: int
    used: float


@dataclass(frozen=True)
class Capacity:
    """How much fits into a store when all that it holds may go.

    Attributes:
        size_bytes: so much.
        is_cap: whether the cap is what sets the limit, and not the disk.
    """

    size_bytes: int
    is_cap: bool


@dataclass(frozen=True)
class Eviction:
    """What was deleted, and what is left.

    Attributes:
        freed_bytes: deleted.
        pinned_bytes: would have been deleted next, but is in use.
        held_bytes: left, pinned or not.
    """

    freed_bytes: int = 0
    pinned_bytes: int = 0
    held_bytes: int = 0


def stored_segments(store: Path) -> list[StoredSegment]:
    """All segments of a store."""
    return [segment for key in subfolders(store) for segment in segments_of(key)]


def segments_of(key: Path) -> list[StoredSegment]:
    """All segments of a key; what disappears meanwhile is left out."""
    found = []
    for folder in subfolders(key):
        with suppress(OSError):
            found.append(_looked_at(folder))
    return found


def _looked_at(folder: Path) -> StoredSegment:
    """A segment as it is on the disk; raises OSError where it disappears meanwhile."""
    files = {file.name: file.stat() for file in folder.iterdir()}
    used = files[INDEX] if INDEX in files else folder.stat()
    return StoredSegment(folder, sum(file.st_size for file in files.values()), used.st_mtime)


def default_cap(store: Path, held_bytes: int) -> int:
    """How much a store may hold where nobody said: half of what it holds and what is free beside it."""
    folder = next(folder for folder in (store, *store.parents) if folder.exists())
    return (shutil.disk_usage(folder).free + held_bytes) // 2


def evict(store: Path, keep_bytes: int, used_before: float = math.inf) -> Eviction:
    """Delete segments, those first that were not used for longest, until no more is left than may stay.

    Args:
        store: its folder.
        keep_bytes: what may stay; 0: nothing.
        used_before: what was used since then (seconds since 1970) stays in any case.
    """
    if not store.is_dir():
        return Eviction()
    with exclusive(store / LOCK):
        segments = sorted(stored_segments(store), key=lambda segment: segment.used)
        held = sum(segment.size_bytes for segment in segments)
        freed = pinned = 0
        for segment in segments:
            if held - freed <= keep_bytes or segment.used >= used_before:
                break
            if _delete(segment.path):
                freed += segment.size_bytes
            else:
                pinned += segment.size_bytes
        _sweep(store)
    return Eviction(freed, pinned, held - freed)


def _delete(segment: Path) -> bool:
    """Delete a segment whose key nobody uses; whether that was so."""
    with suppress(OSError):
        lock = try_exclusive(segment.parent / LOCK)
        if lock is not None:
            with lock:
                discard(segment)
                return True
    return False


def _sweep(store: Path) -> None:
    """Delete what killed processes have left, and keys without segments; what is in use stays as it is."""
    sweep(store)
    for key in subfolders(store):
        with suppress(OSError):
            lock = try_exclusive(key / LOCK)
            if lock is not None:
                with lock:
                    sweep(key)
                    if not any(subfolders(key)):
                        discard(key)


class Space:
    """Keeps a store below its cap while one process writes into it."""

    def __init__(
        self, store: Path, max_bytes: int | None, warn: Callable[[str], None], say: Callable[[str], None]
    ) -> None:
        """Watch a store.

        Args:
            store: its folder.
            max_bytes: the cap; None: see `default_cap`.
            warn: told once where what is in use takes more than the cap.
            say: told at the end how much had to go.
        """
        self._store, self._max_bytes, self._warn, self._say = store, max_bytes, warn, say
        self._held_bytes: int | None = None
        self._freed_bytes = 0
        self._has_warned = False

    def capacity(self) -> Capacity:
        """The cap; where it is set higher, half of what the store holds and what is free beside it."""
        held = sum(segment.size_bytes for segment in stored_segments(self._store))
        usual = default_cap(self._store, held)
        if self._max_bytes is None or self._max_bytes > usual:
            return Capacity(usual, is_cap=False)
        return Capacity(self._max_bytes, is_cap=True)

    def grew(self, segment: Path) -> None:
        """Note that a segment was written, and evict others where that was too much.

        The disk is looked at for the first segment and whenever the cap is reached; what others have written in
        between counts from then on.
        """
        if self._held_bytes is None:
            self._held_bytes = sum(segment.size_bytes for segment in stored_segments(self._store))
        else:
            with suppress(OSError):  # taken away by hand, then it takes nothing
                self._held_bytes += _looked_at(segment).size_bytes
        self._keep_to(self._cap(self._held_bytes))

    def settle(self) -> None:
        """Evict what is too much although nothing was written, and say how much had to go since the beginning.

        For the moment when this process uses nothing any more.
        """
        self._held_bytes = sum(segment.size_bytes for segment in stored_segments(self._store))
        cap = self._cap(self._held_bytes)
        with suppress(OSError):  # a store that may only be read stays as it is
            self._keep_to(cap)
        if self._freed_bytes:
            self._say(f"to keep to the cap of {size(cap)}, {size(self._freed_bytes)} of stored features were removed")
            self._freed_bytes = 0

    def make_room(self, needed_bytes: int) -> bool:
        """Free so many bytes where the disk is full, or as many as there are; whether there were any."""
        held = sum(segment.size_bytes for segment in stored_segments(self._store))
        evicted = evict(self._store, held - max(needed_bytes, LEAST_ROOM_BYTES))
        self._held_bytes = evicted.held_bytes
        return evicted.freed_bytes > 0

    def _cap(self, held_bytes: int) -> int:
        return default_cap(self._store, held_bytes) if self._max_bytes is None else self._max_bytes

    def _keep_to(self, cap: int) -> None:
        if self._held_bytes is not None and self._held_bytes > cap:
            evicted = evict(self._store, cap)
            self._held_bytes = evicted.held_bytes
            self._freed_bytes += evicted.freed_bytes
            self._warn_once(evicted.held_bytes, cap)

    def _warn_once(self, held_bytes: int, cap: int) -> None:
        if held_bytes > cap and not self._has_warned:
            self._has_warned = True
            self._warn(f"stored features in use take {size(held_bytes)}, more than the cap of {size(cap)}")

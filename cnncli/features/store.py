"""The feature cache: the output of a frozen trunk for each image, stored under a key of its inputs.

A key describes everything that determines the values except the image: trunk, weights, engine, pixels, view. It
contains immutable segments, which are mapped into memory for reading. Readers never see a partial segment, and several
processes can fill the cache at once. Keys in use are never deleted; the least recently used others are evicted when the
cache exceeds its cap.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cnncli.engines.engine import Array
from cnncli.errors import CacheError, Message, printable
from cnncli.features.eviction import default_cap, evict, stored_keys
from cnncli.features.open_key import ABSENT, OpenKey, StoredFeatures
from cnncli.features.segments import DESCRIPTION, FORMAT, map_rows, pack, write_segment
from cnncli.storage.atomic import touch, write_atomically
from cnncli.storage.cache_dir import DISK_FULL, not_writable
from cnncli.terminal.formatting import size

log = logging.getLogger(__name__)

ROOM_BYTES = 2**29
"""Size to free if the disk is full and that much can be freed; larger than a segment."""


@dataclass(frozen=True)
class FeatureKey:
    """Description of the inputs of features. Any change of the recipe gives a different key.

    Attributes:
        recipe: Everything that determines the values except the image.
        facts: Additional information for people.
    """

    recipe: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def name(self) -> str:
        """Name of the key's folder."""
        text = json.dumps({"format": FORMAT, **self.recipe}, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


class FeatureStore(AbstractContextManager["FeatureStore"]):
    """The feature cache in a folder. Only one thread may use it; threads can share the features that it returns.

    Args:
        folder: Folder of the cache; created with the first segment.
        max_bytes: The cap; None: half the sum of the cache's size and the free disk space.
    """

    def __init__(self, folder: Path, max_bytes: int | None = None) -> None:
        self.max_bytes = max_bytes
        self._folder = folder
        self._evicted_bytes = 0
        self._has_warned = False
        self._opened: dict[str, OpenKey] = {}

    def __exit__(self, *_details: object) -> None:
        """Release all keys, and evict entries above the cap."""
        for opened in self._opened.values():
            opened.pin.release()
        self.keep_only([])
        with suppress(OSError):  # the cache may be read-only
            self._evict_surplus()
        if self._evicted_bytes:
            _, cap = self._held_and_cap()
            text = f"Removed {size(self._evicted_bytes)} from the feature cache to stay below its cap of {size(cap)}"
            log.info(Message("cache-evicted", text, received=self._evicted_bytes, expected=cap))
            self._evicted_bytes = 0

    def keep_only(self, keys: Iterable[FeatureKey]) -> None:
        """Release all other keys. They can be evicted once none of their `StoredFeatures` exists."""
        names = {key.name for key in keys}
        self._opened = {name: opened for name, opened in self._opened.items() if name in names}
        map_rows.cache_clear()  # a mapped file takes up space after it was deleted, too

    def capacity(self) -> int:
        """Return the number of bytes that the cache can hold if all of its entries may be evicted."""
        held, cap = self._held_and_cap()
        return min(cap, default_cap(self._folder, held))

    def missing(self, key: FeatureKey, digests: Sequence[str]) -> list[str]:
        """Return the digests that are not cached under a key, each once, in the given order."""
        unique = list(dict.fromkeys(digests))
        return [unique[number] for number in self._find(key, unique).absent]

    def read(self, key: FeatureKey, digests: Sequence[str]) -> StoredFeatures:
        """Return the features of images, all of which must be cached.

        Raises:
            CacheError: Some of them are no longer cached.
        """
        found, path = self._find(key, digests), self._folder / key.name
        if n_absent := len(found.absent):
            count = f"{n_absent:,} of {len(digests):,}"
            text = f"{printable(path)}: the features of {count} images were deleted. Run the command again."
            facts = {"path": path, "received": len(digests) - n_absent, "expected": len(digests)}
            raise CacheError(Message("cache-features-missing", text, **facts))
        touch(path / DESCRIPTION)
        return found

    def record(self, key: FeatureKey) -> np.dtype[Any] | None:
        """Return the dtype of a row of cached features, or None if a key has none."""
        segments = self._find(key, []).segments
        return segments[0].record if segments else None

    def write(self, key: FeatureKey, digests: Sequence[str], arrays: Sequence[Array]) -> None:
        """Write a segment: one array per tensor, with one row per digest. Evicts entries if the disk is full.

        Raises:
            CacheError: The segment cannot be written; no part of it is left.
            ValueError: The numbers of digests and rows differ.
        """
        if not arrays or any(len(array) != len(digests) for array in arrays):
            raise ValueError(f"{len(digests)} digests for arrays of {[len(array) for array in arrays]} rows")
        packed, folder = pack(digests), self._folder / key.name
        try:
            try:
                segment = write_segment(self._create(key).folder, packed, arrays)
            except OSError as error:
                held, _ = self._held_and_cap()
                if error.errno not in DISK_FULL or not evict(self._folder, held - ROOM_BYTES).freed_bytes:
                    raise
                segment = write_segment(self._create(key).folder, packed, arrays)
        except OSError as error:
            raise not_writable(error, folder) from error
        self._opened[key.name].add(segment)
        touch(folder / DESCRIPTION)
        self._evict_surplus()

    def _evict_surplus(self) -> None:
        """Evict keys if the cap is exceeded, including those that other processes wrote."""
        held, cap = self._held_and_cap()
        if held <= cap:
            return
        freed = evict(self._folder, cap).freed_bytes
        self._evicted_bytes += freed
        if (left := held - freed) > cap and not self._has_warned:
            self._has_warned = True
            text = f"Cached features in use take {size(left)}, more than the cap of {size(cap)}"
            log.warning(Message("cache-over-cap", text, received=left, expected=cap))

    def _held_and_cap(self) -> tuple[int, int]:
        held = sum(key.size_bytes for key in stored_keys(self._folder))
        return held, default_cap(self._folder, held) if self.max_bytes is None else self.max_bytes

    def _find(self, key: FeatureKey, digests: Sequence[str]) -> StoredFeatures:
        opened = self._open(key)
        if opened is None:
            return StoredFeatures([], np.full(len(digests), ABSENT), None)
        return opened.find(pack(digests))

    def _open(self, key: FeatureKey) -> OpenKey | None:
        """Open a key, or return None if its folder does not exist."""
        opened = self._opened.get(key.name)
        if opened is None or not opened.pin.is_current:  # the folder may have been deleted by hand
            try:
                opened = self._opened[key.name] = OpenKey(self._folder / key.name)
            except FileNotFoundError:
                self._opened.pop(key.name, None)
                return None
        return opened

    def _create(self, key: FeatureKey) -> OpenKey:
        """Open a key; create its folder and description if they are missing."""
        folder = self._folder / key.name
        opened = None
        while opened is None:  # an eviction may delete the empty folder before it is opened
            folder.mkdir(parents=True, exist_ok=True)
            opened = self._open(key)
        if not (folder / DESCRIPTION).exists():
            description = {"recipe": dict(key.recipe), "facts": dict(key.facts)}
            write_atomically(folder / DESCRIPTION, json.dumps(description, indent=1, default=str) + "\n")
        return opened

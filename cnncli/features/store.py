"""The feature cache: the output of a frozen trunk for each image, stored under what it was computed from.

A key describes everything that the values depend on except the image: trunk, weights, engine, pixels, view. It holds
immutable segments, which are mapped into memory when they are read. A reader never finds a partial segment, and two
processes may fill the cache at once. Keys in use are never deleted; of the others, the least recently used ones are
evicted when the cache exceeds its cap.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cnncli.engines.engine import Array
from cnncli.errors import CacheError, Message, printable
from cnncli.features.eviction import CacheLimit
from cnncli.features.open_key import ABSENT, OpenKey, StoredFeatures
from cnncli.features.segments import DESCRIPTION, FORMAT, map_rows, pack, write_segment
from cnncli.storage.atomic import touch, write_atomically
from cnncli.storage.cache_dir import DISK_FULL, not_writable


@dataclass(frozen=True)
class FeatureKey:
    """A description of the inputs of features. Any change of the recipe gives another key.

    Attributes:
        recipe: everything that the values depend on except the image.
        facts: further information for people.
    """

    recipe: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def name(self) -> str:
        """Name of the key's folder."""
        text = json.dumps({"format": FORMAT, **self.recipe}, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


class FeatureStore(AbstractContextManager["FeatureStore"]):
    """The feature cache in one folder. Only one thread may use it; threads may share the features that it returns.

    Args:
        folder: folder of the cache; created with the first segment.
        max_bytes: the cap; None: half of the free disk space and what the cache holds already.
    """

    def __init__(self, folder: Path, max_bytes: int | None = None) -> None:
        self.max_bytes = max_bytes
        self._folder = folder
        self._limit = CacheLimit(folder, max_bytes)
        self._opened: dict[str, OpenKey] = {}

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release all keys, and evict what exceeds the cap."""
        for opened in self._opened.values():
            opened.pin.release()
        self.keep_only([])
        self._limit.settle()

    def keep_only(self, keys: Iterable[FeatureKey]) -> None:
        """Release all keys but these. They may be evicted when no `StoredFeatures` of them exist anymore."""
        names = {key.name for key in keys}
        self._opened = {name: opened for name, opened in self._opened.items() if name in names}
        map_rows.cache_clear()  # a mapped file takes up space after it was deleted, too

    def capacity(self) -> int:
        """Return how many bytes the cache can hold if everything in it may be deleted."""
        return self._limit.capacity()

    def missing(self, key: FeatureKey, digests: Sequence[str]) -> list[str]:
        """Return the digests that are not cached under a key, each once, in the given order."""
        unique = list(dict.fromkeys(digests))
        return [unique[number] for number in self._find(key, unique).absent]

    def read(self, key: FeatureKey, digests: Sequence[str]) -> StoredFeatures:
        """Return the features of images that are all cached.

        Raises:
            CacheError: some of them are not cached anymore.
        """
        found, path = self._find(key, digests), self._folder / key.name
        if n_absent := len(found.absent):
            count = f"{n_absent:,} of {len(digests):,}"
            text = f"{printable(path)}: the features of {count} images were deleted. Start again."
            facts = {"path": path, "received": len(digests) - n_absent, "expected": len(digests)}
            raise CacheError(Message("cache-features-missing", text, **facts))
        touch(path / DESCRIPTION)
        return found

    def write(self, key: FeatureKey, digests: Sequence[str], arrays: Sequence[Array]) -> None:
        """Write a segment of features: one array per tensor, with a row for each digest. Makes room on a full disk.

        Raises:
            CacheError: it cannot be written; nothing is left of it.
            ValueError: the numbers of digests and rows differ.
        """
        if not arrays or any(len(array) != len(digests) for array in arrays):
            raise ValueError(f"{len(digests)} digests for arrays of {[len(array) for array in arrays]} rows")
        packed, folder = pack(digests), self._folder / key.name
        try:
            try:
                segment = write_segment(self._create(key).folder, packed, arrays)
            except OSError as error:
                if error.errno not in DISK_FULL or not self._limit.make_room():
                    raise
                segment = write_segment(self._create(key).folder, packed, arrays)
        except OSError as error:
            raise not_writable(error, folder) from error
        self._opened[key.name].add(segment)
        touch(folder / DESCRIPTION)
        self._limit.enforce()

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
        """Open a key, and create its folder and description if they are missing."""
        folder = self._folder / key.name
        opened = None
        while opened is None:  # an eviction may delete the empty folder before it is opened
            folder.mkdir(parents=True, exist_ok=True)
            opened = self._open(key)
        if not (folder / DESCRIPTION).exists():
            description = {"recipe": dict(key.recipe), "facts": dict(key.facts)}
            write_atomically(folder / DESCRIPTION, json.dumps(description, indent=1, default=str) + "\n")
        return opened

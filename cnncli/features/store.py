"""The feature cache: the output of a frozen trunk for each image, stored under what it was computed from.

Content-addressed: a key describes everything that the values depend on (trunk, weights, engine, pixels, view), and the
digest of the image does the rest. A key holds immutable segments, which are mapped into memory when they are read. A
reader never finds a partial segment, and two processes may fill the cache at once. Keys in use are never deleted; of
the others, the least recently used ones are evicted when the cache exceeds its cap.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncli.engines.engine import Array
from cnncli.errors import CacheError, Message, printable
from cnncli.features.eviction import CacheLimit, Capacity
from cnncli.features.open_key import ABSENT, Found, OpenKey
from cnncli.features.segments import DESCRIPTION, FORMAT, Segment, pack
from cnncli.features.writer import SegmentWriter, with_room
from cnncli.storage.atomic import touch, write_atomically
from cnncli.storage.locks import Lock

MAX_MAPPED = 128
"""Number of segments mapped at a time: each holds a file descriptor, and some systems allow a process only 256."""

ROWS_AT_A_TIME = 64
"""Number of rows copied into memory to be hashed."""

KEY_BYTES = 2**16
"""Disk space for a key's folder and description."""


@dataclass(frozen=True)
class FeatureKey:
    """What features were computed from. Any change of the recipe gives another key.

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

    @property
    def text(self) -> str:
        """The description of the key in its folder."""
        return json.dumps({"recipe": dict(self.recipe), "facts": dict(self.facts)}, indent=1, default=str) + "\n"


class StoredFeatures:
    """The features of a sequence of images, read from segments on demand.

    As long as this object exists and its cache is open, they are not deleted. Threads may share it.

    Args:
        found: where all of the rows are.
        map_rows: maps the rows of a segment.
        pin: lock that keeps them from being deleted.
    """

    def __init__(self, found: Found, map_rows: Callable[[Segment], Array], pin: Lock | None) -> None:
        self._found, self._map_rows, self._pin = found, map_rows, pin

    def __len__(self) -> int:
        return len(self._found.row_of)

    def checksum(self) -> str:
        """Return the SHA-256 of all rows in their order, which does not depend on how segments divide them.

        Raises:
            CacheError: the files were deleted by hand.
        """
        digest = hashlib.sha256()
        for start in range(0, len(self), ROWS_AT_A_TIME):
            for tensor in self.rows(np.arange(start, min(start + ROWS_AT_A_TIME, len(self)))):
                digest.update(tensor.tobytes())
        return digest.hexdigest()

    def rows(self, indexes: NDArray[np.int64]) -> list[Array]:
        """Return the features of some images.

        Args:
            indexes: positions in the sequence of images, shape (n,).

        Returns:
            One array of shape (n, …) per tensor.

        Raises:
            CacheError: the files were deleted by hand.
        """
        segment_of, row_of = self._found.segment_of[indexes], self._found.row_of[indexes]
        tensors = self._found.segments[0].tensors
        gathered = [np.empty(len(indexes), f"V{tensor.size_bytes}") for tensor in tensors]
        for number in np.unique(segment_of):
            here = segment_of == number
            rows = self._rows_of(self._found.segments[number])
            for field_number, out in enumerate(gathered):
                out[here] = rows[str(field_number)][row_of[here]]
        return [
            out.view(tensor.numpy).reshape(len(indexes), *tensor.shape)
            for out, tensor in zip(gathered, tensors, strict=True)
        ]

    def _rows_of(self, segment: Segment) -> Array:
        try:
            return self._map_rows(segment)
        except (OSError, ValueError) as error:
            text = f"{printable(segment.path)}: deleted or changed while in use. Start again."
            raise CacheError(Message("cache-features-missing", text, path=segment.path)) from error


class FeatureStore:
    """The feature cache in one folder. Only one thread may use it; threads may share the features that it returns.

    Args:
        folder: folder of the cache; created with the first segment.
        max_bytes: the cap; None: half of the free disk space and what the cache holds already.
    """

    def __init__(self, folder: Path, max_bytes: int | None = None) -> None:
        self._folder = folder
        self._limit = CacheLimit(folder, max_bytes)
        self._opened: dict[str, OpenKey] = {}
        self._map_rows = lru_cache(MAX_MAPPED)(Segment.map_rows)

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Release all keys, and evict what exceeds the cap."""
        for opened in self._opened.values():
            opened.pin.release()
        self._opened.clear()
        self._map_rows.cache_clear()
        self._limit.settle()

    def keep_only(self, keys: Iterable[FeatureKey]) -> None:
        """Release all keys but these. They may be evicted when no `StoredFeatures` of them exist anymore."""
        names = {key.name for key in keys}
        self._opened = {name: opened for name, opened in self._opened.items() if name in names}
        self._map_rows.cache_clear()  # a mapped file takes up space after it was deleted, too

    def capacity(self) -> Capacity:
        """Return how much the cache can hold if everything in it may be deleted."""
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
        found = self._find(key, digests)
        if len(found.absent):
            path = self._folder / key.name
            count = f"{len(found.absent):,} of {len(digests):,}"
            text = f"{printable(path)}: the features of {count} images were deleted. Start again."
            facts = {"path": path, "received": len(digests) - len(found.absent), "expected": len(digests)}
            raise CacheError(Message("cache-features-missing", text, **facts))
        opened = self._opened.get(key.name)
        if opened is not None:
            touch(opened.folder / DESCRIPTION)
        return StoredFeatures(found, self._map_rows, opened.pin if opened else None)

    def write(self, key: FeatureKey, digests: Sequence[str], arrays: Sequence[Array]) -> None:
        """Write a segment; for the arguments, see `SegmentWriter.add`.

        Raises:
            CacheError: it cannot be written.
        """
        with self.writer(key) as writer:
            writer.add(digests, arrays)

    def writer(self, key: FeatureKey) -> SegmentWriter:
        """Return a writer for a new segment.

        Raises:
            CacheError: the cache cannot be written to.
        """
        folder, make_room = self._folder / key.name, self._limit.make_room
        opened = with_room(lambda: self._create(key), KEY_BYTES, make_room, folder)

        def keep(segment: Segment) -> None:
            opened.add(segment)
            touch(folder / DESCRIPTION)
            self._limit.add(segment.path)

        return SegmentWriter(folder, make_room, keep)

    def _find(self, key: FeatureKey, digests: Sequence[str]) -> Found:
        opened = self._open(key)
        if opened is None:
            nowhere = np.full(len(digests), ABSENT, np.int32)
            return Found((), nowhere, nowhere)
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
            write_atomically(folder / DESCRIPTION, key.text)
        return opened

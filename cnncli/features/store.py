"""The feature store: what a trunk made of an image, kept under what it was made from.

Content-addressed: a key says everything the bits depend on (trunk, weights, engine, pixels, view), an image's digest
says the rest. Under a key lie immutable segments, mapped into memory when they are read. A reader never meets half of
one, and two runs may fill the store at once. What a living process uses stays; of the rest, what was not used for
longest goes where the store grows beyond its cap.
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
from cnncli.errors import CacheError, printable
from cnncli.features.digests import Digests, packed
from cnncli.features.eviction import Capacity, Space
from cnncli.features.layout import INDEX, RECIPE
from cnncli.features.open_key import Found, OpenKey
from cnncli.features.segments import FORMAT, Segment, map_rows
from cnncli.features.writer import SegmentWriter, with_room
from cnncli.storage.atomic import touch, write_atomically
from cnncli.storage.locks import Lock
from cnncli.terminal.console import LOGGER

MOST_MAPPED = 128
"""Segments mapped at a time: each holds a file descriptor, of which some systems give a process 256."""

ROWS_AT_A_TIME = 64
"""Copied into memory to be hashed."""

ROOM_FOR_A_KEY = 2**16
"""Bytes freed for a key's folder and recipe where the disk is full."""


@dataclass(frozen=True)
class FeatureKey:
    """What features are made from: any change of the recipe gives another key.

    Attributes:
        recipe: everything their bits depend on beside the image.
        facts: what people may want to know about them besides.
    """

    recipe: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def name(self) -> str:
        """The key's folder in the store."""
        text = json.dumps({"format": FORMAT, **self.recipe}, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def text(self) -> str:
        """The key for people, as it lies beside the features."""
        return json.dumps({"recipe": dict(self.recipe), "facts": dict(self.facts)}, indent=1, default=str) + "\n"


class StoredFeatures:
    """The features of a sequence of images, row by row in that sequence's order, read from segments on demand.

    While this object is there and its store is not closed, they stay in the store. Threads may share it.
    """

    def __init__(self, found: Found, mapped: Callable[[Segment], Array], pin: Lock | None) -> None:
        """Give the features of rows that were all found.

        Args:
            found: where they are.
            mapped: a segment's rows, see `map_rows`.
            pin: what keeps them in the store.
        """
        self._found, self._mapped, self._pin = found, mapped, pin

    def __len__(self) -> int:
        return len(self._found.row_of)

    def checksum(self) -> str:
        """SHA-256 of all rows in their order, hexadecimal: the same however segments divide them. Reads all of them.

        Raises:
            CacheError: somebody took the files away by hand.
        """
        digest = hashlib.sha256()
        for start in range(0, len(self), ROWS_AT_A_TIME):
            for tensor in self.rows(np.arange(start, min(start + ROWS_AT_A_TIME, len(self)))):
                digest.update(tensor.tobytes())
        return digest.hexdigest()

    def rows(self, indexes: NDArray[np.int64]) -> list[Array]:
        """The features of some images: one array (len(indexes), …) per tensor, in the order of `indexes`.

        Raises:
            CacheError: somebody took the files away by hand.
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
            return self._mapped(segment)
        except (OSError, ValueError) as error:
            raise CacheError(f"{printable(segment.path)}: gone or changed while in use. Start again.") from error


class FeatureStore:
    """The features on this machine, in one folder; one thread at a time asks it, and reads what it gives at will."""

    def __init__(
        self,
        folder: Path,
        max_bytes: int | None = None,
        warn: Callable[[str], None] = LOGGER.warning,
        say: Callable[[str], None] = LOGGER.info,
    ) -> None:
        """Use `folder`; it appears with the first segment.

        Args:
            folder: of the store.
            max_bytes: the cap; None: half of what the store holds and of what is free beside it.
            warn: told once where what is in use takes more than the cap; default: the log alone.
            say: told at the end how much had to go; default: the log alone.
        """
        self._folder = folder
        self._space = Space(folder, max_bytes, warn, say)
        self._opened: dict[str, OpenKey] = {}
        self._mapped = lru_cache(MOST_MAPPED)(map_rows)

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Use nothing any more; of what was used, what is more than the cap goes at once."""
        for opened in self._opened.values():
            opened.pin.release()
        self._opened.clear()
        self._mapped.cache_clear()
        self._space.settle()

    def keep_only(self, keys: Iterable[FeatureKey]) -> None:
        """Use no other keys any more; what lies there may be evicted as soon as nobody has features of it in hand."""
        names = {key.name for key in keys}
        self._opened = {name: opened for name, opened in self._opened.items() if name in names}
        self._mapped.cache_clear()  # a file that is mapped takes its room after it was deleted, too

    def capacity(self) -> Capacity:
        """How much fits into the store when all that it holds may go: its cap, and no more than the disk allows."""
        return self._space.capacity()

    def missing(self, key: FeatureKey, digests: Sequence[str]) -> list[str]:
        """The digests that are not stored under a key, each once, in the order given."""
        each = list(dict.fromkeys(digests))
        return [each[number] for number in self._find(key, each).absent]

    def read(self, key: FeatureKey, digests: Sequence[str]) -> StoredFeatures:
        """The features of images that are all stored.

        Raises:
            CacheError: some are not, or not any more.
        """
        found = self._find(key, digests)
        if len(found.absent):
            where = printable(self._folder / key.name)
            gone = f"the features of {len(found.absent):,} of {len(digests):,} images have gone"
            raise CacheError(f"{where}: {gone}. Start again.")
        for segment in found.segments:
            touch(segment.path / INDEX)
        opened = self._opened.get(key.name)
        return StoredFeatures(found, self._mapped, opened.pin if opened else None)

    def write(self, key: FeatureKey, digests: Sequence[str], arrays: Sequence[Array]) -> None:
        """Add a segment: row i of each array belongs to the i-th digest.

        Raises:
            CacheError: it cannot be written; nothing of it is kept.
        """
        with self.writer(key) as writer:
            writer.add(digests, arrays)

    def writer(self, key: FeatureKey) -> SegmentWriter:
        """What takes the rows of a new segment as they come.

        Raises:
            CacheError: nothing can be written there.
        """
        folder, make_room = self._folder / key.name, self._space.make_room
        opened = with_room(lambda: self._create(key), ROOM_FOR_A_KEY, make_room, folder)

        def keep(segment: Segment, digests: Digests) -> None:
            opened.add(segment, digests)
            self._space.grew(segment.path)

        return SegmentWriter(folder, make_room, keep)

    def _find(self, key: FeatureKey, digests: Sequence[str]) -> Found:
        opened = self._open(key)
        return opened.find(packed(digests)) if opened else Found.nowhere(len(digests))

    def _open(self, key: FeatureKey) -> OpenKey | None:
        """A key, in use from now on; None where there is no such folder."""
        opened = self._opened.get(key.name)
        if opened is None or not opened.pin.is_current:  # the folder may have been taken away by hand
            try:
                opened = self._opened[key.name] = OpenKey(self._folder / key.name)
            except FileNotFoundError:
                self._opened.pop(key.name, None)
                return None
        return opened

    def _create(self, key: FeatureKey) -> OpenKey:
        """A key with its folder and recipe."""
        folder = self._folder / key.name
        opened = None
        while opened is None:  # between the two lines an eviction may take the empty folder away
            folder.mkdir(parents=True, exist_ok=True)
            opened = self._open(key)
        if not (folder / RECIPE).exists():
            write_atomically(folder / RECIPE, key.text)
        return opened

"""An open key of the feature cache, which is locked, and whose rows are verified when they are first used."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnncli.engines.engine import Array
from cnncli.errors import CacheError, Message, printable, reason_of
from cnncli.features.segments import LOCK, Digests, Segment, delete, map_rows, read_segment, subfolders, sweep
from cnncli.runtime.threads import batched, map_ordered
from cnncli.storage.cache_dir import warn_of_damage
from cnncli.storage.locks import Lock, exclusive, shared

log = logging.getLogger(__name__)

ABSENT = -1
HASHED_ROWS = 64
"""Number of rows copied into memory at a time to be hashed."""


@dataclass(frozen=True)
class StoredFeatures:
    """The features of a sequence of images, read from segments on demand.

    They are not deleted while this object exists and its cache is open. Threads can share it.

    Attributes:
        segments: The segments of the key.
        rows_of: Row of each image, counted through all segments, shape (n,); `ABSENT` if it is not cached.
        pin: Lock that keeps the key from being deleted.
    """

    segments: Sequence[Segment]
    rows_of: NDArray[np.int64]
    pin: Lock | None

    @property
    def absent(self) -> NDArray[np.int64]:
        """Positions of the images that are not cached."""
        return np.flatnonzero(self.rows_of == ABSENT)

    def locate(self, indexes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the segment number and the row in it of some of the images, which must be cached."""
        segment_of = np.searchsorted(self._starts, self.rows_of[indexes], side="right") - 1
        return segment_of, self.rows_of[indexes] - self._starts[segment_of]

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        return np.cumsum([0, *(len(segment.digests) for segment in self.segments)])

    def checksum(self) -> str:
        """Return the SHA-256 of all rows in order, independent of their segments. For errors, see `rows`."""
        digest = hashlib.sha256()
        for indexes in batched(range(len(self.rows_of)), HASHED_ROWS):
            for tensor in self.rows(np.array(indexes)):
                digest.update(tensor.tobytes())
        return digest.hexdigest()

    def rows(self, indexes: NDArray[np.int64]) -> list[Array]:
        """Return the features of the images at some positions, shape (n,): one array of shape (n, …) per tensor.

        Raises:
            CacheError: The files were deleted.
        """
        segment_of, row_of = self.locate(indexes)
        gathered = np.empty(len(indexes), self.segments[0].record)
        for number in np.unique(segment_of):
            here = segment_of == number
            segment = self.segments[number]
            try:
                gathered[here] = map_rows(segment)[row_of[here]]
            except (OSError, ValueError) as error:
                text = f"{printable(segment.path)}: deleted or changed while in use. Run the command again."
                raise CacheError(Message("cache-features-missing", text, path=segment.path)) from error
        return [np.ascontiguousarray(gathered[name]) for name in gathered.dtype.names or ()]


class OpenKey:
    """A key, given by its folder, that other processes do not delete while this object exists.

    Raises:
        OSError: The folder does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pin = shared(folder / LOCK)
        self._segments: dict[str, Segment | None] = {}  # by name; None: this process does not use it
        self._sorted: tuple[Digests, NDArray[np.int64]] | None = None
        self._has_warned = False
        if subfolders(
            folder, temporary=True
        ):  # before this process writes, because its own temporary folders look the same
            self._as_only_user(lambda: sweep(folder))

    def find(self, digests: Digests) -> StoredFeatures:
        """Find the rows of images in valid segments. Of identical digests, the first one is found."""
        self._refresh()
        while True:
            segments = [segment for segment in self._segments.values() if segment]
            if self._sorted is None:
                known = np.concatenate([np.empty(0, "S32"), *(segment.digests for segment in segments)])
                self._sorted = known, np.argsort(known, kind="stable")
            found = StoredFeatures(segments, positions(digests, *self._sorted), self.pin)
            used, _ = found.locate(np.flatnonzero(found.rows_of != ABSENT))
            unchecked = [segments[n] for n in np.unique(used) if not segments[n].is_checked]
            if not unchecked:
                return found
            for segment, error in zip(unchecked, map_ordered(Segment.problem_of_rows, unchecked), strict=True):
                if error is not None:
                    self._drop(segment.path.name, error)

    def add(self, segment: Segment) -> None:
        """Add a segment that this process has written."""
        self._segments[segment.path.name], self._sorted = segment, None

    def _refresh(self) -> None:
        """Read segments that other processes have added, and drop those that were deleted."""
        present = {path.name: path for path in subfolders(self.folder)}
        if present.keys() == self._segments.keys():
            return
        self._segments = {name: segment for name, segment in self._segments.items() if name in present}
        self._sorted = None
        for path in (path for name, path in present.items() if name not in self._segments):
            try:
                self._segments[path.name] = read_segment(path)
            except (OSError, ValueError) as error:
                self._drop(path.name, error)

    def _drop(self, name: str, error: OSError | ValueError) -> None:
        """Stop using a segment, and delete it if it is damaged and no other process uses the key."""
        self._segments[name], self._sorted = None, None
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):  # too many open files, for example
            text = f"Part of the feature cache cannot be read and is ignored: {error}"
            log.warning(Message("cache-segment-unreadable", text, path=error.filename, reason=error.strerror))
        else:
            if not self._has_warned and (self.folder / name).is_dir():  # one line, however many segments a bad disk hit
                self._has_warned = True
                warn_of_damage(self.folder / name, reason_of(error))
            self._as_only_user(lambda: delete(self.folder / name))

    def _as_only_user(self, action: Callable[[], object]) -> None:
        """Run an action unless another process uses the key.

        While the shared lock is exchanged for an exclusive one, the cache's lock keeps other processes from deleting
        the key.
        """
        with suppress(OSError), exclusive(self.folder.parent / LOCK):
            try:
                if self.pin.try_alone():
                    action()
            finally:
                self.pin.acquire(exclusive=False, wait=True)


def positions(digests: Digests, known: Digests, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first position of each digest in `known`, whose order is `order`, shape (n,); `ABSENT` for others."""
    if not len(known):
        return np.full(len(digests), ABSENT)
    nearest = order[np.minimum(np.searchsorted(known, digests, sorter=order), len(known) - 1)]
    return np.where(known[nearest] == digests, nearest, ABSENT)

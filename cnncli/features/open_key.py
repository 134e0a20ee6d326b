"""A key of the feature cache, opened by this process: locked, its segments known, their rows checked on first use."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cnncli.errors import Message
from cnncli.features.segments import LOCK, Digests, Segment, delete, needs_sweep, read_segment, subfolders, sweep
from cnncli.runtime.threads import map_ordered
from cnncli.storage.locks import exclusive, shared

Item = TypeVar("Item")
Answer = TypeVar("Answer")

log = logging.getLogger(__name__)

ABSENT = -1


@dataclass(frozen=True)
class Places:
    """Where the rows of digests are. Of rows with equal digests, the first one that was added is found.

    Attributes:
        digests: ascending, shape (n,).
        segments: number of the segment of each, shape (n,).
        rows: row in the segment, shape (n,).
    """

    digests: Digests
    segments: NDArray[np.int32]
    rows: NDArray[np.int32]

    @classmethod
    def empty(cls) -> Places:
        """Return places without digests."""
        return cls(np.empty(0, "S32"), np.empty(0, np.int32), np.empty(0, np.int32))

    def with_segments(self, added: Sequence[tuple[int, Digests]]) -> Places:
        """Return these places and those of more segments, given by number and digests."""
        digests = np.concatenate([self.digests, *(digests for _, digests in added)])
        segments = np.concatenate([self.segments, *(np.full(len(d), n, np.int32) for n, d in added)])
        rows = np.concatenate([self.rows, *(np.arange(len(d), dtype=np.int32) for _, d in added)])
        order = np.argsort(digests, kind="stable")
        return Places(digests[order], segments[order], rows[order])

    def without_segments(self, numbers: Sequence[int]) -> Places:
        """Return these places without those of some segments."""
        kept = ~np.isin(self.segments, numbers)
        return Places(self.digests[kept], self.segments[kept], self.rows[kept])

    def find(self, digests: Digests) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return segment and row of each digest, shapes (n,); `ABSENT` for unknown ones."""
        if not len(self.digests):
            return np.full(len(digests), ABSENT, np.int32), np.full(len(digests), ABSENT, np.int32)
        nearest = np.minimum(np.searchsorted(self.digests, digests), len(self.digests) - 1)
        found = self.digests[nearest] == digests
        return np.where(found, self.segments[nearest], ABSENT), np.where(found, self.rows[nearest], ABSENT)


@dataclass(frozen=True)
class Found:
    """The result of a search for rows.

    Attributes:
        segments: the segments that hold any of the rows.
        segment_of: index into `segments` for each row, shape (n,); `ABSENT` if it is not cached.
        row_of: row in that segment, shape (n,).
    """

    segments: tuple[Segment, ...]
    segment_of: NDArray[np.int32]
    row_of: NDArray[np.int32]

    @property
    def absent(self) -> NDArray[np.int64]:
        """Indexes of the rows that are not cached."""
        return np.flatnonzero(self.segment_of == ABSENT)


class OpenKey:
    """A key that other processes do not delete for as long as this object lives.

    Args:
        folder: folder of the key.

    Attributes:
        folder: folder of the key.
        pin: shared lock on the key.

    Raises:
        OSError: the folder does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pin = shared(folder / LOCK)
        self._segments: list[Segment] = []
        self._numbers: dict[str, int | None] = {}  # by name; None: not used
        self._checked: set[int] = set()
        self._places = Places.empty()
        if needs_sweep(folder):  # before this process writes: its own temporary folders look the same
            self._as_only_user(lambda: sweep(folder))

    def find(self, digests: Digests) -> Found:
        """Find rows in valid segments."""
        self._refresh()
        while True:
            segment_of, row_of = self._places.find(digests)
            numbers = np.unique(segment_of[segment_of != ABSENT])
            unusable = self._check([number for number in numbers.tolist() if number not in self._checked])
            if not unusable:
                break
            self._forget(unusable)
        index = np.where(segment_of == ABSENT, ABSENT, np.searchsorted(numbers, segment_of)).astype(np.int32)
        return Found(tuple(self._segments[number] for number in numbers), index, row_of)

    def add(self, segment: Segment) -> None:
        """Add a segment that this process has written; its rows need no check."""
        self._checked.add(len(self._segments))
        self._learn([segment])

    def _refresh(self) -> None:
        """Learn which segments other processes have added, and which were deleted by hand."""
        present = {path.name: path for path in subfolders(self.folder)}
        self._forget([n for name, n in self._numbers.items() if n is not None and name not in present])
        new = [path for name, path in present.items() if name not in self._numbers]
        self._numbers.update(dict.fromkeys(path.name for path in new))
        read = [(path, _try(read_segment, path)) for path in new]
        self._learn([segment for _, segment in read if isinstance(segment, Segment)])
        self._delete([path for path, segment in read if segment is None])

    def _learn(self, segments: Sequence[Segment]) -> None:
        if segments:
            numbered = list(enumerate(segments, len(self._segments)))
            self._segments += segments
            self._numbers.update({segment.path.name: number for number, segment in numbered})
            self._places = self._places.with_segments([(number, segment.digests) for number, segment in numbered])

    def _forget(self, numbers: Sequence[int]) -> None:
        if numbers:
            self._numbers.update(dict.fromkeys(self._segments[number].path.name for number in numbers))
            self._places = self._places.without_segments(numbers)

    def _check(self, numbers: Sequence[int]) -> list[int]:
        """Return the numbers of segments that cannot be used, and delete those that are damaged."""
        valid = list(map_ordered(lambda number: _try(Segment.is_valid, self._segments[number]), numbers))
        answers = list(zip(numbers, valid, strict=True))
        self._delete([self._segments[number].path for number, answer in answers if answer is False])
        self._checked.update(number for number, answer in answers if answer is True)
        return [number for number, answer in answers if answer is not True]

    def _delete(self, damaged: Sequence[Path]) -> None:
        """Delete damaged segments, unless another process uses the key."""
        if damaged:
            self._as_only_user(lambda: _delete_all(damaged))

    def _as_only_user(self, action: Callable[[], object]) -> None:
        with suppress(OSError), self._alone() as is_alone:
            if is_alone:
                action()

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Try to be the only user of the key.

        A shared lock is given up before it becomes exclusive. The cache's lock keeps other deleting processes away in
        between.
        """
        with exclusive(self.folder.parent / LOCK):
            try:
                yield self.pin.try_alone()
            finally:
                self.pin.share()


def _delete_all(segments: Sequence[Path]) -> None:
    for segment in segments:
        delete(segment)


def _try(look: Callable[[Item], Answer], item: Item) -> Answer | OSError:
    """Return the result of reading a segment, or the reason why it cannot be read now.

    Too many open files, or a failing network, say nothing about the segment: this process does not use it.
    """
    try:
        return look(item)
    except OSError as error:
        text = f"Part of the feature cache cannot be read and is not used: {error}"
        log.warning(Message("cache-segment-unreadable", text, path=error.filename, reason=error.strerror))
        return error

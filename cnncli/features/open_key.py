"""A key of the store as one process sees it: in use, its segments known, their rows checked when first needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cnncli.features.digests import NOWHERE, Digests, Places
from cnncli.features.layout import LOCK, discard, needs_sweep, subfolders, sweep
from cnncli.features.segments import Segment, is_whole, read_segment
from cnncli.runtime.threads import map_ordered
from cnncli.storage.locks import exclusive, shared
from cnncli.terminal.console import LOGGER

Looked = TypeVar("Looked")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Found:
    """Where rows lie.

    Attributes:
        segments: those that have any of the rows.
        segment_of: for each row which of them, shape (n,); `NOWHERE` where it is not stored.
        row_of: and the row in there, shape (n,).
    """

    segments: tuple[Segment, ...]
    segment_of: NDArray[np.int32]
    row_of: NDArray[np.int32]

    @classmethod
    def nowhere(cls, n: int) -> Found:
        """What is found of n rows where nothing is stored."""
        return cls((), np.full(n, NOWHERE, np.int32), np.full(n, NOWHERE, np.int32))

    @property
    def absent(self) -> NDArray[np.int64]:
        """Which of the rows are not stored."""
        return np.flatnonzero(self.segment_of == NOWHERE)


def _now(look: Callable[[Looked], Answer], at: Looked) -> Answer | OSError:
    """What a look at a segment gives, or why there can be none now.

    Too many open files, say, or a network that fails for a moment: nothing is known about the segment then, and this
    process leaves it alone.
    """
    try:
        return look(at)
    except OSError as error:
        LOGGER.warning("stored features are left alone that cannot be read: %s", error)
        return error


class OpenKey:
    """Keeps what a key holds from being deleted by others for as long as it lives.

    Attributes:
        folder: of the key.
        pin: the lock that says so.
    """

    def __init__(self, folder: Path) -> None:
        """Open a key; raises OSError where there is no such folder."""
        self.folder = folder
        self.pin = shared(folder / LOCK)
        self._segments: list[Segment] = []
        self._numbers: dict[str, int | None] = {}
        self._checked: set[int] = set()
        self._places = Places.none()
        if needs_sweep(folder):
            self._sweep()

    def find(self, digests: Digests) -> Found:
        """Where rows lie, of segments that are whole alone."""
        self._refresh()
        while True:
            segment_of, row_of = self._places.find(digests)
            numbers = np.unique(segment_of[segment_of != NOWHERE])
            useless = self._check([number for number in numbers.tolist() if number not in self._checked])
            if not useless:
                break
            self._forget(useless)
        here = np.where(segment_of == NOWHERE, NOWHERE, np.searchsorted(numbers, segment_of)).astype(np.int32)
        return Found(tuple(self._segments[number] for number in numbers), here, row_of)

    def add(self, segment: Segment, digests: Digests) -> None:
        """Know a segment that this process has written: its rows need no check."""
        self._checked.add(len(self._segments))
        self._know([(segment, digests)])

    def _refresh(self) -> None:
        """Learn what other processes have added, and what somebody took away by hand."""
        there = {path.name: path for path in subfolders(self.folder)}
        self._forget([n for name, n in self._numbers.items() if n is not None and name not in there])
        new = [path for name, path in there.items() if name not in self._numbers]
        self._numbers.update(dict.fromkeys(path.name for path in new))
        read = [(path, _now(read_segment, path)) for path in new]
        self._know([found for _, found in read if found and not isinstance(found, OSError)])
        self._delete([path for path, found in read if found is None])

    def _know(self, found: Sequence[tuple[Segment, Digests]]) -> None:
        if not found:
            return
        first = len(self._segments)
        self._segments += [segment for segment, _ in found]
        self._numbers.update({segment.path.name: first + k for k, (segment, _) in enumerate(found)})
        self._places = self._places.with_segments([(first + k, digests) for k, (_, digests) in enumerate(found)])

    def _forget(self, numbers: Sequence[int]) -> None:
        if numbers:
            self._numbers.update(dict.fromkeys(self._segments[number].path.name for number in numbers))
            self._places = self._places.without_segments(numbers)

    def _check(self, numbers: Sequence[int]) -> list[int]:
        """Which of these segments cannot be used; of them the damaged are deleted. The others need no check again."""
        segments = [self._segments[number] for number in numbers]
        wholes = list(map_ordered(lambda segment: _now(is_whole, segment), segments))
        self._delete([segment.path for segment, whole in zip(segments, wholes, strict=True) if whole is False])
        self._checked.update(number for number, whole in zip(numbers, wholes, strict=True) if whole is True)
        return [number for number, whole in zip(numbers, wholes, strict=True) if whole is not True]

    def _sweep(self) -> None:
        """Delete what killed processes have left. Only before this one writes: its own looks no different."""
        with suppress(OSError), self._alone() as is_alone:
            if is_alone:
                sweep(self.folder)

    def _delete(self, damaged: Sequence[Path]) -> None:
        """Delete damaged segments, unless another process uses the key."""
        if not damaged:
            return
        with suppress(OSError), self._alone() as is_alone:
            for segment in damaged if is_alone else ():
                discard(segment)

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Try to be the only one who uses the key.

        Between a shared lock and one alone there is a moment without any. The store's lock keeps those away who
        delete meanwhile.
        """
        with exclusive(self.folder.parent / LOCK):
            try:
                yield self.pin.try_alone()
            finally:
                self.pin.share()

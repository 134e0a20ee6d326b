"""Image records as a table with a column for each field: some 90 bytes per image instead of 700 as objects.

A record is made when it is read, so a million images take less than 100 MB. Slices share the memory of the table.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from cnncli.dataset.records import ImageRecord
from cnncli.images.verify import ImageFacts
from cnncli.runtime.threads import batched

_ROW = np.dtype(
    [
        *(("folder", np.uint32), ("start", np.uint32), ("length", np.uint16), ("labels", np.uint32)),
        *(("split", np.uint8), ("group", np.uint32), ("digest", "V32"), ("size_bytes", np.uint64)),
        *(("width", np.uint32), ("height", np.uint32)),
    ]
)
_CHUNK = 1_024  # rows converted at a time
_COUNTED = 65_536  # rows counted at a time, whose columns are copied


class _Words:
    """Different values of a column, numbered in the order in which they appear."""

    def __init__(self) -> None:
        self.numbers: dict[Any, int] = {}
        self.values: list[Any] = []

    def number(self, value: Any) -> int:
        """Return the number of a value."""
        found = self.numbers.get(value)
        if found is None:
            found = self.numbers[value] = len(self.values)
            self.values.append(value)
        return found


class ImageTable(Sequence[ImageRecord]):
    """Verified images in order. Of their facts, the digest and the sizes are kept."""

    def __init__(self, records: Iterable[ImageRecord] = (), most: int | None = None) -> None:
        """Make a table of records, which are read once.

        Args:
            records: The records.
            most: Maximum number of records; default: that of a sequence.

        Raises:
            ValueError: A record has no SHA-256 digest.
            OverflowError: All names together have more than 4 GB, or a number is beyond any image.
        """
        if most is None:
            records = records if isinstance(records, Sequence) else list(records)
            most = len(records)
        self._rows = np.empty(most, _ROW)  # pages that are never written take no memory
        self._names = bytearray()
        self._folders, self._labels, self._splits, self._groups = _Words(), _Words(), _Words(), _Words()
        n = 0
        for chunk in batched(records, _CHUNK):
            self._rows[n : n + len(chunk)] = [self._cells(one) for one in chunk]
            n += len(chunk)
        self._rows = self._rows[:n]

    def _cells(self, one: ImageRecord) -> tuple[object, ...]:
        folder, separator, name = one.file.rpartition(os.sep)
        encoded, digest = os.fsencode(name), bytes.fromhex(one.digest)
        if len(digest) != _ROW["digest"].itemsize:
            raise ValueError("a SHA-256 digest has 64 hexadecimal digits")
        start = len(self._names)
        self._names += encoded
        numbers = self._labels.number(one.labels), self._splits.number(one.split), self._groups.number(one.group)
        place = self._folders.number(folder + separator), start, len(encoded)
        return *place, *numbers, digest, one.facts.size_bytes, one.facts.width, one.facts.height

    def _record(self, cells: Sequence[Any]) -> ImageRecord:
        folder, start, length, labels, split, group, digest, size_bytes, width, height = cells
        name = os.fsdecode(bytes(self._names[start : start + length]))
        facts = ImageFacts(digest.hex(), size_bytes, width, height)
        words = self._labels.values[labels], self._splits.values[split]
        return ImageRecord(self._folders.values[folder] + name, *words, facts, self._groups.values[group])

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> ImageRecord: ...
    @overload
    def __getitem__(self, index: slice) -> ImageTable: ...
    def __getitem__(self, index: int | slice) -> ImageRecord | ImageTable:
        """Return one image, or a part of the table."""
        return self._part(self._rows[index]) if isinstance(index, slice) else self._record(self._rows[index].item())

    def __iter__(self) -> Iterator[ImageRecord]:
        """Yield all images."""
        for start in range(0, len(self), _CHUNK):
            yield from map(self._record, self._rows[start : start + _CHUNK].tolist())

    def __eq__(self, other: object) -> bool:
        """Return whether another sequence has the same records."""
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(ImageRecord.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]

    @property
    def has_groups(self) -> bool:
        """Whether images have groups."""
        return any(self._groups.values)

    def in_split(self, name: str) -> ImageTable:
        """Return the images of one split."""
        places = np.flatnonzero(self._rows["split"] == self._splits.numbers.get(name, -1))
        if len(places) and places[-1] - places[0] + 1 == len(places):
            return self._part(self._rows[places[0] : places[-1] + 1])  # as in a manifest, which shares the memory
        return self._part(self._rows[places])

    def counts(self) -> Counter[tuple[str, str]]:
        """Return the number of images of each split and label."""
        sizes = np.zeros((len(self._splits.values), len(self._labels.values)), np.int64)
        for start in range(0, len(self), _COUNTED):
            part = self._rows[start : start + _COUNTED]
            np.add.at(sizes, (part["split"], part["labels"]), 1)
        found: Counter[tuple[str, str]] = Counter()
        for split, labels in np.argwhere(sizes).tolist():
            for label in self._labels.values[labels]:
                found[self._splits.values[split], label] += int(sizes[split, labels])
        return found

    def by_labels(self, value_of: Callable[[tuple[str, ...]], Any], dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return a value of a shape for each image that depends on its labels; it is computed once for equal ones."""
        used, place = np.unique(self._rows["labels"], return_inverse=True)
        values = np.empty((len(used), *shape), dtype)
        for row, number in enumerate(used.tolist()):
            values[row] = value_of(self._labels.values[number])
        return values[place]

    def _part(self, rows: NDArray[Any]) -> ImageTable:
        part = ImageTable()
        part._rows, part._names = rows, self._names
        part._folders, part._labels, part._splits, part._groups = (
            self._folders,
            self._labels,
            self._splits,
            self._groups,
        )
        return part

"""Where the features of an image lie: its digest, as 32 bytes, tells a segment and a row in it.

A digest as text takes 113 bytes, and a dictionary of them as much again; in sorted arrays it takes 40 with its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Digests = NDArray[np.bytes_]
"""SHA-256 digests, dtype S32, shape (n,)."""

NOWHERE = -1


def packed(digests: Sequence[str]) -> Digests:
    """Hexadecimal SHA-256 digests as 32 bytes each, shape (n,).

    Raises:
        ValueError: one of them is none.
    """
    if any(len(digest) != 64 for digest in digests):
        raise ValueError("a SHA-256 digest has 64 hexadecimal digits")
    return from_bytes(bytes.fromhex("".join(digests)))


def from_bytes(data: bytes) -> Digests:
    """Digests from their bytes, one after the other."""
    return np.frombuffer(data, "S32")


@dataclass(frozen=True)
class Places:
    """Where digests lie, row by row: of rows with the same digest the first that was added is found.

    Attributes:
        digests: ascending, shape (n,).
        segments: number of the segment of each, shape (n,).
        rows: its row in there, shape (n,).
    """

    digests: Digests
    segments: NDArray[np.int32]
    rows: NDArray[np.int32]

    @classmethod
    def none(cls) -> Places:
        """The places of no digest."""
        return cls(np.empty(0, "S32"), np.empty(0, np.int32), np.empty(0, np.int32))

    def with_segments(self, added: Sequence[tuple[int, Digests]]) -> Places:
        """These and the rows of more segments: for each its number, and its digests in the order of its rows."""
        digests = np.concatenate([self.digests, *(digests for _, digests in added)])
        segments = np.concatenate([self.segments, *(np.full(len(d), n, np.int32) for n, d in added)])
        rows = np.concatenate([self.rows, *(np.arange(len(d), dtype=np.int32) for _, d in added)])
        order = np.argsort(digests, kind="stable")
        return Places(digests[order], segments[order], rows[order])

    def without_segments(self, numbers: Sequence[int]) -> Places:
        """These without the rows of some segments."""
        stay = ~np.isin(self.segments, numbers)
        return Places(self.digests[stay], self.segments[stay], self.rows[stay])

    def find(self, digests: Digests) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Segment and row of each digest, shapes (n,); `NOWHERE` for those that are not here."""
        if not len(self.digests):
            return np.full(len(digests), NOWHERE, np.int32), np.full(len(digests), NOWHERE, np.int32)
        nearest = np.minimum(np.searchsorted(self.digests, digests), len(self.digests) - 1)
        found = self.digests[nearest] == digests
        return np.where(found, self.segments[nearest], NOWHERE), np.where(found, self.rows[nearest], NOWHERE)

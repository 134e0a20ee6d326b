"""What is to be in the store: how much of it is there, what it takes in bytes, and whether it fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cnncli.features.extract import Extraction
from cnncli.features.store import FeatureKey, FeatureStore


@dataclass(frozen=True)
class Wanted:
    """Images in views 0 … views − 1, as an extraction makes them.

    Attributes:
        extraction: how features come about.
        digests: of the images; equal ones count once.
        views: how many of each; 0: nothing is wanted.
    """

    extraction: Extraction
    digests: Sequence[str]
    views: int = 1

    @property
    def keys(self) -> list[FeatureKey]:
        """Under which they lie in a store."""
        return [self.extraction.key(view) for view in range(self.views)]

    @property
    def total(self) -> int:
        """How many renderings that are."""
        return self.views * len(set(self.digests))

    def missing(self, store: FeatureStore) -> int:
        """How many of them are not stored."""
        return sum(len(store.missing(key, self.digests)) for key in self.keys)

    def size_bytes(self) -> int:
        """What all of them take in a store, those that are there already included."""
        return self.total * self.extraction.bytes_per_image if self.total else 0


def fits(wanted: Sequence[Wanted], store: FeatureStore) -> bool:
    """Whether all of this is stored already, or has room in the store.

    What is there is used however small the store has become: reading it takes no room.
    """
    if not any(one.missing(store) for one in wanted):
        return True
    return sum(one.size_bytes() for one in wanted) <= store.capacity().size_bytes

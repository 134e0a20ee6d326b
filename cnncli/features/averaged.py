"""Cached features that are averaged when they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnncli.engines.engine import Array
from cnncli.engines.mirrored import average
from cnncli.features.open_key import StoredFeatures


@dataclass(frozen=True)
class AveragedFeatures:
    """Cached features of a sequence of images, averaged over several views when they are read."""

    views: Sequence[StoredFeatures]

    def rows(self, indexes: NDArray[np.int64]) -> list[Array]:
        """Return the features of the images at some positions; see `StoredFeatures.rows`."""
        return average([view.rows(indexes) for view in self.views])

    def checksum(self) -> str:
        """Return the SHA-256 of the checksums of all views."""
        return hashlib.sha256("".join(view.checksum() for view in self.views).encode()).hexdigest()

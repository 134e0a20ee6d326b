"""Views of cached features: averaged over mirror images, and joined over several networks, when they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cnncli.engines.engine import Array
from cnncli.engines.mirrored import average
from cnncli.features.open_key import StoredFeatures

ViewFeatures: TypeAlias = "StoredFeatures | AveragedFeatures | JoinedFeatures"
"""The features of a sequence of images in one view."""


@dataclass(frozen=True)
class AveragedFeatures:
    """Cached features of a sequence of images, averaged over several views when they are read."""

    views: Sequence[ViewFeatures]

    @classmethod
    def of(cls, views: Sequence[ViewFeatures]) -> ViewFeatures:
        """Average views; a single one is returned unchanged."""
        return cls(views) if len(views) > 1 else views[0]

    def rows(self, indexes: NDArray[np.int64]) -> list[Array]:
        """Return the features of the images at some positions; see `StoredFeatures.rows`."""
        return average([view.rows(indexes) for view in self.views])

    def checksum(self) -> str:
        """Return the SHA-256 of the checksums of all views."""
        return _checksum(self.views)


@dataclass(frozen=True)
class JoinedFeatures:
    """Cached features of a sequence of images by several networks."""

    networks: Sequence[ViewFeatures]

    @classmethod
    def of(cls, networks: Sequence[ViewFeatures]) -> ViewFeatures:
        """Join the features of networks; those of a single one are returned unchanged."""
        return cls(networks) if len(networks) > 1 else networks[0]

    def rows(self, indexes: NDArray[np.int64]) -> list[Array]:
        """Return the tensors of all networks for the images at some positions; see `StoredFeatures.rows`."""
        return [tensor for network in self.networks for tensor in network.rows(indexes)]

    def checksum(self) -> str:
        """Return the SHA-256 of the checksums of all networks."""
        return _checksum(self.networks)


def _checksum(parts: Sequence[ViewFeatures]) -> str:
    return hashlib.sha256("".join(part.checksum() for part in parts).encode()).hexdigest()

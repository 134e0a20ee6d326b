"""Where the batches of an epoch come from: stored features, or renderings made fresh.

Order, choice of views and renderings are keyed by seed, stage, epoch and picture, never drawn from a stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cnncli.engines.engine import Array
from cnncli.features.extract import Extraction
from cnncli.features.store import StoredFeatures
from cnncli.parallel import batched, map_ordered, workers
from cnncli.pictures.views import choose_views, order_of_epoch, render_fresh

Batch = tuple[list[Array], NDArray[np.int64]]
"""The tail's inputs, one array (n, …) each, and the class indexes (n,)."""


@dataclass(frozen=True)
class Labelled:
    """The pictures an epoch goes through: digests and class indexes, row by row."""

    digests: Sequence[str]
    labels: NDArray[np.int64]


class Feed(Protocol):
    """Gives the batches of an epoch."""

    @property
    def pictures(self) -> Labelled:
        """What it goes through."""
        ...

    def epoch(self, stage: str, epoch: int, batch_size: int) -> Iterator[Batch]:
        """The batches of an epoch (counted from 1 within the stage), the last one possibly smaller."""
        ...


@dataclass(frozen=True)
class StoredFeed:
    """Stored features of one or several views; each epoch takes one view of each picture."""

    pictures: Labelled
    views: Sequence[StoredFeatures]
    seed: int

    def epoch(self, stage: str, epoch: int, batch_size: int) -> Iterator[Batch]:
        """See `Feed.epoch`."""
        order = order_of_epoch(self.pictures.digests, self.seed, stage, epoch - 1)
        chosen = choose_views(self.pictures.digests, self.seed, stage, epoch - 1, len(self.views))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield self._gather(rows, chosen[rows]), self.pictures.labels[rows]

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """The pictures themselves (view 0) in their own order, for validation."""
        for start in range(0, len(self.pictures.labels), batch_size):
            rows = np.arange(start, min(start + batch_size, len(self.pictures.labels)))
            yield self.views[0].rows(rows), self.pictures.labels[rows]

    def _gather(self, rows: NDArray[np.int64], chosen: NDArray[np.int64]) -> list[Array]:
        if len(self.views) == 1:
            return self.views[0].rows(rows)
        tensors: list[Array] = []
        for view in np.unique(chosen):
            here = np.flatnonzero(chosen == view)
            parts = self.views[view].rows(rows[here])
            tensors = tensors or [np.empty((len(rows), *part.shape[1:]), part.dtype) for part in parts]
            for tensor, part in zip(tensors, parts, strict=True):
                tensor[here] = part
        return tensors


@dataclass(frozen=True)
class FreshFeed:
    """New renderings in every epoch, from stored pixels, through the trunk where there is one."""

    pictures: Labelled
    pixels: StoredFeatures
    extraction: Extraction
    seed: int

    def epoch(self, stage: str, epoch: int, batch_size: int) -> Iterator[Batch]:
        """See `Feed.epoch`."""
        order = order_of_epoch(self.pictures.digests, self.seed, stage, epoch - 1)

        def render(row: int) -> NDArray[np.uint8]:
            (pixels,) = self.pixels.rows(np.array([row]))
            digest = self.pictures.digests[row]
            return render_fresh(pixels[0], self.extraction.augmentation, digest, self.seed, stage, epoch - 1)

        def batch(rows: list[int]) -> Batch:
            return self.extraction.run(np.stack([render(row) for row in rows])), self.pictures.labels[rows]

        # A few batches ahead: while one is trained on, the next are rendered and go through the trunk.
        return map_ordered(batch, batched(order.tolist(), batch_size), ahead=1 + workers())

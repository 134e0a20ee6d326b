"""Where the batches of an epoch come from: stored features, or pixels that go through the trunk as they are needed.

Order, choice of views and renderings are keyed by seed, stage, epoch and image, never drawn from a stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cnncli.augmentation.views import choose_views, order_of_epoch, render_fresh, render_view
from cnncli.engines.engine import Array
from cnncli.features.extract import Extraction
from cnncli.features.store import StoredFeatures
from cnncli.runtime.threads import batched, map_ordered, workers

Batch = tuple[list[Array], NDArray[np.int64]]
"""The tail's inputs, one array (n, …) each, and the class indexes (n,)."""

Render = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]
"""Renders an image, given its pixels and its number."""


@dataclass(frozen=True)
class Labelled:
    """The images an epoch goes through: digests and class indexes, row by row."""

    digests: Sequence[str]
    labels: NDArray[np.int64]


class Feed(Protocol):
    """Gives the batches of an epoch."""

    @property
    def images(self) -> Labelled:
        """What it goes through."""
        ...

    def epoch(self, stage: str, epoch: int, batch_size: int, done: int = 0) -> Iterator[Batch]:
        """The batches of an epoch (counted from 1 within the stage), the last one possibly smaller.

        Args:
            stage: its name.
            epoch: counted from 1 within the stage.
            batch_size: images in a batch.
            done: batches that are left out at the beginning.
        """
        ...

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """The images themselves (view 0) in their own order, for validation."""
        ...

    def checksums(self) -> list[str]:
        """What stands for the stored features of each view; none where none are stored."""
        ...


class PixelSource(Protocol):
    """Gives decoded images by their numbers."""

    def rows(self, indexes: NDArray[np.int64]) -> list[Array]:
        """One array in a list: uint8 (len(indexes), height, width, channels)."""
        ...


@dataclass(frozen=True)
class StoredFeed:
    """Stored features of one or several views; each epoch takes one view of each image."""

    images: Labelled
    views: Sequence[StoredFeatures]
    seed: int

    def epoch(self, stage: str, epoch: int, batch_size: int, done: int = 0) -> Iterator[Batch]:
        """See `Feed.epoch`."""
        order = order_of_epoch(self.images.digests, self.seed, stage, epoch - 1)
        chosen = choose_views(self.images.digests, self.seed, stage, epoch - 1, len(self.views))
        for start in range(done * batch_size, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield self._gather(rows, chosen[rows]), self.images.labels[rows]

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """See `Feed.in_order`."""
        for start in range(0, len(self.images.labels), batch_size):
            rows = np.arange(start, min(start + batch_size, len(self.images.labels)))
            yield self.views[0].rows(rows), self.images.labels[rows]

    def checksums(self) -> list[str]:
        """See `Feed.checksums`."""
        return [view.checksum() for view in self.views]

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
class StreamedFeed:
    """Pixels that are rendered and go through the trunk, where there is one, in every epoch anew.

    Attributes:
        images: what it goes through.
        source: their pixels, row by row.
        extraction: renders them and runs the trunk.
        views: of each image; `fresh`: a new one in every epoch.
        seed: the run's.
    """

    images: Labelled
    source: PixelSource
    extraction: Extraction
    views: int | Literal["fresh"]
    seed: int

    def epoch(self, stage: str, epoch: int, batch_size: int, done: int = 0) -> Iterator[Batch]:
        """See `Feed.epoch`."""
        digests, settings = self.images.digests, self.extraction.augmentation
        order = order_of_epoch(digests, self.seed, stage, epoch - 1)[done * batch_size :]
        if self.views == "fresh":
            return self._batches(
                order,
                batch_size,
                lambda pixels, row: render_fresh(pixels, settings, digests[row], self.seed, stage, epoch - 1),
            )
        chosen = choose_views(digests, self.seed, stage, epoch - 1, self.views)
        return self._batches(
            order, batch_size, lambda pixels, row: render_view(pixels, settings, digests[row], int(chosen[row]))
        )

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """See `Feed.in_order`."""
        return self._batches(np.arange(len(self.images.labels)), batch_size, lambda pixels, _: pixels)

    def checksums(self) -> list[str]:
        """See `Feed.checksums`."""
        return []

    def _batches(self, order: NDArray[np.int64], batch_size: int, render: Render) -> Iterator[Batch]:
        def batch(rows: list[int]) -> Batch:
            numbers = np.array(rows)
            (pixels,) = self.source.rows(numbers)
            rendered = np.stack([render(one, row) for one, row in zip(pixels, rows, strict=True)])
            return self.extraction.run(rendered), self.images.labels[numbers]

        # A few batches ahead: while one is trained on, the next are rendered and go through the trunk.
        return map_ordered(batch, batched(order.tolist(), batch_size), ahead=1 + workers())

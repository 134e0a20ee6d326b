"""The batches of a stage: cached features, or pixels that run through the trunk in every epoch.

The cache contains the first of these that fits: the features of all views, decoded pixels, or nothing. Training uses
the same numbers in all three cases. Order, choice of views and augmented images are keyed by seed, stage, epoch and
image, not drawn from a stream.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cnncli.augmentation.views import choose_views, order_of_epoch, render_fresh, render_view
from cnncli.engines.engine import Array
from cnncli.features.decoded_images import DecodedImages
from cnncli.features.extract import Extraction
from cnncli.features.views import ViewFeatures
from cnncli.runtime.threads import batched, map_ordered, workers

Batch = tuple[list[Array], NDArray[Any]]
"""The tail's inputs, one array (n, …) each, and the labels (n,) or (n, classes); see `Manifest.labels`."""
Views = int | Literal["fresh"]
"""Number of views of each training image, or a new one in every epoch."""


@dataclass(frozen=True)
class BatchSource(ABC):
    """Provides the batches of the images of a split, given their digests and labels and the run's seed."""

    digests: Sequence[str]
    labels: NDArray[Any]
    seed: int

    def epoch(self, stage: str, epoch: int, batch_size: int, done: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, counted from 1 within the stage, except the first `done` batches."""
        order = order_of_epoch(self.digests, self.seed, stage, epoch - 1)[done * batch_size :]
        return self._batches(order, batch_size, (stage, epoch - 1))

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Yield batches of the images themselves (view 0) in the manifest's order, for validation."""
        return self._batches(np.arange(len(self.labels)), batch_size, None)

    def sample(self, n: int) -> Batch:
        """Return at most n images themselves as one batch, evenly spaced in the manifest's order."""
        rows = np.unique(np.linspace(0, len(self.labels) - 1, min(n, len(self.labels))).round().astype(np.int64))
        return next(self._batches(rows, len(rows), None))

    def checksums(self) -> list[str]:
        """Return the checksum of the cached features of each view, or none if no features are cached."""
        return []

    @abstractmethod
    def _batches(self, order: NDArray[np.int64], batch_size: int, epoch: tuple[str, int] | None) -> Iterator[Batch]:
        """Yield batches of the rows in `order`, with the views of an epoch (stage, number from 0) or without views."""

    def _views_of(self, epoch: tuple[str, int] | None, n_views: int) -> NDArray[np.int64]:
        """Return the number of the view of each image."""
        if epoch is None or n_views == 1:
            return np.zeros(len(self.digests), np.int64)
        return choose_views(self.digests, self.seed, *epoch, n_views)


@dataclass(frozen=True)
class CachedFeatures(BatchSource):
    """Cached features of one or several views. Each epoch uses one view of each image."""

    views: Sequence[ViewFeatures]

    def checksums(self) -> list[str]:
        """See `BatchSource.checksums`."""
        return [view.checksum() for view in self.views]

    @cached_property
    def boundaries(self) -> tuple[int, ...]:
        """First column of each tensor but the first in the concatenated features."""
        shapes = [tensor.shape[1:] for tensor in self.views[0].rows(np.arange(1))]
        return tuple(accumulate(map(math.prod, shapes[:-1])))

    def _batches(self, order: NDArray[np.int64], batch_size: int, epoch: tuple[str, int] | None) -> Iterator[Batch]:
        view_of = self._views_of(epoch, len(self.views))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield self._gather(rows, view_of[rows]), self.labels[rows]

    def _gather(self, rows: NDArray[np.int64], view_of: NDArray[np.int64]) -> list[Array]:
        if len(self.views) == 1:
            return self.views[0].rows(rows)
        tensors: list[Array] = []
        for view in np.unique(view_of):
            here = np.flatnonzero(view_of == view)
            parts = self.views[view].rows(rows[here])
            tensors = tensors or [np.empty((len(rows), *part.shape[1:]), part.dtype) for part in parts]
            for tensor, part in zip(tensors, parts, strict=True):
                tensor[here] = part
        return tensors


@dataclass(frozen=True)
class StreamedPixels(BatchSource):
    """Pixels that are augmented and run through the trunk, if there is one, in every epoch."""

    pixels: ViewFeatures | DecodedImages
    extraction: Extraction
    views: Views

    def _batches(self, order: NDArray[np.int64], batch_size: int, epoch: tuple[str, int] | None) -> Iterator[Batch]:
        view_of = self._views_of(epoch, 1 if self.views == "fresh" else self.views)

        def render(pixels: NDArray[np.uint8], row: int) -> NDArray[np.uint8]:
            augmentation, digest = self.extraction.augmentation, self.digests[row]
            if epoch and self.views == "fresh":
                return render_fresh(pixels, augmentation, digest, self.seed, *epoch)
            return render_view(pixels, augmentation, digest, int(view_of[row]))

        def batch(rows: list[int]) -> Batch:
            (pixels,) = self.pixels.rows(np.array(rows))
            rendered = np.stack([render(one, row) for one, row in zip(pixels, rows, strict=True)])
            return self.extraction.run(rendered), self.labels[rows]

        # While a batch is being trained on, the next ones are rendered and run through the trunk.
        return map_ordered(batch, batched(order.tolist(), batch_size), ahead=1 + workers())

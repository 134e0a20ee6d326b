"""The batches of a stage: cached features, or pixels that go through the trunk in every epoch.

The cache holds the first of these that fits: the features of all views; decoded pixels; nothing. Training sees the same
numbers in all three cases. Order, choice of views and augmented images are keyed by seed, stage, epoch and image,
not drawn from a stream.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cnncli.augmentation.views import choose_views, number_of_views, order_of_epoch, render_fresh, render_view
from cnncli.engines.engine import Array
from cnncli.errors import Message
from cnncli.features.extract import Counts, DecodedImages, Extraction, FeatureSet, extract, fits
from cnncli.features.open_key import StoredFeatures
from cnncli.runtime.threads import batched, map_ordered, workers
from cnncli.terminal.formatting import size
from cnncli.training.context import StageGraph, TrainingContext

Batch = tuple[list[Array], NDArray[np.int64]]
"""The tail's inputs, one array (n, …) each, and the class indices (n,)."""
Views = int | Literal["fresh"]
"""Number of views of each training image, or a new one in every epoch."""
CAP_MARGIN = 1.2
"""Factor of the suggested size of the cache: for the index of the features, and for rounding to two digits."""


@dataclass(frozen=True)
class BatchSource(ABC):
    """Provides the batches of the images of one split, given their digests and class indices and the run's seed."""

    digests: Sequence[str]
    labels: NDArray[np.int64]
    seed: int

    def epoch(self, stage: str, epoch: int, batch_size: int, done: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, counted from 1 within the stage, except for the first `done` batches."""
        order = order_of_epoch(self.digests, self.seed, stage, epoch - 1)[done * batch_size :]
        return self._batches(order, batch_size, (stage, epoch - 1))

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Yield batches of the images themselves (view 0) in the manifest's order, for validation."""
        return self._batches(np.arange(len(self.labels)), batch_size, None)

    def checksums(self) -> list[str]:
        """Return the checksum of the cached features of each view; none if no features are cached."""
        return []

    @abstractmethod
    def _batches(self, order: NDArray[np.int64], batch_size: int, epoch: tuple[str, int] | None) -> Iterator[Batch]:
        """Yield batches of the rows in `order`, in the views of an epoch (stage, number from 0) or without one."""

    def _views_of(self, epoch: tuple[str, int] | None, n_views: int) -> NDArray[np.int64]:
        """Return the number of the view of each image."""
        if epoch is None or n_views == 1:
            return np.zeros(len(self.digests), np.int64)
        return choose_views(self.digests, self.seed, *epoch, n_views)


@dataclass(frozen=True)
class CachedFeatures(BatchSource):
    """Cached features of one or several views. Each epoch uses one view of each image."""

    views: Sequence[StoredFeatures]

    def checksums(self) -> list[str]:
        """See `BatchSource.checksums`."""
        return [view.checksum() for view in self.views]

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
    """Pixels that are augmented and go through the trunk, if there is one, in every epoch."""

    pixels: StoredFeatures | DecodedImages
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

        # While a batch is trained on, the next ones are rendered and go through the trunk.
        return map_ordered(batch, batched(order.tolist(), batch_size), ahead=1 + workers())


@dataclass(frozen=True)
class StageInputs:
    """The images of a stage: which of their features are cached, and batches of them.

    Attributes:
        cached: Kind of entries in the cache; fresh views have at best pixels there.
    """

    context: TrainingContext
    graph: StageGraph
    views: Views
    cached: Literal["features", "pixels", "nothing"] = "features"

    @classmethod
    def plan(cls, graph: StageGraph, context: TrainingContext) -> StageInputs:
        """Decide what a stage caches.

        Entries that would not fit into the cache are not computed: they would evict those of other runs and their own.
        Entries that exist are used in any case.
        """
        views = number_of_views(context.config.augmentation, trunk_is_empty=graph.cut.trunk is None)
        features = cls(context, graph, views)
        plans = (features, replace(features, cached="pixels"), replace(features, cached="nothing"))
        return next(inputs for inputs in plans if fits(inputs.feature_sets(), context.store))

    def load(self, split: str) -> tuple[BatchSource, Counts]:
        """Return the images of the train or validation split, and how many features were computed for them now."""
        context, features = self.context, self._features_of(split)
        stored, counts = extract(features, context.store, context.console)
        labels, seed = context.manifest.labels(features.images), context.config.seed
        if features.extraction is self.graph.extraction:
            return CachedFeatures(features.digests, labels, seed, stored), counts
        pixels = stored[0] if stored else DecodedImages(features.images, context.pixels)
        return StreamedPixels(features.digests, labels, seed, pixels, self.graph.extraction, self._views(split)), counts

    def feature_sets(self) -> list[FeatureSet]:
        """Return what is to be in the cache for training and validation images."""
        return [self._features_of("train"), self._features_of("validation")]

    def describe(self) -> list[str]:
        """Describe what has to be computed before the first epoch and in every epoch, with rough times."""
        sets, parts = self.feature_sets(), []
        total, missing = sum(one.total for one in sets), [one.missing(self.context.store) for one in sets]
        if streamed := [one for one in sets if self.graph.extraction.engine and not one.extraction.engine]:
            seconds = sum(len(one.images) for one in streamed) * self.graph.extraction.seconds_per_image
            parts.append(f"the frozen layers run again in every epoch, about {_seconds(seconds)}")
        if total:
            has_views = self.cached == "features" and self.views not in (1, "fresh")
            views = f" and augmented views ({self.views} versions of each training image)" if has_views else ""
            parts.append(f"{total:,} images{views}: {total - sum(missing):,} cached")
        if any(missing):
            seconds = sum(n * one.extraction.seconds_per_image for n, one in zip(missing, sets, strict=True) if n)
            parts.append(f"about {_seconds(seconds)} for the others")
        return parts

    def reason(self) -> Message:
        """Explain why features are not cached, what happens instead, and what would help."""
        store, sets = self.context.store, replace(self, cached="features").feature_sets()
        needed, capacity = sum(one.size_bytes() for one in sets), store.capacity()
        total = sum(one.total for one in sets)
        n_cached = total - sum(one.missing(store) for one in sets)
        enough_gb = f"{CAP_MARGIN * needed / 1e9:.2g}" if capacity == store.max_bytes else None
        instead = "only decoded pixels are cached" if self.cached == "pixels" else "nothing is cached"
        remedy = f"cache.max_gb={enough_gb} is enough." if enough_gb else "Free disk space, or set CNNCLI_CACHE."
        return Message(
            "cache-features-do-not-fit",
            f"Its images would take {size(needed)} ({n_cached:,} of {total:,} are cached), but the cache has room "
            f"for {size(capacity)}: {instead}, and all else is computed again in every epoch. {remedy}",
            needed_bytes=needed,
            capacity_bytes=capacity,
            total=total,
            n_cached=n_cached,
            cached=self.cached,
            enough_gb=enough_gb,
        )

    def _views(self, split: str) -> Views:
        return self.views if split == "train" else 1

    def _features_of(self, split: str) -> FeatureSet:
        images = self.context.manifest.split(split)
        if self.cached == "features" and (views := self._views(split)) != "fresh":
            return FeatureSet(self.graph.extraction, images, views)
        return FeatureSet(Extraction(None, None, self.context.pixels), images, 0 if self.cached == "nothing" else 1)


def _seconds(seconds: float) -> str:
    """Format a rough time in whole seconds, at least one."""
    return f"{max(1, round(seconds)):,} s"

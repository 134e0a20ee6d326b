"""The batches of a stage: cached features, or pixels that go through the trunk in every epoch.

Three variants, of which the first that fits into the cache is used: the features of all views are cached; decoded
pixels are cached, and go through the trunk in every epoch; nothing is cached, and images are decoded in every epoch,
too. Training sees the same numbers in all three. Order, choice of views and augmented images are keyed by seed, stage,
epoch and image, not drawn from a stream.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cnncli.augmentation.views import choose_views, number_of_views, order_of_epoch, render_fresh, render_view
from cnncli.engines.engine import Array
from cnncli.errors import Message
from cnncli.features.extract import Counts, DecodedImages, Extraction, Wanted, extract, fits
from cnncli.features.open_key import StoredFeatures
from cnncli.features.store import FeatureKey
from cnncli.runtime.threads import batched, map_ordered, workers
from cnncli.terminal.formatting import size
from cnncli.training.context import StageGraph, TrainingContext

Batch = tuple[list[Array], NDArray[np.int64]]
"""The tail's inputs, one array (n, …) each, and the class indices (n,)."""
Cached = Literal["features", "pixels", "nothing"]
Views = int | Literal["fresh"]
Render = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]
"""Augments an image, given its pixels and its row."""

log = logging.getLogger(__name__)


class BatchSource(Protocol):
    """Provides the batches of the images of one split."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class indices of the images, (n,)."""
        ...

    def epoch(self, stage: str, epoch: int, batch_size: int, done: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, in its order and views. The last one can be smaller.

        Args:
            stage: Name of the stage.
            epoch: Counted from 1 within the stage.
            batch_size: Number of images in a batch.
            done: Number of batches to skip at the beginning.
        """
        ...

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Yield batches of the images themselves (view 0) in the manifest's order, for validation."""
        ...

    def checksums(self) -> list[str]:
        """Return the checksum of the cached features of each view; none if no features are cached."""
        ...


@dataclass(frozen=True)
class CachedFeatures:
    """Cached features of one or several views. Each epoch uses one view of each image.

    Attributes:
        digests: Digests of the images.
        labels: Their class indices.
        views: Features of each view.
        seed: Seed of the run.
    """

    digests: Sequence[str]
    labels: NDArray[np.int64]
    views: Sequence[StoredFeatures]
    seed: int

    def epoch(self, stage: str, epoch: int, batch_size: int, done: int = 0) -> Iterator[Batch]:
        """See `BatchSource.epoch`."""
        order = order_of_epoch(self.digests, self.seed, stage, epoch - 1)
        view_of = choose_views(self.digests, self.seed, stage, epoch - 1, len(self.views))
        for start in range(done * batch_size, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield self._gather(rows, view_of[rows]), self.labels[rows]

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """See `BatchSource.in_order`."""
        for start in range(0, len(self.labels), batch_size):
            rows = np.arange(start, min(start + batch_size, len(self.labels)))
            yield self.views[0].rows(rows), self.labels[rows]

    def checksums(self) -> list[str]:
        """See `BatchSource.checksums`."""
        return [view.checksum() for view in self.views]

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
class StreamedPixels:
    """Pixels that are augmented and go through the trunk, if there is one, in every epoch.

    Attributes:
        digests: Digests of the images.
        labels: Their class indices.
        pixels: Their pixels, by row.
        extraction: Runs the trunk.
        views: Number of views of each image; `fresh`: a new one in every epoch.
        seed: Seed of the run.
    """

    digests: Sequence[str]
    labels: NDArray[np.int64]
    pixels: StoredFeatures | DecodedImages
    extraction: Extraction
    views: Views
    seed: int

    def epoch(self, stage: str, epoch: int, batch_size: int, done: int = 0) -> Iterator[Batch]:
        """See `BatchSource.epoch`."""
        digests, settings, seed = self.digests, self.extraction.augmentation, self.seed
        order = order_of_epoch(digests, seed, stage, epoch - 1)[done * batch_size :]
        if self.views == "fresh":
            return self._batches(
                order,
                batch_size,
                lambda pixels, row: render_fresh(pixels, settings, digests[row], seed, stage, epoch - 1),
            )
        view_of = choose_views(digests, seed, stage, epoch - 1, self.views)
        return self._batches(
            order, batch_size, lambda pixels, row: render_view(pixels, settings, digests[row], int(view_of[row]))
        )

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """See `BatchSource.in_order`."""
        return self._batches(np.arange(len(self.labels)), batch_size, lambda pixels, _: pixels)

    def checksums(self) -> list[str]:
        """See `BatchSource.checksums`."""
        return []

    def _batches(self, order: NDArray[np.int64], batch_size: int, render: Render) -> Iterator[Batch]:
        def batch(rows: list[int]) -> Batch:
            numbers = np.array(rows)
            (pixels,) = self.pixels.rows(numbers)
            rendered = np.stack([render(one, row) for one, row in zip(pixels, rows, strict=True)])
            return self.extraction.run(rendered), self.labels[numbers]

        # While a batch is trained on, the next ones are rendered and go through the trunk.
        return map_ordered(batch, batched(order.tolist(), batch_size), ahead=1 + workers())


@dataclass(frozen=True)
class StageInputs:
    """Cached inputs of a stage, and the batch sources that follow from them.

    Attributes:
        context: Context of the training.
        extraction: How features at the stage's cut are computed.
        views: Number of views of each training image.
        cached: Kind of entries in the cache. For views that are fresh in every epoch, at best pixels.
        reason: Explains why features are not cached; None if they are.
    """

    context: TrainingContext
    extraction: Extraction
    views: Views
    cached: Cached
    reason: Message | None = None

    @classmethod
    def plan(cls, graph: StageGraph, context: TrainingContext) -> StageInputs:
        """Decide what a stage caches.

        Entries that would not fit into the cache are not computed: they would evict those of other runs and their own.
        Entries that exist are used in any case.
        """
        augmentation, network = context.config.augmentation, context.config.backbone.name
        extraction = Extraction(graph.engine, graph.fingerprint, context.pixels, augmentation, network, graph.cut.after)
        views = number_of_views(augmentation, trunk_is_empty=graph.engine is None)
        features = cls(context, extraction, views, "features")
        if fits(features.wanted(), context.store):
            return features
        pixels = replace(features, cached="pixels")
        inputs = pixels if fits(pixels.wanted(), context.store) else replace(features, cached="nothing")
        return replace(inputs, reason=inputs._reason(features.wanted()))

    def train(self) -> tuple[BatchSource, Counts]:
        """Return the training images in their views, and how many features were computed for them now."""
        return self._source("train", self.views)

    def validation(self) -> tuple[BatchSource, Counts]:
        """Return the validation images, and how many features were computed for them now."""
        return self._source("validation", 1)

    def wanted(self) -> list[Wanted]:
        """Return what is to be in the cache for training and validation images."""
        return [self._wanted("train", self.views), self._wanted("validation", 1)]

    def keys(self) -> Iterator[FeatureKey]:
        """Yield the keys of `wanted`."""
        return (key for wanted in self.wanted() for key in wanted.keys)

    def describe(self) -> list[str]:
        """Describe what has to be computed before the first epoch and in every epoch, with rough times."""
        wanted, store = self.wanted(), self.context.store
        n_missing = [one.missing(store) for one in wanted]
        work = WorkAhead(
            total=sum(one.total for one in wanted),
            decoded=sum(one.total for one in wanted if self._has_trunk and one.extraction.engine is None),
            missing=sum(n_missing),
            seconds=sum(n * one.extraction.seconds_per_image for n, one in zip(n_missing, wanted, strict=True) if n),
            epoch_seconds=self._epoch_seconds(wanted),
            views=self.views if self.cached == "features" else 1,
        )
        return work.describe()

    @property
    def _has_trunk(self) -> bool:
        return self.extraction.engine is not None

    def _epoch_seconds(self, wanted: Sequence[Wanted]) -> float:
        """Estimate how long the trunk takes in every epoch, for the images whose features are not cached."""
        images = sum(len(one.digests) for one in wanted if self._has_trunk and one.extraction.engine is None)
        return images * self.extraction.seconds_per_image if images else 0.0

    def _wanted(self, split: str, views: Views) -> Wanted:
        digests = [row.digest for row in self.context.manifest.split(split)]
        if self.cached == "features" and views != "fresh":
            return Wanted(self.extraction, digests, views)
        return Wanted(self._decoding, digests, 0 if self.cached == "nothing" else 1)

    @cached_property
    def _decoding(self) -> Extraction:
        return Extraction(None, None, self.context.pixels)

    def _source(self, split: str, views: Views) -> tuple[BatchSource, Counts]:
        context, rows = self.context, self.context.manifest.split(split)
        digests, labels, seed = [row.digest for row in rows], context.manifest.labels(rows), context.config.seed
        wanted = self._wanted(split, views)
        stored, counts = extract(wanted.extraction, rows, wanted.views, context.store, context.console)
        if self.cached == "features" and views != "fresh":
            return CachedFeatures(digests, labels, stored, seed), counts
        pixels = stored[0] if stored else DecodedImages(rows, context.pixels)
        return StreamedPixels(digests, labels, pixels, self.extraction, views, seed), counts

    def _reason(self, features: Sequence[Wanted]) -> Message:
        """Explain why features are not cached, what happens instead, and what would help."""
        store = self.context.store
        what, instead = _INSTEAD[self._has_trunk, self.cached]
        needed, capacity = sum(one.size_bytes() for one in features), store.capacity()
        total = sum(one.total for one in features)
        n_cached = total - sum(one.missing(store) for one in features)
        cached = f" ({n_cached:,} of {total:,} are cached)" if n_cached else ""
        enough_gb = _enough_gb(needed) if capacity == store.max_bytes else None
        remedy = (
            f"cache.max_gb={enough_gb} is enough for them."
            if enough_gb
            else "Free disk space, or choose a cache directory on another disk with CNNCLI_CACHE."
        )
        return Message(
            "cache-features-do-not-fit",
            f"{what} here would take {size(needed)}{cached}, but the cache has room for {size(capacity)}: "
            f"{instead} in every epoch. {remedy}",
            needed_bytes=needed,
            capacity_bytes=capacity,
            total=total,
            n_cached=n_cached,
            cached=self.cached,
            enough_gb=enough_gb,
        )


@dataclass(frozen=True)
class WorkAhead:
    """Work before a stage, and in each of its epochs.

    Attributes:
        total: Number of images and views to cache.
        decoded: Number of them that are decoded pixels, for a trunk that runs later.
        missing: Number of them that are not cached yet.
        seconds: Rough time for those.
        epoch_seconds: Rough time of the trunk in every epoch.
        views: Number of cached views of each training image.
    """

    total: int
    decoded: int
    missing: int
    seconds: float
    epoch_seconds: float
    views: Views = 1

    def describe(self) -> list[str]:
        """Return parts of a line, without those that do not apply.

        >>> WorkAhead(total=270, decoded=210, missing=210, seconds=0.3, epoch_seconds=2.4).describe()[:2]
        ['the frozen layers run again in every epoch, about 2 s', '210 decoded images and features of 60: 60 cached']
        >>> WorkAhead(total=140, decoded=0, missing=140, seconds=0.9, epoch_seconds=0, views=3).describe()
        ['140 images and augmented views (3 versions of each training image): 0 cached', 'about 1 s for the others']
        """
        parts = []
        if self.epoch_seconds:
            parts.append(f"the frozen layers run again in every epoch, about {_seconds(self.epoch_seconds)}")
        if self.total:
            parts.append(f"{self._what()}: {self.total - self.missing:,} cached")
        if self.missing:
            parts.append(f"about {_seconds(self.seconds)} for the others")
        return parts

    def _what(self) -> str:
        if self.decoded:
            others = self.total - self.decoded
            return f"{self.decoded:,} decoded images" + (f" and features of {others:,}" if others else "")
        if self.views in (1, "fresh"):
            return f"{self.total:,} images"
        return f"{self.total:,} images and augmented views ({self.views} versions of each training image)"


def _seconds(seconds: float) -> str:
    """Format a rough time in whole seconds, at least one."""
    return f"{max(1, round(seconds)):,} s"


def _enough_gb(n_bytes: int) -> str:
    """Return a cap in GB with two digits that leaves a margin for the index of the features.

    >>> _enough_gb(2_101_000), _enough_gb(40_000_000_000)
    ('0.0024', '44')
    """
    step = 10 ** (math.floor(math.log10(n_bytes)) - 1)
    return f"{math.ceil(1.1 * n_bytes / step) * step / 1e9:.2g}"


_INSTEAD: dict[tuple[bool, str], tuple[str, str]] = {
    (True, "pixels"): ("Features", "decoded pixels are cached instead, and go through the frozen layers"),
    (True, "nothing"): ("Features", "nothing is cached, and images are decoded and go through the frozen layers"),
    (False, "pixels"): ("Augmented images", "decoded pixels are cached instead, and augmented"),
    (False, "nothing"): ("Decoded pixels", "nothing is cached, and images are decoded"),
}
"""Names of the entries that do not fit and the alternative, by whether anything is frozen and by what is cached."""

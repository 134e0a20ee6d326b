"""Where a stage's features come from: the store where they fit into it, else through the trunk in every epoch.

Three ways, the first that fits: the features of all views are stored; decoded pixels are, and go through the trunk
anew in every epoch; nothing is, and images are decoded in every epoch too. The training sees the same numbers in
all three.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from cnncli.augmentation.views import number_of_views
from cnncli.dataset.manifest import Row
from cnncli.features.extract import Counts, DecodedImages, Extraction, Wanted, extract, fits
from cnncli.features.store import FeatureKey
from cnncli.terminal.formatting import size
from cnncli.training.context import Division, Workshop
from cnncli.training.feed import Feed, Labelled, PixelSource, StoredFeed, StreamedFeed

Stored = Literal["features", "pixels", "nothing"]
Views = int | Literal["fresh"]

WAYS: tuple[Stored, ...] = ("features", "pixels", "nothing")
"""What can be stored of a stage's images, the best first."""


@dataclass(frozen=True)
class WorkAhead:
    """What has to be computed before a stage begins, and again in each of its epochs.

    Attributes:
        total: images and views that are to be stored.
        decoded: of them, those whose pixels are, for a trunk that they go through later.
        missing: of all, those that are not stored yet.
        seconds: that will take, roughly.
        seconds_an_epoch: what the trunk takes in every epoch.
    """

    total: int
    decoded: int
    missing: int
    seconds: float
    seconds_an_epoch: float

    def in_words(self) -> list[str]:
        """In parts of a line, without those that there is nothing to say of.

        >>> WorkAhead(total=270, decoded=210, missing=210, seconds=0.3, seconds_an_epoch=2.4).in_words()[:2]
        ['every epoch runs the frozen part anew, about 2 s', '210 decoded images and features of 60, 60 stored']
        >>> WorkAhead(total=140, decoded=0, missing=140, seconds=0.9, seconds_an_epoch=0).in_words()
        ['140 images and views, 0 stored', 'about 1 s for the others']
        """
        parts = []
        if self.seconds_an_epoch:
            parts.append(f"every epoch runs the frozen part anew, about {_seconds(self.seconds_an_epoch)}")
        if self.total:
            parts.append(f"{self._what()}, {self.total - self.missing:,} stored")
        if self.missing:
            parts.append(f"about {_seconds(self.seconds)} for the others")
        return parts

    def _what(self) -> str:
        if not self.decoded:
            return f"{self.total:,} images and views"
        others = self.total - self.decoded
        return f"{self.decoded:,} decoded images" + (f" and features of {others:,}" if others else "")


@dataclass(frozen=True)
class Supply:
    """How one stage gets its features.

    Attributes:
        shop: what the training works with.
        extraction: how features at the stage's cut come about.
        views: of each training image.
        way: what is stored; of training images that are rendered anew in every epoch pixels at best.
        reason: a sentence about why features are not; None where they are.
    """

    shop: Workshop
    extraction: Extraction
    views: Views
    way: Stored
    reason: str | None = None

    @classmethod
    def of(cls, division: Division, shop: Workshop) -> Supply:
        """Decide for a stage.

        What would not fit into the store is not begun: it would push out what other runs use, and itself. What is
        stored already is used in any case.
        """
        augmentation, network = shop.config.augmentation, shop.config.backbone.name
        extraction = Extraction(
            division.engine, division.fingerprint, shop.pixels, augmentation, network, division.cut.after
        )
        views = number_of_views(augmentation, trunk_is_empty=division.engine is None)
        best, *others = (cls(shop, extraction, views, way) for way in WAYS)
        if fits(best.wanted(), shop.store):
            return best
        supply = next(other for other in others if fits(other.wanted(), shop.store))
        return replace(supply, reason=_reason(best, supply))

    def training_feed(self) -> tuple[Feed, Counts]:
        """The training images in their views, and how much had to be computed for them now."""
        return self._feed("train", self.views)

    def validation_feed(self) -> tuple[Feed, Counts]:
        """The validation images themselves, likewise."""
        return self._feed("validation", 1)

    def work_ahead(self) -> WorkAhead:
        """What both feeds will have to compute before the first epoch, and in every one."""
        all_wanted = self.wanted()
        absent = [wanted.missing(self.shop.store) for wanted in all_wanted]
        has_trunk = self.extraction.engine is not None
        return WorkAhead(
            total=sum(wanted.total for wanted in all_wanted),
            decoded=sum(wanted.total for wanted in all_wanted if has_trunk and wanted.extraction.engine is None),
            missing=sum(absent),
            seconds=sum(
                n * wanted.extraction.seconds_per_image for n, wanted in zip(absent, all_wanted, strict=True) if n
            ),
            seconds_an_epoch=self._seconds_an_epoch() if has_trunk else 0.0,
        )

    def _seconds_an_epoch(self) -> float:
        """What the trunk takes for the images whose features are not stored."""
        streamed = [wanted for wanted in self.wanted() if wanted.extraction.engine is None]
        images = sum(len(wanted.digests) for wanted in streamed)
        return images * self.extraction.seconds_per_image if images else 0.0

    def wanted(self) -> list[Wanted]:
        """What is to be in the store, of training and validation images."""
        return [self._wanted("train", self.views), self._wanted("validation", 1)]

    def keys(self) -> Iterator[FeatureKey]:
        """Under which that lies there."""
        return (key for wanted in self.wanted() for key in wanted.keys)

    def _wanted(self, split: str, views: Views) -> Wanted:
        digests = [row.digest for row in self.shop.manifest.split(split)]
        if self.way == "features" and views != "fresh":
            return Wanted(self.extraction, digests, views)
        return Wanted(self._decoding, digests, 0 if self.way == "nothing" else 1)

    @cached_property
    def _decoding(self) -> Extraction:
        return Extraction(None, None, self.shop.pixels)

    def _feed(self, split: str, views: Views) -> tuple[Feed, Counts]:
        rows, images = self.shop.manifest.split(split), self._labelled(split)
        wanted, seed = self._wanted(split, views), self.shop.config.seed
        stored, counts = extract(wanted.extraction, rows, wanted.views, self.shop.store, self.shop.console)
        if self.way == "features" and views != "fresh":
            return StoredFeed(images, stored, seed), counts
        source: PixelSource = stored[0] if stored else DecodedImages(rows, self.shop.pixels)
        return StreamedFeed(images, source, self.extraction, views, seed), counts

    def _labelled(self, split: str) -> Labelled:
        rows: Sequence[Row] = self.shop.manifest.split(split)
        return Labelled([row.digest for row in rows], self.shop.manifest.labels(rows))


def _reason(best: Supply, supply: Supply) -> str:
    """Why features are not stored, what happens instead, and what would help."""
    store, wanted = supply.shop.store, best.wanted()
    what, instead = _INSTEAD[supply.extraction.engine is not None, supply.way]
    needed, capacity = sum(one.size_bytes() for one in wanted), store.capacity()
    total = sum(one.total for one in wanted)
    there = total - sum(one.missing(store) for one in wanted)
    stored = f" ({there:,} of {total:,} are there)" if there else ""
    if capacity.is_cap:
        remedy = f"cache.max_gb={_enough_gb(needed)} is enough to store them."
    else:
        remedy = "Free disk gives it more, or a folder on another disk: CNNCLI_CACHE."
    return (
        f"{what} here would take {size(needed)}{stored}, and the cache has room for {size(capacity.size_bytes)}: "
        f"{instead} in every epoch. {remedy}"
    )


def _seconds(seconds: float) -> str:
    """A rough time in whole seconds; what takes any takes one."""
    return f"{max(1, round(seconds)):,} s"


def _enough_gb(n_bytes: int) -> str:
    """A cap in GB that so many bytes fit below, with two digits; some are left for what tells of the features.

    >>> _enough_gb(2_101_000), _enough_gb(40_000_000_000)
    ('0.0024', '44')
    """
    step = 10 ** (math.floor(math.log10(n_bytes)) - 1)
    return f"{math.ceil(1.1 * n_bytes / step) * step / 1e9:.2g}"


_INSTEAD: Mapping[tuple[bool, Stored], tuple[str, str]] = {
    (True, "pixels"): ("features", "decoded pixels are stored instead, and go through the frozen part"),
    (True, "nothing"): ("features", "nothing is stored, and images are decoded and go through the frozen part"),
    (False, "pixels"): ("renderings", "decoded pixels are stored instead, and rendered"),
    (False, "nothing"): ("decoded pixels", "nothing is stored, and images are decoded"),
}
"""What would be stored, and what happens instead; by whether anything is frozen, and by what is stored."""

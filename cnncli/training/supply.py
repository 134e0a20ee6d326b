"""Where a stage's features come from: the store where they fit into it, else through the trunk in every epoch.

Three ways, the first that fits: the features of all views are stored; decoded pixels are, and go through the trunk
anew in every epoch; nothing is, and pictures are decoded in every epoch too. The training sees the same numbers in
all three.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from cnncli.features.extract import Counts, DecodedPictures, Extraction, extract, seconds_per_picture
from cnncli.pictures.manifest import Row
from cnncli.pictures.views import number_of_views
from cnncli.training.feed import Feed, Labelled, PixelSource, StoredFeed, StreamedFeed
from cnncli.training.workshop import Division, Workshop
from cnncli.wording import size

Stored = Literal["features", "pixels", "nothing"]
Views = int | Literal["fresh"]

_BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class WorkAhead:
    """What has to be computed before a stage begins.

    Attributes:
        total: pictures and views that are to be stored.
        missing: of them, those that are not yet.
        seconds: that will take, roughly.
    """

    total: int
    missing: int
    seconds: float


@dataclass(frozen=True)
class Supply:
    """How one stage gets its features.

    Attributes:
        shop: what the training works with.
        extraction: how features at the stage's cut come about.
        views: of each training picture.
        stored: what is kept of the pictures of each split.
        reason: a sentence about why features are not; None where they are.
    """

    shop: Workshop
    extraction: Extraction
    views: Views
    stored: Mapping[str, Stored]
    reason: str | None

    @classmethod
    def of(cls, division: Division, shop: Workshop) -> Supply:
        """Decide for a stage.

        What would not fit into the store is not begun: it would push out what other runs use, and itself.
        """
        config = shop.config
        extraction = Extraction(
            division.engine, division.fingerprint, shop.pixels, config.augmentation, config.backbone.name
        )
        views = number_of_views(config.augmentation, trunk_is_empty=division.engine is None)
        needed = _bytes_needed(division, shop, views)
        capacity = shop.store.capacity_bytes()
        choice: Stored = next((what for what in ("features", "pixels") if needed[what] <= capacity), "nothing")
        fresh: Stored = "pixels" if choice == "features" else choice
        stored = {"train": fresh if views == "fresh" else choice, "validation": choice}
        return cls(shop, extraction, views, stored, _reason(choice, needed["features"], capacity))

    def training_feed(self) -> tuple[Feed, Counts]:
        """The training pictures in their views, and how much had to be computed for them now."""
        return self._feed("train", self.views)

    def validation_feed(self) -> tuple[Feed, Counts]:
        """The validation pictures themselves, likewise."""
        return self._feed("validation", 1)

    def work_ahead(self) -> WorkAhead:
        """What both feeds will have to compute before the first epoch."""
        total = missing = 0
        seconds = 0.0
        for split, views in (("train", self.views), ("validation", 1)):
            extraction, views_to_store = self._to_store(split, views)
            digests = [row.digest for row in self.shop.manifest.split(split)]
            absent = sum(len(self.shop.store.missing(extraction.key(view), digests)) for view in range(views_to_store))
            seconds += absent * seconds_per_picture(extraction) if absent else 0.0
            missing, total = missing + absent, total + views_to_store * len(set(digests))
        return WorkAhead(total, missing, seconds)

    def _to_store(self, split: str, views: Views) -> tuple[Extraction, int]:
        """What is stored of a split's pictures, and in how many views."""
        match self.stored[split]:
            case "features" if views != "fresh":
                return self.extraction, views
            case "nothing":
                return self._decoding, 0
            case _:
                return self._decoding, 1

    @cached_property
    def _decoding(self) -> Extraction:
        return Extraction(None, None, self.shop.pixels)

    def _feed(self, split: str, views: Views) -> tuple[Feed, Counts]:
        rows, pictures = self.shop.manifest.split(split), self._labelled(split)
        extraction, stored_views = self._to_store(split, views)
        features, counts = extract(extraction, rows, stored_views, self.shop.store, self.shop.console)
        seed = self.shop.config.seed
        if self.stored[split] == "features" and views != "fresh":
            return StoredFeed(pictures, features, seed), counts
        source: PixelSource = features[0] if features else DecodedPictures(rows, self.shop.pixels)
        return StreamedFeed(pictures, source, self.extraction, views, seed), counts

    def _labelled(self, split: str) -> Labelled:
        rows: Sequence[Row] = self.shop.manifest.split(split)
        return Labelled([row.digest for row in rows], self.shop.manifest.labels(rows))


def _bytes_needed(division: Division, shop: Workshop, views: Views) -> dict[str, int]:
    """What storing features, or pixels, of the training and the validation pictures takes."""
    n_training, n_validation = len(shop.manifest.split("train")), len(shop.manifest.split("validation"))
    pixels = shop.pixels.height * shop.pixels.width * shop.pixels.channels
    features = pixels
    if division.engine is not None:
        values = sum(math.prod(shape) for _, shape in division.cut.crossing)
        features = values * _BYTES[division.engine.choice.precision]
    of_training = pixels if views == "fresh" else views * features
    return {
        "features": n_training * of_training + n_validation * features,
        "pixels": (n_training + n_validation) * pixels,
    }


def _reason(choice: Stored, needed: int, capacity: int) -> str | None:
    if choice == "features":
        return None
    kept = "decoded pixels are stored instead" if choice == "pixels" else "nothing is stored"
    return (
        f"features here would take {size(needed)}, and the cache has room for {size(capacity)}: {kept}, and pictures "
        "go through the frozen part in every epoch. cache.max_gb gives it more, where the disk has it."
    )

"""Fill the feature cache: decode images, render views, run the trunk. Cached features are not computed again.

The work is divided by images: each thread decodes a few images, renders their views and runs the trunk on them, so that
no core waits for another, whichever step is the slowest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from cnncli.augmentation.settings import AugmentationConfig
from cnncli.augmentation.views import render_view, view_key
from cnncli.dataset.records import ImageRecord
from cnncli.engines.engine import Array, Engine
from cnncli.engines.mirrored import Tta, mirror, mirror_flags, run_averaged
from cnncli.errors import DataError, ImageError, Message, printable
from cnncli.features.decoded_images import read_all, summarize
from cnncli.features.store import FeatureKey, FeatureStore
from cnncli.features.views import AveragedFeatures, JoinedFeatures, ViewFeatures
from cnncli.images.decode import PixelSpec
from cnncli.runtime.threads import batched, map_ordered, workers
from cnncli.shards.shard import is_there, reading_order
from cnncli.terminal.console import Console

DECODING_S = 1 / 600
"""Time to decode an image, for the first estimate of the time left: photographs of 500 px on two laptop cores."""

SEGMENT_BYTES = 64 * 2**20
SEGMENT_ROWS = 2048
"""A segment is written when it has this many bytes or rows, the most that a killed extraction loses."""

PENDING_BYTES = 2 * SEGMENT_BYTES
"""Maximum size of the rows of all views that are computed, but not yet written."""

TASK_VIEWS = 16
"""Number of views that a thread processes at a time, approximately; at least one request of the engine."""

TASK_REQUESTS = 8
"""Maximum number of the engine's requests in a thread at a time, unless the views of one image take more."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Trunk:
    """A frozen network that is run by an engine.

    Attributes:
        fingerprint: See `networks.fingerprint`.
        network: Name of the network, for information only.
        cut: Name of the layer where the trunk ends, for information only.
    """

    engine: Engine
    fingerprint: str
    network: str | None = None
    cut: str | None = None


@dataclass(frozen=True)
class Version:
    """A form of an image that is cached under its own key: a view or its mirror image, seen by a trunk, if any."""

    view: int
    is_mirrored: bool
    trunk: Trunk | None

    def run(self, pixels: Pixels) -> list[Array]:
        """Return the features of a batch of pixels that are rendered as this version."""
        return self.trunk.engine.run([pixels]) if self.trunk else [pixels]


@dataclass(frozen=True)
class Extraction:
    """Settings for the features of images.

    Attributes:
        trunks: The frozen networks, whose features are cached separately and used together; none if the trunk is empty,
            in which case features are the uint8 pixels.
        pixels: Settings for decoding a file.
        augmentation: Settings for rendering views 1, 2, ….
        tta: Views at test time, over which features are averaged. Each is cached under its own key.
    """

    trunks: tuple[Trunk, ...]
    pixels: PixelSpec
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    tta: Tta = "none"

    @property
    def engine(self) -> Engine | None:
        """Engine of the first trunk, whose kind is that of all; None if the trunk is empty."""
        return self.trunks[0].engine if self.trunks else None

    def versions(self, views: int) -> list[Version]:
        """Return what is cached of an image with a number of views: by view, by trunk, then mirrored or not."""
        return [
            Version(view, is_mirrored, trunk)
            for view in range(views)
            for trunk in self.trunks or (None,)
            for is_mirrored in mirror_flags(self.tta)
        ]

    def key(self, version: Version) -> FeatureKey:
        """Return the cache key of a version. That of view 0 does not depend on the augmentation."""
        trunk, flipped = version.trunk, {"flip": "horizontal"} if version.is_mirrored else {}
        return FeatureKey(
            {
                "trunk": trunk.fingerprint if trunk else None,
                "engine": dict(trunk.engine.identity) if trunk else None,
                "pixels": self.pixels.key(),
                "view": {**view_key(self.augmentation, version.view), **flipped},
            },
            {"network": trunk.network, "cut": trunk.cut} if trunk and trunk.network else {},
        )

    @property
    def in_words(self) -> str:
        """Why an image counts several times: its mirror image, or several networks; empty if it does not."""
        mirrored = " and their mirror images" if self.tta == "flip" else ""
        return f"{mirrored} in {len(self.trunks)} networks" if len(self.trunks) > 1 else mirrored

    def run(self, pixels: Pixels) -> list[Array]:
        """Return the features of a batch of pixels, shape (n, height, width, channels), averaged as `tta` says."""
        return run_averaged(self.run_once, pixels, self.tta)

    def run_once(self, pixels: Pixels) -> list[Array]:
        """Return the features of a batch of pixels as they are, those of the first trunk first."""
        return [tensor for trunk in self.trunks for tensor in trunk.engine.run([pixels])] or [pixels]

    @cached_property
    def bytes_per_image(self) -> int:
        """Size of the features of one image in one view. Runs each trunk once."""
        return sum(tensor.nbytes for tensor in self.run_once(self._black(1)))

    @cached_property
    def seconds_per_image(self) -> float:
        """Estimated time to decode an image and run all trunks once. Times each trunk once."""
        if self.engine is None:
            return DECODING_S
        requests = [self._black(self.engine.batch)] * self.engine.streams
        started = time.monotonic()
        list(map_ordered(self.run_once, requests))
        return DECODING_S + (time.monotonic() - started) / sum(map(len, requests))

    def _black(self, n: int) -> Pixels:
        return np.zeros((n, self.pixels.height, self.pixels.width, self.pixels.channels), np.uint8)

    def images_at_a_time(self, views: int) -> int:
        """Return the number of images that a thread processes together, so that requests need the least padding."""
        batch = self.engine.batch if self.engine else 1
        least = max(1, max(TASK_VIEWS, batch) // views)
        most = max(least, TASK_REQUESTS * batch // views)
        return min(range(least, most + 1), key=lambda images: -images * views % batch / images)


@dataclass(frozen=True)
class FeatureSet:
    """The features of images in views 0 … views − 1, each as it is and, if features are averaged, mirrored.

    Identical images count once, and with 0 views there are none.
    """

    extraction: Extraction
    images: Sequence[ImageRecord]
    views: int = 1

    @cached_property
    def digests(self) -> list[str]:
        """Digests of the images."""
        return [image.digest for image in self.images]

    @cached_property
    def versions(self) -> list[Version]:
        """See `Extraction.versions`."""
        return self.extraction.versions(self.views)

    @property
    def keys(self) -> list[FeatureKey]:
        """Cache keys of the features, one for each version."""
        return [self.extraction.key(version) for version in self.versions]

    @property
    def total(self) -> int:
        """Number of images times versions."""
        return len(self.versions) * len(set(self.digests))

    def missing_digests(self, store: FeatureStore) -> set[str]:
        """Return the digests of the images of which a feature is not cached."""
        return {digest for key in self.keys for digest in store.missing(key, self.digests)}

    def missing(self, store: FeatureStore) -> int:
        """Return the number of features that are not cached."""
        return sum(len(store.missing(key, self.digests)) for key in self.keys)

    def size_bytes(self) -> int:
        """Return the total size of the features, including those that are already cached."""
        return self._n_runs(self.total) * self.extraction.bytes_per_image if self.total else 0

    def seconds_missing(self, store: FeatureStore) -> float:
        """Return the estimated time to compute the features that are not cached."""
        missing = self.missing(store)
        return self._n_runs(missing) * self.extraction.seconds_per_image if missing else 0.0

    def _n_runs(self, n_features: int) -> int:
        """Return how often all trunks run for a number of features, each of which comes from one of them."""
        return -(-n_features // max(1, len(self.extraction.trunks)))


def fits(sets: Sequence[FeatureSet], store: FeatureStore) -> bool:
    """Return whether all features are cached already or fit into the cache.

    Cached features are used however small the cache has become, because reading them takes no space.
    """
    if not any(one.missing(store) for one in sets):
        return True
    return sum(one.size_bytes() for one in sets) <= store.capacity()


def require_cached(
    sets: Sequence[FeatureSet], rows: Sequence[ImageRecord], store: FeatureStore, remedy: str = ""
) -> None:
    """Check that the features of those images of a run are cached whose files, identical ones included, are gone.

    Raises:
        DataError: One message with the number of images for which neither is there, followed by the sentence `remedy`.
    """
    missing = {digest for features in sets for digest in features.missing_digests(store)}
    needed = [row for row in rows if row.digest in missing]
    there = {row.digest for row in needed if is_there(row.path)}
    if gone := sorted(row.path for row in needed if row.digest not in there):
        text = f"The files of {len(gone):,} of {len(rows):,} images are gone, and their features are not cached"
        where = f"Restore the images, or the cache folder with which the run was trained. {remedy}".rstrip()
        facts = {"path": gone[0], "n": len(gone), "total": len(rows)}
        raise DataError(Message("data-images-gone", f"{text}, e.g. {printable(gone[0])}. {where}", **facts))


@dataclass(frozen=True)
class Counts:
    """Numbers of features (images times versions), or of decoded images, that were computed and found in the cache."""

    computed: int = 0
    reused: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.computed + other.computed, self.reused + other.reused)


Computed = tuple[int, list[str], list[Array]]
"""Number of a version, digests of images, and their features in this version."""
Compute = Callable[[FeatureSet, Sequence[set[str]]], Iterator[tuple[list[Computed], list[ImageError]]]]
"""Computes the missing features of images, given the digests that are missing of each version: yields the features of
some images after the others, and the errors of unusable images."""


def compute_here(
    features: FeatureSet, missing: Sequence[set[str]]
) -> Iterator[tuple[list[Computed], list[ImageError]]]:
    """Compute missing features in the threads of this process; see `Compute`. Each image is decoded once."""
    extraction, all_missing = features.extraction, set().union(*missing)
    images = images_to_read(features, all_missing)
    n_versions = -(-sum(map(bool, missing)) // max(1, len(extraction.trunks)))  # of each trunk
    tasks = batched(images, extraction.images_at_a_time(n_versions))
    return map_ordered(partial(_compute, features, missing), tasks, ahead=2 * workers())


def images_to_read(features: FeatureSet, digests: Collection[str]) -> list[ImageRecord]:
    """Return the images with some digests, each once, in the order in which they are best read.

    Of identical images, it is one whose file is there, if any.
    """
    copies: dict[str, list[ImageRecord]] = {}
    for image in features.images:
        if image.digest in digests:
            copies.setdefault(image.digest, []).append(image)
    images = [next((one for one in of[:-1] if is_there(one.path)), of[-1]) for of in copies.values()]
    return [images[place] for place in reading_order([image.file for image in images])]


def extract(
    features: FeatureSet, store: FeatureStore, console: Console, compute: Compute = compute_here
) -> tuple[list[ViewFeatures], Counts]:
    """Return the features of each view, and how many were computed, by a function, and reused.

    Raises:
        DataError: All images that cannot be decoded or have changed since they were indexed.
        CacheError: Features cannot be cached.
    """
    missing = [set(store.missing(key, features.digests)) for key in features.keys]
    computed = sum(map(len, missing))
    if computed:
        _fill(features, missing, store, console, compute)
    stored = [store.read(key, features.digests) for key in features.keys]
    n_averaged, n_joined = len(mirror_flags(features.extraction.tta)), max(1, len(features.extraction.trunks))
    of_trunks: list[ViewFeatures] = [AveragedFeatures.of(group) for group in batched(stored, n_averaged)]
    views: list[ViewFeatures] = [JoinedFeatures.of(group) for group in batched(of_trunks, n_joined)]
    return views, Counts(computed, features.total - computed)


def _fill(
    features: FeatureSet, missing: list[set[str]], store: FeatureStore, console: Console, compute: Compute
) -> None:
    """Compute and cache missing features. `missing` holds the digests of each version."""
    max_bytes = min(SEGMENT_BYTES, PENDING_BYTES // len(missing))
    pending = [_PendingRows(key, store, max_bytes) for key in features.keys]
    errors: list[ImageError] = []
    title = "computing features" if features.extraction.engine else "decoding"
    with ExitStack() as closing, console.progress(sum(map(len, missing)), title, "images") as progress:
        for one in pending:
            closing.callback(one.write)  # keeps what was computed before an interruption
        for computed, failed in compute(features, missing):
            for version, digests, tensors in computed:
                pending[version].add(digests, tensors)
                progress.advance(len(digests))
            errors += failed
    if errors:
        raise DataError(summarize(errors, features.images))


def _compute(
    features: FeatureSet, missing: Sequence[set[str]], rows: Sequence[ImageRecord]
) -> tuple[list[Computed], list[ImageError]]:
    """Decode images, render their missing versions and run the trunks, in one thread."""
    decoded, errors = read_all(rows, features.extraction.pixels)
    pixels = {row.digest: one for row, one in decoded}
    digests = [[digest for digest in pixels if digest in of_version] for of_version in missing]
    computed = []
    for trunk in features.extraction.trunks or (None,):
        numbers = [n for n, one in enumerate(features.versions) if one.trunk is trunk and digests[n]]
        if numbers:
            rendered = np.stack([_render(features, n, pixels, one) for n in numbers for one in digests[n]])
            tensors = features.versions[numbers[0]].run(rendered)
            ends = np.cumsum([len(digests[n]) for n in numbers])
            parts = zip(*(np.split(tensor, ends[:-1]) for tensor in tensors), strict=True)
            computed += [(n, digests[n], list(part)) for n, part in zip(numbers, parts, strict=True)]
    return computed, errors


def _render(features: FeatureSet, number: int, pixels: Mapping[str, Pixels], digest: str) -> Pixels:
    """Return an image as one of the versions, given the pixels of all images by digest."""
    version = features.versions[number]
    rendered = render_view(pixels[digest], features.extraction.augmentation, digest, version.view)
    return mirror(rendered) if version.is_mirrored else rendered


class _PendingRows:
    """Rows of one version, which are written as a segment once they reach `max_bytes` or `SEGMENT_ROWS`."""

    def __init__(self, key: FeatureKey, store: FeatureStore, max_bytes: int) -> None:
        self._key, self._store, self._max_bytes = key, store, max_bytes
        self._parts: list[tuple[list[str], list[Array]]] = []

    def add(self, digests: list[str], tensors: list[Array]) -> None:
        self._parts.append((digests, tensors))
        n_bytes = sum(tensor.nbytes for _, tensors in self._parts for tensor in tensors)
        if n_bytes >= self._max_bytes or sum(len(digests) for digests, _ in self._parts) >= SEGMENT_ROWS:
            self.write()

    def write(self) -> None:
        parts, self._parts = self._parts, []
        digests = [digest for part, _ in parts for digest in part]
        if digests:
            tensors = zip(*(tensors for _, tensors in parts), strict=True)
            self._store.write(self._key, digests, [np.concatenate(arrays) for arrays in tensors])

"""Filling the store: decode, render views, run the trunk; what is stored already is not computed again.

The work is divided by images: a thread decodes a few, renders their views and runs the trunk on them, beside other
threads that do the same with others. No core waits for another, whichever of the three is the slowest.
"""

from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cnncli.augmentation.settings import AugmentationConfig
from cnncli.augmentation.views import render_view, view_recipe
from cnncli.dataset.manifest import Row
from cnncli.engines.engine import Array, Engine, run_on_all_cores
from cnncli.errors import DataError, ImageError
from cnncli.features.store import FeatureKey, FeatureStore, StoredFeatures
from cnncli.features.writer import SegmentWriter
from cnncli.images.decode import PixelSpec, decode
from cnncli.runtime.threads import batched, map_ordered, workers
from cnncli.storage.safe_io import read_bytes
from cnncli.terminal.console import Console

SECONDS_TO_DECODE = 1 / 600
"""For the first guess at the time left: photographs of 500 px on two laptop cores."""

SEGMENT_BYTES = 64 * 2**20
SEGMENT_ROWS = 2048
"""A segment is closed once it has so many bytes or rows: what a killed extraction loses."""

TASK_RENDERINGS = 16
"""What a thread takes on at a time, about; at least one request of the engine."""

TASK_REQUESTS = 8
"""Most requests of the engine that a thread takes on at a time, unless one image's views are more."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Extraction:
    """How an image's features come about.

    Attributes:
        engine: runs the trunk; None where the trunk is empty: then the features are the uint8 pixels themselves.
        trunk: the trunk's fingerprint, None where it is empty.
        pixels: how a file becomes pixels.
        augmentation: how views 1, 2, … are rendered.
        network: what people call the trunk's network; decides nothing. Pixels were made by none.
        cut: what they call the place where the trunk ends, likewise.
    """

    engine: Engine | None
    trunk: str | None
    pixels: PixelSpec
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    network: str | None = None
    cut: str | None = None

    def key(self, view: int) -> FeatureKey:
        """The store's key for one view; view 0 is the same whatever the augmentation."""
        return FeatureKey(
            {
                "trunk": self.trunk,
                "engine": dict(self.engine.identity) if self.engine else None,
                "pixels": self.pixels.key(),
                "view": view_recipe(self.augmentation, view),
            },
            {"network": self.network, "cut": self.cut} if self.network and self.engine else {},
        )

    def run(self, pixels: Pixels) -> list[Array]:
        """Features of a batch of pixels (n, height, width, channels)."""
        return self.engine.run([pixels]) if self.engine else [pixels]

    @cached_property
    def bytes_per_image(self) -> int:
        """What the features of one image take in the store; the trunk is run to tell, once."""
        return sum(tensor.nbytes for tensor in self.run(self._black(1)))

    @cached_property
    def seconds_per_image(self) -> float:
        """What decoding an image and running the trunk on it will take, roughly: black images are timed, once."""
        if self.engine is None:
            return SECONDS_TO_DECODE
        n = self.engine.streams * self.engine.batch
        started = time.monotonic()
        run_on_all_cores(self.engine, [self._black(n)])
        return SECONDS_TO_DECODE + (time.monotonic() - started) / n

    def _black(self, n: int) -> Pixels:
        return np.zeros((n, self.pixels.height, self.pixels.width, self.pixels.channels), np.uint8)

    def images_at_a_time(self, views: int) -> int:
        """How many images one thread takes on together, so that their views fill whole requests of the engine.

        An engine fills a request up with what nobody needs. Where no number of images comes out even within
        `TASK_REQUESTS`, the one that wastes the smallest share does.
        """
        batch = self.engine.batch if self.engine else 1
        least = max(1, max(TASK_RENDERINGS, batch) // views)
        most = max(least, TASK_REQUESTS * batch // views)
        return min(range(least, most + 1), key=lambda images: -images * views % batch / images)


@dataclass(frozen=True)
class Counts:
    """How many features of images in a view, or decoded pixels, were stored.

    Attributes:
        computed: now; what goes through the trunk without being stored is not counted.
        reused: already.
    """

    computed: int = 0
    reused: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.computed + other.computed, self.reused + other.reused)


def extract(
    extraction: Extraction, rows: Sequence[Row], views: int, store: FeatureStore, console: Console
) -> tuple[list[StoredFeatures], Counts]:
    """The features of images in views 0 … views − 1, computed where they are not stored yet.

    Returns:
        One `StoredFeatures` per view, rows in the order of `rows`, and how many were stored now and already.

    Raises:
        DataError: images that cannot be decoded or changed since they were indexed, all of them.
        CacheError: features that cannot be stored.
    """
    digests = [row.digest for row in rows]
    keys = [extraction.key(view) for view in range(views)]
    missing = [set(store.missing(key, digests)) for key in keys]
    computed = sum(len(digests) for digests in missing)
    if computed:
        _fill(extraction, rows, missing, store, console)
    counts = Counts(computed, views * len(set(digests)) - computed)
    return [store.read(key, digests) for key in keys], counts


CHANGED = "changed since it was indexed. Start again."
LARGEST_BYTES = 2**31
"""Of an image, whatever its manifest says."""


def read_pixels(row: Row, recipe: PixelSpec) -> Pixels:
    """Decode an image of a manifest, once sure that it is still the one that was indexed.

    Raises:
        ImageError: unreadable, or its bytes are others than the manifest's digest says.
    """
    try:
        data = read_bytes(row.path, min(row.size_bytes, LARGEST_BYTES))
    except OSError as error:
        has_grown = error.errno == errno.EFBIG
        raise ImageError(row.path, CHANGED if has_grown else error.strerror or str(error)) from error
    if hashlib.sha256(data).hexdigest() != row.digest:
        raise ImageError(row.path, CHANGED)
    return decode(data, recipe, name=row.file)


def read_all(rows: Sequence[Row], recipe: PixelSpec) -> tuple[list[tuple[Row, Pixels]], list[ImageError]]:
    """Those images that can be decoded, with their pixels, and what is wrong with the others; see `read_pixels`."""
    pixels: list[tuple[Row, Pixels]] = []
    errors: list[ImageError] = []
    for row in rows:
        try:
            pixels.append((row, read_pixels(row, recipe)))
        except ImageError as error:
            errors.append(error)
    return pixels, errors


@dataclass(frozen=True)
class DecodedImages:
    """Images decoded whenever they are asked for: what there is where their pixels cannot be stored."""

    images: Sequence[Row]
    recipe: PixelSpec

    def rows(self, indexes: NDArray[np.int64]) -> list[Array]:
        """The pixels of some images, uint8 (len(indexes), height, width, channels), alone in a list.

        Raises:
            DataError: those of them that cannot be decoded any more.
        """
        decoded, errors = read_all([self.images[index] for index in indexes], self.recipe)
        if errors:
            raise DataError(all_at_once(errors, self.images))
        return [np.stack([pixels for _, pixels in decoded])]


@dataclass
class _Sink:
    """Where the rows of one view go: into the store, segment after segment."""

    key: FeatureKey
    store: FeatureStore
    writer: SegmentWriter | None = None

    def add(self, digests: Sequence[str], tensors: Sequence[Array]) -> None:
        if self.writer is None:
            self.writer = self.store.writer(self.key)
        self.writer.add(digests, tensors)
        if self.writer.size_bytes >= SEGMENT_BYTES or len(self.writer) >= SEGMENT_ROWS:
            self.close()

    def close(self) -> None:
        """Keep what was added."""
        writer, self.writer = self.writer, None
        if writer is not None:
            writer.close()


@dataclass(frozen=True)
class _Computed:
    """What one task gives.

    Attributes:
        views: per view that something was missing of, the digests and their features.
        errors: images that cannot be used.
    """

    views: dict[int, tuple[list[str], list[Array]]]
    errors: list[ImageError]

    def __len__(self) -> int:
        return sum(len(digests) for digests, _ in self.views.values())


def _fill(
    extraction: Extraction, rows: Sequence[Row], missing: list[set[str]], store: FeatureStore, console: Console
) -> None:
    sinks = [_Sink(extraction.key(view), store) for view in range(len(missing))]
    errors: list[ImageError] = []
    total = sum(len(digests) for digests in missing)
    title = "computing features" if extraction.engine else "decoding"
    with ExitStack() as closing, console.progress(total, title, "images") as progress:
        for sink in sinks:
            closing.callback(sink.close)  # what was computed before an interruption is kept
        for computed in _computed(extraction, rows, missing):
            for view, (digests, tensors) in computed.views.items():
                sinks[view].add(digests, tensors)
            errors += computed.errors
            progress.advance(len(computed))
    if errors:
        raise DataError(all_at_once(errors, rows))


def all_at_once(errors: list[ImageError], rows: Sequence[Row]) -> list[str]:
    """A line for each image; one for all of them where the whole folder has gone."""
    if len(errors) > 1 and not any(row.path.exists() for row in rows):
        return [f"{errors[0]} (and so for all {len(errors):,} images that are needed). Was the folder moved?"]
    return [str(error) for error in errors]


def _computed(extraction: Extraction, rows: Sequence[Row], missing: list[set[str]]) -> Iterator[_Computed]:
    """Every missing rendering's features; an image is decoded once for all of its views."""
    once = {row.digest: row for row in rows if any(row.digest in digests for digests in missing)}
    incomplete = sum(bool(digests) for digests in missing)
    tasks = batched(once.values(), extraction.images_at_a_time(incomplete))
    return map_ordered(lambda task: _compute(extraction, task, missing), tasks, ahead=2 * workers())


def _compute(extraction: Extraction, rows: Sequence[Row], missing: list[set[str]]) -> _Computed:
    """Decode, render and run the trunk, in one thread."""
    rendered: dict[int, tuple[list[str], list[Pixels]]] = {}
    decoded, errors = read_all(rows, extraction.pixels)
    for row, pixels in decoded:
        for view in (view for view, digests in enumerate(missing) if row.digest in digests):
            digests, renderings = rendered.setdefault(view, ([], []))
            digests.append(row.digest)
            renderings.append(render_view(pixels, extraction.augmentation, row.digest, view))
    if not rendered:
        return _Computed({}, errors)
    tensors = extraction.run(np.stack([one for _, renderings in rendered.values() for one in renderings]))
    ends = np.cumsum([len(digests) for digests, _ in rendered.values()])[:-1]
    parts = zip(*(np.split(tensor, ends) for tensor in tensors), strict=True)
    views = {view: (digests, list(part)) for (view, (digests, _)), part in zip(rendered.items(), parts, strict=True)}
    return _Computed(views, errors)

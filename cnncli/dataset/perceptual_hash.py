"""Find thumbnails that show the same image after resizing, recompression, brightening or cropping.

Every pair of perceptual hashes is compared. The few pairs with similar hashes are compared by the correlation of their
brightness, which does not depend on exposure and contrast, and by their colors. Images without structure, such as blank
pages, are left out, because they resemble each other. The time grows quadratically with the number of images: 60,000
take seconds, a million would take an hour.

On 4,000 photographs of cats and dogs (scripts/measure_near_duplicates.py), the search finds 99.9 to 100 % of copies
that were recompressed, resized, stretched, brightened, darkened, blurred, converted to grayscale or cropped by 2 %; 99
% of those rotated by 2 degrees, 96 % of those cropped by 5 %, 23 % of those cropped by 10 %, and none that were
mirrored. Of 8 million pairs of photographs it reports two, and both show the same image.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from cnncli.images.thumbnail import GRAY_SIDE, THUMBNAIL_BYTES
from cnncli.runtime.threads import map_ordered, workers
from cnncli.terminal.console import Console

HASH_BITS = 14  # maximum number of bits in which the hashes of two similar images differ
LEAST_CORRELATION = 0.92  # minimum correlation of the brightness of two similar images
# Maximum root mean square distance of their colors (0-255). A grayscale image may be a copy of any.
COLOR_LEVELS = 20.0
GRAY_LEVELS = 2.0  # root mean square distance from gray below which an image counts as grayscale
FLAT_LEVELS = 4.0  # root mean square distance from an even gradient below which an image has no structure
LIMIT = 100_000  # number of pairs at which the search ends, since the images are then similar by nature

# Maximum number of comparisons, two minutes on two cores: 200,000 images, or a million images with 20,000.
MOST_COMPARISONS = 20_000_000_000
SHOWN_COMPARISONS = 500_000_000  # minimum number of comparisons whose progress is shown, about three seconds

_FREQUENCIES = 8
_ROWS, _COLUMNS = 64, 4096  # hashes compared at a time: intermediate results stay in the processor's cache
_BATCH = 4096


# The lowest frequencies of the orthonormal cosine transform of 16 values, shape (8, 16).
_WAVES = np.arange(_FREQUENCIES)[:, None]
_ANGLES = np.pi * (2 * np.arange(GRAY_SIDE) + 1) * _WAVES / (2 * GRAY_SIDE)
_COSINES = (np.cos(_ANGLES) * np.sqrt(np.where(_WAVES, 2, 1) / GRAY_SIDE)).astype(np.float32)

Places = NDArray[np.int64]
Pair = tuple[int, int, float]
"""Indexes of two similar images, and the correlation of their brightness (0-1)."""


@dataclass(frozen=True)
class Looks:
    """Appearance of n images."""

    hashes: NDArray[np.uint64]  # shape (n,)
    gray: NDArray[np.uint8]  # brightness, shape (n, 256)
    color: NDArray[np.uint8]  # both color differences, shape (n, 32); 128 is gray
    has_structure: NDArray[np.bool_]  # whether the image is more than an even gradient, shape (n,)

    @classmethod
    def of(cls, thumbnails: Sequence[bytes]) -> Looks:
        """Create from thumbnails, see `thumbnail_of`; empty thumbnails have no structure."""
        blank = bytes(THUMBNAIL_BYTES)
        table = np.frombuffer(b"".join(one or blank for one in thumbnails), np.uint8).reshape(-1, THUMBNAIL_BYTES)
        gray, color = np.split(table, [GRAY_SIDE**2], axis=1)
        batches = np.split(gray, range(_BATCH, len(gray), _BATCH))  # all at once would take four times the memory
        hashes = np.concatenate([hashes_of(one) for one in batches])
        has_structure = np.concatenate([_has_structure(one) for one in batches])
        return cls(hashes, gray, color, has_structure)


@dataclass(frozen=True)
class Similar:
    """Pairs of similar images; the image of the earlier part comes first."""

    pairs: tuple[Pair, ...] = ()
    is_complete: bool = True  # False if there are too many images, or more than `LIMIT` pairs


def hashes_of(gray: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Compute perceptual hashes (uint64, shape (n,)) of brightness of shape (n, 256).

    Each bit tells whether one of the 8 × 8 lowest frequencies of the discrete cosine transform, except the mean, is
    above their median (Zauner, Implementation and benchmarking of perceptual image hash functions, 2010).
    """
    square = gray.reshape(-1, GRAY_SIDE, GRAY_SIDE).astype(np.float32)
    spectrum = (_COSINES @ square @ _COSINES.T).reshape(-1, _FREQUENCIES**2)
    middle = (_FREQUENCIES**2 - 1) // 2
    median = np.partition(spectrum[:, 1:], middle, axis=1)[:, middle : middle + 1]  # np.median imports numpy.ma: 0.02 s
    bits = spectrum > median
    bits[:, 0] = False
    return np.packbits(bits, axis=1).view(np.uint64).reshape(-1)


def similar_pairs(
    looks: Looks, parts: Sequence[Places], within: Collection[int] = (), console: Console | None = None
) -> Similar:
    """Find pairs of similar images in different parts, and within the parts whose numbers are in `within`.

    Each part contains the indexes of its images in ascending order. Progress is shown if the search takes long.
    """
    structured = [part[looks.has_structure[part]] for part in parts]
    blocks = list(_blocks(structured, within))
    counts = list(accumulate((len(few) * len(many) for few, many in blocks), initial=0))
    if counts[-1] > MOST_COMPARISONS:
        return Similar(is_complete=False)
    is_shown, millions = counts[-1] >= SHOWN_COMPARISONS, counts[-1] // 10**6
    searched = map_ordered(partial(_similar_in, looks), blocks, 2 * workers())
    pairs: list[Pair] = []
    with (
        console.progress(millions, "comparing images", "million pairs") if console and is_shown else nullcontext()
    ) as bar:
        for done, found in zip(counts[1:], searched, strict=True):
            if bar:
                bar.update(done // 10**6)
            pairs += found
            if len(pairs) > LIMIT:
                return Similar(tuple(pairs[:LIMIT]), is_complete=False)
    return Similar(tuple(pairs))


def _has_structure(gray: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return whether brightness of shape (n, 256) has more than a uniform gradient."""
    ramp = np.linspace(-1.0, 1.0, GRAY_SIDE, dtype=np.float32)
    across, down = np.tile(ramp, GRAY_SIDE), np.repeat(ramp, GRAY_SIDE)
    plane = np.stack([np.ones_like(across), across, down])
    plane /= np.linalg.norm(plane, axis=1, keepdims=True)
    values = gray.astype(np.float32)
    rest = values - values @ plane.T @ plane
    return np.asarray((rest * rest).mean(axis=1) >= FLAT_LEVELS**2)


def _blocks(parts: Sequence[Places], within: Collection[int]) -> Iterator[tuple[Places, Places]]:
    """Yield small blocks of indexes, each with all indexes to compare it with."""
    for number, part in enumerate(parts):
        for start in range(0, len(part), _ROWS):
            few = part[start : start + _ROWS]
            if number in within:
                yield few, part[start:]
            for other in parts[number + 1 :]:
                yield few, other


def _similar_in(looks: Looks, block: tuple[Places, Places]) -> list[Pair]:
    """Return the similar pairs of a block, slightly more than `LIMIT` at most."""
    few, many = block
    is_itself = len(many) > 0 and few[0] == many[0]
    differences = np.empty((len(few), _COLUMNS), np.uint64)
    counts = np.empty((len(few), _COLUMNS), np.uint8)
    found: list[Pair] = []
    for start in range(0, len(many), _COLUMNS):
        some = many[start : start + _COLUMNS]
        # Into preallocated arrays: allocating would cost as much as the comparison.
        bits = np.bitwise_xor(looks.hashes[few][:, None], looks.hashes[some], out=differences[:, : len(some)])
        near = np.bitwise_count(bits, out=counts[:, : len(some)]) <= HASH_BITS
        # A division takes a tenth of the time of a two-dimensional nonzero.
        row, column = np.divmod(np.flatnonzero(near), len(some))
        left, right = few[row], some[column]
        if is_itself:  # each pair once, and no image with itself
            left, right = left[left < right], right[left < right]
        for begin in range(0, len(left), _BATCH):
            found += _confirm(looks, left[begin : begin + _BATCH], right[begin : begin + _BATCH])
            if len(found) > LIMIT:
                return found
    return found


def _confirm(looks: Looks, left: Places, right: Places) -> Iterator[Pair]:
    """Yield the pairs whose thumbnails are similar."""
    correlation = correlations(looks.gray[left], looks.gray[right])
    near = (correlation >= LEAST_CORRELATION) & _same_colors(looks.color[left], looks.color[right])
    return zip(left[near].tolist(), right[near].tolist(), correlation[near].tolist(), strict=True)


def correlations(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return row-wise correlations of two arrays of brightness (n, 256): float32, shape (n,)."""
    return np.asarray((_shapes(left) * _shapes(right)).sum(axis=1), dtype=np.float32)


def color_distances(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return row-wise root mean square distances of two arrays of colors (n, 32): float32, shape (n,)."""
    difference = left.astype(np.float32) - right
    return np.asarray(np.sqrt((difference * difference).mean(axis=1)), dtype=np.float32)


def _shapes(gray: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return zero-mean, unit-norm brightness vectors, so that dot products are correlations."""
    values = gray.astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1.0), dtype=np.float32)


def _same_colors(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return whether the colors are similar or one of the images is grayscale: bool, shape (n,)."""
    none = np.full((1, left.shape[1]), 128, np.uint8)
    without = (color_distances(left, none) <= GRAY_LEVELS) | (color_distances(right, none) <= GRAY_LEVELS)
    return np.asarray((color_distances(left, right) <= COLOR_LEVELS) | without)

"""Images that look alike: which of many thumbnails show one image, resized, recompressed, brightened or cropped.

In two steps. A 63-bit hash of each thumbnail, from its lowest frequencies, is compared with every other's: few bits
differ between copies, about half between different images. The few pairs that are left are compared by the thumbnails
themselves: brightness by its correlation, which neither more light nor more contrast changes, and colors by their
distance. What has no structure, such as a blank page or a clear sky, is like everything of its kind and is left out.

Measured by scripts/measure_near_duplicates.py on 4,000 photographs of cats and dogs: of the copies that were
recompressed, resized, stretched, brightened, darkened, blurred, deprived of color or cropped by 2 %, 99.9 to 100 % are
found; of those turned by 2 degrees 99 %, cropped by 5 % 96 %, by 10 % 23 %, mirrored none. Of 8 million pairs of
photographs two pass, both of them the same image. The time grows with the square of the number of images: 60,000
take seconds, and a million would take an hour, so that above a number of comparisons none is made.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from cnncli.images.thumbnail import GRAY_SIDE, THUMBNAIL_BYTES
from cnncli.runtime.threads import map_ordered, workers

HASH_BITS = 14
"""Most bits in which the hashes of two images that look alike differ."""
LEAST_CORRELATION = 0.92
"""Of the brightness of two images that look alike."""
COLOR_LEVELS = 20.0
"""Largest distance of their colors, root mean square, of 255. An image without colors may be a copy of any."""
GRAY_LEVELS = 2.0
"""An image whose colors are nearer to gray than this, root mean square, has none."""
FLAT_LEVELS = 4.0
"""What differs less than this from an even gradient, root mean square, has no structure to be known by."""
LIMIT = 100_000
"""The search ends with so many pairs: then it is in the nature of the images to look alike."""

MOST_COMPARISONS = 20_000_000_000
"""More are not made: 200,000 images with each other, a million with 20,000. Two processors take two minutes."""

_FREQUENCIES = 8
_ROWS, _COLUMNS = 64, 4096  # hashes compared in one go: what is written in between stays in the processor's cache
_BATCH = 4096

Places = NDArray[np.int64]
Pairs = tuple[Places, Places, NDArray[np.float32]]
_NONE: Pairs = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))


@dataclass(frozen=True)
class Looks:
    """What n images look like.

    Attributes:
        hashes: uint64, shape (n,).
        gray: brightness, uint8, shape (n, 256).
        color: both differences, uint8, shape (n, 32); 128 stands for none.
        telling: whether there is anything to know the image by, bool, shape (n,).
    """

    hashes: NDArray[np.uint64]
    gray: NDArray[np.uint8]
    color: NDArray[np.uint8]
    telling: NDArray[np.bool_]

    @classmethod
    def of(cls, thumbnails: Sequence[bytes]) -> Looks:
        """From what `thumbnail_of` gives; an empty one tells nothing."""
        blank = bytes(THUMBNAIL_BYTES)
        table = np.frombuffer(b"".join(one or blank for one in thumbnails), np.uint8).reshape(-1, THUMBNAIL_BYTES)
        gray, color = np.split(table, [GRAY_SIDE**2], axis=1)
        hashes = np.empty(len(table), np.uint64)
        telling = np.empty(len(table), np.bool_)
        for start in range(0, len(table), _BATCH):  # as floats, all of them would take four times the memory
            batch = slice(start, start + _BATCH)
            hashes[batch] = hashes_of(gray[batch])
            telling[batch] = _has_structure(gray[batch])
        return cls(hashes, gray, color, telling)


@dataclass(frozen=True)
class Found:
    """Pairs of images that look alike.

    Attributes:
        pairs: places of both, the lower part's first, and the correlation of their brightness (0-1).
        complete: False where the search ended early, with `LIMIT` pairs.
        too_many: how many images there were where that was too many to search, else 0.
    """

    pairs: tuple[tuple[int, int, float], ...] = ()
    complete: bool = True
    too_many: int = 0


def hashes_of(gray: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Perceptual hashes of brightnesses of shape (n, 256): uint64, shape (n,).

    A bit for each of the 8 × 8 lowest frequencies of the discrete cosine transform but the mean: whether it is above
    their median (Zauner, Implementation and benchmarking of perceptual image hash functions, 2010).
    """
    square = gray.reshape(-1, GRAY_SIDE, GRAY_SIDE).astype(np.float32)
    spectrum = (_COSINES @ square @ _COSINES.T).reshape(len(gray), -1)
    bits = spectrum > np.median(spectrum[:, 1:], axis=1, keepdims=True)
    bits[:, 0] = False
    return np.packbits(bits, axis=1).view(np.uint64).reshape(-1)


def near_pairs(
    looks: Looks,
    parts: Sequence[Places],
    within: Collection[int] = (),
    *,
    limit: int = LIMIT,
    most: int = MOST_COMPARISONS,
    progress: Callable[[int, int], None] | None = None,
) -> Found:
    """The pairs of images in different parts that look alike.

    Args:
        looks: of all images.
        parts: for each part the places of its images, ascending.
        within: numbers of the parts whose images are compared with each other, too.
        limit: the search ends with so many pairs.
        most: where it would take more comparisons, it does not begin.
        progress: is told how many comparisons of how many are done.
    """
    telling = [part[looks.telling[part]] for part in parts]
    blocks = list(_blocks(telling, within))
    counts = list(accumulate((len(few) * len(many) for few, many in blocks), initial=0))
    if counts[-1] > most:
        return Found(too_many=sum(map(len, telling)))
    pairs: list[tuple[int, int, float]] = []
    searched = map_ordered(partial(_near_in, looks, limit), blocks, 2 * workers())
    for done, (first, second, correlation) in zip(counts[1:], searched, strict=True):
        if progress:
            progress(done, counts[-1])
        pairs += zip(first.tolist(), second.tolist(), correlation.tolist(), strict=True)
        if len(pairs) > limit:
            return Found(tuple(pairs[:limit]), complete=False)
    return Found(tuple(pairs))


def _cosines() -> NDArray[np.float32]:
    """The lowest frequencies of the orthonormal cosine transform of 16 values, shape (8, 16)."""
    places, frequencies = np.arange(GRAY_SIDE), np.arange(_FREQUENCIES)[:, None]
    table = np.cos(np.pi * (2 * places + 1) * frequencies / (2 * GRAY_SIDE)) * np.sqrt(2 / GRAY_SIDE)
    table[0] /= np.sqrt(2)
    return np.asarray(table, dtype=np.float32)


_COSINES = _cosines()


def _has_structure(gray: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether there is more in brightnesses of shape (n, 256) than an even gradient."""
    ramp = np.linspace(-1.0, 1.0, GRAY_SIDE, dtype=np.float32)
    across, down = np.tile(ramp, GRAY_SIDE), np.repeat(ramp, GRAY_SIDE)
    plane = np.stack([np.ones_like(across), across, down])
    plane /= np.linalg.norm(plane, axis=1, keepdims=True)
    values = gray.astype(np.float32)
    rest = values - values @ plane.T @ plane
    return np.asarray((rest * rest).mean(axis=1) >= FLAT_LEVELS**2)


def _blocks(parts: Sequence[Places], within: Collection[int]) -> Iterator[tuple[Places, Places]]:
    """A few places and all those they are compared with; within a part, each block with itself and what follows."""
    for number, part in enumerate(parts):
        for start in range(0, len(part), _ROWS):
            few = part[start : start + _ROWS]
            if number in within:
                yield few, part[start:]
            for other in parts[number + 1 :]:
                yield few, other


def _near_in(looks: Looks, limit: int, block: tuple[Places, Places]) -> Pairs:
    """The pairs of a block that look alike; some more than `limit` at most."""
    few, many = block
    itself = len(many) > 0 and few[0] == many[0]
    differences = np.empty((len(few), _COLUMNS), np.uint64)
    counts = np.empty((len(few), _COLUMNS), np.uint8)
    found, count = [_NONE], 0
    for start in range(0, len(many), _COLUMNS):
        some = many[start : start + _COLUMNS]
        # Into arrays that are there already: a new one of this size would cost as much as the comparison.
        bits = np.bitwise_xor(looks.hashes[few][:, None], looks.hashes[some], out=differences[:, : len(some)])
        near = np.bitwise_count(bits, out=counts[:, : len(some)]) <= HASH_BITS
        row, column = np.divmod(np.flatnonzero(near), len(some))  # a tenth of the time of nonzero in two dimensions
        left, right = few[row], some[column]
        if itself:  # each pair once, and nothing with itself
            left, right = left[left < right], right[left < right]
        for begin in range(0, len(left), _BATCH):
            pairs = _confirmed(looks, left[begin : begin + _BATCH], right[begin : begin + _BATCH])
            found.append(pairs)
            count += len(pairs[0])
            if count > limit:
                return _joined(found)
    return _joined(found)


def _confirmed(looks: Looks, left: Places, right: Places) -> Pairs:
    """Those of the pairs whose thumbnails are alike."""
    correlation = correlations(looks.gray[left], looks.gray[right])
    near = (correlation >= LEAST_CORRELATION) & _same_colors(looks.color[left], looks.color[right])
    return left[near], right[near], correlation[near]


def _joined(found: Sequence[Pairs]) -> Pairs:
    first, second, correlation = (np.concatenate(column) for column in zip(*found, strict=True))
    return first, second, correlation


def correlations(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Of brightnesses (n, 256) with those of as many other images: float32, shape (n,)."""
    return np.asarray((_shapes(left) * _shapes(right)).sum(axis=1), dtype=np.float32)


def color_distances(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Of colors (n, 32) from those of as many other images, root mean square: float32, shape (n,)."""
    difference = left.astype(np.float32) - right
    return np.asarray(np.sqrt((difference * difference).mean(axis=1)), dtype=np.float32)


def _shapes(gray: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Brightnesses as vectors whose products are correlations."""
    values = gray.astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1.0), dtype=np.float32)


def _same_colors(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether colors are near to each other, or one of the images has none: bool, shape (n,)."""
    none = np.full((1, left.shape[1]), 128, np.uint8)
    without = (color_distances(left, none) <= GRAY_LEVELS) | (color_distances(right, none) <= GRAY_LEVELS)
    return np.asarray((color_distances(left, right) <= COLOR_LEVELS) | without)

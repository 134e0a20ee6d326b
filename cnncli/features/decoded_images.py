"""Decode the images of a manifest, whose files may have changed or disappeared since they were indexed."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cnncli.dataset.records import ImageRecord
from cnncli.engines.engine import Array
from cnncli.errors import DataError, ImageError, Message, printable, reason_of
from cnncli.images.decode import PixelSpec, decode
from cnncli.runtime.threads import batched, map_ordered, workers
from cnncli.shards.shard import MAX_IMAGE_BYTES, is_there, read_image
from cnncli.terminal.console import Console

ROWS = 64
"""Number of images that are computed together."""

Pixels = NDArray[np.uint8]
T = TypeVar("T")


def read_pixels(row: ImageRecord, spec: PixelSpec) -> Pixels:
    """Decode an image of a manifest if it is unchanged.

    Raises:
        ImageError: The image cannot be read, or its digest is not that of the manifest.
    """
    changed = Message("image-changed", "changed since it was indexed. Run the command again.")
    try:
        data = read_image(row.path, min(row.facts.size_bytes, MAX_IMAGE_BYTES))
    except FileNotFoundError as error:
        raise ImageError(row.path, Message("image-not-found", error.strerror or "not found")) from error
    except OSError as error:
        reason = Message("image-unreadable", reason_of(error))
        raise ImageError(row.path, changed if error.errno == errno.EFBIG else reason) from error
    if hashlib.sha256(data).hexdigest() != row.digest:
        raise ImageError(row.path, changed)
    return decode(data, spec, name=row.file)


def read_all(rows: Sequence[ImageRecord], spec: PixelSpec) -> tuple[list[tuple[ImageRecord, Pixels]], list[ImageError]]:
    """Decode images; return the usable ones with their pixels, and the errors of the others."""
    pixels: list[tuple[ImageRecord, Pixels]] = []
    errors: list[ImageError] = []
    for row in rows:
        try:
            pixels.append((row, read_pixels(row, spec)))
        except ImageError as error:
            errors.append(error)
    return pixels, errors


def map_decoded(
    function: Callable[[Sequence[ImageRecord], Pixels], T],
    rows: Sequence[ImageRecord],
    spec: PixelSpec,
    console: Console,
    title: str,
) -> list[T]:
    """Return the results of a function for batches of images, which are decoded and processed in threads.

    Args:
        function: Takes the images of a batch, and their pixels, uint8, shape (n, height, width, channels).
        rows: All images.
        spec: Settings for decoding them.
        console: Console for progress.
        title: Title of the progress bar.

    Raises:
        DataError: All images that cannot be decoded or have changed since they were indexed.
    """

    def run(batch: list[ImageRecord]) -> tuple[int, list[T], list[ImageError]]:
        decoded, errors = read_all(batch, spec)
        if errors:
            return len(batch), [], errors
        return len(batch), [function(batch, np.stack([pixels for _, pixels in decoded]))], []

    results: list[T] = []
    errors: list[ImageError] = []
    with console.progress(len(rows), title, "images") as progress:
        for n, found, failed in map_ordered(run, batched(rows, ROWS), ahead=2 * workers()):
            results += found
            errors += failed
            progress.advance(n)
    if errors:
        raise DataError(summarize(errors, rows))
    return results


@dataclass(frozen=True)
class DecodedImages:
    """Images that are decoded on demand, because their pixels do not fit into the cache."""

    images: Sequence[ImageRecord]
    spec: PixelSpec

    def rows(self, indexes: NDArray[np.int64]) -> list[Array]:
        """Return the pixels of the images at some positions as one array, uint8, shape (n, height, width, channels).

        Raises:
            DataError: All images that can no longer be decoded.
        """
        decoded, errors = read_all([self.images[index] for index in indexes], self.spec)
        if errors:
            raise DataError(summarize(errors, self.images))
        return [np.stack([pixels for _, pixels in decoded])]


def summarize(errors: Sequence[ImageError], rows: Sequence[ImageRecord]) -> list[Message]:
    """Return one message per image, or a single message if all images of a folder are missing."""
    if len(errors) > 1 and not any(is_there(row.path) for row in rows):
        text = f"{printable(rows[0].path)} and {len(errors) - 1:,} other images that are needed do not exist."
        facts = {"path": rows[0].path, "received": len(errors)}
        return [Message("image-all-missing", f"{text} Was the folder moved?", **facts)]
    return [error.problems[0] for error in errors]

"""Verification: hash every byte and decode every pixel of a file once, before it is used.

A first run therefore decodes each image twice, so that all errors are reported before training. Later runs use the
facts stored by `dataset/stat_index.py`.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import ImageFile

from cnncli.errors import ImageError, Message
from cnncli.images.exif_orientation import UPRIGHT, orientation_of
from cnncli.images.formats import TransientImageError, image_problem, open_image, regular_file, require_acceptable_size
from cnncli.images.limits import BinaryFile, too_large
from cnncli.images.readers import load_scaled
from cnncli.images.thumbnail import LEAST_PX, thumbnail_of


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Facts about a file.

    Attributes:
        digest: SHA-256 of its bytes, hexadecimal; empty if they could not be read.
        size_bytes: Size of the file.
        width, height: Pixels after EXIF orientation; 0 if the image is refused.
        format: JPEG, PNG, BMP, GIF, WEBP, TIFF or NPY; empty if refused.
        mode: Pillow's color mode of the file, or number and type of its bands; empty if refused.
        problem: Reason for refusing the image, or None.
        is_transient: Whether the problem can disappear without a change of the file, so that it must not be stored.
        thumbnail: See `thumbnail_of`; empty if refused.
        peak: Largest value of a 16-bit grayscale image, 0-65535; 0 for all others.
    """

    digest: str
    size_bytes: int
    width: int = 0
    height: int = 0
    format: str = ""
    mode: str = ""
    problem: Message | None = None
    is_transient: bool = False
    thumbnail: bytes = field(default=b"", repr=False)
    peak: int = 0

    def within(self, max_pixels: int) -> ImageFacts:
        """Return the facts for a limit that was not known when they were collected."""
        problem = None if self.problem else too_large(max_pixels, self.size_bytes, (self.width, self.height))
        return replace(self, problem=problem, is_transient=True) if problem else self


def verify(source: Path | bytes, max_pixels: int, bands: int | None = None) -> ImageFacts:
    """Read, hash and fully decode a file or its content. Does not raise for an unusable image.

    If `bands` is given, files are read as images with this number of bands; see `images.bands`.
    """
    facts = ImageFacts("", 0)
    opened = io.BytesIO(source) if isinstance(source, bytes) else regular_file(source)
    try:
        with opened as file:
            size_bytes = require_acceptable_size(file, "", max_pixels)  # before the whole file is read
            facts = ImageFacts(hashlib.file_digest(file, "sha256").hexdigest(), size_bytes)
            if bands is not None:
                return _facts_of_bands(file, facts, bands, max_pixels)
            with open_image(file, "", max_pixels) as image:
                return _facts_of(image, facts)
    except (ImageError, OSError) as error:
        is_transient = isinstance(error, TransientImageError | OSError)
        return replace(facts, problem=image_problem(error), is_transient=is_transient)


def _facts_of_bands(file: BinaryFile, facts: ImageFacts, bands: int, max_pixels: int) -> ImageFacts:
    from cnncli.images.bands import preview_image, read_bands

    kind, values = read_bands(file, "", bands, max_pixels)
    height, width, _ = values.shape
    image = preview_image(values)
    thumbnail = thumbnail_of(image, image.size, UPRIGHT)
    return replace(
        facts, width=width, height=height, format=kind, mode=f"{bands} × {values.dtype}", thumbnail=thumbnail
    )


def _facts_of(image: ImageFile.ImageFile, facts: ImageFacts) -> ImageFacts:
    mode, size = image.mode, image.size
    # A JPEG is scaled by up to 1/8: every bit is still read, and damage is found, in half the time.
    used = load_scaled(image, (LEAST_PX, LEAST_PX))
    size = size if image.format == "JPEG" else image.size
    orientation = orientation_of(image)
    width, height = size[::-1] if orientation.swaps_axes else size
    thumbnail = thumbnail_of(image, used, orientation)
    peak = int(np.asarray(image).max()) if image.mode.startswith("I;16") else 0
    kind = image.format or ""
    return replace(facts, width=width, height=height, format=kind, mode=mode, thumbnail=thumbnail, peak=peak)

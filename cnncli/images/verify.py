"""Verification: every byte of a file is hashed and every pixel decoded once, before anything relies on it.

A first run therefore decodes each image twice, here and for its features. That is deliberate: all errors are reported
before training starts, and what is found is remembered (`dataset/stat_index.py`), so later runs do not verify again.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from cnncli.errors import ImageError, Message
from cnncli.images.exif_orientation import orientation_of
from cnncli.images.formats import (
    TransientImageError,
    open_image,
    reason_of,
    regular_file,
    require_acceptable_size,
    too_large,
)
from cnncli.images.limits import BinaryFile, too_many_bytes
from cnncli.images.thumbnail import LEAST_PX, thumbnail_of


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Facts about one file.

    Attributes:
        digest: SHA-256 of its bytes, hexadecimal; empty if they could not be read.
        size_bytes: size of the file.
        width, height: pixels after EXIF orientation; 0 if the image is refused.
        format: JPEG, PNG, BMP, GIF, WEBP or TIFF; empty if refused.
        mode: Pillow's color mode of the file; empty if refused.
        problem: why the image is refused, or None.
        is_transient: the problem may disappear without a change of the file, so it must not be remembered.
        thumbnail: appearance, see `thumbnail_of`; empty if refused.
        peak: largest value of a 16-bit grayscale image, 0-65535; 0 for all others.
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
        """Return the facts under a limit that was not known when they were found."""
        if self.problem is not None:
            return self
        problem = too_many_bytes(self.size_bytes, max_pixels)
        if self.width * self.height > max_pixels:
            problem = too_large(self.width, self.height, max_pixels)
        return replace(self, problem=problem, is_transient=True) if problem else self


def verify(path: Path, max_pixels: int) -> ImageFacts:
    """Read, hash and fully decode a file; does not raise for a bad file."""
    try:
        with regular_file(path) as file:
            return _verify(file, path, max_pixels)
    except ImageError as error:
        return ImageFacts("", 0, problem=reason_of(error), is_transient=isinstance(error, TransientImageError))


def verify_bytes(data: bytes, name: str, max_pixels: int) -> ImageFacts:
    """Verify the content of a file, as `verify` does."""
    return _verify(io.BytesIO(data), name, max_pixels)


def digest_of(file: BinaryFile) -> str:
    """Return the SHA-256 of an open file from its position to its end, hexadecimal."""
    return hashlib.file_digest(file, "sha256").hexdigest()


def _verify(file: BinaryFile, name: str | Path, max_pixels: int) -> ImageFacts:
    digest, size_bytes = "", 0
    try:
        size = require_acceptable_size(file, name, max_pixels)  # before the whole file is read
        digest, size_bytes = digest_of(file), size
        file.seek(0)
        with open_image(file, name, max_pixels) as image:
            return _facts_of(image, digest, size_bytes)
    except ImageError as error:
        is_transient = isinstance(error, TransientImageError)
        return ImageFacts(digest, size_bytes, problem=reason_of(error), is_transient=is_transient)
    except OSError as error:
        return ImageFacts("", 0, problem=reason_of(error), is_transient=True)


def _facts_of(image: ImageFile.ImageFile, digest: str, size_bytes: int) -> ImageFacts:
    size, mode = image.size, image.mode
    drafted = None
    if isinstance(image, JpegImageFile):
        # Scaled by up to 1/8 while decoding: every bit is still read, and damage is found, in half the time.
        drafted = image.draft(None, (LEAST_PX, LEAST_PX))
    image.load()
    orientation = orientation_of(image)
    width, height = orientation.size(size if drafted else image.size)
    thumbnail = thumbnail_of(image, drafted[1][2:] if drafted else image.size, orientation)
    peak = int(np.asarray(image).max()) if image.mode.startswith("I;16") else 0
    return ImageFacts(digest, size_bytes, width, height, image.format or "", mode, thumbnail=thumbnail, peak=peak)

"""What a file turns out to be: every byte is hashed and every pixel decoded once, before anything relies on it."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from cnncli.errors import ImageError
from cnncli.images.exif_orientation import orientation_of
from cnncli.images.formats import PassingImageError, opened, regular_file, require_moderate, too_large
from cnncli.images.limits import BinaryFile, too_many_bytes
from cnncli.images.thumbnail import LEAST_PX, thumbnail_of


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known about one file.

    Attributes:
        digest: SHA-256 of its bytes, hexadecimal; empty where they could not be read.
        size_bytes: their number.
        width, height: pixels, as seen after EXIF orientation; 0 where the image is refused.
        format: JPEG, PNG, BMP, GIF, WEBP or TIFF; empty where refused.
        mode: Pillow's name of the color mode in the file; empty where refused.
        problem: why it is refused, or None.
        may_pass: the problem may vanish without a change of the file, so it is not to be remembered.
        thumbnail: what it looks like, see `thumbnail_of`; empty where refused.
    """

    digest: str
    size_bytes: int
    width: int = 0
    height: int = 0
    format: str = ""
    mode: str = ""
    problem: str | None = None
    may_pass: bool = False
    thumbnail: bytes = field(default=b"", repr=False)

    def within(self, max_pixels: int) -> ImageFacts:
        """The same facts under a limit that was not yet known when they were found."""
        if self.problem is not None:
            return self
        problem = too_many_bytes(self.size_bytes, max_pixels)
        if self.width * self.height > max_pixels:
            problem = too_large(self.width, self.height, max_pixels)
        return replace(self, problem=problem, may_pass=True) if problem else self


def verify(path: Path, max_pixels: int) -> ImageFacts:
    """Read, hash and fully decode a file; never raises for what is wrong with it."""
    try:
        with regular_file(path) as file:
            return _verified(file, path, max_pixels)
    except ImageError as error:
        return ImageFacts("", 0, problem=error.reason, may_pass=isinstance(error, PassingImageError))


def verify_bytes(data: bytes, name: str, max_pixels: int) -> ImageFacts:
    """The same for a file's bytes."""
    return _verified(io.BytesIO(data), name, max_pixels)


def digest_of(file: BinaryFile) -> str:
    """SHA-256 of an open file from where it stands to its end, hexadecimal."""
    return hashlib.file_digest(file, "sha256").hexdigest()


def _verified(file: BinaryFile, name: str | Path, max_pixels: int) -> ImageFacts:
    try:
        size_bytes = require_moderate(file, name, max_pixels)  # before all of it is read
        digest = digest_of(file)
        file.seek(0)
    except ImageError as error:
        return ImageFacts("", 0, problem=error.reason, may_pass=True)
    except OSError as error:
        return ImageFacts("", 0, problem=f"cannot be read ({error.strerror})", may_pass=True)
    try:
        with opened(file, name, max_pixels) as image:
            return _facts_of(image, digest, size_bytes)
    except ImageError as error:
        may_pass = isinstance(error, PassingImageError)
        return ImageFacts(digest, size_bytes, problem=error.reason, may_pass=may_pass)


def _facts_of(image: ImageFile.ImageFile, digest: str, size_bytes: int) -> ImageFacts:
    size, mode = image.size, image.mode
    drafted = None
    if isinstance(image, JpegImageFile):
        # In down to one eighth every bit of the file is still read, and damage found alike, for half the time.
        drafted = image.draft(None, (LEAST_PX, LEAST_PX))
    image.load()
    orientation = orientation_of(image)
    width, height = orientation.size(size if drafted else image.size)
    thumbnail = thumbnail_of(image, drafted[1][2:] if drafted else image.size, orientation)
    return ImageFacts(digest, size_bytes, width, height, image.format or "", mode, thumbnail=thumbnail)

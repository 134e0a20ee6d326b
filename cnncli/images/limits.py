"""Limits that refuse a file by its header if decoding would take far more time or memory than an image should."""

from __future__ import annotations

import io
from functools import partial
from typing import Self

from PIL import ImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, ROWSPERSTRIP, SAMPLESPERPIXEL, TILELENGTH, TILEWIDTH, TiffImageFile

from cnncli.errors import Message

BinaryFile = io.BufferedReader | io.BytesIO

MAX_PIXELS = 178_000_000
"""Pillow's limit against decompression bombs, and the default of `data.max_pixels`."""

LARGE_PIXELS = 20_000_000
"""Images of more pixels are decoded one at a time, so that panoramas in several threads do not fill the memory."""

SCANNED_PIXELS = 5_000_000_000
"""Maximum of pixels × scans of a progressive JPEG. Every scan visits the whole image but may take only four bytes of
the file; ten scans are usual."""

COPIED_PIXELS = 80_000_000
"""Maximum number of pixels in formats whose decoders hold several copies of an image; others hold one or two."""
_COPIED = ("WEBP", "AVIF", "HEIF", "JPEG2000")

LONGEST_SIDE_PX = 10_000_000
"""Maximum width and height: Pillow keeps eight additional bytes for each row of each copy of an image."""

PART_BYTES = 1_100_000_000
"""Maximum size of a strip or tile of a TIFF: the largest image with 16 bits and three channels, in one strip."""

BLOCK_BYTES = 1 << 20
"""Block size for reading a file outside of a decoder."""

_START_OF_SCAN = b"\xff\xda"
_BYTES_PER_PIXEL = 8  # 16 bits in four channels, uncompressed
_OTHER_BYTES = 128_000_000  # metadata, thumbnails, all frames but the first


class PixelLimit(int):
    """A maximum number of pixels that messages attribute to another setting than `data.max_pixels`."""

    setting: str

    def __new__(cls, pixels: int, setting: str) -> Self:
        """Return the limit of a setting or option."""
        limit = super().__new__(cls, pixels)
        limit.setting = setting
        return limit


def most_bytes(max_pixels: int) -> int:
    """Return the maximum file size, in bytes, of an image of `max_pixels`."""
    return _BYTES_PER_PIXEL * max_pixels + _OTHER_BYTES


def too_large(max_pixels: int, size_bytes: int = 0, size: tuple[int, int] = (0, 0)) -> Message | None:
    """Return the reason for refusing a file by its size in bytes, or an image by its (width, height), or None."""
    width, height = size
    setting = max_pixels.setting if isinstance(max_pixels, PixelLimit) else "data.max_pixels"
    if size_bytes > (most := most_bytes(max_pixels)):
        text = f"has {size_bytes:,} bytes, more than an image of {setting} = {max_pixels:,} needs"
        return Message("image-too-many-bytes", text, received=size_bytes, expected=most)
    if (pixels := width * height) > max_pixels:
        text = f"has {width} × {height} = {pixels:,} pixels, more than {setting} = {max_pixels:,}"
        return Message("image-too-many-pixels", text, received=pixels, expected=max_pixels)
    return None


def too_costly(image: ImageFile.ImageFile, file: BinaryFile) -> Message | None:
    """Return the reason for refusing an image, whose header has been read, if decoding would take too long, or None."""
    pixels, size_bytes = image.width * image.height, file.seek(0, io.SEEK_END)
    is_run_length = bool(image.tile) and image.tile[0][0] == "bmp_rle"
    costs = (
        (max(image.size), LONGEST_SIDE_PX, "pixels on one side"),
        (pixels if image.format in _COPIED else 0, COPIED_PIXELS, f"pixels as {image.format}"),
        (max(pixels, size_bytes) if is_run_length else 0, LARGE_PIXELS, "pixels or bytes as a run-length encoded BMP"),
        (pixels * _scans(file) if image.info.get("progressive") else 0, SCANNED_PIXELS, "pixels in all scans"),
        (_part_bytes(image) if isinstance(image, TiffImageFile) else 0, PART_BYTES, "bytes in each strip or tile"),
    )
    for cost, limit, unit in costs:
        if cost > limit:
            text = f"has {cost:,} {unit}, more than the {limit:,} that can be decoded; save it in another form"
            return Message("image-too-costly", text, received=cost, expected=limit)
    return None


MOST_EXPANDED = 64
"""Maximum number of bytes to which a byte of PackBits expands: two can stand for 128."""


def unpacked_bytes(packed: bytes, limit: int) -> int:
    """Return the size of data that is run-length encoded by PackBits, counted to a little above the limit.

    Only the lengths of the runs are read.
    """
    at, size, end = 0, 0, len(packed) - 1
    while at < end and size <= limit:
        count = packed[at]
        size += count + 1 if count < 128 else 257 - count if count > 128 else 0
        at += count + 2 if count < 128 else 2 if count > 128 else 1
    return size


def _part_bytes(image: TiffImageFile) -> int:
    """Return the size of a strip or tile in bytes; libtiff buffers one, which can be larger than the image."""
    tags = image.tag_v2
    pixels = image.width * min(tags.get(ROWSPERSTRIP, image.height), image.height)
    if TILEWIDTH in tags:
        pixels = tags[TILEWIDTH] * tags[TILELENGTH]
    bits = tags.get(BITSPERSAMPLE, (1,))
    return int(pixels * (sum(bits) if len(bits) > 1 else bits[0] * tags.get(SAMPLESPERPIXEL, 1)) // 8)


def _scans(file: BinaryFile) -> int:
    """Count the scans of a JPEG, including those of its thumbnail; the marker cannot occur in encoded pixels."""
    file.seek(0)
    return sum(block.count(_START_OF_SCAN) for block in iter(partial(file.read, BLOCK_BYTES), b""))

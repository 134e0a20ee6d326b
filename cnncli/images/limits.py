"""Files that would cost a decoder far more time or memory than their images are worth, told from their headers."""

from __future__ import annotations

import io
from functools import partial

from PIL import ImageFile, ImageOps, TiffTags
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    ROWSPERSTRIP,
    SAMPLESPERPIXEL,
    TILELENGTH,
    TILEWIDTH,
    TiffImageFile,
)

BinaryFile = io.BufferedReader | io.BytesIO

LARGE_PIXELS = 20_000_000
"""Larger images are decoded one at a time, so that a few panoramas in several threads do not fill the memory."""

SCANNED_PIXELS = 5_000_000_000
"""Most pixels times scans of a progressive JPEG. Every scan goes over the whole image and may take four bytes of the
file; ten scans of the largest image are usual."""

WEBP_PIXELS = 80_000_000
"""Most pixels of a WebP: its decoder holds five copies of an image, where others hold one or two."""

LONGEST_SIDE_PX = 10_000_000
"""Most pixels of a side: Pillow keeps eight bytes more for each row of each copy of an image."""

_START_OF_SCAN = b"\xff\xda"
BLOCK_BYTES = 1 << 20
"""So much of a file is read at a time where it is not read by a decoder."""

SMALL_READS = 5_000_000
"""So many small parts of a file may be read."""

HEADER_READS = {"PNG": 4_000}
"""So many before an image is found, where they are fewer: a thousand bytes of a chunk may unfold to a million."""

_BYTES_PER_PIXEL = 8  # sixteen bits in four channels, not compressed
_BYTES_BESIDE_PIXELS = 128_000_000  # metadata, thumbnails, all frames but the first
_SMALL_BYTES = 20  # the longest entry of a table that a header may have
_LIST_BYTES = 800_000
_BYTES = (TiffTags.BYTE, TiffTags.ASCII, TiffTags.UNDEFINED)
_PART_BYTES = 1_100_000_000  # an image of the largest in sixteen bits and three channels, in one strip
_BEHIND_ANY_END = 1 << 40


def too_many_bytes(size_bytes: int, max_pixels: int) -> str | None:
    """The reason for refusing a file that is longer than any image within the limit, or None.

    A file without end, or one of a terabyte that holds nothing, would be read to its end before anything was known.
    """
    if size_bytes <= most_bytes(max_pixels):
        return None
    return f"has {size_bytes:,} bytes, more than an image within data.max_pixels = {max_pixels:,} needs"


def most_bytes(max_pixels: int) -> int:
    """Bytes of the longest file that may hold an image of so many pixels."""
    return _BYTES_PER_PIXEL * max_pixels + _BYTES_BESIDE_PIXELS


def too_costly(image: ImageFile.ImageFile, file: BinaryFile) -> str | None:
    """The reason for refusing an image whose header is read and whose decoding would take too long, or None."""
    pixels = image.width * image.height
    if max(image.size) > LONGEST_SIDE_PX:
        return f"is {max(image.size):,} pixels long on one side, and images are taken up to {LONGEST_SIDE_PX:,}"
    if image.format == "WEBP" and pixels > WEBP_PIXELS:
        return f"has {pixels:,} pixels, and WebP is taken up to {WEBP_PIXELS:,}; save it in another format"
    if image.tile and image.tile[0][0] == "bmp_rle" and max(pixels, _length(file)) > LARGE_PIXELS:
        return f"is a run-length coded bitmap of more than {LARGE_PIXELS:,} pixels or bytes; save it in another form"
    if image.info.get("progressive") and (scans := _scans(file)) * pixels > SCANNED_PIXELS:
        return f"has {scans:,} scans of {pixels:,} pixels, as no camera or program writes them"
    if isinstance(image, TiffImageFile) and (unfolded := _part_bytes(image)) > _PART_BYTES:
        return f"has strips or tiles that unfold to {unfolded:,} bytes each; save it with smaller ones"
    return None


def _part_bytes(image: TiffImageFile) -> int:
    """Bytes that libtiff holds of a TIFF beside the image: of a strip, or of a tile, which may be larger than it."""
    tags = image.tag_v2
    pixels = image.width * min(tags.get(ROWSPERSTRIP, image.height), image.height)
    if TILEWIDTH in tags:
        pixels = tags[TILEWIDTH] * tags[TILELENGTH]
    bits = tags.get(BITSPERSAMPLE, (1,))
    return int(pixels * (sum(bits) if len(bits) > 1 else bits[0] * tags.get(SAMPLESPERPIXEL, 1)) // 8)


def _length(file: BinaryFile) -> int:
    return file.seek(0, io.SEEK_END)


def _scans(file: BinaryFile) -> int:
    """Scans of a JPEG, those of its thumbnail too: in coded pixels the marker does not occur."""
    file.seek(0)
    return sum(block.count(_START_OF_SCAN) for block in iter(partial(file.read, BLOCK_BYTES), b""))


class PlainJpegFile(JpegImageFile):
    """A JPEG that is not asked how large it would be on paper, for which Pillow reads all EXIF data."""

    def _read_dpi_from_exif(self) -> None:
        pass


class BoundedTiffFile(TiffImageFile):
    """A TIFF whose tags list so many numbers at most: Pillow makes an object of each, five where it is a place."""

    def _setup(self) -> None:
        tags = self.tag_v2
        if any(len(data) > _LIST_BYTES and tags.tagtype[tag] not in _BYTES for tag, data in tags._tagdata.items()):
            raise SyntaxError(f"one of its tags lists more than {_LIST_BYTES:,} bytes of numbers")
        super()._setup()
        if not self.use_load_libtiff:  # which misses what is missing by itself
            self._require_all_parts()

    def _require_all_parts(self) -> None:
        """Pillow leaves black what no strip or tile holds."""
        boxes = {tile.extents for tile in self.tile if tile.extents}
        held = sum((right - left) * (bottom - top) for left, top, right, bottom in boxes)
        if held < self.width * self.height:
            raise SyntaxError(f"its strips or tiles hold {held:,} of {self.width * self.height:,} pixels")

    def load_end(self) -> None:
        """Turn it upright. Pillow would also read all that a camera wrote, and make an object of every number."""
        ImageOps.exif_transpose(self, in_place=True)


class ImpatientFile:
    """A file that may be read in so many small pieces and not in more.

    Pillow looks for the parts of an image one by one, and skips what is none byte by byte: a gigabyte of rubbish would
    keep it for minutes.
    """

    def __init__(self, file: BinaryFile, format_name: str) -> None:
        """That file, whose header is read next."""
        self._file = file
        self._left = HEADER_READS.get(format_name, SMALL_READS)

    def header_is_read(self) -> None:
        """Be as patient with the pixels as with any file."""
        self._left = SMALL_READS

    def read(self, size: int | None = -1) -> bytes:
        """As the file reads; SyntaxError, as Pillow's readers raise it, where that was asked for too often."""
        if size is not None and 0 <= size <= _SMALL_BYTES:
            self._left -= 1
            if self._left < 0:
                raise SyntaxError("too many small parts")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As a file seeks, be it on disk or in memory: these two differ in what they say of places that cannot be."""
        if whence == io.SEEK_SET and offset < 0:
            raise SyntaxError("a part of it lies before its beginning")
        return self._file.seek(min(offset, _BEHIND_ANY_END), whence)

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

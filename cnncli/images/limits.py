"""Limits: a file whose decoding would take far more time or memory than an image should is refused by its header."""

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

from cnncli.errors import Message

BinaryFile = io.BufferedReader | io.BytesIO

LARGE_PIXELS = 20_000_000
"""Images of more pixels are decoded one at a time, so that panoramas in several threads do not fill the memory."""

SCANNED_PIXELS = 5_000_000_000
"""Maximum of pixels × scans of a progressive JPEG. Every scan visits the whole image but may take only four bytes of
the file; ten scans are usual."""

WEBP_PIXELS = 80_000_000
"""Maximum number of pixels of a WebP, whose decoder holds five copies of an image; other decoders hold one or two."""

LONGEST_SIDE_PX = 10_000_000
"""Maximum width and height: Pillow keeps eight additional bytes for each row of each copy of an image."""

_START_OF_SCAN = b"\xff\xda"
BLOCK_BYTES = 1 << 20
"""Block size for reading a file outside of a decoder."""

SMALL_READS = 5_000_000
"""Maximum number of small reads from a file."""

HEADER_READS = {"PNG": 4_000}
"""Maximum number of small reads of the header, if lower: 1,000 bytes of a PNG chunk may expand to a million."""

_BYTES_PER_PIXEL = 8  # 16 bits in four channels, uncompressed
_OTHER_BYTES = 128_000_000  # metadata, thumbnails, all frames but the first
_SMALL_BYTES = 20  # the longest entry of a table in a header
_LIST_BYTES = 800_000
_BYTES = (TiffTags.BYTE, TiffTags.ASCII, TiffTags.UNDEFINED)
_PART_BYTES = 1_100_000_000  # the largest image with 16 bits and three channels, in one strip
_PAST_ANY_END = 1 << 40


def too_many_bytes(size_bytes: int, max_pixels: int) -> Message | None:
    """Return the reason for refusing a file that is larger than any image within the limit, or None.

    Otherwise an endless file, or a sparse one of a terabyte, would be hashed to its end.
    """
    if size_bytes <= most_bytes(max_pixels):
        return None
    return Message(
        "image-too-many-bytes",
        f"has {size_bytes:,} bytes, more than an image of data.max_pixels = {max_pixels:,} needs",
        received=size_bytes,
        expected=most_bytes(max_pixels),
    )


def most_bytes(max_pixels: int) -> int:
    """Return the maximum file size, in bytes, of an image of `max_pixels`."""
    return _BYTES_PER_PIXEL * max_pixels + _OTHER_BYTES


def too_costly(image: ImageFile.ImageFile, file: BinaryFile) -> Message | None:
    """Return the reason for refusing an image whose decoding would take too long, or None. Its header has been read."""
    reason = _cost_of(image, file)
    return Message("image-too-costly", reason) if reason else None


def _cost_of(image: ImageFile.ImageFile, file: BinaryFile) -> str | None:
    pixels = image.width * image.height
    if max(image.size) > LONGEST_SIDE_PX:
        return f"is {max(image.size):,} pixels long on one side; the maximum is {LONGEST_SIDE_PX:,}"
    if image.format == "WEBP" and pixels > WEBP_PIXELS:
        return f"has {pixels:,} pixels; the maximum for WebP is {WEBP_PIXELS:,}. Save it in another format"
    if image.tile and image.tile[0][0] == "bmp_rle" and max(pixels, _length(file)) > LARGE_PIXELS:
        return f"is a run-length encoded BMP of more than {LARGE_PIXELS:,} pixels or bytes; save it in another format"
    if image.info.get("progressive") and (scans := _scans(file)) * pixels > SCANNED_PIXELS:
        return f"has {scans:,} scans of {pixels:,} pixels, which no camera or program writes"
    if isinstance(image, TiffImageFile) and (expanded := _part_bytes(image)) > _PART_BYTES:
        return f"has strips or tiles that expand to {expanded:,} bytes each; save it with smaller ones"
    return None


def _part_bytes(image: TiffImageFile) -> int:
    """Return the bytes that libtiff holds in addition to the image: those of a strip or tile, which may be larger."""
    tags = image.tag_v2
    pixels = image.width * min(tags.get(ROWSPERSTRIP, image.height), image.height)
    if TILEWIDTH in tags:
        pixels = tags[TILEWIDTH] * tags[TILELENGTH]
    bits = tags.get(BITSPERSAMPLE, (1,))
    return int(pixels * (sum(bits) if len(bits) > 1 else bits[0] * tags.get(SAMPLESPERPIXEL, 1)) // 8)


def _length(file: BinaryFile) -> int:
    return file.seek(0, io.SEEK_END)


def _scans(file: BinaryFile) -> int:
    """Count the scans of a JPEG, including its thumbnail's; the marker cannot occur in encoded pixels."""
    file.seek(0)
    return sum(block.count(_START_OF_SCAN) for block in iter(partial(file.read, BLOCK_BYTES), b""))


class PlainJpegFile(JpegImageFile):
    """JPEG reader that does not look up the print resolution, for which Pillow parses all EXIF data."""

    def _read_dpi_from_exif(self) -> None:
        pass


class BoundedTiffFile(TiffImageFile):
    """TIFF reader that limits the values per tag: Pillow allocates a Python object for each, five for a rational."""

    def _setup(self) -> None:
        tags = self.tag_v2
        if any(len(data) > _LIST_BYTES and tags.tagtype[tag] not in _BYTES for tag, data in tags._tagdata.items()):
            raise SyntaxError(f"a tag lists more than {_LIST_BYTES:,} bytes of numbers")
        super()._setup()
        if not self.use_load_libtiff:  # libtiff detects missing parts
            self._require_all_parts()

    def _require_all_parts(self) -> None:
        """Refuse an image with missing strips or tiles, which Pillow would leave black."""
        boxes = {tile.extents for tile in self.tile if tile.extents}
        held = sum((right - left) * (bottom - top) for left, top, right, bottom in boxes)
        if held < self.width * self.height:
            raise SyntaxError(f"strips or tiles hold {held:,} of {self.width * self.height:,} pixels")

    def load_end(self) -> None:
        """Apply the EXIF orientation. Pillow would also parse all other EXIF data, with an object for every number."""
        ImageOps.exif_transpose(self, in_place=True)


class LimitedReads:
    """File that allows a limited number of small reads.

    Pillow looks for the parts of an image one by one, and skips anything else byte by byte: a gigabyte of garbage would
    take minutes.
    """

    def __init__(self, file: BinaryFile, format_name: str) -> None:
        """Wrap a file whose header is read next."""
        self._file = file
        self._left = HEADER_READS.get(format_name, SMALL_READS)

    def end_header(self) -> None:
        """Switch from the limit for the header to the limit for the pixels."""
        self._left = SMALL_READS

    def read(self, size: int | None = -1) -> bytes:
        """Read from the file; raises SyntaxError, as Pillow's readers do, after too many small reads."""
        if size is not None and 0 <= size <= _SMALL_BYTES:
            self._left -= 1
            if self._left < 0:
                raise SyntaxError("too many small parts")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Seek with the same result on disk and in memory, which treat impossible positions differently."""
        if whence == io.SEEK_SET and offset < 0:
            raise SyntaxError("a part lies before the beginning of the file")
        return self._file.seek(min(offset, _PAST_ANY_END), whence)

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

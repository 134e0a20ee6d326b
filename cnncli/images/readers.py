"""Pillow's readers of the formats, with additional checks and limits."""

from __future__ import annotations

import ctypes
import functools
import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image, ImageFile, ImageOps, TiffTags
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from cnncli.images.dicom import DicomImageFile
from cnncli.images.limits import BLOCK_BYTES, BinaryFile

SMALL_READS = 5_000_000
"""Maximum number of small reads from a file."""

HEADER_READS = {"PNG": 4_000, "DICOM": 200_000}
"""Maximum number of small reads of the header, if lower: 1,000 bytes of a PNG chunk may expand to a million, and each
element of a DICOM becomes several objects."""

_SMALL_BYTES = 20  # the longest entry of a table in a header
_LIST_BYTES = 800_000
_BYTES = (TiffTags.BYTE, TiffTags.ASCII, TiffTags.UNDEFINED)
_PAST_ANY_END = 1 << 40
_PNG_SIGNATURE_BYTES = 8
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def read_header(file: BinaryFile, kind: str) -> ImageFile.ImageFile:
    """Return the image in a file of a known format without reading its pixels.

    `Image.open` has its own limit of 179 million pixels, and opens phone JPEGs with two images as a different format.
    """
    if kind == "TIFF":
        _silence_libtiff()
    if kind == "BMP":  # its header is not a list of parts, and each run length has two bytes
        return BmpImageFile(file)
    if kind == "HEIC":
        from pillow_heif import HeifImageFile

        heic: ImageFile.ImageFile = HeifImageFile(file)
        return heic
    source = LimitedReads(file, HEADER_READS.get(kind, SMALL_READS))
    image = _READERS[kind](source)  # type: ignore[arg-type] # Pillow reads from any object with its methods
    source.remaining = SMALL_READS
    return image


def load_scaled(image: Image.Image, least: tuple[int, int]) -> tuple[float, float]:
    """Decode the pixels; scale a JPEG to 1/2, 1/4 or 1/8 if at least the (width, height) `least` remains.

    Return the (width, height) of the pixels that belong to the image: if the size of a JPEG is not a multiple of the
    factor, the last column and row extend past its edge by a fraction of a pixel.
    """
    # A HEIC would be replaced by its thumbnail.
    drafted = image.draft(None, least) if isinstance(image, JpegImageFile) else None
    image.load()
    return drafted[1][2:] if drafted else image.size


class LimitedReads:
    """File with a limited number of small reads: Pillow skips garbage byte by byte, a gigabyte in minutes."""

    def __init__(self, file: BinaryFile, remaining: int) -> None:
        self._file = file
        self.remaining = remaining

    def read(self, size: int | None = -1) -> bytes:
        """Read from the file; after too many small reads, raise SyntaxError as Pillow's readers do."""
        if size is not None and 0 <= size <= _SMALL_BYTES:
            self.remaining -= 1
            if self.remaining < 0:
                raise SyntaxError("too many small parts")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Seek with the same result on disk and in memory, which handle invalid positions differently."""
        if whence == io.SEEK_SET and offset < 0:
            raise SyntaxError("a part lies before the beginning of the file")
        return self._file.seek(min(offset, _PAST_ANY_END), whence)

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


class PlainJpegFile(JpegImageFile):
    """JPEG reader that does not read the print resolution, for which Pillow would parse all EXIF data."""

    def _read_dpi_from_exif(self) -> None:
        pass


class BoundedTiffFile(TiffImageFile):
    """TIFF reader that limits the number of values per tag, which become objects, and refuses missing strips."""

    def _setup(self) -> None:
        tags = self.tag_v2
        if any(len(data) > _LIST_BYTES and tags.tagtype[tag] not in _BYTES for tag, data in tags._tagdata.items()):
            raise SyntaxError(f"a tag lists more than {_LIST_BYTES:,} bytes of numbers")
        super()._setup()
        boxes = {tile.extents for tile in self.tile if tile.extents}
        held = sum((right - left) * (bottom - top) for left, top, right, bottom in boxes)
        if not self.use_load_libtiff and held < self.width * self.height:  # libtiff detects missing parts
            raise SyntaxError(f"strips or tiles hold {held:,} of {self.width * self.height:,} pixels")

    def load_end(self) -> None:
        """Apply the EXIF orientation; Pillow would also parse all other EXIF data, with one object per number."""
        ImageOps.exif_transpose(self, in_place=True)


class CompletePngFile(PngImageFile):
    """PNG reader that raises EOFError if rows are missing; Pillow leaves them black."""

    def load_end(self) -> None:
        """Count the rows if some may be missing, which is the case only if the last row is black."""
        super().load_end()
        width, height = self.size
        if self.info.get("interlace") or self.im.crop((0, height - 1, width, height)).getbbox(False) is None:
            _require_rows(self.fp)  # type: ignore[arg-type] # Pillow closes it later


class UnscaledJpeg2000File(Jpeg2KImageFile):
    """JPEG 2000 reader that keeps grayscale values of 9 to 15 bits; Pillow multiplies them to fill 16 bits."""

    def load(self) -> Any:
        """Decode the pixels and undo the multiplication."""
        bits = 16
        if self.tile and self.mode.startswith("I;16"):
            bits = _jpeg2000_bits(self.fp)  # type: ignore[arg-type] # Pillow's name for any file
        access = super().load()
        if bits < 16:
            self.info["bits"] = bits
            self.im = Image.fromarray(np.asarray(self) >> (16 - bits)).im
        return access


def _jpeg2000_bits(file: BinaryFile) -> int:
    """Return the bits of the first component of a JPEG 2000, which its codestream begins with."""
    file.seek(0)
    _, _, segment = file.read(BLOCK_BYTES).partition(b"\xff\x4f\xff\x51")
    return (segment[38] & 0x7F) + 1


_READERS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": PlainJpegFile,
    "PNG": CompletePngFile,
    "GIF": GifImageFile,
    "WEBP": WebPImageFile,
    "TIFF": BoundedTiffFile,
    "AVIF": AvifImageFile,
    "JPEG2000": UnscaledJpeg2000File,
    "DICOM": DicomImageFile,
}


def require_checksums(file: BinaryFile) -> None:
    """Check all chunks of a PNG to its end; Pillow only checks those before the pixels."""
    for _ in _png_blocks(file):
        pass


def _require_rows(file: BinaryFile) -> None:
    """Raise EOFError if the pixel data of a PNG expands to fewer bytes than its rows and their filter bytes need."""
    file.seek(_PNG_SIGNATURE_BYTES + 8)
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", file.read(13))
    needed = found = 0
    for left, top, across, down in _PNG_PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        row_bytes = 1 + -(-columns * depth * _PNG_CHANNELS[color] // 8)
        needed += rows * row_bytes if columns > 0 and rows > 0 else 0
    inflater = zlib.decompressobj()
    for kind, block in _png_blocks(file):
        while kind == b"IDAT" and block and found < needed:
            found += len(inflater.decompress(block, BLOCK_BYTES))
            block = inflater.unconsumed_tail
    if found < needed:
        raise EOFError(f"{found:,} of {needed:,} bytes of pixels")


def _png_blocks(file: BinaryFile) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind of each chunk and its data in blocks, since a chunk can be as long as the file.

    Raises SyntaxError for wrong checksums and too many chunks, EOFError if the end chunk is missing.
    """
    file.seek(_PNG_SIGNATURE_BYTES)
    for _ in range(SMALL_READS):
        length, kind = struct.unpack(">I4s", _read_exactly(file, 8))
        checksum = zlib.crc32(kind)
        while length:
            block = _read_exactly(file, min(length, BLOCK_BYTES))
            yield kind, block
            checksum = zlib.crc32(block, checksum)
            length -= len(block)
        if checksum != int.from_bytes(_read_exactly(file, 4), "big"):
            raise SyntaxError(f"wrong checksum in {kind!r}")
        if kind == b"IEND":
            return
    raise SyntaxError(f"more than {SMALL_READS:,} chunks")


def _read_exactly(file: BinaryFile, length: int) -> bytes:
    block = file.read(length)
    if len(block) < length:
        raise EOFError(f"end of file after {file.seek(0, io.SEEK_END):,} bytes")
    return block


@functools.cache
def _silence_libtiff() -> None:
    """Stop Pillow's libtiff from printing to stderr, if the library is found; its errors still raise exceptions."""
    package = Path(PIL.__file__).parent
    for library in (*package.parent.glob("pillow.libs/libtiff*"), *package.glob(".dylibs/libtiff*")):
        try:
            loaded = ctypes.CDLL(str(library))
            for function in (loaded.TIFFSetErrorHandler, loaded.TIFFSetWarningHandler):
                function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
                function(None)
        except (OSError, AttributeError):
            continue

"""Image files that Pillow cannot write, assembled byte by byte."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.images.making import encoded

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY, RGB, PALETTE = 0, 2, 3
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a PNG chunk with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    size: tuple[int, int],
    bits: int,
    color: int,
    rows: bytes,
    before: Sequence[bytes] = (),
    after: Sequence[bytes] = (),
    interlaced: bool = False,
) -> bytes:
    """Return a PNG of size (width, height) from its filtered rows, with extra chunks before and after the pixels."""
    header = struct.pack(">IIBBBBB", *size, bits, color, 0, 0, interlaced)
    body = (chunk(b"IHDR", header), *before, chunk(b"IDAT", zlib.compress(rows, 1)), *after, chunk(b"IEND", b""))
    return PNG_SIGNATURE + b"".join(body)


def rows_of(pixels: NDArray[np.generic]) -> bytes:
    """Return rows of pixels in PNG's unfiltered form; 16-bit values must be big-endian."""
    return b"".join(b"\0" + row.tobytes() for row in pixels)


def interlaced_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return an interlaced PNG of RGB pixels of shape (height, width, 3)."""
    rows = b"".join(rows_of(pixels[y::down, x::across]) for x, y, across, down in _ADAM7)
    return png((pixels.shape[1], pixels.shape[0]), 8, RGB, rows, interlaced=True)


def rgb_png(pixels: NDArray[np.uint8], before: Sequence[bytes] = (), after: Sequence[bytes] = ()) -> bytes:
    """Return a PNG of RGB pixels of shape (height, width, 3), with extra chunks."""
    return png((pixels.shape[1], pixels.shape[0]), 8, RGB, rows_of(pixels), before, after)


def bmp(size: tuple[int, int], bits: int, data: bytes, palette: bytes = b"", compression: int = 0) -> bytes:
    """Return a Windows bitmap of size (width, height); if the height is negative, the first row is stored first."""
    begin = 54 + len(palette)
    header = struct.pack("<IiiHHIIiiII", 40, *size, 1, bits, compression, len(data), 0, 0, len(palette) // 4, 0)
    return b"BM" + struct.pack("<IHHI", begin + len(data), 0, 0, begin) + header + palette + data


def run_lengths(indexes: NDArray[np.uint8]) -> bytes:
    """Return palette indexes of shape (height, width) in a bitmap's run-length encoding, with one run per pixel."""
    rows = [b"".join(bytes([1, index]) for index in row) + b"\0\0" for row in indexes[::-1]]
    return b"".join(rows) + b"\0\1"


def segment_at(data: bytes | bytearray, marker: int) -> int:
    """Return the position of the first segment with a marker in a JPEG."""
    at = 2
    while data[at + 1] != marker:
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at


def ycck_jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """Return a CMYK JPEG whose first three channels are stored as brightness and chroma, as by Adobe's programs."""
    inks = np.asarray(Image.fromarray(255 - pixels).convert("YCbCr"))
    stored = np.dstack([inks, np.full(inks.shape[:2], 255, np.uint8)])
    bands = [Image.fromarray(np.ascontiguousarray(255 - stored[..., k])) for k in range(4)]
    data = bytearray(encoded(Image.merge("CMYK", bands), "JPEG", quality=95))
    data[segment_at(data, 0xEE) + 15] = 2
    return bytes(data)


def arithmetic_jpeg(size: tuple[int, int]) -> bytes:
    """Return an arithmetically coded gray JPEG of size (width, height) that needs no data, as all pixels are equal."""
    quantization = b"\xff\xdb\x00\x43\x00" + b"\x01" * 64
    frame = b"\xff\xca\x00\x0b\x08" + struct.pack(">HH", size[1], size[0]) + b"\x01\x01\x11\x00"
    return b"\xff\xd8" + quantization + frame + b"\xff\xda\x00\x08\x01\x01\x00\x00\x00\x00" + b"\0\0" + b"\xff\xd9"


def many_scans(image: Image.Image, scans: int) -> bytes:
    """Return a progressive JPEG that repeats its last scan."""
    data = encoded(image, "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + b"\xff\xd9"


def tiff(values: Mapping[int, int], lists: Mapping[int, bytes]) -> bytes:
    """Return a little-endian TIFF without pixels: tags with a single number, and tags with a list of 32-bit numbers."""
    entries, behind = dict[int, tuple[int, int]](), b""
    begin = 8 + 2 + (len(values) + len(lists)) * 12 + 4
    for tag, numbers in lists.items():
        entries[tag] = (len(numbers) // 4, begin + len(behind))
        behind += numbers
    entries |= {tag: (1, value) for tag, value in values.items()}
    table = b"".join(struct.pack("<HHII", tag, 4, *entries[tag]) for tag in sorted(entries))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4) + behind

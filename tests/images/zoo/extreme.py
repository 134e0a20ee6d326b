"""Images of a single pixel and of millions, and files that decompress to many times their size."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from tests.images import handmade
from tests.images.handmade import bmp, chunk, png, rgb_png
from tests.images.making import encoded, pixels
from tests.images.zoo.kinds import (
    Kind,
    Refused,
    Shades,
    Used,
    image,
    jpeg,
    kind,
)


def sized_kinds(shades: Shades) -> Iterator[Kind]:
    """Return images of one pixel, single rows and columns, and images with too many pixels."""
    for width, height in ((1, 1), (1, 5000), (5000, 1)):
        shade = pixels(height, width, seed=width)
        yield kind(f"{width}-by-{height}.png", encoded(image(shade)), Used(shade))
    tall = np.broadcast_to(np.array([[[10, 20, 30]]], np.uint8), (3_000_000, 1, 3))
    yield kind("1-by-3000000.png", lambda path: path.write_bytes(encoded(image(tall))), Used(tall))

    def column(path: Path) -> None:
        path.write_bytes(png((1, 20_000_000), 8, handmade.GRAY, bytes(40_000_000)))

    yield kind("1-by-20000000.png", column, Refused("image-too-costly"))

    def huge(path: Path) -> None:
        path.write_bytes(png((20_000, 20_000), 1, handmade.GRAY, bytes(2501) * 20_000))

    yield kind("20000-by-20000.png", huge, Refused("image-too-many-pixels"))


def bomb_kinds(shades: Shades) -> Iterator[Kind]:
    """Return small files that decompress to large images, and long files without content."""
    shade = next(shades)
    zeros = zlib.compress(bytes(5_000_000), 9)
    for name in ("iCCP", "zTXt"):
        data = rgb_png(shade, [chunk(name.encode(), b"bomb\0\0" + zeros)])
        yield kind(f"bomb-in-{name}.png", data, Refused("image-damaged"))
    yield kind("bomb-in-iTXt.png", rgb_png(shade, [chunk(b"iTXt", b"b\0\1\0\0\0" + zeros)]), Refused("image-damaged"))
    bomb = png((60_000, 60_000), 8, handmade.RGB, b"")
    yield kind("bomb-of-pixels.png", bomb, Refused("image-too-many-pixels"))
    yield kind("bomb-of-pixels.bmp", bmp((60_000, 60_000), 24, b"\0" * 99), Refused("image-too-many-pixels"))
    screen = b"GIF89a" + struct.pack("<HHBBB", 60_000, 60_000, 0, 0, 0)
    frame = b"," + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0) + b"\x08\x01\0\0;"
    yield kind("bomb-of-pixels.gif", screen + frame, Refused("image-too-many-pixels"))
    canvas = bytes(4) + (59_999).to_bytes(3, "little") * 2
    still = encoded(image(shade), "WEBP")[12:]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + canvas + still
    riff = b"RIFF" + struct.pack("<I", len(body)) + body
    yield kind("bomb-of-pixels.webp", riff, Refused("image-too-many-pixels"))
    runs = bmp((17_800, 10_000), 8, b"\1\1\0\0\0\1", bytes(1024), 1)
    yield kind("bomb-of-run-lengths.bmp", runs, Refused("image-too-costly"))
    scans = handmade.many_scans(Image.new("L", (1000, 1000), 99), 6000)
    tags = {256: 32, 257: 24, 258: 8, 259: 8, 262: 1, 277: 1, 322: 40_000, 323: 40_000, 324: 8, 325: 8}
    yield kind("bomb-of-tiles.tif", handmade.tiff(tags, {}), Refused("image-too-costly"))
    rows = 250_000
    strips = struct.pack(f"<{rows}I", *[8] * rows)
    tags = {256: 1, 257: rows, 258: 8, 259: 1, 262: 1, 277: 1, 278: 1}
    yield kind(
        "bomb-of-strips.tif",
        handmade.tiff(tags, {273: strips, 279: strips}),
        Refused("image-damaged"),
    )
    yield kind("bomb-of-scans.jpg", scans, Refused("image-too-costly"))
    yield kind("hole.jpg", _holed(b""), Refused("image-too-many-bytes"))
    yield kind("hole-behind-a-image.jpg", _holed(jpeg(shade)), Refused("image-too-many-bytes"))


def _holed(beginning: bytes) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        path.write_bytes(beginning)
        os.truncate(path, 100_000_000_000)

    return write

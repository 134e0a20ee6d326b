"""TIFFs, bitmaps, GIFs and WebPs in every variant."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tests.images import handmade
from tests.images.handmade import bmp
from tests.images.making import encoded, pixels
from tests.images.zoo.kinds import (
    Kind,
    Refused,
    Shades,
    Used,
    as_gray,
    gray,
    image,
    kind,
    over_white,
)


def tiff_kinds(shades: Shades) -> Iterator[Kind]:
    """Return TIFFs of all compressions, color modes and numbers of pages."""
    for name, options in {
        "raw": {},
        "lzw": {"compression": "tiff_lzw"},
        "deflate": {"compression": "tiff_adobe_deflate"},
        "packbits": {"compression": "packbits"},
        "big": {"big_tiff": True},
    }.items():
        shade = next(shades)
        yield kind(f"{name}.tif", encoded(image(shade), "TIFF", **options), Used(shade))
    shade = next(shades)
    yield kind("with-jpeg-in-it.tiff", encoded(image(shade), "TIFF", compression="jpeg", quality=95), Used(shade, 12))
    levels = gray(next(shades))
    yield kind("16-bit.tif", encoded(Image.fromarray(levels.astype(np.uint16) * 257), "TIFF"), as_gray(levels))
    inks = image(next(shades)).convert("CMYK")
    yield kind("inks.tif", encoded(inks, "TIFF"), Used(np.asarray(inks.convert("RGB"))))
    fax = image(next(shades)).convert("1")
    yield kind("fax.tif", encoded(fax, "TIFF", compression="group4"), as_gray(np.asarray(fax.convert("L"))))
    pages = [next(shades), next(shades)]
    book = encoded(image(pages[0]), "TIFF", save_all=True, append_images=[image(pages[1])])
    yield kind("several-pages.tif", book, Used(pages[0]))
    levels = gray(next(shades))
    yield kind("float.tif", encoded(Image.fromarray(levels / np.float32(255)), "TIFF"), Refused("image-mode"))
    yield kind("32-bit.tif", encoded(Image.fromarray(levels.astype(np.int32)), "TIFF"), Refused("image-mode"))
    yield kind("lab.tif", encoded(Image.new("LAB", (32, 24)), "TIFF"), Refused("image-mode"))
    tags = {256: 2, 257: 1, 258: 8, 259: 99, 262: 1, 273: 8, 277: 1, 278: 1, 279: 2}
    unknown = handmade.tiff(tags, {})
    yield kind("unknown-compression.tif", unknown, Refused("image-damaged"))
    tags = {256: 2, 257: 1000, 258: 8, 262: 1, 273: 8, 277: 1, 278: 1, 279: 2}
    lacking = Refused("image-damaged")
    yield kind("strips-that-are-missing.tif", handmade.tiff(tags, {}), lacking)


def bitmap_kinds(shades: Shades) -> Iterator[Kind]:
    """Return Windows bitmaps of every bit depth."""
    bits = image(next(shades)).convert("1")
    yield kind("1-bit.bmp", encoded(bits, "BMP"), as_gray(np.asarray(bits.convert("L"))))
    levels = gray(next(shades))
    yield kind("8-bit-gray.bmp", encoded(Image.fromarray(levels), "BMP"), as_gray(levels))
    few = image(next(shades)).quantize(16)
    seen, indexes = np.asarray(few.convert("RGB")), np.asarray(few)
    yield kind("8-bit.bmp", encoded(few, "BMP"), Used(seen))
    few = image(next(shades)).quantize(16)
    seen, indexes = np.asarray(few.convert("RGB")), np.asarray(few)
    colors = np.array(few.getpalette()).reshape(-1, 3)[:16]
    palette = b"".join(bytes([blue, green, red, 0]) for red, green, blue in colors.tolist()).ljust(64, b"\0")
    nibbles = (indexes[::-1, 0::2] << 4 | indexes[::-1, 1::2]).astype(np.uint8).tobytes()
    yield kind("4-bit.bmp", bmp((32, 24), 4, nibbles, palette), Used(seen))
    few = image(next(shades)).quantize(16)
    seen, indexes = np.asarray(few.convert("RGB")), np.asarray(few)
    colors = np.array(few.getpalette()).reshape(-1, 3)[:16]
    palette = b"".join(bytes([blue, green, red, 0]) for red, green, blue in colors.tolist()).ljust(1024, b"\0")
    yield kind("run-lengths.bmp", bmp((32, 24), 8, handmade.run_lengths(indexes), palette, 1), Used(seen))
    shade = next(shades)
    yield kind("24-bit.bmp", encoded(image(shade), "BMP"), Used(shade))
    four = pixels(channels=4, seed=9)
    yield kind("32-bit.bmp", encoded(Image.fromarray(four), "BMP"), Used(four[..., :3]))  # the fourth byte is no alpha
    shade = next(shades)
    data = np.ascontiguousarray(shade[..., ::-1]).tobytes()
    yield kind("first-row-first.bmp", bmp((32, -24), 24, data), Used(shade))
    yield kind("2-bit.bmp", bmp((32, 24), 2, bytes(999)), Refused("image-damaged"))


def gif_and_webp_kinds(shades: Shades) -> Iterator[Kind]:
    """Return GIFs and WebPs."""
    few = image(next(shades)).quantize(32)
    yield kind("still.gif", encoded(few, "GIF"), Used(np.asarray(few.convert("RGB"))))
    few = image(next(shades)).quantize(32)
    clear = np.where((np.asarray(few) == 5)[..., None], np.uint8(255), np.asarray(few.convert("RGB")))
    yield kind("clear.gif", encoded(few, "GIF", transparency=5, optimize=False), Used(clear))
    frames = [image(next(shades)).quantize(32) for _ in range(3)]
    moving = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=99)
    yield kind("animated.gif", moving, Used(np.asarray(frames[0].convert("RGB")), 1))
    yield kind("no-frame.gif", b"GIF89a" + struct.pack("<HHBBB", 32, 24, 0, 0, 0) + b";", Refused("image-damaged"))
    shade = next(shades)
    yield kind("lossy.webp", encoded(image(shade), "WEBP", quality=95), Used(shade, 12))
    shade = next(shades)
    yield kind("lossless.webp", encoded(image(shade), "WEBP", lossless=True), Used(shade))
    four = pixels(channels=4, seed=10)
    over = over_white(four[..., :3], four[..., 3:] / 255)
    yield kind("alpha.webp", encoded(Image.fromarray(four), "WEBP", lossless=True, exact=True), Used(over, 1))
    frames = [image(next(shades)) for _ in range(3)]
    moving = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=99, lossless=True)
    yield kind("animated.webp", moving, Used(np.asarray(frames[0])))

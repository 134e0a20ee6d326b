"""Damaged files, and files whose content does not match their suffix."""

from __future__ import annotations

from collections.abc import Iterator

from tests.images import handmade
from tests.images.handmade import chunk, rgb_png
from tests.images.making import encoded, pixels
from tests.images.zoo.kinds import (
    Kind,
    LeftOut,
    Refused,
    Shades,
    Used,
    as_jpeg,
    flipped,
    image,
    jpeg,
    kind,
)


def damaged_kinds(shades: Shades) -> Iterator[Kind]:
    """Return empty and truncated files, and files with flipped bits."""
    yield kind("zero-bytes.jpg", b"", Refused("image-empty"))
    yield kind("one-byte.png", b"\x89", Refused("image-unknown-format"))
    large = pixels(96, 128, seed=1)
    whole = {
        "jpg": jpeg(large),
        "png": encoded(image(large)),
        "gif": encoded(image(large).quantize(64), "GIF"),
        "webp": encoded(image(large), "WEBP"),
        "tif": encoded(image(large), "TIFF", compression="tiff_lzw"),
        "bmp": encoded(image(large), "BMP"),
    }
    for suffix, data in whole.items():
        for share in (10, 50, 90):
            code = "image-damaged" if (suffix, share) in (("tif", 10), ("tif", 50), ("tif", 90)) else "image-truncated"
            yield kind(f"cut-at-{share}-{suffix}.{suffix}", data[: len(data) * share // 100], Refused(code))
    yield kind("cut-before-its-end.png", encoded(image(next(shades)))[:-12], Refused("image-truncated"))
    shade = next(shades)
    data = rgb_png(shade)
    yield kind("flipped-in-pixels.png", flipped(data, data.index(b"IDAT") + 40), Refused("image-damaged"))
    yield kind("flipped-in-header.png", flipped(data, 19), Refused("image-damaged"))
    yield kind("flipped-in-sum.png", flipped(data, data.index(b"IEND") - 5), Refused("image-damaged"))
    text = rgb_png(shade, [chunk(b"tEXt", b"Title\0A title")])
    yield kind("flipped-in-text.png", flipped(text, text.index(b"A title")), Refused("image-damaged"))
    shade = next(shades)
    data = jpeg(shade)
    yield kind("flipped-in-tables.jpg", flipped(data, handmade.segment_at(data, 0xC4) + 6), Refused("image-damaged"))
    yield kind("wrong-marker.jpg", data[:2] + b"\xff\x02" + data[4:], Refused("image-damaged"))
    shade = next(shades)
    changed = shade.copy()
    changed[0, 31, 0] ^= 0x10
    data = encoded(image(shade), "BMP")
    yield kind("flipped-in-pixels.bmp", flipped(data, len(data) - 1), Used(changed))  # a bitmap has no sum
    yield kind("rubbish-behind-the-header.jpg", b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40, Refused("image-damaged"))


def disguised_kinds(shades: Shades) -> Iterator[Kind]:
    """Return files whose content does not match their suffix."""
    yield kind("text.jpg", b"This was meant to be an image.\n", Refused("image-unknown-format"))
    yield kind("page.png", b"<!DOCTYPE html><html><body>404</body></html>", Refused("image-unknown-format"))
    yield kind("heic.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", Refused("image-damaged"))
    shade = next(shades)
    yield kind("png-named.jpg", encoded(image(shade)), Used(shade))
    shade = next(shades)
    yield kind("jpeg-named.png", jpeg(shade), as_jpeg(shade))
    shade = next(shades)
    yield kind("without-a-suffix", encoded(image(shade)), Used(shade))
    shade = next(shades)
    yield kind("upper-case.JPG", jpeg(shade), as_jpeg(shade))
    shade = next(shades)
    yield kind("long-suffix.jpeg", jpeg(shade), as_jpeg(shade))
    small = image(next(shades))
    others = {
        "notes.txt": b"BMW is no bitmap.\n",
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "document.pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        "icon.ico": encoded(small.resize((16, 16)), "ICO"),
        "layers.psd": b"8BPS\0\x01\0\0\0\0\0\0\0\x03",
        "film.mp4": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
        "archive.zip": b"PK\x05\x06" + bytes(18),
        "map.ppm": encoded(small, "PPM"),
        "nothing.dat": b"",
    }
    damaged = {
        "modern.avif": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf",
        "wavelets.jp2": b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 ",
        "phone.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    }
    for file, data in damaged.items():
        yield kind(file, data, Refused("image-truncated" if file.endswith("avif") else "image-damaged"))
    yield kind("scan.dcm", bytes(128) + b"DICM" + bytes(100), Refused("image-damaged"))
    raw = b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom"
    yield kind("raw.cr3", raw, LeftOut("camera RAW file", Refused("image-unknown-format")))
    for file, data in others.items():
        named = Refused("image-unknown-format" if data else "image-empty")
        yield kind(file, data, LeftOut("not an image", named))

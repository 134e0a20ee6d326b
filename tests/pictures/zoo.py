"""A zoo of files that lie in folders of pictures, each with the one outcome that every command gives it."""

from __future__ import annotations

import functools
import os
import socket
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.pictures import handmade
from tests.pictures.handmade import PALETTE, bmp, chunk, png, rgb_png, rows_of
from tests.pictures.making import encoded, pixels

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Used:
    """Is a picture.

    Attributes:
        pixels: uint8 (height, width, 3), as it should be seen.
        tolerance: mean difference in grey levels that its format may make.
    """

    pixels: Pixels
    tolerance: float = 0.0


@dataclass(frozen=True)
class Refused:
    """Is named, with a reason that contains these words."""

    words: str


@dataclass(frozen=True)
class PassedOver:
    """Is left out and counted in a folder.

    Attributes:
        reason: under which it is counted.
        named: what becomes of it where it is named on the command line.
    """

    reason: str
    named: Used | Refused


Outcome = Used | Refused | PassedOver


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind of file.

    Attributes:
        name: of the kind, in ASCII.
        file: its path below a class folder.
        make: writes it to a path whose folder is there.
        outcome: of it.
        argument: what of `file` is named on the command line.
    """

    name: str
    file: str
    make: Callable[[Path], object]
    outcome: Outcome
    argument: str

    def lay(self, folder: Path) -> Path:
        """Write it into a class folder; gives its path."""
        path = folder / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        self.make(path)
        return path


def kind(file: str, make: bytes | Callable[[Path], object], outcome: Outcome, argument: str | None = None) -> Kind:
    """A kind of file, from its bytes or from what writes it."""
    write = functools.partial(Path.write_bytes, data=make) if isinstance(make, bytes) else make
    return Kind(ascii(file)[1:-1][:50], file, write, outcome, file if argument is None else argument)


@functools.cache
def zoo() -> tuple[Kind, ...]:
    """Every kind, no two pictures alike."""
    shades = (pixels(seed=seed) for seed in range(1000, 2000))
    groups = (
        damaged_kinds,
        disguised_kinds,
        png_kinds,
        jpeg_kinds,
        tiff_kinds,
        bitmap_kinds,
        other_kinds,
        turned_kinds,
        sized_kinds,
        bomb_kinds,
        named_kinds,
        irregular_kinds,
    )
    return tuple(one for group in groups for one in group(shades))


Shades = Iterator[Pixels]


def image(shade: Pixels) -> Image.Image:
    """A picture of pixels."""
    return Image.fromarray(shade)


def jpeg(shade: Pixels, **options: Any) -> bytes:
    """A JPEG of pixels, as good as it gets."""
    return encoded(image(shade), "JPEG", **{"quality": 95, "subsampling": 0, **options})


def as_jpeg(shade: Pixels) -> Used:
    """Used, with what a JPEG may lose."""
    return Used(shade, 6.0)


def grey(shade: Pixels) -> Pixels:
    """Grey levels (height, width) of pixels."""
    return np.asarray(image(shade).convert("L"))


def as_grey(levels: Pixels) -> Used:
    """Used, as grey levels (height, width)."""
    return Used(np.repeat(levels[..., None], 3, axis=-1))


def flipped(data: bytes, at: int) -> bytes:
    """One bit the other way."""
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def damaged_kinds(shades: Shades) -> Iterator[Kind]:
    """Empty, cut, flipped."""
    yield kind("zero-bytes.jpg", b"", Refused("is empty (0 bytes)"))
    yield kind("one-byte.png", b"\x89", Refused("is no JPEG, PNG, BMP, GIF, WebP or TIFF picture"))
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
            words = "is damaged" if (suffix, share) in (("tif", 10), ("tif", 50), ("tif", 90)) else "is truncated"
            yield kind(f"cut-at-{share}-{suffix}.{suffix}", data[: len(data) * share // 100], Refused(words))
    yield kind("cut-before-its-end.png", encoded(image(next(shades)))[:-12], Refused("is truncated"))
    shade = next(shades)
    data = rgb_png(shade)
    yield kind("flipped-in-pixels.png", flipped(data, data.index(b"IDAT") + 40), Refused("checksum in b'IDAT'"))
    yield kind("flipped-in-header.png", flipped(data, 19), Refused("checksum in b'IHDR'"))
    yield kind("flipped-in-sum.png", flipped(data, data.index(b"IEND") - 5), Refused("checksum in b'IDAT'"))
    text = rgb_png(shade, [chunk(b"tEXt", b"Title\0A title")])
    yield kind("flipped-in-text.png", flipped(text, text.index(b"A title")), Refused("checksum in b'tEXt'"))
    shade = next(shades)
    data = jpeg(shade)
    yield kind("flipped-in-tables.jpg", flipped(data, handmade.segment_at(data, 0xC4) + 6), Refused("is damaged"))
    yield kind("wrong-marker.jpg", data[:2] + b"\xff\x02" + data[4:], Refused("no marker found"))
    shade = next(shades)
    changed = shade.copy()
    changed[0, 31, 0] ^= 0x10
    data = encoded(image(shade), "BMP")
    yield kind("flipped-in-pixels.bmp", flipped(data, len(data) - 1), Used(changed))  # a bitmap has no sum
    yield kind("rubbish-behind-the-header.jpg", b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40, Refused("is damaged"))


def disguised_kinds(shades: Shades) -> Iterator[Kind]:
    """Named as what they are not."""
    yield kind("text.jpg", b"This was meant to be a picture.\n", Refused("is no JPEG"))
    yield kind("page.png", b"<!DOCTYPE html><html><body>404</body></html>", Refused("begins with b'<!DOCTYPE ht'"))
    yield kind("heic.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", Refused("is no JPEG"))
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
        "phone.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "modern.avif": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf",
        "icon.ico": encoded(small.resize((16, 16)), "ICO"),
        "wavelets.jp2": b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 ",
        "layers.psd": b"8BPS\0\x01\0\0\0\0\0\0\0\x03",
        "raw.cr3": b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom",
        "film.mp4": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
        "archive.zip": b"PK\x05\x06" + bytes(18),
        "map.ppm": encoded(small, "PPM"),
        "nothing.dat": b"",
    }
    for file, data in others.items():
        named = Refused("is no JPEG, PNG, BMP, GIF, WebP or TIFF picture" if data else "is empty (0 bytes)")
        yield kind(file, data, PassedOver("not a picture", named))


def png_kinds(shades: Shades) -> Iterator[Kind]:
    """Every colour type, and what stands beside the pixels."""
    shade = next(shades)
    indexes = image(shade).quantize(16)
    seen = np.asarray(indexes.convert("RGB"))
    yield kind("palette.png", encoded(indexes), Used(seen))
    clear = np.where((np.asarray(indexes) == 3)[..., None], np.uint8(255), seen)
    yield kind("palette-with-a-clear-colour.png", encoded(indexes, transparency=3), Used(clear))
    alphas = bytes(range(0, 256, 17))
    share = np.frombuffer(alphas, np.uint8)[np.asarray(indexes)][..., None] / 255
    yield kind("palette-with-alphas.png", encoded(indexes, transparency=alphas), Used(_over_white(seen, share), 1))
    yield kind("palette-that-is-absent.png", png((2, 2), 8, PALETTE, b"\0\0\1\0\1\0"), Refused("it has no palette"))
    shade = next(shades)
    bits = image(shade).convert("1")
    yield kind("one-bit.png", encoded(bits), as_grey(np.asarray(bits.convert("L"))))
    levels = grey(next(shades))
    yield kind("grey.png", encoded(Image.fromarray(levels)), as_grey(levels))
    levels = grey(next(shades))
    yield kind("16-bit-grey.png", encoded(Image.fromarray(levels.astype(np.uint16) * 257)), as_grey(levels))
    shade = next(shades)
    wide = png((32, 24), 16, handmade.RGB, rows_of(shade.astype(">u2") * np.uint16(257)))
    yield kind("16-bit-colour.png", wide, Used(shade))
    four = pixels(channels=4, seed=7)
    over = _over_white(four[..., :3], four[..., 3:] / 255)
    yield kind("alpha.png", encoded(Image.fromarray(four)), Used(over, 1))
    two = pixels(channels=2, seed=8)
    both = Image.merge("LA", [Image.fromarray(np.ascontiguousarray(two[..., k])) for k in (0, 1)])
    levels = _over_white(two[..., :1], two[..., 1:] / 255)[..., 0]
    yield kind("grey-with-alpha.png", encoded(both), Used(as_grey(levels).pixels, 1))
    shade = next(shades)
    yield kind("interlaced.png", handmade.interlaced_png(shade), Used(shade))
    shade = next(shades)
    profile = chunk(b"iCCP", b"none\0\0" + zlib.compress(b"nonsense"))
    yield kind("profile-that-is-nonsense.png", rgb_png(shade, [profile]), Used(shade))
    shade = next(shades)
    yield kind("rubbish-behind-the-end.png", rgb_png(shade) + b"rubbish" * 99, Used(shade))
    shade = next(shades)
    yield kind("more-rows-than-it-says.png", png((32, 24), 8, 2, rows_of(np.tile(shade, (40, 1, 1)))), Used(shade))
    yield kind("fewer-rows-than-it-says.png", png((32, 24), 8, 2, rows_of(shade[:20])), Refused("is truncated"))
    yield kind("zero-wide.png", png((0, 24), 8, 2, b""), Refused("is zero-sized (0 × 24 pixels)"))
    frames = [next(shades) for _ in range(3)]
    moving = encoded(image(frames[0]), save_all=True, append_images=[image(one) for one in frames[1:]], duration=99)
    yield kind("animated.png", moving, Used(frames[0]))


def _over_white(shade: Pixels, share: NDArray[np.float64]) -> Pixels:
    return np.floor(shade * share + 255 * (1 - share) + 0.5).astype(np.uint8)


def jpeg_kinds(shades: Shades) -> Iterator[Kind]:
    """Every way of storing one."""
    for name, options in {
        "progressive": {"progressive": True},
        "subsampled": {"subsampling": 2},
        "optimised": {"optimize": True},
        "with-restarts": {"restart_marker_rows": 1},
    }.items():
        shade = next(shades)
        yield kind(f"{name}.jpg", jpeg(shade, **options), as_jpeg(shade))
    levels = grey(next(shades))
    yield kind("grey.jpg", encoded(Image.fromarray(levels), "JPEG", quality=95), Used(as_grey(levels).pixels, 6))
    yield kind("arithmetic.jpg", handmade.arithmetic_jpeg((32, 24)), Used(np.full((24, 32, 3), 128, np.uint8), 4))
    shade = next(shades)
    yield kind("inks.jpg", encoded(image(shade).convert("CMYK"), "JPEG", quality=95), as_jpeg(shade))
    shade = next(shades)
    yield kind("inks-as-brightness-and-chroma.jpg", handmade.ycck_jpeg(shade), as_jpeg(shade))
    shade = next(shades)
    yield kind("rubbish-behind-the-end.jpg", jpeg(shade) + b"rubbish" * 99, as_jpeg(shade))
    shade = next(shades)
    data = jpeg(shade)
    frame = handmade.segment_at(data, 0xC0)
    yield kind("padded-between-segments.jpg", data[:frame] + b"\xff" * 9 + data[frame:], as_jpeg(shade))
    yield kind("12-bit.jpg", data[: frame + 4] + b"\x0c" + data[frame + 5 :], Refused("cannot handle 12-bit layers"))
    yield kind("two-colours.jpg", data[: frame + 9] + b"\x02" + data[frame + 10 :], Refused("2-layer images"))
    yield kind("zero-high.jpg", data[: frame + 5] + b"\0\0" + data[frame + 7 :], Refused("is zero-sized (32 × 0"))
    shade = next(shades)
    thumbnail = Image.Exif()
    thumbnail[0x010E] = "described"
    thumbnail.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + jpeg(next(shades))
    yield kind("with-a-picture-in-its-exif.jpg", jpeg(shade, exif=thumbnail), as_jpeg(shade))
    shade = next(shades)
    pair = encoded(image(shade), "MPO", save_all=True, append_images=[image(next(shades))], quality=95, subsampling=0)
    yield kind("stereo-pair.jpg", pair, as_jpeg(shade))


def tiff_kinds(shades: Shades) -> Iterator[Kind]:
    """Compressions, colours, pages."""
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
    levels = grey(next(shades))
    yield kind("16-bit.tif", encoded(Image.fromarray(levels.astype(np.uint16) * 257), "TIFF"), as_grey(levels))
    inks = image(next(shades)).convert("CMYK")
    yield kind("inks.tif", encoded(inks, "TIFF"), Used(np.asarray(inks.convert("RGB"))))
    fax = image(next(shades)).convert("1")
    yield kind("fax.tif", encoded(fax, "TIFF", compression="group4"), as_grey(np.asarray(fax.convert("L"))))
    pages = [next(shades), next(shades)]
    book = encoded(image(pages[0]), "TIFF", save_all=True, append_images=[image(pages[1])])
    yield kind("several-pages.tif", book, Used(pages[0]))
    levels = grey(next(shades))
    yield kind(
        "float.tif", encoded(Image.fromarray(levels / np.float32(255)), "TIFF"), Refused("has 32-bit float values")
    )
    yield kind(
        "32-bit.tif", encoded(Image.fromarray(levels.astype(np.int32)), "TIFF"), Refused("32-bit integer values")
    )
    yield kind(
        "lab.tif", encoded(Image.new("LAB", (32, 24)), "TIFF"), Refused("has the colour mode LAB; save it as RGB")
    )
    tags = {256: 2, 257: 1, 258: 8, 259: 99, 262: 1, 273: 8, 277: 1, 278: 1, 279: 2}
    unknown = handmade.tiff(tags, {})
    yield kind("unknown-compression.tif", unknown, Refused("is damaged (unknown value 99)"))


def bitmap_kinds(shades: Shades) -> Iterator[Kind]:
    """Windows bitmaps of every depth."""
    bits = image(next(shades)).convert("1")
    yield kind("1-bit.bmp", encoded(bits, "BMP"), as_grey(np.asarray(bits.convert("L"))))
    levels = grey(next(shades))
    yield kind("8-bit-grey.bmp", encoded(Image.fromarray(levels), "BMP"), as_grey(levels))
    few = image(next(shades)).quantize(16)
    seen, indexes = np.asarray(few.convert("RGB")), np.asarray(few)
    yield kind("8-bit.bmp", encoded(few, "BMP"), Used(seen))
    few = image(next(shades)).quantize(16)
    seen, indexes = np.asarray(few.convert("RGB")), np.asarray(few)
    colours = np.array(few.getpalette()).reshape(-1, 3)[:16]
    palette = b"".join(bytes([blue, green, red, 0]) for red, green, blue in colours.tolist()).ljust(64, b"\0")
    nibbles = (indexes[::-1, 0::2] << 4 | indexes[::-1, 1::2]).astype(np.uint8).tobytes()
    yield kind("4-bit.bmp", bmp((32, 24), 4, nibbles, palette), Used(seen))
    few = image(next(shades)).quantize(16)
    seen, indexes = np.asarray(few.convert("RGB")), np.asarray(few)
    colours = np.array(few.getpalette()).reshape(-1, 3)[:16]
    palette = b"".join(bytes([blue, green, red, 0]) for red, green, blue in colours.tolist()).ljust(1024, b"\0")
    yield kind("run-lengths.bmp", bmp((32, 24), 8, handmade.run_lengths(indexes), palette, 1), Used(seen))
    shade = next(shades)
    yield kind("24-bit.bmp", encoded(image(shade), "BMP"), Used(shade))
    four = pixels(channels=4, seed=9)
    yield kind("32-bit.bmp", encoded(Image.fromarray(four), "BMP"), Used(four[..., :3]))  # the fourth byte is no alpha
    shade = next(shades)
    data = np.ascontiguousarray(shade[..., ::-1]).tobytes()
    yield kind("first-row-first.bmp", bmp((32, -24), 24, data), Used(shade))
    yield kind("2-bit.bmp", bmp((32, 24), 2, bytes(999)), Refused("Unsupported BMP pixel depth (2)"))


def other_kinds(shades: Shades) -> Iterator[Kind]:
    """GIF and WebP."""
    few = image(next(shades)).quantize(32)
    yield kind("still.gif", encoded(few, "GIF"), Used(np.asarray(few.convert("RGB"))))
    few = image(next(shades)).quantize(32)
    clear = np.where((np.asarray(few) == 5)[..., None], np.uint8(255), np.asarray(few.convert("RGB")))
    yield kind("clear.gif", encoded(few, "GIF", transparency=5, optimize=False), Used(clear))
    frames = [image(next(shades)).quantize(32) for _ in range(3)]
    moving = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=99)
    yield kind("animated.gif", moving, Used(np.asarray(frames[0].convert("RGB")), 1))
    yield kind("no-frame.gif", b"GIF89a" + struct.pack("<HHBBB", 32, 24, 0, 0, 0) + b";", Refused("no more images"))
    shade = next(shades)
    yield kind("lossy.webp", encoded(image(shade), "WEBP", quality=95), Used(shade, 12))
    shade = next(shades)
    yield kind("lossless.webp", encoded(image(shade), "WEBP", lossless=True), Used(shade))
    four = pixels(channels=4, seed=10)
    over = _over_white(four[..., :3], four[..., 3:] / 255)
    yield kind("alpha.webp", encoded(Image.fromarray(four), "WEBP", lossless=True, exact=True), Used(over, 1))
    frames = [image(next(shades)) for _ in range(3)]
    moving = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=99, lossless=True)
    yield kind("animated.webp", moving, Used(np.asarray(frames[0])))


def turned_kinds(shades: Shades) -> Iterator[Kind]:
    """Every turn that EXIF can ask for, and those it cannot."""
    upright: dict[int, Callable[[Pixels], Pixels]] = {
        1: lambda stored: stored,
        2: lambda stored: stored[:, ::-1],
        3: lambda stored: stored[::-1, ::-1],
        4: lambda stored: stored[::-1],
        5: lambda stored: stored.transpose(1, 0, 2),
        6: lambda stored: np.rot90(stored, -1),
        7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
        8: lambda stored: np.rot90(stored, 1),
        0: lambda stored: stored,
        9: lambda stored: stored,
    }
    for value, turned in upright.items():
        shade = next(shades)
        yield kind(f"orientation-{value}.jpg", jpeg(shade, exif=_exif(value)), as_jpeg(turned(shade)))
    for suffix, options in {"png": {}, "webp": {"lossless": True}, "tif": {}}.items():
        shade = next(shades)
        data = encoded(image(shade), {"tif": "TIFF"}.get(suffix, suffix), exif=_exif(6), **options)
        yield kind(f"orientation-6-in-{suffix}.{suffix}", data, Used(np.rot90(shade, -1)))
    for name, exif in {
        "exif-cut": b"Exif\0\0II*\0\x08\0\0\0\x09\0",
        "exif-of-nonsense": b"Exif\0\0nonsense",
        "exif-of-nothing": b"Exif\0\0",
        "exif-beyond-its-end": b"Exif\0\0II*\0\xff\xff\xff\xff",
    }.items():
        shade = next(shades)
        yield kind(f"{name}.jpg", jpeg(shade, exif=exif), as_jpeg(shade))


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def sized_kinds(shades: Shades) -> Iterator[Kind]:
    """One pixel, lines of pixels, and more pixels than are taken."""
    for width, height in ((1, 1), (1, 5000), (5000, 1)):
        shade = pixels(height, width, seed=width)
        yield kind(f"{width}-by-{height}.png", encoded(image(shade)), Used(shade))
    tall = np.broadcast_to(np.array([[[10, 20, 30]]], np.uint8), (3_000_000, 1, 3))
    yield kind("1-by-3000000.png", lambda path: path.write_bytes(encoded(image(tall))), Used(tall))

    def column(path: Path) -> None:
        path.write_bytes(png((1, 20_000_000), 8, handmade.GREY, bytes(40_000_000)))

    yield kind("1-by-20000000.png", column, Refused("is 20,000,000 pixels long on one side"))

    def huge(path: Path) -> None:
        path.write_bytes(png((20_000, 20_000), 1, handmade.GREY, bytes(2501) * 20_000))

    yield kind("20000-by-20000.png", huge, Refused("has 20000 × 20000 = 400,000,000 pixels, more than data.max_pixels"))


def bomb_kinds(shades: Shades) -> Iterator[Kind]:
    """Small files that would grow, and long ones that hold nothing."""
    shade = next(shades)
    zeros = zlib.compress(bytes(5_000_000), 9)
    for name in ("iCCP", "zTXt"):
        data = rgb_png(shade, [chunk(name.encode(), b"bomb\0\0" + zeros)])
        yield kind(f"bomb-in-{name}.png", data, Refused("Decompressed data too large"))
    yield kind("bomb-in-iTXt.png", rgb_png(shade, [chunk(b"iTXt", b"b\0\1\0\0\0" + zeros)]), Refused("too large"))
    bomb = png((60_000, 60_000), 8, handmade.RGB, b"")
    yield kind("bomb-of-pixels.png", bomb, Refused("has 60000 × 60000 = 3,600,000,000 pixels"))
    yield kind("bomb-of-pixels.bmp", bmp((60_000, 60_000), 24, b"\0" * 99), Refused("3,600,000,000 pixels"))
    screen = b"GIF89a" + struct.pack("<HHBBB", 60_000, 60_000, 0, 0, 0)
    frame = b"," + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0) + b"\x08\x01\0\0;"
    yield kind("bomb-of-pixels.gif", screen + frame, Refused("3,600,000,000 pixels"))
    canvas = bytes(4) + (59_999).to_bytes(3, "little") * 2
    still = encoded(image(shade), "WEBP")[12:]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + canvas + still
    riff = b"RIFF" + struct.pack("<I", len(body)) + body
    yield kind("bomb-of-pixels.webp", riff, Refused("is larger than Pillow takes"))
    runs = bmp((17_800, 10_000), 8, b"\1\1\0\0\0\1", bytes(1024), 1)
    yield kind("bomb-of-run-lengths.bmp", runs, Refused("is a run-length coded bitmap of more than"))
    scans = handmade.many_scans(Image.new("L", (1000, 1000), 99), 6000)
    tags = {256: 32, 257: 24, 258: 8, 259: 8, 262: 1, 277: 1, 322: 40_000, 323: 40_000, 324: 8, 325: 8}
    yield kind("bomb-of-tiles.tif", handmade.tiff(tags, {}), Refused("unfold to 1,600,000,000 bytes"))
    rows = 250_000
    strips = struct.pack(f"<{rows}I", *[8] * rows)
    tags = {256: 1, 257: rows, 258: 8, 259: 1, 262: 1, 277: 1, 278: 1}
    yield kind(
        "bomb-of-strips.tif",
        handmade.tiff(tags, {273: strips, 279: strips}),
        Refused("one of its tags lists more than 800,000 bytes"),
    )
    yield kind("bomb-of-scans.jpg", scans, Refused("scans of 1,000,000 pixels"))
    yield kind("hole.jpg", _holed(b""), Refused("has 100,000,000,000 bytes, more than a picture"))
    yield kind("hole-behind-a-picture.jpg", _holed(jpeg(shade)), Refused("has 100,000,000,000 bytes, more than"))


def _holed(beginning: bytes) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        path.write_bytes(beginning)
        os.truncate(path, 100_000_000_000)

    return write


def named_kinds(shades: Shades) -> Iterator[Kind]:
    """Names that file systems allow."""
    names = (
        "größe-日本語-🐈.png",
        os.fsdecode(b"caf\xe9-\xff\xfe.png"),
        "with some  spaces .png",
        "new\nline\tand\rmore\x1b[31m.png",
        'it\'s "quoted" `$HOME`; --.png',
        "-rf.png",
        "[a-z]*?.png",
        "[red]{x}%s\\n.png",
        "a,b;c=d&e#f@g.png",
        "x" * 251 + ".png",
        "a..b.PnG",
    )
    for name in names:
        shade = next(shades)
        yield kind(name, encoded(image(shade)), Used(shade))


def irregular_kinds(shades: Shades) -> Iterator[Kind]:
    """Hidden and system files, links, folders, pipes, devices."""
    no_picture = Refused("is no JPEG")
    hidden = "hidden file or folder"
    yield kind("._x.jpg", b"\0\x05\x16\x07\0\x02\0\0Mac OS X", PassedOver(hidden, no_picture))
    yield kind(".DS_Store", b"\0\0\0\1Bud1\0\0\x10\0", PassedOver(hidden, no_picture))
    yield kind(
        "Thumbs.db", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", PassedOver("system file such as Thumbs.db", no_picture)
    )
    shade = next(shades)
    yield kind(".hidden.png", encoded(image(shade)), PassedOver(hidden, Used(shade)))
    shade = next(shades)
    yield kind(".hidden-folder/inside.png", encoded(image(shade)), PassedOver(hidden, Used(shade)))
    shade = next(shades)
    yield kind("folder.jpg/inside.png", encoded(image(shade)), Used(shade), "folder.jpg")
    empty = PassedOver("empty folder named like a picture", Refused("no pictures in this folder"))
    yield kind("empty-folder.jpg", Path.mkdir, empty)
    shade = next(shades)
    yield kind("link-to-a-picture.png", _link(encoded(image(shade))), Used(shade))
    gone = Refused("is a link that leads nowhere")
    yield kind("link-to-nothing.jpg", lambda path: path.symlink_to("gone"), gone)
    yield kind("link-to-nothing", lambda path: path.symlink_to("gone"), PassedOver("link that leads nowhere", gone))
    loop = Refused("cannot be read (Too many levels of symbolic links)")
    yield kind("link-to-itself.jpg", lambda path: path.symlink_to(path.name), loop)
    again = PassedOver("link to a folder that was already visited", Refused("no pictures in this folder"))
    yield kind("folder-in-itself.jpg/link", lambda path: path.symlink_to(path.parent), again, "folder-in-itself.jpg")
    yield kind("device.jpg", lambda path: path.symlink_to("/dev/zero"), Refused("is a device, not a regular file"))
    pipe = Refused("is a named pipe, not a regular file")
    yield kind("pipe.jpg", os.mkfifo, pipe)
    yield kind("pipe", os.mkfifo, PassedOver("not a regular file", pipe))
    yield kind("socket.png", _bind, Refused("is a socket, not a regular file"))
    if os.geteuid() != 0:  # nothing is closed to root
        shade = next(shades)
        yield kind("closed.png", _closed(encoded(image(shade))), Refused("permission denied"))


def _link(data: bytes) -> Callable[[Path], object]:
    """To a file outside of the folder of classes, which is two folders up."""

    def write(path: Path) -> None:
        target = path.parents[1].with_name(f"{path.parents[1].name}-linked") / path.name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(data)
        path.symlink_to(target)

    return write


def _bind(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFSOCK | 0o600)
    except PermissionError:  # macOS: by its proper way, which takes short paths alone
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))


def _closed(data: bytes) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        path.write_bytes(data)
        path.chmod(0)

    return write

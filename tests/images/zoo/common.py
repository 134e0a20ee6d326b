"""PNGs and JPEGs in every variant."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from tests.images import handmade
from tests.images.handmade import PALETTE, chunk, png, rgb_png, rows_of
from tests.images.making import encoded, pixels
from tests.images.zoo.kinds import (
    Kind,
    Pixels,
    Refused,
    Shades,
    Used,
    as_gray,
    as_jpeg,
    gray,
    image,
    jpeg,
    kind,
    over_white,
)


def png_kinds(shades: Shades) -> Iterator[Kind]:
    """Return PNGs of every color type, and with every kind of additional chunk."""
    shade = next(shades)
    indexes = image(shade).quantize(16)
    seen = np.asarray(indexes.convert("RGB"))
    yield kind("palette.png", encoded(indexes), Used(seen))
    clear = np.where((np.asarray(indexes) == 3)[..., None], np.uint8(255), seen)
    yield kind("palette-with-a-clear-color.png", encoded(indexes, transparency=3), Used(clear))
    alphas = bytes(range(0, 256, 17))
    share = np.frombuffer(alphas, np.uint8)[np.asarray(indexes)][..., None] / 255
    yield kind("palette-with-alphas.png", encoded(indexes, transparency=alphas), Used(over_white(seen, share), 1))
    yield kind("palette-that-is-absent.png", png((2, 2), 8, PALETTE, b"\0\0\1\0\1\0"), Refused("image-damaged"))
    shade = next(shades)
    bits = image(shade).convert("1")
    yield kind("one-bit.png", encoded(bits), as_gray(np.asarray(bits.convert("L"))))
    levels = gray(next(shades))
    yield kind("gray.png", encoded(Image.fromarray(levels)), as_gray(levels))
    levels = gray(next(shades))
    yield kind("16-bit-gray.png", encoded(Image.fromarray(levels.astype(np.uint16) * 257)), as_gray(levels))
    shade = next(shades)
    wide = png((32, 24), 16, handmade.RGB, rows_of(shade.astype(">u2") * np.uint16(257)))
    yield kind("16-bit-color.png", wide, Used(shade))
    four = pixels(channels=4, seed=7)
    over = over_white(four[..., :3], four[..., 3:] / 255)
    yield kind("alpha.png", encoded(Image.fromarray(four)), Used(over, 1))
    two = pixels(channels=2, seed=8)
    both = Image.merge("LA", [Image.fromarray(np.ascontiguousarray(two[..., k])) for k in (0, 1)])
    levels = over_white(two[..., :1], two[..., 1:] / 255)[..., 0]
    yield kind("gray-with-alpha.png", encoded(both), Used(as_gray(levels).pixels, 1))
    shade = next(shades)
    yield kind("interlaced.png", handmade.interlaced_png(shade), Used(shade))
    shade = next(shades)
    profile = chunk(b"iCCP", b"none\0\0" + zlib.compress(b"nonsense"))
    yield kind("profile-that-is-nonsense.png", rgb_png(shade, [profile]), Used(shade))
    shade = next(shades)
    yield kind("rubbish-behind-the-end.png", rgb_png(shade) + b"rubbish" * 99, Used(shade))
    shade = next(shades)
    yield kind("more-rows-than-it-says.png", png((32, 24), 8, 2, rows_of(np.tile(shade, (40, 1, 1)))), Used(shade))
    yield kind("fewer-rows-than-it-says.png", png((32, 24), 8, 2, rows_of(shade[:20])), Refused("image-truncated"))
    yield kind("zero-wide.png", png((0, 24), 8, 2, b""), Refused("image-damaged"))
    frames = [next(shades) for _ in range(3)]
    moving = encoded(image(frames[0]), save_all=True, append_images=[image(one) for one in frames[1:]], duration=99)
    yield kind("animated.png", moving, Used(frames[0]))


def jpeg_kinds(shades: Shades) -> Iterator[Kind]:
    """Return JPEGs in every encoding."""
    for name, options in {
        "progressive": {"progressive": True},
        "subsampled": {"subsampling": 2},
        "optimised": {"optimize": True},
        "with-restarts": {"restart_marker_rows": 1},
    }.items():
        shade = next(shades)
        yield kind(f"{name}.jpg", jpeg(shade, **options), as_jpeg(shade))
    levels = gray(next(shades))
    yield kind("gray.jpg", encoded(Image.fromarray(levels), "JPEG", quality=95), Used(as_gray(levels).pixels, 6))
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
    yield kind("12-bit.jpg", data[: frame + 4] + b"\x0c" + data[frame + 5 :], Refused("image-damaged"))
    yield kind("two-colors.jpg", data[: frame + 9] + b"\x02" + data[frame + 10 :], Refused("image-damaged"))
    yield kind("zero-high.jpg", data[: frame + 5] + b"\0\0" + data[frame + 7 :], Refused("image-damaged"))
    shade = next(shades)
    thumbnail = Image.Exif()
    thumbnail[0x010E] = "described"
    thumbnail.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + jpeg(next(shades))
    yield kind("with-a-image-in-its-exif.jpg", jpeg(shade, exif=thumbnail), as_jpeg(shade))
    shade = next(shades)
    pair = encoded(image(shade), "MPO", save_all=True, append_images=[image(next(shades))], quality=95, subsampling=0)
    yield kind("stereo-pair.jpg", pair, as_jpeg(shade))


def turned_kinds(shades: Shades) -> Iterator[Kind]:
    """Return images with every EXIF orientation, and with invalid ones."""
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

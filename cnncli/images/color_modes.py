"""Colour: whatever mode a picture is stored in becomes 8-bit RGB or grey without alpha."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION

from cnncli.images.limits import LARGE_PIXELS

WHITE = 255

STRIP_PIXELS = 4_000_000
"""So many pixels of a large picture are converted at a time: on the way from transparency to white there are four
copies of them."""


def flat_colour(picture: Image.Image, color: Literal["rgb", "grayscale"]) -> Image.Image:
    """A loaded picture in mode RGB or L.

    Alpha, palettes' and colour keys' too, is composited on white. 16-bit values lose their low byte, as Pillow does
    with 16-bit RGB, which gives an 8-bit picture back whether its values had been multiplied by 256 or by 257. CMYK
    and YCbCr are converted by Pillow's formulas; colour profiles are not looked at.
    """
    mode = "RGB" if color == "rgb" else "L"
    tags = getattr(picture, "tag_v2", {})
    if picture.width * picture.height <= LARGE_PIXELS or (picture.mode == mode and not picture.has_transparency_data):
        return _flat(picture, mode, tags)
    flat = Image.new(mode, picture.size)
    for box in _boxes(picture.size):
        flat.paste(_flat(picture.crop(box), mode, tags), box)
    return flat


def _flat(picture: Image.Image, mode: str, tags: Mapping[int, Any]) -> Image.Image:
    if picture.mode.startswith("I;16"):
        flat = _from_16_bits(picture, tags)
    elif picture.has_transparency_data:
        flat = _on_white(picture)
    else:
        flat = _in_mode(picture, "L" if picture.mode in ("1", "L") else "RGB")
    return _in_mode(flat, mode)


def _boxes(size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Parts of a picture of that size, of `STRIP_PIXELS` at most."""
    width = min(size[0], STRIP_PIXELS)
    height = max(1, STRIP_PIXELS // width)
    for top in range(0, size[1], height):
        for left in range(0, size[0], width):
            yield (left, top, min(left + width, size[0]), min(top + height, size[1]))


def _in_mode(picture: Image.Image, mode: str) -> Image.Image:
    """The picture in a mode; Pillow would copy what is in it already, a quarter of a decode's time."""
    return picture if picture.mode == mode else picture.convert(mode)


def _on_white(picture: Image.Image) -> Image.Image:
    straight = picture.convert("LA") if picture.mode == "La" else picture
    straight = _in_mode(straight, "RGBA")
    white = Image.new("RGB", picture.size, "white")
    white.paste(straight.convert("RGB"), mask=straight.getchannel("A"))
    return white


def _from_16_bits(picture: Image.Image, tags: Mapping[int, Any]) -> Image.Image:
    """Grey of 16 bits, or of 12 as some TIFFs have; Pillow leaves it to us that 0 may be white there."""
    values = np.asarray(picture)
    grey = (values >> (tags.get(BITSPERSAMPLE, (16,))[0] - 8)).astype(np.uint8)
    if tags.get(PHOTOMETRIC_INTERPRETATION) == 0:
        grey = WHITE - grey
    if "transparency" in picture.info:
        grey = np.where(values == picture.info["transparency"], np.uint8(WHITE), grey)
    return Image.fromarray(grey)

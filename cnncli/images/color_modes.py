"""Color: whatever mode an image is stored in becomes 8-bit RGB or gray without alpha."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION

from cnncli.images.limits import LARGE_PIXELS

WHITE = 255

STRIP_PIXELS = 4_000_000
"""So many pixels of a large image are converted at a time: on the way from transparency to white there are four
copies of them."""


def flat_color(image: Image.Image, color: Literal["rgb", "grayscale"]) -> Image.Image:
    """A loaded image in mode RGB or L.

    Alpha, palettes' and color keys' too, is composited on white. 16-bit values lose their low byte, as Pillow does
    with 16-bit RGB, which gives an 8-bit image back whether its values had been multiplied by 256 or by 257. CMYK
    and YCbCr are converted by Pillow's formulas; color profiles are not looked at.
    """
    mode = "RGB" if color == "rgb" else "L"
    tags = getattr(image, "tag_v2", {})
    if image.width * image.height <= LARGE_PIXELS or (image.mode == mode and not image.has_transparency_data):
        return _flat(image, mode, tags)
    flat = Image.new(mode, image.size)
    for box in _boxes(image.size):
        flat.paste(_flat(image.crop(box), mode, tags), box)
    return flat


def _flat(image: Image.Image, mode: str, tags: Mapping[int, Any]) -> Image.Image:
    if image.mode.startswith("I;16"):
        flat = _from_16_bits(image, tags)
    elif image.has_transparency_data:
        flat = _on_white(image)
    else:
        flat = _in_mode(image, "L" if image.mode in ("1", "L") else "RGB")
    return _in_mode(flat, mode)


def _boxes(size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Parts of an image of that size, of `STRIP_PIXELS` at most."""
    width = min(size[0], STRIP_PIXELS)
    height = max(1, STRIP_PIXELS // width)
    for top in range(0, size[1], height):
        for left in range(0, size[0], width):
            yield (left, top, min(left + width, size[0]), min(top + height, size[1]))


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """The image in a mode; Pillow would copy what is in it already, a quarter of a decode's time."""
    return image if image.mode == mode else image.convert(mode)


def _on_white(image: Image.Image) -> Image.Image:
    straight = image.convert("LA") if image.mode == "La" else image
    straight = _in_mode(straight, "RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(straight.convert("RGB"), mask=straight.getchannel("A"))
    return white


def _from_16_bits(image: Image.Image, tags: Mapping[int, Any]) -> Image.Image:
    """Gray of 16 bits, or of 12 as some TIFFs have; Pillow leaves it to us that 0 may be white there."""
    values = np.asarray(image)
    gray = (values >> (tags.get(BITSPERSAMPLE, (16,))[0] - 8)).astype(np.uint8)
    if tags.get(PHOTOMETRIC_INTERPRETATION) == 0:
        gray = WHITE - gray
    if "transparency" in image.info:
        gray = np.where(values == image.info["transparency"], np.uint8(WHITE), gray)
    return Image.fromarray(gray)

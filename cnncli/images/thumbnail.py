"""An image at a glance: the few bytes by which it is known again, resized, recompressed or brightened as it may be."""

from __future__ import annotations

from PIL import Image

from cnncli.images.color_modes import flat_color
from cnncli.images.exif_orientation import Orientation

THUMBNAIL_VERSION = 1
"""Raised whenever this module would give other bytes for the same file: what is remembered of files depends on it."""
GRAY_SIDE, COLOR_SIDE = 16, 4
"""Brightness tells images apart, so it has more pixels than the two color differences."""
THUMBNAIL_BYTES = GRAY_SIDE**2 + 2 * COLOR_SIDE**2
LEAST_PX = 2 * GRAY_SIDE
"""A JPEG may be decoded smaller as long as so many pixels are left on both axes."""

_COARSE_PX = 16 * GRAY_SIDE
# Their values can be averaged as they are. Others are indexes, single bits, of 16 bits, or count as much as alpha says.
_AVERAGED = ("L", "La", "RGB", "RGBa", "RGBX", "CMYK", "YCbCr")


def thumbnail_of(image: Image.Image, size: tuple[float, float], orientation: Orientation) -> bytes:
    """Brightness as 16 × 16 values in 0-255, then both color differences (Cb, Cr) as 4 × 4 each: 288 bytes.

    Args:
        image: loaded; its proportions are given up.
        size: (width, height) of the part of its pixels that is the image, see `draft` of a JPEG.
        orientation: the turn it asks for.
    """
    small = orientation.turned(flat_color(_shrunk(image, size), "rgb")).convert("YCbCr")
    gray, *colors = small.split()
    coarse = (COLOR_SIDE, COLOR_SIDE)
    return gray.tobytes() + b"".join(one.resize(coarse, Image.Resampling.BOX).tobytes() for one in colors)


def _shrunk(image: Image.Image, size: tuple[float, float]) -> Image.Image:
    """The image in 16 × 16 pixels, at a small part of the time and memory that its decoding took."""
    small, bilinear = (GRAY_SIDE, GRAY_SIDE), Image.Resampling.BILINEAR
    if image.mode in _AVERAGED and "transparency" not in image.info:
        return image.resize(small, bilinear, (0, 0, *size), reducing_gap=3.0)
    if image.mode.startswith("I;16"):  # how many of the bits count, only the whole image knows
        return flat_color(image, "grayscale").resize(small, bilinear)
    # 256 pixels for each that is left will do: all of them, as colors, would take several times the image's memory.
    width, height = (min(side, _COARSE_PX) for side in image.size)
    return flat_color(image.resize((width, height), Image.Resampling.NEAREST), "rgb").resize(small, bilinear)

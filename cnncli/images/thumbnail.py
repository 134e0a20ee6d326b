"""A picture at a glance: the few bytes by which it is known again, resized, recompressed or brightened as it may be."""

from __future__ import annotations

from PIL import Image

from cnncli.images.color_modes import flat_colour
from cnncli.images.exif_orientation import Orientation

THUMBNAIL_VERSION = 1
"""Raised whenever this module would give other bytes for the same file: what is remembered of files depends on it."""
GREY_SIDE, COLOUR_SIDE = 16, 4
"""Brightness tells pictures apart, so it has more pixels than the two colour differences."""
THUMBNAIL_BYTES = GREY_SIDE**2 + 2 * COLOUR_SIDE**2
LEAST_PX = 2 * GREY_SIDE
"""A JPEG may be decoded smaller as long as so many pixels are left on both axes."""

_COARSE_PX = 16 * GREY_SIDE
# Their values can be averaged as they are. Others are indexes, single bits, of 16 bits, or count as much as alpha says.
_AVERAGED = ("L", "La", "RGB", "RGBa", "RGBX", "CMYK", "YCbCr")


def thumbnail_of(picture: Image.Image, size: tuple[float, float], orientation: Orientation) -> bytes:
    """Brightness as 16 × 16 values in 0-255, then both colour differences (Cb, Cr) as 4 × 4 each: 288 bytes.

    Args:
        picture: loaded; its proportions are given up.
        size: (width, height) of the part of its pixels that is the picture, see `draft` of a JPEG.
        orientation: the turn it asks for.
    """
    small = orientation.turned(flat_colour(_shrunk(picture, size), "rgb")).convert("YCbCr")
    grey, *colours = small.split()
    coarse = (COLOUR_SIDE, COLOUR_SIDE)
    return grey.tobytes() + b"".join(one.resize(coarse, Image.Resampling.BOX).tobytes() for one in colours)


def _shrunk(picture: Image.Image, size: tuple[float, float]) -> Image.Image:
    """The picture in 16 × 16 pixels, at a small part of the time and memory that its decoding took."""
    small, bilinear = (GREY_SIDE, GREY_SIDE), Image.Resampling.BILINEAR
    if picture.mode in _AVERAGED and "transparency" not in picture.info:
        return picture.resize(small, bilinear, (0, 0, *size), reducing_gap=3.0)
    if picture.mode.startswith("I;16"):  # how many of the bits count, only the whole picture knows
        return flat_colour(picture, "grayscale").resize(small, bilinear)
    # 256 pixels for each that is left will do: all of them, as colours, would take several times the picture's memory.
    width, height = (min(side, _COARSE_PX) for side in picture.size)
    return flat_colour(picture.resize((width, height), Image.Resampling.NEAREST), "rgb").resize(small, bilinear)
